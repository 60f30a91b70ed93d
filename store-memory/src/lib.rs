//! The embedded store, and the reference for every other backend.
//!
//! [`MemoryStore`] keeps records, streamed objects and rate limits in this
//! process. It never encodes a value: what was put is handed out again, as the
//! same `Arc`. It needs no runtime of its own, holds no lock while it runs
//! anybody else's code, and answers reads at once
//! ([`get_now`](core::RecordStore::get_now)).
//!
//! ```
//! use store_memory::MemoryStore;
//! use store_memory::core::{Batch, Body, Collection, Expect, Partition, RecordKey, Store};
//!
//! # #[tokio::main] async fn main() -> store_memory::core::Result<()> {
//! const VISITS: Collection = Collection::new("visits");
//! let memory = MemoryStore::new();
//! let store = Store::from(&memory);
//! let site = Partition::new("example.org")?;
//! let key = RecordKey::new(VISITS, "front page")?;
//!
//! let mut batch = Batch::new(site.clone(), store.now());
//! batch.put(key.clone(), Expect::Absent, Body::json(1u64)?)?;
//! store.records().commit(&batch).await?;
//!
//! let visits = store.records().get(key.at(&site)).await?.expect("just written");
//! assert_eq!(*visits.decode::<u64>()?, 1);
//! # Ok(()) }
//! ```

mod config;
mod records;
mod scans;
mod shard;

use std::sync::Arc;

pub use store_core as core;
use store_core::Store;

pub use config::Builder;
use records::MemoryRecords;

/// A store in this process's memory. Cheap to clone; clones share everything.
#[derive(Clone, Debug)]
pub struct MemoryStore {
    records: Arc<MemoryRecords>,
}

impl MemoryStore {
    /// An empty, unbounded store on the machine's clock.
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// Options: the clock, bounds, strict mode.
    pub fn builder() -> Builder {
        Builder::default()
    }

    fn open(config: Builder) -> Self {
        Self {
            records: Arc::new(MemoryRecords::new(config)),
        }
    }

    /// How many records are held, and how many bytes of names and bodies they
    /// count for. Expired ones count until they are removed.
    pub fn usage(&self) -> Usage {
        self.records.usage()
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl From<MemoryStore> for Store {
    fn from(store: MemoryStore) -> Self {
        Self::new(store.records)
    }
}

impl From<&MemoryStore> for Store {
    fn from(store: &MemoryStore) -> Self {
        store.clone().into()
    }
}

/// What a [`MemoryStore`] holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Records.
    pub records: usize,
    /// Bytes of partitions, ids and bodies.
    pub bytes: usize,
}
