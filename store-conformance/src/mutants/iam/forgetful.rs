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
    /// It deletes nothing of this collection.
    Leaves(&'static str),
    /// It deletes only so many records.
    DeletesAtMost(usize),
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
        let mut deletions = 0;
        for item in batch.items() {
            let collection = item.key().collection().name();
            if matches!(item.change(), Change::Delete) {
                deletions += 1;
                match self.bug {
                    Bug::Leaves(one) if one == collection => continue,
                    Bug::DeletesAtMost(most) if deletions > most => continue,
                    _ => {}
                }
            }
            let expect = match self.bug {
                Bug::Forgets(one) if one == collection => Expect::Any,
                _ => item.expect(),
            };
            forgetful.item(item.key().clone(), expect, item.change().clone())?;
        }
        // Other tasks run here, as they would during a round trip.
        for _ in 0..30 {
            tokio::task::yield_now().await;
        }
        let answer = self.store.commit(&forgetful).await;
        match self.bug {
            Bug::GivesUp => answer.map_err(|error| match error.kind() {
                ErrorKind::Conflict => Error::new(ErrorKind::Superseded, "another was faster"),
                _ => error,
            }),
            _ => answer,
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
pub(crate) fn forgetful_of(collection: &'static str) -> Arc<Over> {
    with(Bug::Forgets(collection))
}

/// A backend on which a conflict is the end of an operation.
pub(in crate::mutants) fn giving_up() -> Arc<Over> {
    with(Bug::GivesUp)
}

/// A backend whose commits delete nothing of `collection`.
pub(crate) fn leaving(collection: &'static str) -> Arc<Over> {
    with(Bug::Leaves(collection))
}

/// A backend whose commits delete at most so many records.
pub(in crate::mutants) fn deleting_at_most(records: usize) -> Arc<Over> {
    with(Bug::DeletesAtMost(records))
}

fn with(bug: Bug) -> Arc<Over> {
    Arc::new(Over::new(Arc::new(WithBug {
        sound: sound(),
        bug,
    })))
}
