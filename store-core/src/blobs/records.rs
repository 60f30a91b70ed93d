//! Streamed objects as records.

use std::sync::Arc;

use crate::blobs::BlobStore;
use crate::record_store::RecordStore;

/// Streamed objects over any record store.
#[derive(Clone, Debug)]
pub struct RecordBlobs {
    #[allow(dead_code)]
    records: Arc<dyn RecordStore>,
}

impl RecordBlobs {
    /// Streamed objects in `records`.
    pub fn new(records: Arc<dyn RecordStore>) -> Self {
        Self { records }
    }
}

impl BlobStore for RecordBlobs {}
