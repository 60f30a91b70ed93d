//! The three parts of an opened store, together.

use std::sync::Arc;

use crate::blobs::{BlobStore, RecordBlobs};
use crate::clock::{Clock, Timestamp};
use crate::error::Result;
use crate::limits::{RateLimitStore, RecordLimits};
use crate::record_store::RecordStore;

/// An opened store: records, streamed objects and rate limits. Cheap to clone.
///
/// Every contract's handle takes `impl Into<Store>`, and every backend is one.
#[derive(Clone, Debug)]
pub struct Store {
    records: Arc<dyn RecordStore>,
    blobs: Arc<dyn BlobStore>,
    limits: Arc<dyn RateLimitStore>,
}

impl Store {
    /// A store over `records` alone: objects and buckets are kept as records.
    pub fn new(records: Arc<dyn RecordStore>) -> Self {
        Self {
            blobs: Arc::new(RecordBlobs::new(Arc::clone(&records))),
            limits: Arc::new(RecordLimits::new(Arc::clone(&records))),
            records,
        }
    }

    /// This store with another home for streamed objects.
    pub fn with_blobs(mut self, blobs: Arc<dyn BlobStore>) -> Self {
        self.blobs = blobs;
        self
    }

    /// This store with another home for rate limits.
    pub fn with_limits(mut self, limits: Arc<dyn RateLimitStore>) -> Self {
        self.limits = limits;
        self
    }

    /// The records.
    pub fn records(&self) -> &Arc<dyn RecordStore> {
        &self.records
    }

    /// The streamed objects.
    pub fn blobs(&self) -> &Arc<dyn BlobStore> {
        &self.blobs
    }

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
        let limits = self.limits.close().await;
        let blobs = self.blobs.close().await;
        let records = self.records.close().await;
        limits.and(blobs).and(records)
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
