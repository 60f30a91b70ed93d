//! The store in Amazon DynamoDB, through the AWS SDK.
//!
//! ```no_run
//! use store_dynamodb::DynamoDbStore;
//! use store_core::{Batch, Body, Collection, Expect, Partition, RecordKey, Store};
//!
//! # #[tokio::main] async fn main() -> store_core::Result<()> {
//! const VISITS: Collection = Collection::new("visits");
//! let dynamodb = DynamoDbStore::connect("dynamodb://app?region=eu-central-1").await?;
//! dynamodb.setup().await?;
//! let store = Store::from(&dynamodb);
//! let site = Partition::new("example.org")?;
//! let key = RecordKey::new(VISITS, "front page")?;
//!
//! let mut batch = Batch::new(site.clone(), store.now());
//! batch.put(key.clone(), Expect::Absent, Body::json(1u64)?)?;
//! store.records().commit(&batch).await?;
//!
//! let visits = store.records().get(key.at(&site)).await?.expect("just written");
//! assert_eq!(*visits.decode::<u64>()?, 1);
//! # Ok(()) }
//! ```
//!
//! # Setup
//! [`DynamoDbStore::setup`] makes the table, on demand, and turns on that
//! DynamoDB removes what has expired; with [`DynamoDbBuilder::point_in_time_recovery`]
//! backups too. It may run at every start, in many processes at once. A table
//! of this name and another shape is refused, and the error says what differs.
//!
//! Region and credentials come from the environment, a profile, a web identity,
//! or the role of a container or machine, as `aws-config` finds them. For IAM
//! Identity Center or a process that tells credentials, make the SDK's client
//! with those features of `aws-config`, and lend it to
//! [`DynamoDbStore::from_client`].
//!
//! ## Rights
//! Running the store needs the first statement, `setup` the second too. A user with
//! these rights and no others makes every call in this crate's tests.
//!
//! ```json
//! {
//!   "Version": "2012-10-17",
//!   "Statement": [
//!     {
//!       "Effect": "Allow",
//!       "Action": [
//!         "dynamodb:BatchGetItem", "dynamodb:BatchWriteItem", "dynamodb:ConditionCheckItem",
//!         "dynamodb:DeleteItem", "dynamodb:DescribeTable", "dynamodb:GetItem",
//!         "dynamodb:PutItem", "dynamodb:Query", "dynamodb:Scan", "dynamodb:UpdateItem"
//!       ],
//!       "Resource": "arn:aws:dynamodb:*:*:table/app"
//!     },
//!     {
//!       "Effect": "Allow",
//!       "Action": [
//!         "dynamodb:CreateTable", "dynamodb:DescribeTimeToLive",
//!         "dynamodb:UpdateContinuousBackups", "dynamodb:UpdateTimeToLive"
//!       ],
//!       "Resource": "arn:aws:dynamodb:*:*:table/app"
//!     }
//!   ]
//! }
//! ```
//!
//! `Scan` is for walks over a whole collection alone. Without `DescribeTable`
//! the store works, and cannot tell whether its table is there.
//!
//! # How it is kept
//! One table, with two keys of text:
//!
//! | | `pk` | `sk` | attributes |
//! |---|---|---|---|
//! | a record | `r:acme` | `users:alice` | `version`, `json` or `bytes`, `expires_at` in nanoseconds, `remove_at` |
//! | a limit | `l:user:7` | `bucket` | `version`, `remove_at`; for each quota `quota_NAME`: the moment in nanoseconds at which it is full, or a map of `tokens`, `refilled` and `expires_at`, if a closure wrote it |
//! | the same, spread | `l0:user:7`, `l1:user:7` … | `bucket` | the same |
//!
//! Read with any tool; change records only through the store.
//!
//! - **A commit** of one item is one conditional `PutItem` or `DeleteItem`; if
//!   it checks alone, a consistent read. More are one `TransactWriteItems`,
//!   whose token is the commit's version, so that a second copy of it does
//!   nothing. A condition that fails answers with the current record.
//! - **Reads** are consistent. `get_many` follows the keys that DynamoDB left
//!   out, and a page the 1 MB at which it stops.
//! - **A page of a whole collection** reads the table in parallel segments
//!   ([`DynamoDbBuilder::scan_segments`]), and so costs by the size of all of it.
//!
//! - **A take** is one conditional `UpdateItem`. DynamoDB can add and compare, and
//!   not take the larger of two; so the store remembers of each key which form
//!   of the update fitted last. One that does not fit writes nothing and answers
//!   with what is there, which makes the second fit: a take of a key that this
//!   process has not seen costs up to two calls, and one that is denied one.
//!   It writes the one number, and `remove_at` each half of a grace.
//!
//! - **An object** is a record that points to its chunks, of 256 KiB, which are
//!   spread over sixteen partitions; a few are under way at a time. Publishing is
//!   one conditional write of the pointer. Chunks of what was replaced, deleted or
//!   never finished are removed by [`sweep`](store_core::BlobStore::sweep), which has to
//!   be called now and then. Those never finished carry a `remove_at` and go by
//!   themselves if [`DynamoDbBuilder::orphans_expire`] asks for it: taking it off when the
//!   object is published costs as much as writing all of it again.
//!
//! A partition is an item collection, so one partition serves about 1 000
//! writes and 3 000 reads of small records a second, whatever the table's
//! capacity. More is throttled. One limit that is asked more often can be spread:
//! [`DynamoDbBuilder::spread_limit`].
//!
//! # What a call costs
//! Each primitive is one request, but for `get_many` of more than 100 keys, and
//! pages of more than 1 MB. In units of capacity, each item rounded up to the
//! next KB when written and the next 4 KB when read:
//!
//! | call | request | units |
//! |---|---|---|
//! | `get` | `GetItem` | 1 read for each 4 KB |
//! | `get_many` | `BatchGetItem` | 1 read for each 4 KB of each record |
//! | a page | `Query` | 1 read for each 4 KB of all, the next record and expired ones too |
//! | a page of a collection | `Scan`, one a segment | 1 read for each 4 KB looked at, whatever it belongs to |
//! | a commit of one | `PutItem`, `DeleteItem` | 1 write for each KB of the old or the new, whichever is larger; as much if it is refused |
//! | a check alone | `GetItem` | 1 read for each 4 KB |
//! | a commit of several | `TransactWriteItems` | 2 writes for each KB of each item, checks too; as much if it is refused |
//! | a take | `UpdateItem`, seldom two | 1 write, also if it is denied |
//! | a closure's change of a bucket | `GetItem`, `PutItem` | 1 read, 1 write |
//! | `ping`, opening a store | `DescribeTable` | none |
//! | removing what has expired | | none |
//!
//! # Time
//! The store's clock alone decides what has expired; it is in every condition.
//! DynamoDB's own removal, up to two days late, only clears away, and later by
//! [`DynamoDbBuilder::grace`]: so there is nothing to sweep.
//!
//! **The bound on clocks**: the clocks of all processes on one table, and their
//! distance from DynamoDB's own since the store was opened, may differ by less
//! than the grace, an hour by default. Within it a process whose clock is ahead
//! finds records expired sooner, by as much as it is ahead, and nothing else
//! happens. Beyond it, what is alive by the slowest clock may be gone.
//! [`ping`](store_core::RecordStore::ping) says how far this process is off. A clock
//! that is off as a whole when the store is opened, however far, does no harm.
//!
//! # A lost connection
//! Reads are sent again by the SDK, twice at most. What writes is sent once, or
//! again where DynamoDB said that it did nothing: it throttled, or another
//! transaction held an item. A commit whose answer is missing is looked up by
//! its version, or sent again if it is a transaction; where that proves nothing
//! the error is `Retry::Ambiguous`. What was throttled for long is
//! `Unavailable` and `Retry::Safe`; transactions that kept meeting on the same
//! records are `Contended`.
//!
//! # Global tables
//! Keep the store in one region. In a global table of the usual kind (eventual
//! consistency) each region decides alone and the last writer wins: commits in
//! two regions both succeed and one is lost, a nonce is accepted in each, limits
//! are granted once a region, and a deleted record may come back. As a standby
//! it serves if only one region is written to at a time; what was written in the
//! last moments before a switch is lost, or comes later. One with strong
//! consistency has neither transactions nor removal of expired items, so that
//! commits of several records fail.
//!
//! # Notices
//! There are none: [`changes`](store_core::RecordStore::changes) is `Unsupported`.
//! What caches remember needs a time to live.

