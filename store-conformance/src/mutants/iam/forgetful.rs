//! Record stores whose commits have a bug.

use std::sync::Arc;

use async_trait::async_trait;
use store_core::layers::RecordLayer;
use store_core::{Batch, Change, Committed, Error, ErrorKind, Expect, RecordStore, Result, Store};

use crate::harness::{Harness, Opened, Over};
use crate::mutants::sound;

/// What is wrong with a commit.
#[derive(Clone, Copy, Debug)]
enum Bug {
    /// It expects nothing of this collection: checked first, written later.
    Forgets(&'static str),
    /// It gives up at the first conflict instead of trying again.
    GivesUp,
    /// It does not delete credentials.
    KeepsCredentials,
}

#[derive(Debug)]
struct Buggy {
    store: Arc<dyn RecordStore>,
    bug: Bug,
}

#[async_trait]
impl RecordLayer for Buggy {
    fn inner(&self) -> &dyn RecordStore {
        &*self.store
    }

    async fn commit(&self, batch: &Batch) -> Result<Committed> {
        let mut forgetful = Batch::new(batch.partition().clone(), batch.now());
        for item in batch.items() {
            let is_credential = item.key().collection().name() == "iam_access_keys";
            let deleted = matches!(item.change(), Change::Delete);
            if matches!(self.bug, Bug::KeepsCredentials) && is_credential && deleted {
                continue;
            }
            let forgotten = match self.bug {
                Bug::Forgets(collection) => item.key().collection().name() == collection,
                Bug::GivesUp | Bug::KeepsCredentials => false,
            };
            let expect = if forgotten {
                Expect::Any
            } else {
                item.expect()
            };
            forgetful.item(item.key().clone(), expect, item.change().clone())?;
        }
        // Others run meanwhile, as they would during a network round trip.
        for _ in 0..30 {
            tokio::task::yield_now().await;
        }
        let answer = self.store.commit(&forgetful).await;
        match self.bug {
            Bug::GivesUp => answer.map_err(|error| match error.kind() {
                ErrorKind::Conflict => Error::new(ErrorKind::Superseded, "another was faster"),
                _ => error,
            }),
            Bug::Forgets(_) | Bug::KeepsCredentials => answer,
        }
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
pub(in crate::mutants) fn forgetful_of(collection: &'static str) -> Arc<Over> {
    with(Bug::Forgets(collection))
}

/// A backend on which a conflict is the end of an operation.
pub(in crate::mutants) fn giving_up() -> Arc<Over> {
    with(Bug::GivesUp)
}

/// A backend that does not delete credentials.
pub(in crate::mutants) fn keeping_credentials() -> Arc<Over> {
    with(Bug::KeepsCredentials)
}

fn with(bug: Bug) -> Arc<Over> {
    Arc::new(Over::new(Arc::new(WithBug {
        sound: sound(),
        bug,
    })))
}
