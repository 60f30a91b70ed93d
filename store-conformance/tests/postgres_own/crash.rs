//! The server is killed in the middle of everything, with fsync on, and comes
//! back: what was acknowledged is there, nothing is there by half.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use store_conformance::core::blobs::{BlobRef, OpenOptions, Publication, PutOptions};
use store_conformance::core::limits::{Quota, Quotas, Take};
use store_conformance::core::lti::{Lti, NonceCheck, Registration};
use store_conformance::core::secret::KeyRing;
use store_conformance::core::{Batch, Body, Expect, Partition, Store};
use store_conformance::servers::{Options, postgres};
use tokio::task::JoinSet;

use crate::{End, Place, key, other, tests};

tests![nothing_acknowledged_is_lost_and_nothing_is_there_by_half];

/// How often the server is killed: a sample, or what a soak asks for.
const CYCLES: &str = "STORE_SOAK_CRASHES";

const BURST: u32 = 1_000_000;
const WORKERS: u64 = 4;

/// What the server acknowledged.
#[derive(Default)]
struct Acknowledged {
    /// By worker: the last pair that was committed, and the last that was tried.
    pairs: HashMap<u64, (u64, u64)>,
    takes: u32,
    tried_takes: u32,
    /// Names and sizes of objects.
    objects: Vec<(String, usize)>,
    nonces: Vec<String>,
    /// How often each nonce was accepted.
    accepted: HashMap<String, u32>,
}

#[derive(Clone)]
struct Work {
    store: Store,
    lti: Arc<Lti>,
    platform: Arc<Registration>,
    quotas: Quotas,
    seen: Arc<Mutex<Acknowledged>>,
}

impl Work {
    fn seen(&self) -> MutexGuard<'_, Acknowledged> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Two records in two collections that always hold the same number.
    async fn pair(&self, worker: u64) -> Option<()> {
        let next = {
            let mut seen = self.seen();
            let pair = seen.pairs.entry(worker).or_default();
            pair.1 += 1;
            pair.1
        };
        let mut batch = Batch::new(Partition::new(format!("w{worker}")).ok()?, self.store.now());
        batch
            .put(key("pair"), Expect::Any, Body::json(next).ok()?)
            .ok()?;
        batch
            .put(other("pair"), Expect::Any, Body::json(next).ok()?)
            .ok()?;
        self.store.records().commit(&batch).await.ok()?;
        self.seen().pairs.entry(worker).or_default().0 = next;
        Some(())
    }

    async fn take(&self) -> Option<()> {
        self.seen().tried_takes += 1;
        let take = Take::new("crash", &self.quotas, 1, self.store.now()).ok()?;
        if self.store.limits().take(&take).await.ok()?.is_allowed() {
            self.seen().takes += 1;
        }
        Some(())
    }

    async fn object(&self, name: String) -> Option<()> {
        let size = 300_000 + name.len() * 1000;
        let at = BlobRef::new("crash", &name).ok()?;
        let mut sink = self
            .store
            .blobs()
            .begin(at, PutOptions::default())
            .await
            .ok()?;
        sink.write(vec![size as u8; size].into()).await.ok()?;
        if matches!(sink.commit().await.ok()?, Publication::Published(_)) {
            self.seen().objects.push((name, size));
        }
        Some(())
    }

    async fn nonce(&self, name: String) -> Option<()> {
        self.lti
            .store()
            .store_nonce(&name, &self.platform)
            .await
            .ok()?;
        self.seen().nonces.push(name.clone());
        let mut racers = JoinSet::new();
        for _ in 0..3 {
            let (work, name) = (self.clone(), name.clone());
            racers.spawn(async move { work.validate(&name).await });
        }
        while racers.join_next().await.is_some() {}
        Some(())
    }

    async fn validate(&self, name: &str) -> Option<()> {
        let check = self
            .lti
            .store()
            .validate_nonce(name, &self.platform)
            .await
            .ok()?;
        if check == NonceCheck::Accepted {
            *self.seen().accepted.entry(name.into()).or_default() += 1;
        }
        Some(())
    }

    /// Everything at once, until the server is gone.
    async fn all(self, cycle: u64, worker: u64) {
        for round in 0u64.. {
            let name = format!("{cycle}-{worker}-{round}");
            let done = async {
                self.pair(worker).await?;
                self.take().await?;
                self.nonce(name.clone()).await?;
                self.object(name).await
            };
            if done.await.is_none() {
                return;
            }
        }
    }

