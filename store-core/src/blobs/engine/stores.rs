//! What an engine is made of: a store of pointers and a store of content.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use crate::blobs::{BlobEntry, BlobList, Content, Pointer};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::key::{Partition, RecordKey, RecordRef};
use crate::page::Page;
use crate::record::Version;

use super::Note;
use crate::blobs::{BLOBS, BlobRef};

/// Which object, and where its pointer is.
#[derive(Clone, Debug)]
pub struct Place {
    bucket: Partition,
    record: RecordKey,
    key: Box<str>,
}

impl Place {
    /// The place of the object at `at`.
    ///
    /// # Errors
    /// None for a [`BlobRef`]: its names were checked.
    pub fn new(at: BlobRef<'_>) -> Result<Self> {
        Ok(Self {
            bucket: Partition::new(at.bucket())?,
            record: RecordKey::new(BLOBS, at.id())?,
            key: at.key().into(),
        })
    }

    /// The bucket.
    pub fn bucket(&self) -> &Partition {
        &self.bucket
    }

    /// The record of the pointer; its id is [`BlobRef::id`].
    pub fn record(&self) -> &RecordKey {
        &self.record
    }

    /// The object's key in full.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Names the object in errors.
    pub fn at(&self) -> RecordRef<'_> {
        self.record.at(&self.bucket)
    }
}

/// A pointer as it was read or written.
#[derive(Clone, Debug)]
pub struct Stored<T> {
    /// What a conditional write needs to find the pointer unchanged.
    pub token: T,
    /// The pointer.
    pub pointer: Arc<Pointer>,
}

/// How a conditional write of a pointer ended.
#[derive(Debug)]
pub enum Written<T> {
    /// It was done. The pointer as it is stored now; `None` if a blank one was
    /// removed.
    Done(Option<Stored<T>>),
    /// The pointer was not as expected.
    Refused {
        /// As it is now.
        current: Option<Stored<T>>,
        /// If a reply was lost: this write may have been done before another one
        /// replaced it.
        in_doubt: Option<Error>,
    },
}

/// How much of a pointer to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// All of it.
    Whole,
    /// Content that is stored with it may be left unread: see
    /// [`Pointer::leave_unread`].
    Head,
}

/// A note that is due, and what is needed to change it only if it is unchanged.
pub type DueNote<T> = (Note, T);

/// One page of notes.
#[derive(Debug)]
pub struct DueNotes<T, P> {
    /// Those that are due, each as it was found or why it cannot be read.
    pub notes: Vec<Result<DueNote<T>>>,
    /// When the first one is due that is not yet.
    pub next_due: Option<Timestamp>,
    /// Where more may be found that are due.
    pub next: Option<P>,
}

/// Stores the pointers of objects, and notes. Both are small and are changed by
/// conditional writes.
#[async_trait]
pub trait PointerStore: Clone + fmt::Debug + Send + Sync + 'static {
    /// What a conditional write of a pointer needs: a version, an ETag.
    type Token: Clone + Send + Sync;
    /// The same of a note.
    type NoteToken: Send + Sync + 'static;
    /// Where a page of notes ended.
    type Position: Send;

    /// Whether a refused write returns the current pointer in the same round trip.
    /// A first write then assumes that there is no pointer instead of reading it.
    const REFUSAL_READS: bool;

    /// The store's time.
    fn now(&self) -> Timestamp;

    /// Fails if the store is closed and does not notice it in each of its requests.
    fn check_open(&self) -> Result<()> {
        Ok(())
    }

    /// Reads a pointer, and checks that it is of this place.
    async fn read(&self, place: &Place, extent: Extent) -> Result<Option<Stored<Self::Token>>>;

    /// Writes a pointer if the stored one is still `current`. A
    /// [blank](Pointer::is_blank) one may be removed instead.
    ///
    /// # Errors
    /// `Ambiguous` if it is unknown whether it was done.
    async fn write(
        &self,
        place: &Place,
        current: Option<&Self::Token>,
        pointer: Pointer,
        now: Timestamp,
    ) -> Result<Written<Self::Token>>;

    /// As [`BlobStore::list`](crate::BlobStore::list).
    async fn list(&self, list: &BlobList) -> Result<Page<BlobEntry>>;

    /// Writes a note under its [name](Note::name), whatever is stored there.
    async fn put_note(&self, note: &Note) -> Result<()>;

    /// Removes the note of this name if it exists.
    async fn remove_note(&self, note: &Note) -> Result<()>;

    /// Replaces a note if it is unchanged since it was found.
    ///
    /// # Errors
    /// `Conflict` if another process changed it.
    async fn replace_note(&self, found: &Self::NoteToken, note: &Note) -> Result<()>;

    /// Removes a note if it is unchanged since it was found. Of several processes
    /// one succeeds.
    ///
    /// # Errors
    /// `Conflict` for the others.
    async fn take_note(&self, found: &Self::NoteToken, note: &Note) -> Result<()>;

    /// A page of notes that are due, after `position`.
    async fn due_notes(
        &self,
        now: Timestamp,
        position: Option<Self::Position>,
    ) -> Result<DueNotes<Self::NoteToken, Self::Position>>;

    /// As [`BlobStore::close`](crate::BlobStore::close).
    async fn close(&self) -> Result<()>;
}

