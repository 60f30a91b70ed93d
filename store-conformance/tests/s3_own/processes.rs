//! Several processes, and processes that are killed at any point: S3 itself does not
//! crash, but its clients do.
//!
//! With [`CHILD`] in its environment, this program is one of those processes: it
//! increments two records in one commit, competes for nonces, and prints the results
//! until it is killed.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use store_conformance::history::Dice;
use store_core::lti::{Lti, NonceCheck, Registration};
use store_core::secret::KeyRing;
use store_core::{Batch, Body, Result, Store};
use tokio::task::block_in_place;

use crate::{End, Failure, Place, harness, key, number, partition, tests};

tests![nothing_acknowledged_is_lost_and_nothing_is_there_by_half];

/// Where a child works: URL and prefix.
const CHILD: &str = "STORE_TEST_S3_CHILD";

/// How many are killed: a sample, or what `cargo xtask soak` asks for.
const KILLS: &str = "STORE_SOAK_CYCLES";

/// How many work at a time.
const RIVALS: usize = 3;

fn builder(url: &str, prefix: &str) -> store_s3::S3Builder {
    harness::builder(url, prefix).lease(Duration::from_millis(150))
}

/// What this process does if it is a child.
pub(crate) fn child() -> Option<ExitCode> {
    let place = std::env::var(CHILD).ok()?;
    let (url, prefix) = place.split_once(' ')?;
    let work = async {
        let store = Store::from(builder(url, prefix).connect().await?);
        work(store).await
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime can be started");
    match runtime.block_on(work) {
        Ok(()) => Some(ExitCode::SUCCESS),
        Err(error) => {
            eprintln!("{error:?}");
            Some(ExitCode::FAILURE)
        }
    }
}

fn platform() -> Registration {
    Registration::from_json(
        r#"{"issuer":"https://platform.example.org","client_id":"tool","auth_endpoint":
        "https://platform.example.org/auth","jwks_uri":"https://platform.example.org/jwks"}"#,
    )
    .expect("a good one")
}

async fn work(store: Store) -> std::result::Result<(), Failure> {
    let lti: Lti = Lti::new(&store, &KeyRing::random());
    let platform = platform();
    for round in 0u64.. {
        if let Ok(Some(raised)) = raise(&store).await {
            say(&format!("raised {raised}"))?;
        }
        let nonce = format!("nonce {round}");
        let _ = lti.store().store_nonce(&nonce, &platform).await;
        if let Ok(NonceCheck::Accepted) = lti.store().validate_nonce(&nonce, &platform).await {
            say(&format!("accepted {round}"))?;
        }
    }
    Ok(())
}

fn say(what: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{what}")?;
    out.flush()
}

/// Adds one to both records, if no other process did since they were read.
async fn raise(store: &Store) -> Result<Option<u64>> {
    let (a, b, partition) = (key("a"), key("b"), partition());
    let both = [a.at(&partition), b.at(&partition)];
    let found = store.records().get_many(&both).await?;
    let next = match &found[0] {
        Some(record) => *record.decode::<u64>()? + 1,
        None => 1,
    };
    let mut batch = Batch::new(partition.clone(), store.now());
    for (key, found) in [a.clone(), b.clone()].into_iter().zip(&found) {
        batch.put(key, found.as_ref(), Body::json(next)?)?;
    }
    let committed = store.records().commit(&batch).await;
    Ok(committed.is_ok().then_some(next))
}

/// A child, and what it says.
struct Rival(Child);

impl Rival {
    fn start(place: &Place, said: &Sender<String>) -> std::result::Result<Self, Failure> {
        let mut child = Command::new(std::env::current_exe()?)
            .env(CHILD, format!("{} {}", place.url, place.prefix))
            .stdout(Stdio::piped())
            .spawn()?;
        let lines = BufReader::new(child.stdout.take().ok_or("it has no output")?).lines();
        let said = said.clone();
        std::thread::spawn(move || {
            for line in lines.map_while(std::io::Result::ok) {
                let _ = said.send(line);
            }
        });
        Ok(Self(child))
    }
}

impl Drop for Rival {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn drive(place: &Place, kills: u64) -> std::result::Result<Vec<String>, Failure> {
    let (said, receiver): (Sender<String>, Receiver<String>) = channel();
    let mut rivals = Vec::new();
    for _ in 0..RIVALS {
        rivals.push(Rival::start(place, &said)?);
    }
    let mut received = Vec::new();
    let mut dice = Dice::new(kills);
    for _ in 0..kills {
        // At some point of what a process is doing then.
        for _ in 0..1 + dice.below(6) {
            received.push(receiver.recv_timeout(Duration::from_secs(60))?);
        }
        std::thread::yield_now();
        let victim = dice.below(RIVALS);
        rivals[victim] = Rival::start(place, &said)?;
    }
    drop(rivals);
    drop(said);
    received.extend(receiver.iter());
    Ok(received)
}

async fn nothing_acknowledged_is_lost_and_nothing_is_there_by_half(place: Place) -> End {
    let kills = std::env::var(KILLS).map_or(Ok(12), |kills| kills.parse())?;
    let store = Store::from(builder(&place.url, &place.prefix).connect().await?);
    let lti: Lti = Lti::new(&store, &KeyRing::random());
    lti.store().upsert_registration(platform()).await?;
    let received = block_in_place(|| drive(&place, kills))?;
    let distinct: HashSet<&String> = received.iter().collect();
    assert_eq!(distinct.len(), received.len(), "raised or accepted twice");
    let raised = received
        .iter()
        .filter_map(|line| line.strip_prefix("raised "));
    let most = raised.filter_map(|n| n.parse::<u64>().ok()).max();
    let found = [number(&store, "a").await?, number(&store, "b").await?];
    assert_eq!(found[0], found[1], "there by half");
    assert!(found[0] >= most, "{found:?} and {most:?} was acknowledged");
    assert!(most.is_some(), "no process made progress");
    // What dead processes left is removed by two sweeps.
    let rounds = async {
        loop {
            store.records().sweep(Duration::ZERO).await?;
            let driver = harness::driver(&place.url).build()?;
            let folder = format!("{}/transactions", place.prefix);
            if is_empty(&driver, &folder).await? {
                return Ok::<_, Failure>(());
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), rounds).await??;
    println!(
        "{kills} killed; {} calls acknowledged; {found:?}",
        received.len()
    );
    Ok(())
}

async fn is_empty(
    driver: &dyn store_s3::object_store::ObjectStore,
    folder: &str,
) -> std::result::Result<bool, Failure> {
    let folder = store_s3::object_store::path::Path::from(folder);
    let listed = driver.list_with_delimiter(Some(&folder)).await?;
    Ok(listed.objects.is_empty())
}