    async fn verify(&self) -> End {
        let pairs = self.seen().pairs.clone();
        for (worker, (acknowledged, tried)) in pairs {
            let partition = Partition::new(format!("w{worker}"))?;
            let (a, b) = (key("pair"), other("pair"));
            let found = self
                .store
                .records()
                .get_many(&[a.at(&partition), b.at(&partition)])
                .await?;
            let numbers: Vec<Option<u64>> = found
                .iter()
                .map(|record| {
                    record
                        .as_ref()
                        .map(|r| r.decode::<u64>().map(|n| *n))
                        .transpose()
                })
                .collect::<Result<_, _>>()?;
            assert_eq!(numbers[0], numbers[1], "a commit by half");
            let number = numbers[0].unwrap_or_default();
            assert!(
                (acknowledged..=tried).contains(&number),
                "{acknowledged} {number} {tried}"
            );
        }

        let take = Take::new("crash", &self.quotas, 1, self.store.now())?;
        let bucket = self
            .store
            .limits()
            .peek(take.key())
            .await?
            .unwrap_or_default();
        let quota = self.quotas.iter().next().ok_or("one quota")?;
        let left =
            store_conformance::core::limits::gcra::remaining(quota, bucket.tat(quota), take.now());
        let (takes, tried) = {
            let seen = self.seen();
            (seen.takes, seen.tried_takes)
        };
        assert!(
            (takes..=tried).contains(&(BURST - left)),
            "{takes} {left} {tried}"
        );

        let objects = self.seen().objects.clone();
        for (name, size) in objects {
            let at = BlobRef::new("crash", &name)?;
            let blob = self.store.blobs().open(at, OpenOptions::default()).await?;
            let mut blob = blob.ok_or_else(|| format!("{name} was acknowledged and is gone"))?;
            let mut length = 0;
            while let Some(bytes) = blob.reader.next().await? {
                assert!(bytes.iter().all(|byte| *byte == size as u8));
                length += bytes.len();
            }
            assert_eq!(length, size);
        }

        let nonces = self.seen().nonces.clone();
        for name in &nonces {
            self.validate(name).await.ok_or("the server is there")?;
            let again = self
                .lti
                .store()
                .validate_nonce(name, &self.platform)
                .await?;
            assert_eq!(
                again,
                NonceCheck::AlreadyUsed,
                "acknowledged, used, and not remembered"
            );
        }
        let twice = self
            .seen()
            .accepted
            .values()
            .filter(|times| **times > 1)
            .count();
        assert_eq!(twice, 0, "nonces accepted twice");
        let mut seen = self.seen();
        seen.nonces.clear();
        seen.objects.clear();
        Ok(())
    }
}

async fn nothing_acknowledged_is_lost_and_nothing_is_there_by_half(place: Place) -> End {
    let cycles = std::env::var(CYCLES)
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(5u64);
    let mut server = postgres::killable(&Options::from_env().durable(true))?;
    let place = Place {
        url: server.url().into(),
        ..place
    };
    let store = place
        .builder()
        // The pool goes on trying to connect for so long.
        .acquire_timeout(Duration::from_millis(300))
        .connect()
        .await?;
    store.setup().await?;
    let store = Store::from(store);
    let platform = Registration::from_json(include_str!(
        "../../../store-memory/examples/tour/platform.json"
    ))?;
    let lti: Lti = Lti::new(&store, KeyRing::random());
    let work = Work {
        platform: lti.store().upsert_registration(platform).await?,
        lti: Arc::new(lti),
        // The clock stands, so nothing flows in.
        quotas: Quotas::new([Quota::per_second(BURST)?])?,
        store,
        seen: Arc::default(),
    };
    for cycle in 0..cycles {
        let mut workers = JoinSet::new();
        for worker in 0..WORKERS {
            workers.spawn(work.clone().all(cycle, worker));
        }
        tokio::time::sleep(Duration::from_millis(150 + cycle * 37 % 200)).await;
        assert!(server.kill());
        while workers.join_next().await.is_some() {}
        server.restart()?;
        // Connections of before fail once each.
        while work.store.records().ping().await.is_err() {}
        work.verify()
            .await
            .map_err(|e| format!("after crash {cycle}: {e}"))?;
    }
    let seen = work.seen();
    let commits: u64 = seen.pairs.values().map(|pair| pair.0).sum();
    println!(
        "{cycles} crashes; acknowledged: {commits} commits, {} takes, {} nonces accepted",
        seen.takes,
        seen.accepted.len()
    );
    assert!(
        commits > cycles,
        "the server was killed before it did anything"
    );
    Ok(())
}
