//! The three parts of an opened store, together.

use std::sync::Arc;

use crate::batch::{Batch, Committed};
#[cfg(feature = "blobs")]
use crate::blobs::{BlobStore, RecordBlobs};
use crate::clock::{Clock, Timestamp};
use crate::error::Result;
use crate::key::{Partition, RecordKey, RecordRef};
use crate::layers::Layer;
#[cfg(feature = "limits")]
use crate::limits::{RateLimitStore, RecordLimits};
use crate::page::Items;
use crate::record::Record;
use crate::record_store::RecordStore;
use crate::scan::{Records, Scan};
use crate::transaction::{Transaction, transact};
use crate::update::{Decided, RecordStoreExt};

/// An opened store: records, streamed objects and rate limits. Cheap to clone.
///
/// Every contract's handle takes `impl Into<Store>`, and every backend converts into
/// one.
#[derive(Clone, Debug)]
#[doc(alias("database", "backend"))]
pub struct Store {
    records: Arc<dyn RecordStore>,
    #[cfg(feature = "blobs")]
    blobs: Arc<dyn BlobStore>,
    #[cfg(feature = "limits")]
    limits: Arc<dyn RateLimitStore>,
}

impl Store {
    /// A store over `records` alone: objects and buckets are stored as records.
    pub fn new(records: Arc<dyn RecordStore>) -> Self {
        Self {
            #[cfg(feature = "blobs")]
            blobs: Arc::new(RecordBlobs::new(Arc::clone(&records))),
            #[cfg(feature = "limits")]
            limits: Arc::new(RecordLimits::new(Arc::clone(&records))),
            records,
        }
    }

    #[cfg(feature = "blobs")]
    /// This store that stores streamed objects elsewhere.
    pub fn with_blobs(mut self, blobs: Arc<dyn BlobStore>) -> Self {
        self.blobs = blobs;
        self
    }

    #[cfg(feature = "limits")]
    /// This store that stores rate limits elsewhere.
    pub fn with_limits(mut self, limits: Arc<dyn RateLimitStore>) -> Self {
        self.limits = limits;
        self
    }

    /// This store with a layer around each of its parts. See [`layers`](crate::layers).
    pub fn layer(self, layer: impl Layer) -> Self {
        Self {
            records: layer.records(self.records),
            #[cfg(feature = "blobs")]
            blobs: layer.blobs(self.blobs),
            #[cfg(feature = "limits")]
            limits: layer.limits(self.limits),
        }
    }

    /// An empty batch of changes in `partition`, as of now by the store's clock.
    pub fn batch(&self, partition: &Partition) -> Batch {
        Batch::new(partition.clone(), self.now())
    }

    /// The record at `at`, or `None` if it is absent. See [`RecordStore::get`].
    ///
    /// # Errors
    /// The store's own.
    pub async fn get(&self, at: RecordRef<'_>) -> Result<Option<Record>> {
        self.records.get(at).await
    }

    /// The records at each of `at`, in that order. See [`RecordStore::get_many`].
    ///
    /// # Errors
    /// The store's own.
    pub async fn get_many(&self, at: &[RecordRef<'_>]) -> Result<Vec<Option<Record>>> {
        self.records.get_many(at).await
    }

    /// One page of a scan. See [`RecordStore::scan`].
    ///
    /// # Errors
    /// The store's own.
    pub async fn scan(&self, scan: &Scan) -> Result<Records> {
        self.records.scan(scan).await
    }

    /// The records of this page of a scan and of all after it.
    pub fn scan_stream(&self, scan: Scan) -> Items<'_, Record> {
        self.records.scan_stream(scan)
    }

    /// Applies `batch` wholly or not at all. See [`RecordStore::commit`].
    ///
    /// # Errors
    /// `Conflict` if an expectation does not hold; the store's own.
    pub async fn commit(&self, batch: &Batch) -> Result<Committed> {
        self.records.commit(batch).await
    }

    /// Changes one record by compare-and-swap. See [`RecordStoreExt::update`].
    ///
    /// # Errors
    /// As there.
    pub async fn update<R, F>(&self, partition: &Partition, key: &RecordKey, decide: F) -> Result<R>
    where
        R: Send,
        F: FnMut(Option<&Record>) -> Result<Decided<R>> + Send,
    {
        self.records.update(partition, key, decide).await
    }

    /// Changes several records of one partition together. See [`transact`].
    ///
    /// # Errors
    /// As there.
    pub async fn transact<R, F>(&self, partition: &Partition, work: F) -> Result<R>
    where
        R: Send,
        F: FnMut(&mut Transaction) -> Result<R> + Send,
    {
        transact(&*self.records, partition, work).await
    }

    /// The records.
    pub fn records(&self) -> &Arc<dyn RecordStore> {
        &self.records
    }

    #[cfg(feature = "blobs")]
    /// The streamed objects.
    pub fn blobs(&self) -> &Arc<dyn BlobStore> {
        &self.blobs
    }

    #[cfg(feature = "limits")]
    /// The rate limits.
    pub fn limits(&self) -> &Arc<dyn RateLimitStore> {
        &self.limits
    }

    /// The clock that decides expiry.
    pub fn clock(&self) -> &dyn Clock {
        self.records.clock()
    }

    /// The time by that clock.
    pub fn now(&self) -> Timestamp {
        self.clock().now()
    }

    /// Closes all three parts. See [`RecordStore::close`].
    ///
    /// # Errors
    /// The first that a part reports; the others are closed all the same.
    pub async fn close(&self) -> Result<()> {
        // Objects first: what dropped sinks wrote is freed before the records close.
        #[allow(unused_mut, reason = "it is changed by the parts that are compiled")]
        let mut closed = Ok(());
        #[cfg(feature = "blobs")]
        {
            closed = closed.and(self.blobs.close().await);
        }
        #[cfg(feature = "limits")]
        {
            closed = closed.and(self.limits.close().await);
        }
        closed.and(self.records.close().await)
    }
}

impl From<Arc<dyn RecordStore>> for Store {
    fn from(records: Arc<dyn RecordStore>) -> Self {
        Self::new(records)
    }
}

impl From<&Store> for Store {
    fn from(store: &Store) -> Self {
        store.clone()
    }
}
