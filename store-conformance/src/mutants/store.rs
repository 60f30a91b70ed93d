//! Mutants of a store as a whole: its parts are sound, their composition is not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use store_core::blobs::RecordBlobs;
use store_core::layers::{RateLimitLayer, RecordLayer};
use store_core::limits::{Bucket, BucketUpdate, LimitKey, RecordLimits};
use store_core::{Batch, Committed, Error, ErrorKind, RateLimitStore, RecordStore, Result, Store};

use super::Mutant;
use crate::cases::store;
use crate::harness::{Harness, Opened, Over};
use crate::mutants::sound;
use crate::suite::{Case, Suite};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    MakesLimitsForEachHandle,
    MakesBlobsForEachHandle,
    ClosesOnlyTheLimits,
    ClosesEveryStore,
}

/// Limits with an open or closed state of their own.
#[derive(Debug)]
struct Apart {
    limits: Arc<dyn RateLimitStore>,
    closed: AtomicBool,
}

#[async_trait]
impl RateLimitLayer for Apart {
    fn inner(&self) -> &dyn RateLimitStore {
        &*self.limits
    }

    async fn update(&self, key: LimitKey<'_>, change: BucketUpdate<'_>) -> Result<Option<Bucket>> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::closed());
        }
        self.limits.update(key, change).await
    }

    async fn close(&self) -> Result<()> {
        self.closed.store(true, Ordering::Release);
        Ok(())
    }
}

struct Flawed {
    flaw: Flaw,
    sound: Arc<Over>,
    /// What was opened before, if all shall close together.
    before: std::sync::Mutex<Option<Store>>,
}

#[async_trait]
impl Harness<Store> for Flawed {
    fn backend(&self) -> String {
        format!("{:?}", self.flaw)
    }

    async fn open(&self, (): ()) -> Result<Opened<Store>> {
        let opened = self.sound.backend_harness().open(()).await?;
        let store = (*opened.first).clone();
        let records = Arc::clone(store.records());
        let first = match self.flaw {
            Flaw::ClosesOnlyTheLimits => {
                let limits = Arc::clone(store.limits());
                let closed = AtomicBool::new(false);
                store.with_limits(Arc::new(Apart { limits, closed }))
            }
            Flaw::ClosesEveryStore => {
                let mut before = self.before.lock().expect("no panic");
                before.get_or_insert(store).clone()
            }
            Flaw::MakesLimitsForEachHandle | Flaw::MakesBlobsForEachHandle => store,
        };
        let (store, flaw) = (first.clone(), self.flaw);
        let convert = move || match flaw {
            Flaw::MakesLimitsForEachHandle => {
                let limits = RecordLimits::new(Arc::clone(&records));
                store.clone().with_limits(Arc::new(limits))
            }
            Flaw::MakesBlobsForEachHandle => {
                let blobs = RecordBlobs::new(Arc::clone(&records));
                store.clone().with_blobs(Arc::new(blobs))
            }
            Flaw::ClosesOnlyTheLimits | Flaw::ClosesEveryStore => store.clone(),
        };
        Ok(Opened::new(Arc::new(first), opened.second, opened.clock).converted_by(convert))
    }
}

/// A mutant with this flaw, and the case that must kill it.
macro_rules! flaw {
    ($flaw:ident, $name:literal, $killed_by:literal) => {
        Mutant {
            name: $name,
            contract: "store",
            killed_by: $killed_by,
            suite: || suite(Flaw::$flaw),
        }
    };
}

fn suite(flaw: Flaw) -> Suite {
    let harness = Flawed {
        flaw,
        sound: sound(),
        before: std::sync::Mutex::default(),
    };
    store::over(&Arc::new(Over::new(Arc::new(harness)))).remove(0)
}

/// Takes a commit that was given up for a failure.
#[derive(Debug)]
struct Surrenders(Arc<dyn RecordStore>);

#[async_trait]
impl RecordLayer for Surrenders {
    fn inner(&self) -> &dyn RecordStore {
        &*self.0
    }

    async fn commit(&self, batch: &Batch) -> Result<Committed> {
        let answer = self.0.commit(batch).await;
        answer.map_err(|error| match error.kind() {
            ErrorKind::Contended => Error::new(ErrorKind::Unavailable, "try again"),
            _ => error,
        })
    }
}

fn surrendering() -> Suite {
    let case = Case::new("a_commit_that_was_given_up_is_made_again", &[], |given| {
        Box::pin(store::made_again(given, |records| {
            Arc::new(Surrenders(records))
        }))
    });
    Suite::new("store", Arc::clone(sound().backend_harness()), vec![case])
}

/// All of them.
pub fn all() -> Vec<Mutant> {
    vec![
        Mutant {
            name: "takes a commit that was given up for a failure",
            contract: "store",
            killed_by: "a_commit_that_was_given_up_is_made_again",
            suite: surrendering,
        },
        flaw!(
            MakesLimitsForEachHandle,
            "makes new limits for each handle, which then do not coalesce",
            "stores_made_from_one_opened_store_share_all_state"
        ),
        flaw!(
            MakesBlobsForEachHandle,
            "makes new streamed objects for each handle",
            "stores_made_from_one_opened_store_share_all_state"
        ),
        flaw!(
            ClosesOnlyTheLimits,
            "closes the limits and leaves the records open",
            "closing_any_part_closes_the_whole_store"
        ),
        flaw!(
            ClosesEveryStore,
            "closes a store that was opened separately",
            "closing_one_opened_store_leaves_another_open"
        ),
    ]
}
