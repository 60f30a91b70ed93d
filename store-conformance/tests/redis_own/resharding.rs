//! The suite's races in a cluster whose slots are being moved.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use store_conformance::{Outcome, cases};
use store_redis::redis::{Value, cmd};
use tokio::sync::Mutex;

use crate::cluster::Nodes;
use crate::harness::Redis;
use crate::{End, Failure, Place, tests};

tests![the_suites_races_lose_nothing_while_slots_move];

/// Parts of the names of cases that are races.
const RACES: [&str; 7] = [
    "racing",
    "_race",
    "concurrent",
    "linearizable",
    "neither_of_two",
    "of_many",
    "transfers",
];

/// At least this many slots move while a case is repeated.
const MOVES: u64 = 2;

/// The commands of the store, and how many run between two moves.
const COMMANDS: [&str; 4] = ["evalsha", "exec", "get", "mget"];
const BETWEEN: u64 = 64;

/// How long a call may wait for a slot that is being moved. On a busy machine the
/// servers need some time to agree.
const PATIENCE: Duration = Duration::from_secs(30);

/// Part of the error of a collection scan, which fails rightly: it could miss keys that
/// are being moved.
const COLLECTION_SCAN: &str = "could miss records";

async fn the_suites_races_lose_nothing_while_slots_move(_: Place) -> End {
    let nodes = Arc::new(Mutex::new(Nodes::start(0)?));
    let url = nodes.lock().await.server.url().to_owned();
    let moved = Arc::new(AtomicU64::new(0));
    let mover = tokio::spawn(keep_moving(Arc::clone(&nodes), Arc::clone(&moved)));
    let mut ran = 0;
    let cluster = Redis::new(&url, "a moving cluster".into()).patient(PATIENCE);
    for suite in cases::all(Arc::new(cluster)) {
        'cases: for (index, (name, _)) in suite.cases().enumerate() {
            if !RACES.iter().any(|race| name.contains(race)) {
                continue;
            }
            let before = moved.load(Ordering::SeqCst);
            while moved.load(Ordering::SeqCst) < before + MOVES {
                if mover.is_finished() {
                    return mover.await?;
                }
                let report = suite.run_case(index).await;
                let message = report.message.unwrap_or_default();
                if message.contains(COLLECTION_SCAN) {
                    continue 'cases;
                }
                if report.outcome != Outcome::Passed {
                    if mover.is_finished() {
                        return mover.await?;
                    }
                    let place = format!("{}::{name}", suite.contract());
                    return Err(format!("{place}: {message}").into());
                }
            }
            ran += 1;
            // The keys of this case must not be moved during the next one.
            let nodes = nodes.lock().await;
            for node in 0..nodes.ports.len() {
                let mut connection = nodes.connection(node).await?;
                cmd("FLUSHALL").exec_async(&mut connection).await?;
            }
        }
    }
    mover.abort();
    assert!(ran > 30, "only {ran} races were found");
    println!("{} moves under {ran} races", moved.load(Ordering::SeqCst));
    Ok(())
}

/// Moves the slot of any existing key from server to server, each time after enough
/// commands have run: a write to a slot that is being moved waits, and must not wait
/// too long.
async fn keep_moving(nodes: Arc<Mutex<Nodes>>, moved: Arc<AtomicU64>) -> End {
    let mut done = 0;
    for round in 0.. {
        loop {
            let now = nodes.lock().await.calls(&COMMANDS).await?;
            if now >= done + BETWEEN {
                done = now;
                break;
            }
            // Other tasks may use the cluster.
            tokio::task::yield_now().await;
        }
        let nodes = nodes.lock().await;
        let (from, to) = (round % 3, (round + 1) % 3);
        if let Some(slot) = some_slot(&nodes, from).await? {
            nodes.move_slot(slot, from, to).await?;
            moved.fetch_add(1, Ordering::SeqCst);
        }
    }
    Ok(())
}

/// The slot of any key on this server; `None` if it has no key.
async fn some_slot(nodes: &Nodes, node: usize) -> Result<Option<u16>, Failure> {
    let mut connection = nodes.connection(node).await?;
    let key = cmd("RANDOMKEY").query_async(&mut connection).await?;
    let Value::BulkString(key) = key else {
        return Ok(None);
    };
    let mut command = cmd("CLUSTER");
    let slot = command.arg("KEYSLOT").arg(key);
    Ok(Some(slot.query_async(&mut connection).await?))
}
