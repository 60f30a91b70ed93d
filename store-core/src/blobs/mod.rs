//! Streamed objects: content of any size with its metadata, published atomically.
//!
//! An object is written through a sink and does not exist until the sink commits.
//! It is read in pieces, any part of it, and a reader gets the bytes of the
//! publication that it opened, even if the object is replaced or deleted.
//!
//! # Use
//!
//! ```
//! # use store_memory::MemoryStore;
//! use store_core::Store;
//! use store_core::blobs::{BlobMetadata, BlobRef, BlobStoreExt, OpenOptions, PutMode, PutOptions};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> store_core::Result<()> {
//! let store = Store::from(MemoryStore::new());
//! let blobs = store.blobs();
//! let at = BlobRef::new("reports", "2030/q1.csv")?;
//!
//! // Piece by piece; nothing is visible before the commit.
//! let options = PutOptions::from(BlobMetadata::tagged("\"v1\"")).mode(PutMode::CreateOnly);
//! let mut sink = blobs.begin(at, options).await?;
//! sink.write("day,visits\n".into()).await?;
//! sink.write("1,200\n".into()).await?;
//! assert!(blobs.stat(at).await?.is_none());
//! let stat = sink.commit().await?.published()?;
//! assert_eq!(stat.size, 17);
//!
//! // The last six bytes of it.
//! let mut blob = blobs.open(at, OpenOptions::from(11..)).await?.expect("just published");
//! assert_eq!(blob.reader.next().await?.as_deref(), Some(&b"1,200\n"[..]));
//! assert_eq!(blob.reader.next().await?, None);
//!
//! assert!(blobs.delete(at).await?);
//! # Ok(()) }
//! ```
//!
//! [`BlobStoreExt`] writes and reads content that is in memory, streams an
//! `AsyncRead`, and copies; [`AsyncBlobReader`] and [`AsyncBlobWriter`] adapt
//! objects to tokio's traits.
//!
//! Promises:
//! - **All or nothing.** A dropped or aborted sink publishes nothing, and
//!   neither does one of which a write failed. Until a commit the old object is
//!   unchanged. Content and metadata are never of two publications. A write may
//!   promise its length and digest ([`PutOptions::expect_size`],
//!   [`PutOptions::expect_sha256`]); other content publishes nothing.
//! - **Order.** Writes of one object are ordered by when they *began*. A commit
//!   wins only over writes that began before it; a delete beats every write
//!   that is open, without waiting for it. A commit that lost reports
//!   [`Publication::Superseded`].
//! - **Readers** finish what they opened, for a grace after it was replaced or
//!   deleted. After that they get a `Superseded` error: never short data, never
//!   bytes of another publication.
//! - **Bounded.** However large an object is, a sink or reader holds a few
//!   chunks of it, and a sink waits when the store is slower than its writer.
//! - **Garbage is collected.** A dropped or aborted sink frees its content
//!   immediately, if there is a runtime to do so. A write that is idle loses its
//!   lease. [`BlobStore::sweep`] frees what crashed writers, replacements and
//!   deletes left behind. Nothing calls it for you: use
//!   [`BlobStoreExt::sweep_every`], in one process or in all.
//!
//! # Buckets and keys
//!
//! A bucket is one [`Partition`]: its objects are listed together, in bytewise
//! order of their keys, and each publication is a small write in that partition.
//! The content is spread over other partitions. So one bucket serves as many
//! publications a second as one partition of the backend serves writes; put a busier
//! set into several buckets, by tenant or by a digest of the key. Keys longer than 197
//! bytes that begin alike are listed next to each other, in no particular order.
//!
//! # Bring your own
//!
//! Over a record store of your own there is nothing to do: [`RecordBlobs`] is
//! what [`Store::new`](crate::Store::new) uses. To store objects elsewhere,
//! implement [`BlobStore`]'s first four methods and pass it to
//! [`Store::with_blobs`](crate::Store::with_blobs):
//!
//! - Write content under a name that is used once. Publish by one conditional
//!   write of one small thing that holds the metadata and names the content:
//!   two writes can be torn.
//! - That small thing is a [`Pointer`]. It gives each write a number when it
//!   begins; a commit wins if its number is above the published one and above
//!   the last delete's. That is all the ordering there is, and the pointer
//!   decides it, [`PutMode`] included, within the conditional write.
//! - Take the write off the pointer before you free what it wrote.
//! - Keys are longer than what most servers take as a name:
//!   [`BlobRef::id`] and [`BlobList::id_prefix`] are at most 255 bytes.
//!
//! `cases::blobs` of `store-conformance` runs against any implementation.
//!
//! # Leaving memory for a server
//!
//! The calls are the same; their costs differ. Through [`RecordBlobs`], content
//! of up to 64 KiB ([`RecordBlobs::inline`]) is stored in the record with the
//! metadata: [`BlobStoreExt::put`] is one write of a new object and two round
//! trips over another, opening and reading it one read, a delete a read and a
//! write. Larger content moves in chunks of 256 KiB, eight at a time
//! ([`RecordBlobs::in_flight`]), and costs a note and a larger put. A backend
//! whose server streams better than it stores records has a `BlobStore` of its
//! own.
//!
//! # Troubleshooting
//!
//! - *A commit reports `Superseded` without another writer.* The
//!   [lease](RecordBlobs::lease) expired between two writes; the upload outlived
//!   the backend's limit for unpublished content; or the object was deleted.
//! - *A reader reports `Superseded`.* It was slower than the
//!   [grace](RecordBlobs::grace) allows. Raise it; or open the object again with
//!   [`OpenOptions::version`] unset and start over.
//! - *Storage grows.* Does a process run the sweep?
//!   [`Swept::next_due`](crate::Swept::next_due) reports when there is more to
//!   free. Replaced content stays for the grace: lower it.
//! - *`LimitExceeded` at `begin`.* Many writes of one object are open. Let one
//!   caller write for all.
//! - *A write failed with an outage.* Nothing was published; drop the sink and
//!   begin again. Only a commit can be [`Ambiguous`](crate::Retry::Ambiguous):
//!   `stat` the object.

