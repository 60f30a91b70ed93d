//! A store in Amazon DynamoDB, through the AWS SDK.
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
//! [`DynamoDbStore::setup`] creates the table, billed by request, and turns on
//! DynamoDB's removal of expired items; with [`DynamoDbBuilder::point_in_time_recovery`]
//! it also turns on continuous backups. It may run at every start, in many processes at
//! the same time. A table of this name with another schema is refused, and the error says
//! what differs.
//!
//! Region and credentials come from the environment, a profile, a web identity,
//! or the role of a container or machine, as `aws-config` finds them. For IAM
//! Identity Center or a credential process, build the SDK's client with those features
//! of `aws-config`, and pass it to [`DynamoDbStore::from_client`].
//!
//! ## Rights
//! Running the store needs the first statement, and `setup` needs the second as well.
//! This crate's tests make every call as a user that has only these rights.
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
//! `Scan` is only for scans of a whole collection. Without `DescribeTable` the store
//! works, but cannot find out whether its table exists.
//!
//! # How it is stored
//! One table, whose two key attributes are strings:
//!
//! | | `pk` | `sk` | attributes |
//! |---|---|---|---|
//! | a record | `r:acme` | `users:alice` | `version`, `json` or `bytes`, `expires_at` in nanoseconds, `remove_at` |
//! | a limit | `l:user:7` | `bucket` | `version`, `remove_at`; for each quota `quota_NAME`: the time in nanoseconds at which it is full, or a map of `tokens`, `refilled` and `expires_at`, if a closure wrote it |
//! | a limit that is spread | `l0:user:7`, `l1:user:7` … | `bucket` | the same |
//!
//! Read it with any tool, but change records only through the store.
//!
//! - **A commit** of one item is one conditional `PutItem` or `DeleteItem`; if it only
//!   checks, a consistent read. A commit of several items is one `TransactWriteItems`,
//!   whose client request token is the commit's version, so that a second copy of the
//!   request does nothing. A failed condition returns the current record.
//! - **Reads** are consistent. `get_many` requests again the keys that DynamoDB left
//!   unprocessed, and a page continues where DynamoDB stops after 1 MB.
//! - **A page of a whole collection** reads the table in parallel segments
//!   ([`DynamoDbBuilder::scan_segments`]), so its cost depends on the size of the table.
//! - **A take** is one conditional `UpdateItem`. An update expression can add and
//!   compare, but has no maximum function, so a take has several forms, depending on the
//!   bucket's state. The store remembers for each key which form succeeded last. An
//!   update of the wrong form writes nothing and returns the stored item, which shows the
//!   right form. A take of a key that this process has not seen costs up to two calls,
//!   and a take that is denied costs one. A take writes one number, and `remove_at` at
//!   most once in half the grace period.
//! - **An object** is a record that points to its chunks of 256 KiB, which are
//!   spread over sixteen partitions; a few are written at a time. Publishing is
//!   one conditional write of the pointer. [`sweep`](store_core::BlobStore::sweep)
//!   removes the chunks of objects that were replaced, deleted or never finished, and has
//!   to be called from time to time. With [`DynamoDbBuilder::orphans_expire`] the chunks
//!   of unfinished objects carry a `remove_at`, and DynamoDB removes them. Publishing
//!   then removes that attribute, which costs as much as writing the object again.
//!
//! A partition is an item collection, so one partition serves about 1 000
//! writes and 3 000 reads of small records a second, whatever the table's
//! capacity. DynamoDB throttles more. A limit with more takes than that can be spread
//! over several partitions: [`DynamoDbBuilder::spread_limit`].
//!
//! # What a call costs
//! Each primitive is one request, except `get_many` of more than 100 keys and
//! pages of more than 1 MB. The table counts capacity units; each item is rounded up to
//! the next KB when written and to the next 4 KB when read:
//!
//! | call | request | units |
//! |---|---|---|
//! | `get` | `GetItem` | 1 read for each 4 KB |
//! | `get_many` | `BatchGetItem` | 1 read for each 4 KB of each record |
//! | a page | `Query` | 1 read for each 4 KB of all, including the next record and expired ones |
//! | a page of a collection | `Scan`, one for each segment | 1 read for each 4 KB of the table that is read, including items of other collections |
//! | a commit of one | `PutItem`, `DeleteItem` | 1 write for each KB of the old or the new record, whichever is larger; as much if it is refused |
//! | a check alone | `GetItem` | 1 read for each 4 KB |
//! | a commit of several | `TransactWriteItems` | 2 writes for each KB of each item, including checks; as much if it is refused |
//! | a take | `UpdateItem`, seldom two | 1 write, also if it is denied |
//! | a closure's change of a bucket | `GetItem`, `PutItem`; shared by concurrent changes of one key | 1 read, 1 write |
//! | `ping`, opening a store | `DescribeTable` | none |
//! | removing expired items | | none |
//!
//! # Time
//! Only the store's clock decides what has expired; it is in every condition.
//! DynamoDB's own removal, which is up to two days late, only frees storage, and is
//! delayed by [`DynamoDbBuilder::grace`]. Records need no sweep.
//!
//! **The bound on clocks**: the clocks of all processes on one table may differ by less
//! than the grace, an hour by default. So may the drift between such a clock and
//! DynamoDB's own since the store was opened. Within this bound, a process whose clock is
//! ahead finds records expired sooner, by as much as it is ahead, and nothing else
//! happens. Beyond it, a record that is alive by the slowest clock may have been removed.
//! [`ping`](store_core::RecordStore::ping) reports the difference between this process's
//! clock and the server's. A constant difference when the store is opened, however
//! large, does no harm.
//!
//! # A lost connection
//! The SDK repeats reads, at most twice. Writes are sent once, and again only if DynamoDB
//! answered that it did nothing, because it throttled or another transaction held an
//! item. A commit whose reply is lost is looked up by its version, or sent again if it is
//! a transaction; if that does not show whether it was applied, the error is
//! `Retry::Ambiguous`. A write that is throttled until its attempts are used up is
//! `Unavailable` and `Retry::Safe`; transactions that repeatedly conflicted on the same
//! records are `Contended`.
//!
//! # TLS
//! By rustls, with the system's authorities or those of [`DynamoDbBuilder::tls`]. A
//! server whose certificate is not trusted is refused with `Config`.
//!
//! # Global tables
//! Use the store in one region. In a global table with eventual consistency, the usual
//! kind, each region decides alone and the last writer wins: commits in two regions both
//! succeed and one is lost, a nonce is accepted in each, limits are granted once in each
//! region, and a deleted record may reappear. A replica can be a standby if only one
//! region is written to at a time; writes of the last moments before a switch are lost,
//! or arrive later. A global table with strong consistency supports neither transactions
//! nor removal of expired items, so that commits of several records fail.
//!
//! # Change notice
//! There is none: [`changes`](store_core::RecordStore::changes) is `Unsupported`.
//! Cached records therefore need a time to live.