#![cfg_attr(docsrs, feature(doc_cfg))]
// Parts of a contract that is not compiled may be unused.
#![cfg_attr(
    not(all(feature = "blobs", feature = "limits")),
    allow(dead_code, unused_imports)
)]

#[cfg(feature = "blobs")]
mod blobs;
#[cfg(feature = "limits")]
mod bucket;
mod commit;
mod config;
mod driver;
mod error;
#[cfg(feature = "limits")]
mod hints;
#[cfg(feature = "limits")]
mod limits;
mod records;
mod refusal;
mod scan;
mod setup;
mod shared;
#[cfg(feature = "limits")]
mod spread;
#[cfg(feature = "limits")]
mod take;
mod walk;
mod wire;

use std::fmt;
use std::sync::Arc;

pub use aws_sdk_dynamodb as sdk;
use aws_sdk_dynamodb::Client;
pub use store_core;
use store_core::layers::{Recourse, Resolving};
use store_core::{RecordStore, Result, Store};

pub use config::{DynamoDbBuilder, DynamoDbConfig};
#[cfg(feature = "limits")]
use limits::DynamoDbLimits;
use records::DynamoDbRecords;

/// The schemes of DynamoDB's URLs.
const SCHEMES: &[&str] = &["dynamodb"];

/// Opens `dynamodb:` URLs for a [`Registry`](store_core::open::Registry). Their
/// options are those of [`DynamoDbBuilder::url`].
pub const OPENER: store_core::open::Opener = store_core::open::Opener::new(SCHEMES, |url| {
    Box::pin(async move {
        let store = DynamoDbBuilder::default().store_url(url).connect().await?;
        Ok(store.into())
    })
});

