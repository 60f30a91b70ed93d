//! API keys, identities, rate limits, streamed objects and LTI launches over one
//! store, and the records under them: the traits, the contracts and one error type.
//!
//! Add a backend to your program, such as `store-memory` or `store-postgres`. It
//! re-exports this crate as `store_core`. Only the line that opens the store names
//! the backend, and a store can be opened [by its URL](open::Registry) too.
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
//! store.commit(&batch).await?; // atomically
//!
//! let visits = store.get(page.at(&site)).await?.expect("just written");
//! assert_eq!(*visits.decode::<u64>()?, 1);
//! # Ok(()) }
//! ```
//!
//! # The contracts
//!
//! Each handle is created from any store, by `NAME::new(&store, …)`, and is cheap to
//! clone.
//!
//! | you want | handle | feature |
//! |---|---|---|
//! | API keys: issue, authorize, disable, list | [`api_keys::ApiKeys`] | `api-keys` |
//! | rate limits: take, wait, several quotas in one call | [`limits::RateLimiter`] | `limits` |
//! | large objects, streamed in and out | [`Store::blobs`], [`blobs::BlobStoreExt`] | `blobs` |
//! | tenants; users, groups, roles, policies and access keys in them | [`iam::Identity`] | `identity` |
//! | LTI 1.3: registrations, launches, keys, tokens | [`lti::Lti`] | `lti` |
//! | records of your own | [`Store::get`], [`Store::update`], [`Store::transact`], [`Store::scan_stream`] | always |
//!
//! The documentation of each contract says how to use it, how to implement it over a
//! table of your own, how to move from memory to a server, and what may go wrong.
//!
//! | for | see |
//! |---|---|
//! | lists: pages and streams | [`page`] |
//! | layers that cache, observe or encrypt | [`layers`] |
//! | notifications of changes | [`changes`] |
//! | URLs, options and TLS | [`config`] |
//! | key rings and sealed fields | [`secret`] |
//! | writing a backend | [`RecordStore`], four methods, and [`backend`] |
//!
//! # Features
//! The contracts above are on by default. Without them the crate has records only,
//! and compiles no cryptography. Off by default are:
//! - `tracing`: events for retries, reconnects, redirections, resolved lost replies,
//!   contention, sweeps and failures in the background; see [`backend::event`].
//! - `jiff`, `time`, `chrono`: conversions of [`Timestamp`].
//!
//! # The rules
//! Every backend follows these. Documentation and tests refer to them by number:
//!
//! - **R1** Names are exact: no partition, id or prefix, whatever its characters,
//!   reaches another's record, and names keep bytewise order.
//! - **R2** A record never written, deleted, or expired (`expires_at <= now`) is
//!   absent, to reads, scans and expectations alike.
//! - **R3** A commit is all or nothing and serializable within its partition,
//!   `Check` and `Absent` included; every later read by any client sees it.
//! - **R4** A failed expectation writes nothing and is a [`Conflict`] that contains
//!   the current record.
//! - **R5** A scan is in bytewise order of id and neither skips nor repeats a
//!   record that exists throughout.
//! - **R6** Limits are the same everywhere and checked before any I/O: names
//!   to 255 bytes, bodies to 256 KiB, 100 items and 3 MiB a commit.
//! - **R7** An outage is an error, never an absence, and [`Retry`] says whether
//!   the write certainly did not happen or may have happened.
//! - **R8** A dropped future leaves its write wholly done or wholly not, and the
//!   store usable. A dropped commit may be applied later; expect a version where
//!   that matters.
//! - **R9** No secret is printed, and none is stored in clear.
//! - **R10** `close` is idempotent and final, waits for background work, and
//!   leaves a client open that the application owns.
//!
//! # Compatibility
//! A type is `#[non_exhaustive]` if a later release may add to it: errors, options,
//! capabilities, reports, and the reasons of a refusal. The answers on which a caller
//! decides, such as [`api_keys::Access`] or [`limits::Decision`], are exhaustive, so that
//! a `match` covers every case; a new case is a breaking change. So are the types that a
//! backend or a store of the application's own builds or must cover, such as [`Swept`]
//! and [`Expect`]: a new part of them needs code there.

#![cfg_attr(docsrs, feature(doc_cfg))]
// Parts that several contracts share are unused if none of them is compiled.
#![cfg_attr(
    not(all(
        feature = "api-keys",
        feature = "blobs",
        feature = "identity",
        feature = "limits",
        feature = "lti"
    )),
    allow(dead_code, unused_imports, unused_macros)
)]

#[cfg(feature = "api-keys")]
pub mod api_keys;
pub mod backend;
pub mod batch;
#[cfg(feature = "blobs")]
pub mod blobs;
pub mod body;
pub mod capability;
mod chance;
pub mod changes;
pub mod clock;
mod collection;
pub mod collections;
pub mod config;
#[cfg(feature = "identity")]
pub mod entity;
pub mod error;
mod hint;
#[cfg(feature = "identity")]
pub mod iam;
pub mod key;
pub mod layers;
#[cfg(feature = "limits")]
pub mod limits;
#[cfg(feature = "lti")]
pub mod lti;
pub mod open;
pub mod page;
pub mod record;
pub mod record_store;
pub mod scan;
pub mod secret;
pub mod store;
#[cfg(feature = "identity")]
pub mod tenants;
pub mod transaction;
mod turns;
pub mod update;

pub use batch::{Batch, Change, Committed, Expect, Expectation};
#[cfg(feature = "blobs")]
pub use blobs::BlobStore;
pub use body::Body;
pub use capability::{Capabilities, Durability, Support};
pub use clock::{Clock, ManualClock, SystemClock, Timestamp};
pub use error::{Conflict, Error, ErrorKind, Result, Retry};
pub use key::{Collection, Partition, RecordKey, RecordRef};
#[cfg(feature = "limits")]
pub use limits::RateLimitStore;
pub use page::{Cursor, Items, Page, PageRequest, Unreadable};
pub use record::{Record, Token, Version};
pub use record_store::{Ping, RecordStore, Swept};
pub use scan::{Records, Scan, Scope};
pub use store::Store;
pub use transaction::Transaction;
pub use update::{Decided, RecordStoreExt};
