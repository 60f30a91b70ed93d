//! Opens stores in memory.

use store_conformance::{Harness, Opened};
use store_core::{ManualClock, Result, Store};
use store_memory::MemoryStore;

/// Both handles share one store, because in memory there is no other way.
pub struct Memory;

#[async_trait::async_trait]
impl Harness<Store> for Memory {
    fn backend(&self) -> String {
        "memory".into()
    }

    async fn open(&self, (): ()) -> Result<Opened<Store>> {
        let clock = ManualClock::default();
        let memory = MemoryStore::builder().clock(clock.clone()).strict(true);
        let memory = memory.build();
        Ok(Opened::stores(memory.clone(), memory, clock))
    }
}
