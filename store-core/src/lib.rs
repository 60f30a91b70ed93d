//! What every store backend shares: records, streamed objects and rate limits
//! as traits, the contracts over them, and one error type.
//!
//! Add this crate and the backend that you need (`store-memory`, `store-postgres`
//! …). Only the line that opens the store names the backend. Each backend also
//! re-exports this crate, as in `store_memory::store_core`.
//!
//! # Where things are
//!
//! | you want | see |
//! |---|---|
//! | API keys: issue, authorize, disable, list | [`api_keys::ApiKeys`] |
//! | rate limits: take, wait, several quotas at once | [`limits::RateLimiter`] |
//! | large objects, streamed in and out | [`blobs`] |
//! | LTI 1.3 registrations, nonces, keys, tokens | [`lti`] |
//! | tenants; users, groups and policies in them | [`tenants`], [`iam`] |
//! | records of your own | [`RecordStoreExt::update`], [`transaction`], [`Batch`] |
//! | to open a store by its URL | [`open::Registry`] |
//! | to write a backend | [`RecordStore`]: four methods |
//!
//! The documentation of each contract says how to use it, how to bring your own
//! table, how to move from memory to a server, and what may go wrong.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> store_core::Result<()> {
//! use store_core::{Body, Collection, Expect, Partition, RecordKey, Store};
//!
//! const VISITS: Collection = Collection::new("visits");
//! let store = Store::from(store_memory::MemoryStore::new());
//! let site = Partition::new("example.org")?;
//! let page = RecordKey::new(VISITS, "front page")?;
//!
//! let mut batch = store.batch(&site);
//! batch.put(page.clone(), Expect::Absent, Body::json(1u64)?)?;
//! store.commit(&batch).await?; // all of it or nothing
//!
//! let visits = store.get(page.at(&site)).await?.expect("just written");
//! assert_eq!(*visits.decode::<u64>()?, 1);
//! # Ok(()) }
//! ```
//!
//! # The rules
//! Every backend keeps these, and documentation and tests name them by number:
//!
//! - **R1** A name is itself alone: no partition, id or prefix, whatever its
//!   characters, reaches another's record, and names keep bytewise order.
//! - **R2** A record never written, deleted, or expired (`expires_at <= now`) is
//!   absent, to reads, scans and expectations alike.
//! - **R3** A commit is all or nothing and serializable within its partition,
//!   `Check` and `Absent` included; every later read by any client sees it.
//! - **R4** A failed expectation writes nothing and is a [`Conflict`] that tells
//!   what is there.
//! - **R5** A scan is in bytewise order of id and neither skips nor repeats a
//!   record that exists throughout.
//! - **R6** Limits are the same everywhere and checked before any I/O: names
//!   to 255 bytes, bodies to 256 KiB, 100 items and 3 MiB a commit.
//! - **R7** An outage is an error, never an absence, and [`Retry`] says whether
//!   the write surely did not happen or may have.
//! - **R8** A dropped future leaves its write wholly done or wholly not, and the
//!   store usable.
//! - **R9** No secret is printed, and none is stored in clear.
//! - **R10** `close` is idempotent and final, waits for background work, and
//!   leaves a client that was lent open.

pub mod api_keys;
pub mod backend;
pub mod batch;
pub mod blobs;
pub mod body;
pub mod capability;
pub mod changes;
pub mod clock;
pub mod collections;
pub mod config;
pub mod entity;
pub mod error;
pub mod iam;
pub mod key;
pub mod layers;
pub mod limits;
pub mod lti;
pub mod open;
pub mod page;
pub mod record;
pub mod record_store;
pub mod scan;
pub mod secret;
pub mod store;
pub mod tenants;
pub mod transaction;
mod turns;
pub mod update;

pub use batch::{Batch, Change, Committed, Expect, Expectation};
pub use blobs::BlobStore;
pub use body::Body;
pub use capability::{Capabilities, Durability, Support};
pub use clock::{Clock, ManualClock, SystemClock, Timestamp};
pub use error::{Conflict, Error, ErrorKind, Result, Retry};
pub use key::{Collection, Partition, RecordKey, RecordRef};
pub use limits::RateLimitStore;
pub use page::{Cursor, Items, Page, PageRequest, Unreadable};
pub use record::{Record, Token, Version};
pub use record_store::{Ping, RecordStore, Swept};
pub use scan::{Records, Scan, Scope};
pub use store::Store;
pub use transaction::Transaction;
pub use update::{Decided, RecordStoreExt};
