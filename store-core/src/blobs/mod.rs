//! Streamed objects.

mod ext;
mod io;
mod name;
mod records;
mod types;

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;

use crate::error::{Error, Result};
use crate::key::{Collection, Partition};
use crate::record::Version;
use crate::record_store::Swept;
use crate::scan::{Cursor, Page, Scan};

pub use ext::BlobStoreExt;
pub use io::{AsyncBlobReader, AsyncBlobWriter};
pub use name::{BlobRef, MAX_KEY};
pub use records::RecordBlobs;
pub use types::{
    Blob, BlobMetadata, BlobStat, ByteRange, MAX_METADATA, OpenOptions, Publication, PutMode,
    PutOptions,
};

/// One record an object: what is known of it and where its content is.
pub const BLOBS: Collection = Collection::new("blobs");

/// The content of objects, in pieces.
pub const BLOB_CHUNKS: Collection = Collection::new("blob_chunks").chunks().single_use();

/// Content that may have to be removed, and when to look.
pub const BLOB_RECLAIM: Collection = Collection::new("blob_reclaim").single_use();

/// Keeps streamed objects. Implement the first four methods; the others have
/// defaults.
#[async_trait]
pub trait BlobStore: Send + Sync + fmt::Debug {
    /// Begins to write an object. Nothing of it is visible before
    /// [`BlobSink::commit`], and what is published stays readable until then.
    ///
    /// Writes of one object are ordered by when they began: see
    /// [`Publication::Superseded`].
    async fn begin(&self, at: BlobRef<'_>, options: PutOptions) -> Result<Box<dyn BlobSink>>;

    /// Opens the published object, or `None` if there is none.
    async fn open(&self, at: BlobRef<'_>, options: OpenOptions) -> Result<Option<Blob>>;

    /// What is known of the published object, without touching its content.
    async fn stat(&self, at: BlobRef<'_>) -> Result<Option<BlobStat>>;

    /// Removes the object and says whether there was one. Writes that are open
    /// are not waited for: they lose. Readers that are open may finish.
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
            "this store cannot list objects; keep their keys in records of your own",
        ))
    }

    /// Frees some of the content that nobody can reach any more: replaced or
    /// deleted longer than readers are given, or abandoned while it was
    /// written. Says for how many contents, and whether there may be more. Safe
    /// to run anywhere, any time, by several at once.
    async fn sweep(&self) -> Result<Swept> {
        Ok(Swept::default())
    }

    /// As [`RecordStore::close`](crate::RecordStore::close).
    async fn close(&self) -> Result<()> {
        Ok(())
    }
}

/// An object being written. Dropping it publishes nothing.
#[async_trait]
pub trait BlobSink: Send + fmt::Debug {
    /// Adds `bytes` to the content; waits while too much is on its way.
    ///
    /// A write that failed, or whose future was dropped, leaves an unknown part
    /// of its bytes behind: after it the sink is good for [`BlobSink::abort`]
    /// alone and refuses the rest.
    async fn write(&mut self, bytes: Bytes) -> Result<()>;

    /// Publishes the content with its metadata, at once and as a whole.
    ///
    /// # Errors
    /// With [`Retry::Ambiguous`](crate::Retry) the object may have been
    /// published; any other error means that it was not.
    async fn commit(self: Box<Self>) -> Result<Publication>;

    /// Gives up and frees what was written.
    ///
    /// # Errors
    /// Nothing is published whatever this returns. After an error what was
    /// written is freed by a later [`BlobStore::sweep`].
    async fn abort(self: Box<Self>) -> Result<()>;
}

/// The bytes of an opened object.
#[async_trait]
pub trait BlobReader: Send + fmt::Debug {
    /// The next piece, never empty; `None` after the last. Exactly the bytes of
    /// [`Blob::range`] come, or an error: never fewer, and never bytes of
    /// another publication. A dropped future loses nothing.
    ///
    /// # Errors
    /// `Superseded` if the object was replaced or deleted so long ago that its
    /// content was freed.
    async fn next(&mut self) -> Result<Option<Bytes>>;
}

/// A question for one page of a bucket's objects.
///
/// ```
/// use store_core::blobs::BlobList;
/// let list = BlobList::new("avatars")?.prefix("users/").limit(50)?;
/// # let _ = list; Ok::<(), store_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct BlobList(Scan);

impl BlobList {
    /// All objects of `bucket`.
    ///
    /// # Errors
    /// `InvalidInput` if the bucket is no partition's name.
    pub fn new(bucket: impl AsRef<str>) -> Result<Self> {
        Ok(Self(Scan::partition(BLOBS, Partition::new(bucket)?)))
    }

    /// Only keys that start with this text, taken literally.
    pub fn prefix(self, prefix: impl Into<String>) -> Self {
        Self(self.0.id_prefix(prefix))
    }

    /// At most so many objects; as [`Scan::limit`].
    ///
    /// # Errors
    /// `InvalidInput` for zero.
    pub fn limit(self, limit: usize) -> Result<Self> {
        self.0.limit(limit).map(Self)
    }

    /// Goes on where the page that gave `cursor` ended.
    ///
    /// # Errors
    /// `InvalidInput` if the cursor came from another question.
    pub fn after(self, cursor: &Cursor) -> Result<Self> {
        self.0.after(cursor).map(Self)
    }

    /// For an implementer: the question as a scan over [`BLOBS`], whose prefix
    /// is the keys', and which makes and reads cursors.
    pub fn as_scan(&self) -> &Scan {
        &self.0
    }
}

/// One object of a list.
#[derive(Clone, Debug, PartialEq)]
pub struct BlobEntry {
    /// Its key.
    pub key: String,
    /// What is known of it.
    pub stat: BlobStat,
}
