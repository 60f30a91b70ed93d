//! A record store that forgets what is expected of one collection: the bug of
//! whoever checks first and writes later.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use store_core::changes::Changes;
use store_core::{
    Batch, Capabilities, Clock, Committed, Expect, Ping, Record, RecordRef, RecordStore, Records,
    Result, Scan, Store, Swept,
};

use crate::harness::{Harness, Opened, Over};
use crate::saboteurs::sound;

#[derive(Debug)]
struct Forgetful {
    store: Arc<dyn RecordStore>,
    collection: &'static str,
}

#[async_trait]
impl RecordStore for Forgetful {
    async fn get(&self, at: RecordRef<'_>) -> Result<Option<Record>> {
        self.store.get(at).await
    }

    async fn get_many(&self, at: &[RecordRef<'_>]) -> Result<Vec<Option<Record>>> {
        self.store.get_many(at).await
    }

    async fn scan(&self, scan: &Scan) -> Result<Records> {
        self.store.scan(scan).await
    }

    async fn commit(&self, batch: &Batch) -> Result<Committed> {
        let mut forgetful = Batch::new(batch.partition().clone(), batch.now());
        for item in batch.items() {
            let forgotten = item.key().collection().name() == self.collection;
            let expect = if forgotten {
                Expect::Any
            } else {
                item.expect()
            };
            forgetful.item(item.key().clone(), expect, item.change().clone())?;
        }
        // Time for somebody else, as a network would give.
        for _ in 0..30 {
            tokio::task::yield_now().await;
        }
        self.store.commit(&forgetful).await
    }

    fn clock(&self) -> &dyn Clock {
        self.store.clock()
    }

    fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }

    async fn ping(&self) -> Result<Ping> {
        self.store.ping().await
    }

    async fn changes(&self) -> Result<Changes> {
        self.store.changes().await
    }

    async fn sweep(&self, grace: Duration) -> Result<Swept> {
        self.store.sweep(grace).await
    }

    async fn close(&self) -> Result<()> {
        self.store.close().await
    }
}

struct Forgetting {
    sound: Arc<Over>,
    collection: &'static str,
}

#[async_trait]
impl Harness<Store> for Forgetting {
    fn backend(&self) -> String {
        format!("forgetful of {}", self.collection)
    }

    async fn open(&self, (): ()) -> Result<Opened<Store>> {
        let opened = self.sound.backend_harness().open(()).await?;
        Ok(opened.map(|store| {
            Arc::new(Store::new(Arc::new(Forgetful {
                store: Arc::clone(store.records()),
                collection: self.collection,
            })))
        }))
    }
}

/// A backend whose commits expect nothing of `collection`.
pub(in crate::saboteurs) fn forgetful_of(collection: &'static str) -> Arc<Over> {
    Arc::new(Over::new(Arc::new(Forgetting {
        sound: sound(),
        collection,
    })))
}
