//! The crash check works: a store in memory with a log survives, and each store that
//! loses a part of its log fails.

use std::sync::{Arc, Mutex, PoisonError};

use store_conformance::crash::{COLLECTIONS, Plan, Victim, survive};
use store_core::{
    Batch, Change, Clock, Committed, Error, ErrorKind, Expect, ManualClock, Record, RecordRef,
    RecordStore, Records, Result, Scan, Store,
};
use store_memory::MemoryStore;

/// What a crash does to the log.
type Flaw = fn(&mut Vec<Batch>);

/// Serves from memory. It writes every commit to a log before it acknowledges it, and
/// restores itself from the log after a crash.
#[derive(Debug)]
struct Logged {
    clock: ManualClock,
    /// None while it is down.
    memory: tokio::sync::RwLock<Option<Arc<dyn RecordStore>>>,
    log: Mutex<Vec<Batch>>,
}

impl Logged {
    fn new() -> Arc<Self> {
        let clock = ManualClock::default();
        Arc::new(Self {
            memory: tokio::sync::RwLock::new(Some(memory(&clock))),
            clock,
            log: Mutex::default(),
        })
    }

    async fn up(&self) -> Result<Arc<dyn RecordStore>> {
        // Other tasks run in between, so that a crash meets calls at every stage.
        tokio::task::yield_now().await;
        let memory = self.memory.read().await.clone();
        memory.ok_or_else(|| Error::new(ErrorKind::Unavailable, "it was killed"))
    }
}

fn memory(clock: &ManualClock) -> Arc<dyn RecordStore> {
    let memory = MemoryStore::builder().clock(clock.clone()).build();
    Arc::clone(Store::from(&memory).records())
}

#[async_trait::async_trait]
impl RecordStore for Logged {
    async fn get(&self, at: RecordRef<'_>) -> Result<Option<Record>> {
        self.up().await?.get(at).await
    }

    async fn get_many(&self, at: &[RecordRef<'_>]) -> Result<Vec<Option<Record>>> {
        self.up().await?.get_many(at).await
    }

    async fn scan(&self, scan: &Scan) -> Result<Records> {
        self.up().await?.scan(scan).await
    }

    async fn commit(&self, batch: &Batch) -> Result<Committed> {
        self.up().await?;
        let committed = {
            // Under the lock, so that the log has the order of the commits.
            let memory = self.memory.write().await;
            let down = || Error::new(ErrorKind::Unavailable, "it was killed");
            let committed = memory.as_ref().ok_or_else(down)?.commit(batch).await?;
            let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
            log.push(batch.clone());
            committed
        };
        // The reply may be lost.
        self.up().await.map(|_| committed)
    }

    fn clock(&self) -> &dyn Clock {
        &self.clock
    }

    async fn ping(&self) -> Result<store_core::Ping> {
        self.up().await?.ping().await
    }
}

/// Kills it, and loses the part of the log that the flaw loses.
struct Crash(Arc<Logged>, Flaw);

impl Victim for Crash {
    fn kill(&mut self) -> Result<(), String> {
        tokio::runtime::Handle::current().block_on(async { self.0.memory.write().await.take() });
        Ok(())
    }

    fn restart(&mut self) -> Result<(), String> {
        let mut log = self.0.log.lock().unwrap_or_else(PoisonError::into_inner);
        self.1(&mut log);
        let memory = memory(&self.0.clock);
        tokio::runtime::Handle::current().block_on(async {
            for batch in log.iter() {
                // Later commits may expect what the flaw has removed.
                let _ = memory.commit(batch).await;
            }
            *self.0.memory.write().await = Some(memory);
        });
        Ok(())
    }
}

/// The result of the check for a store with that flaw.
async fn verdict(flaw: Flaw) -> String {
    let logged = Logged::new();
    let store = Store::new(Arc::clone(&logged) as Arc<dyn RecordStore>);
    match survive(&store, &mut Crash(logged, flaw), Plan::default()).await {
        Ok(figures) => {
            assert!(figures.commits >= 15 && figures.nonces >= 15, "{figures}");
            "survived".into()
        }
        Err(error) => error.to_string(),
    }
}

fn is_in(batch: &Batch, collection: &str) -> bool {
    let mut items = batch.items().iter();
    items.any(|item| item.key().collection().name() == collection)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_logs_before_it_acknowledges_survives() {
    assert_eq!(verdict(|_| {}).await, "survived");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_acknowledges_before_it_writes_fails() {
    let verdict = verdict(|log| log.truncate(log.len().saturating_sub(40))).await;
    assert!(verdict.contains("after crash 0"), "{verdict}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_writes_a_commit_in_part_fails() {
    let verdict = verdict(|log| {
        let is_pair = |batch: &&mut Batch| batch.items()[0].key().collection() == COLLECTIONS[0];
        let last = log
            .iter_mut()
            .rev()
            .find(is_pair)
            .expect("there were pairs");
        let item = &last.items()[0];
        let mut half = Batch::new(last.partition().clone(), last.now());
        if let Change::Put { body, .. } = item.change() {
            half.put(item.key().clone(), Expect::Any, body.clone())
                .expect("it was put before");
        }
        *last = half;
    })
    .await;
    assert!(verdict.contains("is there in part"), "{verdict}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_does_not_log_used_nonces_fails() {
    let verdict = verdict(|log| {
        let stores = |batch: &Batch| batch.items()[0].expect() == Expect::Absent;
        log.retain(|batch| !is_in(batch, "lti_nonces") || stores(batch));
    })
    .await;
    assert!(verdict.contains("was accepted 2 times"), "{verdict}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_does_not_log_buckets_fails() {
    let verdict = verdict(|log| log.retain(|batch| !is_in(batch, "buckets"))).await;
    assert!(verdict.contains("takes:"), "{verdict}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_publishes_before_it_stores_the_chunks_fails() {
    let verdict = verdict(|log| log.retain(|batch| !is_in(batch, "blob_chunks"))).await;
    assert!(verdict.contains("after crash 0"), "{verdict}");
}
