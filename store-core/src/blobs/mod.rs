//! Streamed objects.

mod records;

use std::fmt;

use async_trait::async_trait;

use crate::error::Result;

pub use records::RecordBlobs;

/// Keeps streamed objects.
#[async_trait]
pub trait BlobStore: Send + Sync + fmt::Debug {
    /// As [`RecordStore::close`](crate::RecordStore::close).
    async fn close(&self) -> Result<()> {
        Ok(())
    }
}
