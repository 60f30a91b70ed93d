//! Stores around stores.
//!
//! A layer wraps a store and changes some of its calls: it caches, observes,
//! encrypts, retries. For each trait of a store there is one for its layers:
//!
//! | a layer over | implements |
//! |---|---|
//! | [`RecordStore`] | [`RecordLayer`] |
//! | [`BlobStore`] | [`BlobLayer`] |
//! | [`RateLimitStore`] | [`RateLimitLayer`] |
//! | [`ApiKeyStore`](crate::api_keys::ApiKeyStore) | [`ApiKeyLayer`](crate::api_keys::ApiKeyLayer) |
//! | [`LtiStore`](crate::lti::LtiStore) | [`LtiLayer`](crate::lti::LtiLayer) |
//! | [`EntityStore`](crate::entity::EntityStore) | [`Layered`] and [`EntityLayer`](crate::entity::EntityLayer) |
//! | [`TenantStore`](crate::tenants::TenantStore) | in addition, [`TenantLayer`](crate::tenants::TenantLayer) |
//! | [`IamStore`](crate::iam::IamStore) | in addition, [`IamLayer`](crate::iam::IamLayer) and the traits that it combines |
//! | [`CredentialStore`](crate::iam::CredentialStore) | [`Layered`] and [`CredentialLayer`](crate::iam::CredentialLayer) |
//!
//! A layer names the store under it and implements only the calls that it
//! changes; all others are forwarded, and a forwarded call returns the future of
//! the store under it, without a box of its own. [`Store::layer`](crate::Store::layer)
//! puts a [`Layer`] around the parts of a store.
//!
//! ```
//! use std::sync::Arc;
//! use std::sync::atomic::{AtomicU64, Ordering};
//!
//! use async_trait::async_trait;
//! use store_core::layers::{Layer, RecordLayer};
//! use store_core::{Batch, Committed, RecordStore, Result, Store};
//!
//! // Counts commits.
//! #[derive(Debug)]
//! struct Counted {
//!     inner: Arc<dyn RecordStore>,
//!     commits: Arc<AtomicU64>,
//! }
//!
//! #[async_trait]
//! impl RecordLayer for Counted {
//!     fn inner(&self) -> &dyn RecordStore {
//!         &*self.inner
//!     }
//!
//!     async fn commit(&self, batch: &Batch) -> Result<Committed> {
//!         self.commits.fetch_add(1, Ordering::Relaxed);
//!         self.inner.commit(batch).await
//!     }
//! }
//!
//! struct Counting(Arc<AtomicU64>);
//!
//! impl Layer for Counting {
//!     fn records(&self, inner: Arc<dyn RecordStore>) -> Arc<dyn RecordStore> {
//!         let commits = Arc::clone(&self.0);
//!         Arc::new(Counted { inner, commits })
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<()> {
//! use store_core::{Body, Collection, Expect, Partition, RecordKey};
//! let commits = Arc::default();
//! let store = Store::from(store_memory::MemoryStore::new()).layer(Counting(Arc::clone(&commits)));
//! let mut batch = store.batch(&Partition::new("example.org")?);
//! let key = RecordKey::new(Collection::new("visits"), "front page")?;
//! batch.put(key, Expect::Absent, Body::json(1)?)?;
//! store.commit(&batch).await?;
//! assert_eq!(commits.load(Ordering::Relaxed), 1);
//! # Ok(()) }
//! ```
//!
//! # Layers that protect something
//! A layer that encrypts, separates tenants or checks permissions must not let a
//! call pass by oversight. It implements the trait of the store
//! itself, in full, under `#[deny(clippy::missing_trait_methods)]`, so that a
//! call that is added later cannot be forgotten.

mod forward;
mod layered;
mod resolving;

use std::sync::Arc;

#[cfg(feature = "blobs")]
pub use forward::BlobLayer;
#[cfg(feature = "limits")]
pub use forward::RateLimitLayer;
pub(crate) use forward::layer;
pub use forward::{Forwarded, RecordLayer};
pub use layered::Layered;
pub(crate) use layered::layered;
pub use resolving::{Recourse, Resolving};

#[cfg(feature = "blobs")]
use crate::blobs::BlobStore;
#[cfg(feature = "limits")]
use crate::limits::RateLimitStore;
use crate::record_store::RecordStore;

/// What [`Store::layer`](crate::Store::layer) puts around each part of a store;
/// by default nothing.
///
/// The parts are wrapped separately. Streamed objects and rate limits that are
/// stored as records do not pass through the layer of the records: a layer
/// that must see everything wraps all three.
pub trait Layer {
    /// Around the records.
    fn records(&self, inner: Arc<dyn RecordStore>) -> Arc<dyn RecordStore> {
        inner
    }

    /// Around the streamed objects.
    #[cfg(feature = "blobs")]
    fn blobs(&self, inner: Arc<dyn BlobStore>) -> Arc<dyn BlobStore> {
        inner
    }

    /// Around the rate limits.
    #[cfg(feature = "limits")]
    fn limits(&self, inner: Arc<dyn RateLimitStore>) -> Arc<dyn RateLimitStore> {
        inner
    }
}

#[cfg(test)]
mod tests;