/// A store in DynamoDB. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct DynamoDbStore {
    records: Arc<DynamoDbRecords>,
    store: Store,
    point_in_time_recovery: bool,
}

impl DynamoDbStore {
    /// Opens the store that the URL names; see [`DynamoDbBuilder::url`].
    ///
    /// # Errors
    /// As [`DynamoDbBuilder::connect`].
    pub async fn connect(url: impl Into<String>) -> Result<Self> {
        Self::builder().url(url).connect().await
    }

    /// Opens the store in the table `store`, with region and credentials as the
    /// environment, the profile or the machine's role tells them.
    ///
    /// # Errors
    /// As [`DynamoDbBuilder::connect`].
    pub async fn from_env() -> Result<Self> {
        Self::builder().connect().await
    }

    /// Options: table, region, endpoint, credentials, timeouts, the clock.
    pub fn builder() -> DynamoDbBuilder {
        DynamoDbBuilder::default()
    }

    /// Opens the store in the table `store` through the SDK's own client; see
    /// [`DynamoDbBuilder::client`] for what of it is used.
    ///
    /// # Errors
    /// As [`DynamoDbBuilder::connect`].
    pub async fn from_client(client: Client) -> Result<Self> {
        Self::builder().client(client).connect().await
    }

    async fn open(builder: DynamoDbBuilder) -> Result<Self> {
        let records = Arc::new(DynamoDbRecords::open(&builder).await?);
        let resolving: Arc<dyn RecordStore> =
            Arc::new(Resolving::with(Arc::clone(&records) as _, |batch| {
                match commit::is_transaction(batch) {
                    // By its token the server applies it once, whichever copy comes first.
                    true => Recourse::Resend,
                    false => Recourse::Resolve,
                }
            }));
        let shared = records.shared();
        let store = Store::new(Arc::clone(&resolving));
        #[cfg(feature = "blobs")]
        let store = {
            let blobs = blobs::over(Arc::clone(shared), resolving, builder.orphans);
            store.with_blobs(Arc::new(blobs))
        };
        #[cfg(feature = "limits")]
        let store = {
            let limits = DynamoDbLimits::new(Arc::clone(shared), builder.spread);
            store.with_limits(Arc::new(limits))
        };
        Ok(Self {
            records,
            store,
            point_in_time_recovery: builder.point_in_time_recovery,
        })
    }

    /// Makes the table, on demand, if it is not there, waits until it can be
    /// used, and turns on that the server removes what has expired. Idempotent,
    /// and safe when many processes start at once.
    ///
    /// # Errors
    /// `Config` if there is a table of this name and another shape; the message
    /// says what differs. `PermissionDenied` if these credentials may not.
    pub async fn setup(&self) -> Result<()> {
        setup::setup(self.records.shared(), self.point_in_time_recovery).await
    }

    /// Closes the store, as [`Store::close`] says. A client that was lent
    /// can still be used.
    ///
    /// # Errors
    /// None; the result is for uniformity.
    pub async fn close(&self) -> Result<()> {
        self.store.close().await
    }
}

impl fmt::Debug for DynamoDbStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DynamoDbStore").finish_non_exhaustive()
    }
}

impl From<DynamoDbStore> for Store {
    fn from(store: DynamoDbStore) -> Self {
        store.store
    }
}

impl From<&DynamoDbStore> for Store {
    fn from(store: &DynamoDbStore) -> Self {
        store.store.clone()
    }
}
