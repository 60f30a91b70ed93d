//! A store in S3 and compatible servers, through the `object_store` crate. All promises
//! are built on conditional writes alone, without a coordinator, a lock service or a
//! second database.
//!
//! ```
//! use store_s3::S3Store;
//! use store_core::{Batch, Body, Collection, Expect, Partition, RecordKey, Store};
//!
//! # #[tokio::main] async fn main() -> store_core::Result<()> {
//! const VISITS: Collection = Collection::new("visits");
//! # let url = "memory://";
//! # stringify! {
//! let url = "s3://my-bucket/app?region=eu-central-1";
//! # };
//! let s3 = S3Store::connect(url).await?;
//! s3.setup().await?;
//! let store = Store::from(&s3);
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
//! [`protocol`] describes how a commit of several records is serializable and survives a
//! crash at any point, with a proof of each step.
//!
//! # When to use it
//! Records need no server of your own, survive the loss of a machine, and cost only their
//! storage while they are not used. A request takes tens of milliseconds and is charged,
//! and one record can be written only several times a second. So use it for settings,
//! keys, identities, registrations and large objects, not for a counter that every
//! request changes.
//!
//! # Setup
//! The bucket must exist. [`S3Store::setup`] tests whether its server has the properties
//! that the store relies on. Four times, 32 puts with `If-None-Match: *` race for one
//! object, then 32 puts with `If-Match`; each time exactly one must succeed. Then eight
//! objects are listed. A server that ignores conditions, lets two puts succeed or lists
//! in another order is refused, and the error names the missing property. The result is
//! stored as the object `setup`, so that every process that opens the store gets the same
//! error. It may run at every start, in many processes at the same time.
//!
//! ```json
//! {"Version": "2012-10-17", "Statement": [
//!   {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": "arn:aws:s3:::my-bucket"},
//!   {"Effect": "Allow",
//!    "Action": ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"],
//!    "Resource": "arn:aws:s3:::my-bucket/app/*"}]}
//! ```
//!
//! Without `s3:ListBucket` the server answers "forbidden" (403) for a missing object, and
//! for every create. Configure the bucket as follows:
//! - **a lifecycle rule that aborts incomplete multipart uploads** after two days
//!   or so: a process that dies during one leaves parts that cost money and that the
//!   driver cannot list. Choose a time longer than any write takes;
//! - **no other lifecycle rule on the store's prefix**: one that expires or moves objects
//!   would remove records;
//! - versioning is not needed. If it is on, let a lifecycle rule remove noncurrent
//!   versions.
//!
//! # How it is stored
//! | | object |
//! |---|---|
//! | a record | `records/users/=acme/=alice` |
//! | a commit of several records, while it is in progress | `transactions/0f3c…` |
//! | a streamed object: its metadata, and up to 1 MiB of content | `blobs/=reports/=q1..csv` |
//! | larger content | `content/0f3c…/0` |
//! | a note of content that may have to be freed | `reclaim/17f0….0f3c….u` |
//! | the result of `setup` | `setup` |
//!
//! ```text
//! $ aws s3 cp s3://my-bucket/app/records/users/=acme/=alice -
//! {"store":1,"collection":"users","partition":"acme","id":"alice","record":{"version":"2f0c…","body":"json","length":16}}
//! {"name":"Alice"}
//! ```
//!
//! Names sort as ids do; `/`, `.` and the characters that S3 or XML cannot hold are
//! escaped. Read with any tool, change only through the store. A release that finds an
//! object of a newer format reports which program to upgrade and changes nothing.
//!
//! **A deleted record leaves a tombstone** of about 100 bytes; so does an expired record
//! after it was swept, and a name that a commit of several records checked to be absent.
//! The sweep removes tombstones that are a day old, if `setup` found that the server
//! deletes conditionally (`DELETE` with `If-Match`); on other servers they stay. A deleted streamed
//! object leaves its pointer. Records of
//! [single-use](store_core::Collection::single_use) collections, nonces among them, are
//! removed. Lists contain sizes, so scans and the sweep skip tombstones without reading
//! them: a list of tombstones costs one request for each 1000.
//!
//! # What a call costs
//! | call | requests |
//! |---|---|
//! | get | 1 `GET` |
//! | get of n | n `GET`, 16 at a time |
//! | commit of one, with the record read before, or expecting `Absent` | 1 `PUT` |
//! | commit of one, otherwise | 1 `GET`, 1 `PUT` |
//! | commit of n | 2n + 3 if all records were read before or are expected `Absent`, otherwise up to 3n + 3: begin, hold n, decide, release n, clear |
//! | commit of n that only checks, or is refused | 2n `GET` |
//! | a page | a list for each 1000 names, a `GET` for each record |
//! | take that is allowed | 1 `GET`, 1 `PUT` |
//! | sweep of records | a list and a `GET` for each object that it reads, 1000 at most |
//! | begin to write an object | 1 `GET`, 1 `PUT` |
//! | commit of up to 1 MiB | 1 `PUT` |
//! | commit of one part, up to 5 MiB | 3 `PUT`: a note, the content, the commit; 1 `DELETE` |
//! | commit of n parts | n + 2 `PUT`, 2 `POST`, 1 `DELETE`, including the parts that were sent while writing |
//! | the same, replacing an object of more than 1 MiB | 1 more `PUT` |
//! | open, and read up to 1 MiB | 1 `GET` |
//! | read larger content | 1 `GET` to open it, and one for each 5 MiB of what is read |
//! | stat | 1 `GET`, of 16 KiB at most |
//! | delete an object | 1 `GET`, 1 `PUT`; a `PUT` more if it had more than 1 MiB |
//! | sweep of objects | a list, and about five requests for each note that is due |
//!
//! A reader that finds a record which a commit holds reads one more object. No cost
//! depends on how many records a partition has. A record's token contains the record
//! itself if that is at most 16 KiB, so that a commit need not read it again; a larger
//! record costs a `GET`. `store-conformance/TRIPS.md` lists the counted requests of these
//! calls and of each call of a contract.
//!
//! A commit of several records holds them one after the other, in the same order in all
//! commits, so that there is no deadlock. These are n requests in sequence. Keep such
//! commits small.
//!
//! # Streamed objects
//! An object of up to 1 MiB ([`S3Builder::inline`]) is stored as one object with its
//! metadata: a commit is one `PUT`, an open one `GET`. Larger content is written
//! under a name that is never used again, in parts of 5 MiB by multipart upload, and
//! then published by one small conditional `PUT`. A reader that has it open reads
//! exactly those bytes, by ranges, until the [grace](S3Builder::reader_grace) after it
//! was replaced is over; then it gets an error.
//!
//! An open sink has four parts in flight and fills a fifth; an open reader has three in
//! flight, and its caller holds a fourth. So each uses at most 25 MiB of memory, however
//! large the object is ([`S3Builder::part_size`], [`S3Builder::in_flight`]). A sink waits
//! if the server is slower than its caller. Every 8192 parts, 40 GiB by default, a new
//! upload begins, so that S3's limit of 10 000 parts does not limit the size of content.
//! Such content is stored as several objects, `…/0`, `…/1` and so on.
//!
//! An abort, and a commit that fails because it is too late, remove the content that was
//! sent immediately. A dropped sink aborts its upload if the runtime is still running.
//! Content that a dead process leaves is freed by the sweep of the objects after the
//! [lease](S3Builder::write_lease) and the grace, except the parts of an unfinished
//! upload through an application's own client, which only the lifecycle rule above
//! removes.
//!
//! Beginning to replace a small object sends its content once more, because it is part
//! of the object that changes. Set a lower bound for objects that are often rewritten.
//!
//! # Rate limits
//! A take is a read and a conditional write. Concurrent takes of one key in one process
//! are written together, so the number of takes in one process is not limited by S3's
//! latency. Different processes write one after the other, some ten writes a second in
//! all. Beyond that calls fail with `Contended`. Use another backend for the limits of
//! busy keys; [`Store::with_limits`](store_core::Store::with_limits) takes one.
//!
//! # Sweeping
//! No call depends on a sweep, and no sweep runs by itself.
//! [`RecordStore::sweep`](store_core::RecordStore::sweep) finishes the commits of dead
//! processes and removes what has expired. It reads every record, 1000 a call, and
//! continues where it stopped: run it from one process, as often as storage costs more
//! than requests. [`BlobStore::sweep`](store_core::BlobStore::sweep) frees content that
//! no reader can reach any more. It reads only notes that are due: run it every minute
//! or so.
//!
//! # A lost connection
//! Each put's content is unique, so a process that receives no reply reads the object to
//! find out whether its put was executed, and sends it again while its condition still
//! holds. The error is `Retry::Ambiguous` only if another process changed the record in
//! between. Reads are tried four times, and so are puts under unique names (content and
//! notes). Except for multipart uploads the driver's own retries are off, because a
//! conditional put that is sent twice fails on its own success; with a client of your own
//! see [`S3Builder::object_store`].
//!
//! A commit of several records runs in a separate task: it is completed even if its
//! caller stops waiting. A process that dies leaves intents in its records. Readers do
//! not wait for them, and the next writer replaces them after the
//! [lease](S3Builder::lease).
//!
//! # Servers
//! | | |
//! |---|---|
//! | Amazon S3 | conditional writes since the end of 2024 |
//! | S3 Express One Zone | refused: its lists have no order |
//! | Ceph | from release 20 on; in older releases `If-Match` never matches |
//! | Cloudflare R2, MinIO, others | `setup` tests them |
//! | a file system | refused, because it cannot replace a file on condition that it is unchanged |
//! | `memory://` | for tests |
//!
//! Some servers limit each segment of an object's name to 255 bytes, as file systems do.
//! Long ids that contain many escaped characters may not fit there.