/// Stores content in numbered chunks under a generation, each written once.
#[async_trait]
pub trait ContentStore: Clone + fmt::Debug + Send + Sync + 'static {
    /// One write.
    type Writer: ContentWriter;

    /// How many bytes a writer is given at a time; only the last piece is shorter.
    fn piece_size(&self) -> usize;

    /// How many bytes a chunk of newly written content has: one or more pieces.
    fn chunk_size(&self) -> u64;

    /// How many pieces a reader requests before they are needed; at least one.
    fn reads_ahead(&self) -> usize;

    /// Begins to write content. Requests nothing yet.
    fn writer(&self, generation: Version) -> Self::Writer;

    /// As [`ContentStore::read`], if the store can answer without waiting.
    fn read_now(&self, content: Content, range: &Range<u64>) -> Option<Result<Option<Bytes>>> {
        let _ = (content, range);
        None
    }

    /// Reads `range` of the content, which lies within one chunk; `None` if the
    /// chunk does not exist.
    async fn read(&self, content: Content, range: Range<u64>) -> Result<Option<Bytes>>;

    /// Removes `chunks`, existing or not; `upload` is the note's
    /// [`upload`](Note::upload). May be repeated, also by several processes at the
    /// same time.
    async fn remove(
        &self,
        generation: Version,
        chunks: Range<u64>,
        upload: Option<&str>,
    ) -> Result<()>;
}

/// What a note has to cover, so that a sweep finds everything that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cover {
    /// No chunk of this number or above exists.
    pub chunks: u64,
    /// The name of a server's unfinished upload of the last chunk.
    pub upload: Option<String>,
}

/// Writes the pieces of one content, several at a time.
#[async_trait]
pub trait ContentWriter: Send + 'static {
    /// Prepares for the next piece. Returns what a note has to cover before the
    /// piece is sent, if that is more than was returned before.
    async fn prepare(&mut self, is_last: bool) -> Result<Option<Cover>>;

    /// Waits until nothing is being sent. The sink calls it before it uses the pointer
    /// store: requests that are not polled may hold all connections of a pool.
    async fn settle(&mut self) -> Result<()> {
        Ok(())
    }

    /// Sends the next piece; waits while too many are being sent.
    async fn send(&mut self, piece: Bytes, is_last: bool) -> Result<()>;

    /// Waits until every piece is stored, for good.
    ///
    /// # Errors
    /// `Superseded` if a part has expired.
    async fn finish(&mut self) -> Result<()>;

    /// How many chunks may exist.
    fn chunks(&self) -> u64;

    /// Sends no more, and waits for what was sent. Returns whether a chunk may
    /// still appear later, because a request ended without a reply.
    async fn abort(&mut self) -> Result<bool>;
}
