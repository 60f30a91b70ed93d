//! Bugs that break the promises of `records`.

mod plain;

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use store_core::{ManualClock, Result, Store};

use self::plain::{Plain, Space};
use super::Saboteur;
use crate::cases::records;
use crate::harness::{Harness, Opened, Over};
use crate::suite::Suite;

/// What is wrong with a store.
#[allow(dead_code)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    MixesCollections,
    JoinsNamesWithAColon,
    FoldsCase,
    TrimsTrailingSpaces,
    ReadsExpired,
    ScansExpired,
    ExpectsExpired,
    KeepsTheFirstExpiry,
    RoundsExpiry,
    IgnoresAbsent,
    SkipsChecks,
    DeletesAnyway,
    ComparesHalfAVersion,
    SkipsUnchangedBodies,
    AppliesItemByItem,
    ChecksBeforeItLocks,
    AwaitsBetweenItems,
    HidesTheCurrentRecord,
    NamesOneFailure,
    CachesReads,
    DropsTheMissing,
    ScansInUtf16Order,
    ScansIgnoringCase,
    TakesPrefixesForPatterns,
    CountsInCursors,
    RepeatsTheCursor,
    GivesACursorToAFullPage,
    GivesEmptyPages,
    StoresBytesAsText,
    StoresNumbersAsFloats,
    SweepsRenewed,
    AnswersAfterClose,
    PrintsIds,
    SharesNamespaces,
}

/// Opens plain stores with one flaw, or none.
struct Flawed {
    flaw: Option<Flaw>,
    /// What opens share that should not.
    shared: Arc<Mutex<Space>>,
}

impl Flawed {
    fn backend(flaw: Option<Flaw>) -> Arc<Over> {
        let shared = Arc::default();
        Arc::new(Over::new(Arc::new(Self { flaw, shared })))
    }
}

#[async_trait]
impl Harness<Store> for Flawed {
    fn backend(&self) -> String {
        "plain".into()
    }

    async fn open(&self, (): ()) -> Result<Opened<Store>> {
        let space = match self.flaw {
            Some(Flaw::SharesNamespaces) => Arc::clone(&self.shared),
            _ => Arc::default(),
        };
        let clock = ManualClock::default();
        let handle = || {
            let plain = Plain::new(Arc::clone(&space), clock.clone(), self.flaw);
            Arc::new(Store::new(Arc::new(plain)))
        };
        Ok(Opened::new(handle(), handle(), clock.clone()))
    }
}

/// A backend that keeps every promise about records, for saboteurs of the
/// contracts above it: what is wrong with them is then their own.
pub fn sound() -> Arc<Over> {
    Flawed::backend(None)
}

/// All of them.
pub fn all() -> Vec<Saboteur> {
    Vec::new()
}

#[allow(dead_code)]
fn suite(flaw: Flaw) -> Suite {
    records::over(&Flawed::backend(Some(flaw))).remove(0)
}
