//! What every store backend shares: records, streamed objects and rate limits
//! as traits, the contracts over them, and one error type.
//!
//! You will rarely depend on this crate itself: add the backend that you need
//! (`store-memory`, `store-postgres` …); it re-exports all of this.

pub mod api_keys;
pub mod batch;
pub mod blobs;
pub mod body;
pub mod capability;
pub mod clock;
pub mod collections;
pub mod entity;
pub mod error;
pub mod iam;
pub mod key;
pub mod limits;
pub mod lti;
pub mod record;
pub mod record_store;
pub mod scan;
pub mod secret;
pub mod store;
pub mod tenants;
pub mod transaction;
pub mod update;

pub use batch::{Batch, Change, Committed, Expect, Expectation};
pub use blobs::BlobStore;
pub use body::Body;
pub use capability::{Capabilities, Durability, Support};
pub use clock::{Clock, ManualClock, SystemClock, Timestamp};
pub use error::{Conflict, Error, ErrorKind, Result, Retry};
pub use key::{Collection, Partition, RecordKey, RecordRef};
pub use limits::RateLimitStore;
pub use record::{Record, Token, Version};
pub use record_store::{Ping, RecordStore, Swept};
pub use scan::{Cursor, Page, Records, Scan, Scope};
pub use store::Store;
pub use transaction::Transaction;
pub use update::{Decided, RecordStoreExt};
