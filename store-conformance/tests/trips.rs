//! TRIPS.md says what the contracts cost in calls of the primitives.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_trait::async_trait;
use store_conformance::trips::{Counted, count, settle};
use store_core::backend::contended;
use store_core::layers::RecordLayer;
use store_core::{Batch, Committed, Expect, RecordStore, Result, Store};
use store_memory::MemoryStore;

#[tokio::test]
async fn the_table_says_what_the_contracts_cost_over_any_records() {
    let memory = Store::from(MemoryStore::new());
    let (records, calls) = Counted::new(Arc::clone(memory.records()));
    let store = Store::new(Arc::new(records));
    let counter = move || calls.swap(0, Ordering::Relaxed);
    let counted = count(&store, &counter).await.expect("a sound store");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("TRIPS.md");
    if let Err(differences) = settle(&file, "primitives", &counted) {
        panic!("{differences}");
    }
}

/// Gives up every other commit that expects a version, as a store does whose record too
/// many clients write.
#[derive(Debug)]
struct GivesUp {
    records: Arc<dyn RecordStore>,
    gave_up: AtomicU64,
    is_next: AtomicBool,
}

#[async_trait]
impl RecordLayer for GivesUp {
    fn inner(&self) -> &dyn RecordStore {
        &*self.records
    }

    async fn commit(&self, batch: &Batch) -> Result<Committed> {
        let is_swap = batch
            .items()
            .iter()
            .any(|item| matches!(item.expect(), Expect::Version(_)));
        if is_swap && self.is_next.fetch_not(Ordering::Relaxed) {
            self.gave_up.fetch_add(1, Ordering::Relaxed);
            return Err(contended());
        }
        self.records.commit(batch).await
    }
}

#[tokio::test]
async fn a_change_that_the_store_gives_up_is_made_again() {
    let memory = Store::from(MemoryStore::new());
    let records = Arc::new(GivesUp {
        records: Arc::clone(memory.records()),
        gave_up: AtomicU64::new(0),
        is_next: AtomicBool::new(true),
    });
    let store = Store::new(Arc::clone(&records) as _);
    let calls = count(&store, &|| 0).await.expect("each call succeeds");
    let gave_up = records.gave_up.load(Ordering::Relaxed);
    assert!(gave_up > 20, "{gave_up} of {} calls", calls.len());
}
