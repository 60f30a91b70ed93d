//! Rate limits.

mod records;

use std::fmt;

use async_trait::async_trait;

use crate::error::Result;

pub use records::RecordLimits;

/// Keeps buckets.
#[async_trait]
pub trait RateLimitStore: Send + Sync + fmt::Debug {
    /// As [`RecordStore::close`](crate::RecordStore::close).
    async fn close(&self) -> Result<()> {
        Ok(())
    }
}
