//! Every contract, in a bucket in memory.

use std::process::ExitCode;
use std::sync::Arc;

use store_conformance::{Harness, Opened, cases};
use store_core::{ManualClock, Result, Store};
use store_s3::S3Store;
use store_s3::object_store::memory::InMemory;

struct Memory;

#[async_trait::async_trait]
impl Harness<Store> for Memory {
    fn backend(&self) -> String {
        "s3 in memory".into()
    }

    fn unsupported(&self) -> Vec<&'static str> {
        vec!["change notice"]
    }

    fn most_tasks(&self) -> usize {
        30
    }

    async fn open(&self, (): ()) -> Result<Opened<Store>> {
        let clock = ManualClock::default();
        let builder = S3Store::builder()
            .object_store(Arc::new(InMemory::new()))
            .collections(cases::collections())
            // So that the suite's objects are of many parts.
            .inline(10_000)
            .part_size(64 * 1024)
            .clock(clock.clone());
        let first = builder.clone().connect().await?;
        first.setup().await?;
        let second = builder.connect().await?;
        Ok(Opened::stores(first, second, clock))
    }
}

fn main() -> ExitCode {
    store_conformance::main(cases::all(Arc::new(Memory)))
}
