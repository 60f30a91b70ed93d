//! Every contract, in memory.

use std::process::ExitCode;
use std::sync::Arc;

use store_conformance::{Harness, Opened, cases};
use store_core::{ManualClock, Result, Store};
use store_memory::MemoryStore;

struct Memory;

#[async_trait::async_trait]
impl Harness<Store> for Memory {
    fn backend(&self) -> String {
        "memory".into()
    }

    async fn open(&self, (): ()) -> Result<Opened<Store>> {
        let clock = ManualClock::default();
        let memory = MemoryStore::builder()
            .clock(clock.clone())
            .strict(true)
            .build();
        Ok(Opened::stores(memory.clone(), memory, clock))
    }
}

fn main() -> ExitCode {
    store_conformance::main(cases::all(Arc::new(Memory)))
}