pub mod engine;
mod ext;
mod io;
mod name;
mod pointer;
mod records;
mod sweeper;
mod types;
mod view;

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;

use crate::error::{Error, Result};
use crate::key::{Collection, Partition};
use crate::page::{Page, PageRequest, paged};
use crate::record::Version;
use crate::record_store::Swept;
use crate::scan::Scan;

pub use ext::BlobStoreExt;
pub use io::{AsyncBlobReader, AsyncBlobWriter};
pub use name::{BlobRef, MAX_BLOB_KEY};
pub use pointer::{Content, Pointer};
pub use records::{ProvisionalChunks, RecordBlobs, RecordChunks, RecordPointers};
pub use sweeper::BlobSweeper;
pub use types::{
    Blob, BlobMetadata, BlobStat, ByteRange, ContentCheck, MAX_METADATA, OpenOptions, Publication,
    PutMode, PutOptions,
};

pub(crate) use view::VIEW;

/// One record per object: its metadata, its open writes, and its content if it
/// is small.
pub const BLOBS: Collection = Collection::new("blobs");

/// The chunks of larger content.
pub const BLOB_CHUNKS: Collection = Collection::new("blob_chunks").chunks().single_use();

/// Notes of content that may have to be freed, and when to check.
pub const BLOB_RECLAIM: Collection = Collection::new("blob_reclaim").single_use();