#![cfg_attr(docsrs, feature(doc_cfg))]
// Code for a contract whose feature is disabled may be unused.
#![cfg_attr(
    not(all(feature = "blobs", feature = "limits")),
    allow(dead_code, unused_imports)
)]

mod blobs;
mod config;
mod driver;
mod error;
mod keys;
mod objects;
mod pages;
mod parallel;
pub mod protocol;
mod records;
mod removal;
mod scan;
mod setup;
mod shared;
mod sweep;
mod wire;

use std::fmt;
use std::sync::Arc;

pub use object_store;
use object_store::ObjectStore;
pub use store_core;
#[cfg(feature = "limits")]
use store_core::limits::RecordLimits;
use store_core::{Collection, Result, Store, collections};

pub use config::{S3Builder, S3Config};
use records::S3Records;

/// Opens `s3:` URLs, for a [`Registry`](store_core::open::Registry).
pub const OPENER: store_core::open::Opener = store_core::open::Opener::new(&["s3"], |url| {
    Box::pin(async move {
        let store = S3Builder::default().store_url(url).connect().await?;
        Ok(store.into())
    })
});

/// A store in a bucket. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct S3Store {
    records: Arc<S3Records>,
    store: Store,
    collections: Arc<[Collection]>,
}

impl S3Store {
    /// Opens the store at `url`, `s3://bucket/prefix?region=…`; see
    /// [`S3Builder::url`].
    ///
    /// # Errors
    /// As [`S3Builder::connect`].
    pub async fn connect(url: impl Into<String>) -> Result<Self> {
        Self::builder().url(url).connect().await
    }

