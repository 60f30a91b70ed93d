//! Buckets as records.

use std::sync::Arc;

use crate::limits::RateLimitStore;
use crate::record_store::RecordStore;

/// Buckets over any record store.
#[derive(Clone, Debug)]
pub struct RecordLimits {
    #[allow(dead_code)]
    records: Arc<dyn RecordStore>,
}

impl RecordLimits {
    /// Buckets in `records`.
    pub fn new(records: Arc<dyn RecordStore>) -> Self {
        Self { records }
    }
}

impl RateLimitStore for RecordLimits {}