/// Stores streamed objects. Required are `begin`, `open`, `stat` and `delete`.
#[async_trait]
#[doc(alias("object store", "cache"))]
pub trait BlobStore: Send + Sync + fmt::Debug {
    /// Begins to write an object. Nothing of it is visible before
    /// [`BlobSink::commit`], and what is published stays readable until then.
    ///
    /// Writes of one object are ordered by when they began: see
    /// [`Publication::Superseded`].
    async fn begin(&self, at: BlobRef<'_>, options: PutOptions) -> Result<Box<dyn BlobSink>>;

    /// Begins a write and publishes `bytes` as its content, in as few requests as
    /// the store can. By default it begins, writes and commits.
    ///
    /// # Errors
    /// As [`BlobStore::begin`], [`BlobSink::write`] and [`BlobSink::commit`].
    async fn put_bytes(
        &self,
        at: BlobRef<'_>,
        options: PutOptions,
        bytes: Bytes,
    ) -> Result<Publication> {
        put_streamed(self, at, options, bytes).await
    }

    /// Opens the published object, or `None` if there is none.
    async fn open(&self, at: BlobRef<'_>, options: OpenOptions) -> Result<Option<Blob>>;

    /// The published object's size, version and metadata.
    async fn stat(&self, at: BlobRef<'_>) -> Result<Option<BlobStat>>;

    /// Deletes the object and returns whether there was one. It does not wait for
    /// open writes: they lose. Open readers may finish.
    async fn delete(&self, at: BlobRef<'_>) -> Result<bool>;

    /// Gives the published object other metadata and a new version, if it is
    /// still this one; its content stays as it is. [`Publication::Changed`] if
    /// it is not.
    async fn restamp(
        &self,
        at: BlobRef<'_>,
        version: Version,
        metadata: BlobMetadata,
    ) -> Result<Publication> {
        let _ = (at, version, metadata);
        Err(Error::unsupported(
            "this store cannot change an object's metadata alone; put the object again",
        ))
    }

    /// One page of a bucket's objects, in bytewise order of their keys.
    async fn list(&self, list: &BlobList) -> Result<Page<BlobEntry>> {
        let _ = list;
        Err(Error::unsupported(
            "this store cannot list objects; store their keys in records of your own",
        ))
    }

    /// Frees some of the content that cannot be reached any more: replaced or
    /// deleted longer ago than the readers' grace, or abandoned while it was
    /// written. Returns for how many contents, whether more may be due now, and
    /// when the next is due. Any number of processes may sweep at any time.
    async fn sweep(&self) -> Result<Swept> {
        Ok(Swept::default())
    }

    /// As [`RecordStore::close`](crate::RecordStore::close).
    async fn close(&self) -> Result<()> {
        Ok(())
    }
}

/// Begins a write, writes `bytes` and commits.
async fn put_streamed<S: BlobStore + ?Sized>(
    store: &S,
    at: BlobRef<'_>,
    options: PutOptions,
    bytes: Bytes,
) -> Result<Publication> {
    let mut sink = store.begin(at, options).await?;
    let written = sink.write(bytes).await;
    ext::end(sink, written).await
}

/// An object being written. Dropping it publishes nothing, and frees what was
/// written if there is a runtime to do so.
#[async_trait]
pub trait BlobSink: Send + fmt::Debug {
    /// Adds `bytes` to the content; waits while too many requests are in flight.
    ///
    /// A write that failed, or whose future was dropped, leaves an unknown part
    /// of its bytes behind: after it the sink accepts only [`BlobSink::abort`].
    async fn write(&mut self, bytes: Bytes) -> Result<()>;

    /// Publishes the content with its metadata, atomically.
    ///
    /// # Errors
    /// `InvalidInput` if the content is not what [`PutOptions`] promised. With
    /// [`Retry::Ambiguous`](crate::Retry) the object may have been published;
    /// any other error means that it was not.
    async fn commit(self: Box<Self>) -> Result<Publication>;

    /// Ends the write and frees its content.
    ///
    /// # Errors
    /// Nothing is published whatever this returns. After an error what was
    /// written is freed by a later [`BlobStore::sweep`].
    async fn abort(self: Box<Self>) -> Result<()>;
}

/// The bytes of an opened object.
#[async_trait]
pub trait BlobReader: Send + fmt::Debug {
    /// The next piece, never empty; `None` after the last. The pieces are exactly the
    /// bytes of [`Blob::range`], or an error is returned: never fewer bytes, and never
    /// those of another publication. A dropped future loses nothing.
    ///
    /// # Errors
    /// `Superseded` if the object was replaced or deleted so long ago that its
    /// content was freed.
    async fn next(&mut self) -> Result<Option<Bytes>>;
}

/// The event of a write whose content was not freed.
pub(crate) const UNFREED: &str = "could not free what a write left; a later sweep will";

/// A query for one page of a bucket's objects.
///
/// ```
/// use store_core::blobs::BlobList;
/// let list = BlobList::new("avatars")?.prefix("users/").limit(50)?;
/// # let _ = list; Ok::<(), store_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct BlobList {
    scan: Scan,
    page: PageRequest,
}

impl BlobList {
    /// All objects of `bucket`.
    ///
    /// # Errors
    /// `InvalidInput` if the bucket is not a partition's name.
    pub fn new(bucket: impl AsRef<str>) -> Result<Self> {
        Ok(Self {
            scan: Scan::partition(BLOBS, Partition::new(bucket)?),
            page: PageRequest::new(),
        })
    }

    /// Only keys that start with this text, taken literally.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.scan = self.scan.id_prefix(prefix);
        self
    }

    paged!();

    /// For an implementer: what the [ids](BlobRef::id) of all objects that are
    /// asked for begin with. Others may begin so too: look at their keys.
    pub fn id_prefix(&self) -> &str {
        name::id_prefix(self.scan.prefix())
    }

    /// For an implementer: the query as a scan over [`BLOBS`], whose prefix is
    /// that of the keys, and which makes and reads cursors.
    ///
    /// # Errors
    /// `InvalidInput` if the cursor came from another query.
    pub fn to_scan(&self) -> Result<Scan> {
        self.scan.clone().page(&self.page)
    }
}

/// One object of a list.
#[derive(Clone, Debug, PartialEq)]
pub struct BlobEntry {
    /// Its key.
    pub key: String,
    /// Its size, version and metadata.
    pub stat: BlobStat,
}
