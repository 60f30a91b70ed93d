//! The embedded store, and the reference for every other backend.
//!
//! [`MemoryStore`] holds records, streamed objects and rate limits in this
//! process. It never encodes a value: a read returns the `Arc` that was put. It needs no
//! async runtime, holds no lock while it runs a caller's code, and can answer reads
//! synchronously ([`get_now`](store_core::RecordStore::get_now)).
//!
//! ```
//! use store_memory::MemoryStore;
//! use store_core::{Batch, Body, Collection, Expect, Partition, RecordKey, Store};
//!
//! # #[tokio::main] async fn main() -> store_core::Result<()> {
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

#![cfg_attr(docsrs, feature(doc_cfg))]
// Code for a contract whose feature is disabled may be unused.
#![cfg_attr(
    not(all(feature = "blobs", feature = "limits")),
    allow(dead_code, unused_imports)
)]

#[cfg(feature = "limits")]
mod buckets;
mod config;
mod eviction;
#[cfg(feature = "limits")]
mod limits;
mod records;
mod scan;
mod shard;
mod state;

use std::sync::Arc;

pub use store_core;
use store_core::{RecordStore, Result, Store};

pub use config::{MemoryBuilder, MemoryConfig};
pub use eviction::BucketEviction;
#[cfg(feature = "limits")]
use limits::MemoryLimits;
use records::MemoryRecords;
use state::State;

/// A store in this process's memory. Cheap to clone; clones share everything.
#[derive(Clone, Debug)]
pub struct MemoryStore {
    records: Arc<MemoryRecords>,
    #[cfg(feature = "limits")]
    limits: Arc<MemoryLimits>,
    store: Store,
}

impl MemoryStore {
    /// An empty store with the system clock, any number of records and up to 100 000
    /// buckets.
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// An empty store with the options in `url`, see [`MemoryBuilder::url`]. Each call
    /// opens another store.
    ///
    /// ```
    /// # use store_memory::MemoryStore;
    /// # #[tokio::main] async fn main() -> store_core::Result<()> {
    /// let store = MemoryStore::connect("memory://?max_bytes=67108864").await?;
    /// store.setup().await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `Config` if the URL is of another form.
    pub async fn connect(url: impl Into<String>) -> Result<Self> {
        Self::builder().url(url).connect().await
    }

    /// Does nothing, because memory needs no preparation. It exists because every backend
    /// has this method.
    ///
    /// # Errors
    /// None.
    pub async fn setup(&self) -> Result<()> {
        Ok(())
    }

    /// Options: the clock, bounds, strict mode.
    pub fn builder() -> MemoryBuilder {
        MemoryBuilder::default()
    }

    fn open(config: MemoryBuilder) -> Self {
        let state: Arc<State> = Arc::default();
        #[cfg(feature = "limits")]
        let limits = Arc::new(MemoryLimits::new(
            config.max_buckets,
            config.bucket_eviction,
            Arc::clone(&config.common.clock),
            Arc::clone(&state),
        ));
        let records = Arc::new(MemoryRecords::new(config, state));
        let store = Store::new(Arc::clone(&records) as _);
        #[cfg(feature = "limits")]
        let store = store.with_limits(Arc::clone(&limits) as _);
        Self {
            records,
            #[cfg(feature = "limits")]
            limits,
            store,
        }
    }

    /// The number of records, the bytes of their names and bodies, and the number of
    /// buckets. Expired ones count until they are removed.
    pub fn usage(&self) -> MemoryUsage {
        MemoryUsage {
            #[cfg(feature = "limits")]
            buckets: self.limits.len(),
            ..self.records.usage()
        }
    }

    /// Closes the store, see [`RecordStore::close`].
    ///
    /// # Errors
    /// None. It returns a `Result` because other backends can fail.
    pub async fn close(&self) -> Result<()> {
        self.records.close().await
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl From<MemoryStore> for Store {
    fn from(store: MemoryStore) -> Self {
        store.store
    }
}

impl From<&MemoryStore> for Store {
    fn from(store: &MemoryStore) -> Self {
        store.store.clone()
    }
}

/// Opens a store in memory by URL, in a [`Registry`](store_core::open::Registry).
pub const OPENER: store_core::open::Opener = store_core::open::Opener::new(&["memory"], |url| {
    Box::pin(async move { Ok(MemoryBuilder::default().read(&url)?.build().into()) })
});

/// What a [`MemoryStore`] holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryUsage {
    /// Records.
    pub records: usize,
    /// Bytes of partitions, ids and bodies.
    pub bytes: usize,
    /// Buckets of rate limits.
    pub buckets: usize,
}