    /// A builder, with options for credentials, prefix, timeouts, TLS and clock.
    pub fn builder() -> S3Builder {
        S3Builder::default()
    }

    /// Opens the store over a client of `object_store`, which must send a conditional put
    /// once: see [`S3Builder::object_store`].
    ///
    /// # Errors
    /// As [`S3Builder::connect`].
    pub async fn from_object_store(driver: Arc<dyn ObjectStore>) -> Result<Self> {
        Self::builder().object_store(driver).connect().await
    }

    async fn open(builder: S3Builder) -> Result<Self> {
        let records = Arc::new(S3Records::open(&builder).await?);
        let blobs = blobs::open(records.shared(), builder.blobs);
        let store = Store::new(Arc::clone(&records) as _).with_blobs(Arc::new(blobs));
        #[cfg(feature = "limits")]
        let store = {
            let limits = RecordLimits::new(Arc::clone(&records) as _).coalescing();
            store.with_limits(Arc::new(limits))
        };
        Ok(Self {
            records,
            store,
            collections: builder.common.collections.into(),
        })
    }

    /// Tests with concurrent requests whether the server has the properties on which the
    /// store relies. Stores the result in the bucket, so that every process that opens
    /// the store gets the same result. It is idempotent, and safe when many processes
    /// start at the same time.
    ///
    /// # Errors
    /// `Config`, naming the server, if it ignores the conditions of a write, lets
    /// two writes win, or does not list in order; and if a collection was set up
    /// with other flags before.
    #[doc(alias("probe"))]
    pub async fn setup(&self) -> Result<()> {
        let error = |error: store_core::Error| error.with_operation("setup");
        self.records.shared().setup().await.map_err(error)?;
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

impl fmt::Debug for S3Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Store").finish_non_exhaustive()
    }
}

impl From<S3Store> for Store {
    fn from(store: S3Store) -> Self {
        store.store
    }
}

impl From<&S3Store> for Store {
    fn from(store: &S3Store) -> Self {
        store.store.clone()
    }
}