#![cfg_attr(docsrs, feature(doc_cfg))]
// Code for a contract whose feature is disabled may be unused.
#![cfg_attr(
    not(all(feature = "blobs", feature = "limits")),
    allow(dead_code, unused_imports)
)]

#[cfg(feature = "blobs")]
mod blobs;
#[cfg(feature = "limits")]
mod bucket;
mod collection_scan;
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
mod settings;
mod setup;
mod shared;
#[cfg(feature = "limits")]
mod spread;
#[cfg(feature = "limits")]
mod take;
mod url;
mod wire;

use std::fmt;
use std::sync::Arc;

pub use aws_sdk_dynamodb as sdk;
use aws_sdk_dynamodb::Client;
pub use store_core;
use store_core::layers::{Recourse, Resolving};
use store_core::{Collection, RecordStore, Result, Store, collections};

pub use config::DynamoDbBuilder;
#[cfg(feature = "limits")]
use limits::DynamoDbLimits;
use records::DynamoDbRecords;
pub use settings::DynamoDbConfig;

/// Opens `dynamodb:` URLs for a [`Registry`](store_core::open::Registry). Their
/// options are those of [`DynamoDbBuilder::url`].
pub const OPENER: store_core::open::Opener = store_core::open::Opener::new(url::SCHEMES, |url| {
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
    collections: Arc<[Collection]>,
}

impl DynamoDbStore {
    /// Opens the store at the URL; see [`DynamoDbBuilder::url`].
    ///
    /// # Errors
    /// As [`DynamoDbBuilder::connect`].
    pub async fn connect(url: impl Into<String>) -> Result<Self> {
        Self::builder().url(url).connect().await
    }

    /// Opens the store in the table `store`, with region and credentials from the
    /// environment, the profile or the machine's role.
    ///
    /// # Errors
    /// As [`DynamoDbBuilder::connect`].
    pub async fn from_env() -> Result<Self> {
        Self::builder().connect().await
    }

    /// A builder, with options for the table, region, endpoint, credentials, TLS,
    /// timeouts and clock.
    pub fn builder() -> DynamoDbBuilder {
        DynamoDbBuilder::default()
    }

    /// Opens the store in the table `store` through a client of the SDK; see
    /// [`DynamoDbBuilder::client`] for the parts of it that are used.
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
                    // The server recognizes a second copy by its token.
                    true => Recourse::Resend,
                    false => Recourse::Resolve,
                }
            }));
        let store = Store::new(Arc::clone(&resolving));
        #[cfg(feature = "blobs")]
        let store = {
            let shared = Arc::clone(records.shared());
            let blobs = blobs::over(shared, resolving, builder.orphans);
            store.with_blobs(Arc::new(blobs))
        };
        #[cfg(feature = "limits")]
        let store = {
            let limits = DynamoDbLimits::new(Arc::clone(records.shared()), builder.spread);
            store.with_limits(Arc::new(limits))
        };
        Ok(Self {
            records,
            store,
            point_in_time_recovery: builder.point_in_time_recovery,
            collections: builder.common.collections.into(),
        })
    }

    /// Creates the table, billed by request, if it does not exist, waits until it can be
    /// used, and turns on the server's removal of expired items. Idempotent,
    /// and safe when many processes start at the same time.
    ///
    /// # Errors
    /// `Config` if there is a table of this name with another schema, and the message
    /// says what differs; or if a collection was set up with other flags before.
    /// `PermissionDenied` if these credentials do not permit it.
    #[doc(alias("create table"))]
    pub async fn setup(&self) -> Result<()> {
        setup::setup(self.records.shared(), self.point_in_time_recovery).await?;
        collections::register(&**self.store.records(), &self.collections).await
    }

    /// Closes the store, see [`Store::close`]. A client that the application owns stays
    /// open.
    ///
    /// # Errors
    /// None. It returns a `Result` because other backends can fail.
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
