//! Record stores whose commits have a bug.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use store_core::changes::Changes;
use store_core::{
    Batch, Capabilities, Clock, Committed, Error, ErrorKind, Expect, Ping, Record, RecordRef,
    RecordStore, Records, Result, Scan, Store, Swept,
};

use crate::harness::{Harness, Opened, Over};
use crate::saboteurs::sound;

/// What is wrong with a commit.
#[derive(Clone, Copy, Debug)]
enum Bug {
    /// It expects nothing of this collection: checked first, written later.
    Forgets(&'static str),
    /// It gives up at the first conflict instead of trying again.
    GivesUp,
}

#[derive(Debug)]
struct Buggy {
    store: Arc<dyn RecordStore>,
    bug: Bug,
}

#[async_trait]
impl RecordStore for Buggy {
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
            let forgotten = match self.bug {
                Bug::Forgets(collection) => item.key().collection().name() == collection,
                Bug::GivesUp => false,
            };
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
        let answer = self.store.commit(&forgetful).await;
        match self.bug {
            Bug::GivesUp => answer.map_err(|error| match error.kind() {
                ErrorKind::Conflict => Error::new(ErrorKind::Contended, "another was faster"),
                _ => error,
            }),
            Bug::Forgets(_) => answer,
        }
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

struct WithBug {
    sound: Arc<Over>,
    bug: Bug,
}

#[async_trait]
impl Harness<Store> for WithBug {
    fn backend(&self) -> String {
        format!("{:?}", self.bug)
    }

    async fn open(&self, (): ()) -> Result<Opened<Store>> {
        let opened = self.sound.backend_harness().open(()).await?;
        Ok(opened.map(|store| {
            Arc::new(Store::new(Arc::new(Buggy {
                store: Arc::clone(store.records()),
                bug: self.bug,
            })))
        }))
    }
}

/// A backend whose commits expect nothing of `collection`.
pub(in crate::saboteurs) fn forgetful_of(collection: &'static str) -> Arc<Over> {
    with(Bug::Forgets(collection))
}

/// A backend on which a conflict is the end of an operation.
pub(in crate::saboteurs) fn giving_up() -> Arc<Over> {
    with(Bug::GivesUp)
}

fn with(bug: Bug) -> Arc<Over> {
    Arc::new(Over::new(Arc::new(WithBug {
        sound: sound(),
        bug,
    })))
}
