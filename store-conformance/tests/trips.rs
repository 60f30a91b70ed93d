//! TRIPS.md says what the contracts cost in calls of the primitives.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use store_conformance::faults::GivesUp;
use store_conformance::trips::{Counted, count, settle};
use store_core::Store;
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

#[tokio::test]
async fn a_change_that_the_store_gives_up_is_made_again() {
    let memory = Store::from(MemoryStore::new());
    let records = Arc::new(GivesUp::new(Arc::clone(memory.records())));
    let store = Store::new(Arc::clone(&records) as _);
    let calls = count(&store, &|| 0).await.expect("each call succeeds");
    let gave_up = records.gave_up();
    assert!(gave_up > 20, "{gave_up} of {} calls", calls.len());
}
