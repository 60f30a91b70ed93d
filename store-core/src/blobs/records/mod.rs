//! Streamed objects as records.
//!
//! - A **pointer** (collection [`BLOBS`], partition = bucket) holds the state of
//!   an object and its content if that is small, else the content's name. Every
//!   step of a write is one compare-and-swap of this record, so content and
//!   metadata always belong together.
//! - **Chunks** ([`BLOB_CHUNKS`]) are written once, under a generation that no
//!   other write uses, spread over [`LANES`] partitions.
//! - **Notes** ([`BLOB_RECLAIM`]) name a generation and when to check it. A note
//!   is written before its chunks can become garbage: before the first chunk of
//!   a write, and before the swap that replaces or deletes an object. It is a
//!   hint: the sweep reads the pointer before it frees anything.

mod chunks;
mod in_flight;
mod reader;
mod reclaim;
mod sink;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::backend::{MAX_ATTEMPTS, back_off, contended, event};
use crate::batch::{Batch, Expectation};
use crate::blobs::name::Place;
use crate::blobs::{
    BLOBS, Blob, BlobEntry, BlobList, BlobMetadata, BlobRef, BlobSink, BlobStat, BlobStore,
    Content, DetachedTasks, OpenOptions, Pointer, Publication, PutMode, PutOptions,
};
use crate::body::{Body, MAX_BODY};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result, Retry};
use crate::key::{Partition, RecordKey};
use crate::page::{Cursor, Page};
use crate::record::{Record, Version};
use crate::record_store::{RecordStore, Swept};
use crate::scan::{Scan, Scope};

use reader::RecordReader;
use sink::RecordSink;

/// The most content that is stored in an object's record. As Base64, with the
/// largest metadata and as many open writes as there may be, it fits a record.
const MAX_INLINE: usize = 64 * 1024;

/// Streamed objects over any record store. Cheap to clone.
///
/// Each object is cut into chunks, and at most [`RecordBlobs::in_flight`] of
/// them are held at a time by each open sink and reader. See the
/// [module](crate::blobs) for what is promised.
#[derive(Clone, Debug)]
pub struct RecordBlobs(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    records: Arc<dyn RecordStore>,
    options: Options,
    provisional: Option<Arc<dyn ProvisionalChunks>>,
    background: DetachedTasks,
}

/// Gives the chunks of a write an end, until it is published: for a server that
/// removes expired records by itself, and at less cost than a sweep.
#[async_trait]
pub trait ProvisionalChunks: Send + Sync + std::fmt::Debug {
    /// When a chunk that is written at `now` expires, unless it is kept. A write
    /// that takes longer is not published.
    fn end(&self, now: Timestamp) -> Timestamp;

    /// Lets these chunks of one partition, [`MAX_ITEMS`](crate::batch::MAX_ITEMS)
    /// at most, stay for good. Called for every chunk once all are written,
    /// before the object is published, for several partitions at a time.
    ///
    /// # Errors
    /// `Superseded` if one has expired; the store's own. Nothing is published then.
    async fn keep(&self, partition: &Partition, chunks: &[RecordKey]) -> Result<()>;
}

#[derive(Clone, Copy, Debug)]
struct Options {
    inline: usize,
    chunk_size: usize,
    in_flight: usize,
    lease: Duration,
    grace: Duration,
}

impl RecordBlobs {
    /// Streamed objects in `records`, with chunks of 256 KiB, eight of them in
    /// flight, a lease of an hour and a grace of five minutes.
    pub fn new(records: Arc<dyn RecordStore>) -> Self {
        let options = Options {
            inline: MAX_INLINE,
            chunk_size: MAX_BODY,
            in_flight: 8,
            lease: Duration::from_secs(3600),
            grace: Duration::from_secs(300),
        };
        Self::open_with(records, options, None)
    }

    fn open_with(
        records: Arc<dyn RecordStore>,
        options: Options,
        provisional: Option<Arc<dyn ProvisionalChunks>>,
    ) -> Self {
        Self(Arc::new(Shared {
            records,
            options,
            provisional,
            background: DetachedTasks::default(),
        }))
    }

    fn with(self, change: impl FnOnce(&mut Options)) -> Self {
        let mut options = self.0.options;
        change(&mut options);
        let provisional = self.0.provisional.clone();
        Self::open_with(Arc::clone(&self.0.records), options, provisional)
    }

    /// Makes chunks expire until their object is published, so that those of an
    /// abandoned write are removed without a sweep. Keeping them costs a call for
    /// each of the sixteen partitions that they are spread over, or more for
    /// 400 MiB and above. The sweep frees what is left of a write that ends
    /// between that and its publication.
    pub fn provisional(self, chunks: Arc<dyn ProvisionalChunks>) -> Self {
        Self::open_with(Arc::clone(&self.0.records), self.0.options, Some(chunks))
    }

    /// The same objects, newly written ones in chunks of `bytes`: at least 1,
    /// at most [`MAX_BODY`], which also stand for less and for more.
    pub fn chunk_size(self, bytes: usize) -> Self {
        self.with(|options| options.chunk_size = bytes.clamp(1, MAX_BODY))
    }

    /// Content of up to so many bytes is stored in the object's record: 64 KiB by
    /// default, which is the most; zero turns it off. A put, a read and a delete
    /// then cost the fewest round trips, and nothing has to be freed later. In
    /// return a list and a stat read that content too, and a bucket's publications
    /// share the throughput of one partition. Lower it for buckets that are listed
    /// often, or whose server charges by the bytes of a record.
    pub fn inline(self, bytes: usize) -> Self {
        self.with(|options| options.inline = bytes.min(MAX_INLINE))
    }

    /// How many chunks a sink or reader has under way at a time; at least one.
    pub fn in_flight(self, chunks: usize) -> Self {
        self.with(|options| options.in_flight = chunks.max(1))
    }

    /// How long a write may be idle before it counts as abandoned. An active write
    /// renews its lease.
    pub fn lease(self, lease: Duration) -> Self {
        self.with(|options| options.lease = lease)
    }

    /// How long content stays readable after it was replaced or deleted, for
    /// the readers that have it open.
    pub fn grace(self, grace: Duration) -> Self {
        self.with(|options| options.grace = grace)
    }
}

/// What a change of a pointer starts from.
enum Start {
    /// The record as it is now.
    Read,
    /// An earlier state of the record, or that there is none. It saves a read; the
    /// commit verifies it.
    Assume(Option<Record>),
}

/// What a change of a pointer decides.
enum Step<R> {
    /// Writes the pointer as it is now.
    Write(R),
    /// Leaves the record as it was.
    Keep(R),
}

impl Shared {
    fn now(&self) -> Timestamp {
        self.records.clock().now()
    }

    async fn pointer(&self, place: &Place) -> Result<Option<Arc<Pointer>>> {
        let record = self.records.get(place.at()).await?;
        record.map(|record| pointer_at(place, &record)).transpose()
    }

    /// Changes a pointer by compare-and-swap. `decide` gets the current one, or
    /// a new one, and runs again after a conflict. If the change takes published
    /// content away that is stored apart, a note is written before. Returns the
    /// record as it was left, too.
    async fn change<R: Send>(
        &self,
        place: &Place,
        start: Start,
        mut decide: impl FnMut(&mut Pointer, Timestamp) -> Result<Step<R>> + Send,
    ) -> Result<(R, Option<Record>)> {
        let (mut current, mut is_fresh) = match start {
            Start::Read => (self.read(place).await?, true),
            Start::Assume(record) => (record, false),
        };
        for attempt in 0..MAX_ATTEMPTS {
            let now = self.now();
            let mut pointer = match &current {
                Some(record) => (*pointer_at(place, record)?).clone(),
                None => Pointer::new(&place.key),
            };
            let apart = pointer.stored_apart();
            let answer = match decide(&mut pointer, now)? {
                Step::Write(answer) if current.is_some() || !pointer.is_blank() => answer,
                Step::Write(answer) | Step::Keep(answer) if is_fresh => {
                    return Ok((answer, current));
                }
                Step::Write(_) | Step::Keep(_) => {
                    (current, is_fresh) = (self.read(place).await?, true);
                    continue;
                }
            };
            if let Some(content) = apart
                && pointer.stored_apart() != apart
            {
                let noted = self.note_retired(place, content, now).await;
                noted.map_err(unpublished)?;
            }
            match self.swap(place, current.as_ref(), pointer, now).await {
                Ok(left) => return Ok((answer, left)),
                Err(error) => {
                    let conflict = error.into_conflict()?;
                    current = conflict.item(0).and_then(|item| item.current()).cloned();
                }
            }
            // A wrong assumption says nothing of contention.
            if std::mem::replace(&mut is_fresh, true) {
                back_off(attempt).await;
            }
        }
        Err(contended().with_key(place.at()))
    }

    async fn read(&self, place: &Place) -> Result<Option<Record>> {
        self.records.get(place.at()).await.map_err(unpublished)
    }

    /// Writes the pointer if the record is still `current`. The record as it is
    /// then.
    async fn swap(
        &self,
        place: &Place,
        current: Option<&Record>,
        pointer: Pointer,
        now: Timestamp,
    ) -> Result<Option<Record>> {
        let mut batch = Batch::new(place.bucket.clone(), now);
        let expected = Expectation::from(current);
        if pointer.is_blank() {
            batch.delete(place.record.clone(), expected)?;
        } else {
            let expires_at = pointer.expires_at();
            batch.put_until(
                place.record.clone(),
                expected,
                Body::json(pointer)?,
                expires_at,
            )?;
        }
        let committed = self.records.commit(&batch).await?;
        let record = batch.record(0);
        Ok(match (record, committed.token(0)) {
            (Some(record), Some(token)) => Some(record.with_token(token.clone())),
            (record, _) => record,
        })
    }

    /// Publishes small content in one change of its pointer.
    async fn put_inline(
        &self,
        place: &Place,
        options: &PutOptions,
        bytes: &Bytes,
    ) -> Result<Publication> {
        let content = self.content(Version::unique(), bytes.len());
        // An object that must be there is there, as far as its writer knows.
        let start = match options.mode {
            PutMode::IfUnchanged(_) => Start::Read,
            PutMode::Overwrite | PutMode::CreateOnly => Start::Assume(None),
        };
        let published = self.change(place, start, |pointer, now| {
            let answer = pointer.publish_at_once(content, &options.metadata, options.mode, now);
            Ok(match answer {
                Publication::Published(_) => {
                    pointer.set_inline(bytes.clone());
                    Step::Write(answer)
                }
                _ => Step::Keep(answer),
            })
        });
        published.await.map(|(answer, _)| answer)
    }

    fn content(&self, generation: Version, size: usize) -> Content {
        Content {
            generation,
            size: size as u64,
            chunk_size: self.options.chunk_size as u64,
        }
    }
}

/// The pointer in a record, whatever its key.
fn pointer_of(record: &Record) -> Result<Arc<Pointer>> {
    let pointer = record.decode::<Pointer>()?;
    pointer.check().map_err(|e| e.with_key(record.at()))?;
    Ok(pointer)
}

/// The pointer in the record of `place`.
fn pointer_at(place: &Place, record: &Record) -> Result<Arc<Pointer>> {
    let pointer = pointer_of(record)?;
    if *pointer.key() != *place.key {
        return Err(
            Error::corrupt("the object's record belongs to another key").with_key(place.at())
        );
    }
    Ok(pointer)
}

/// An error of a step before the swap that publishes or deletes: whether or not
/// that step was done, nothing was published or deleted.
fn unpublished(error: Error) -> Error {
    match error.retry() {
        Retry::Ambiguous => error.with_retry(Retry::Safe),
        Retry::Never | Retry::Safe => error,
    }
}

#[async_trait]
impl BlobStore for RecordBlobs {
    async fn begin(&self, at: BlobRef<'_>, options: PutOptions) -> Result<Box<dyn BlobSink>> {
        options.metadata.check()?;
        let place = Place::new(at)?;
        let generation = Version::unique();
        // A new object then takes one round trip, another one two.
        let begun = self.0.change(&place, Start::Assume(None), |pointer, now| {
            let lease_until = now + self.0.options.lease;
            pointer.begin(generation, lease_until, now)?;
            Ok(Step::Write(lease_until))
        });
        let (lease_until, left) = begun.await.map_err(unpublished)?;
        let shared = Arc::clone(&self.0);
        let sink = RecordSink::new(shared, place, generation, lease_until, options, left);
        Ok(Box::new(sink))
    }

    async fn put_bytes(
        &self,
        at: BlobRef<'_>,
        options: PutOptions,
        bytes: Bytes,
    ) -> Result<Publication> {
        if bytes.len() > self.0.options.inline {
            let mut sink = self.begin(at, options).await?;
            return match sink.write(bytes).await {
                Ok(()) => sink.commit().await,
                Err(error) => {
                    // The first error is reported; the sweep frees what is left.
                    event::ignore(crate::blobs::UNFREED, sink.abort().await);
                    Err(error)
                }
            };
        }
        options.metadata.check()?;
        let mut check = options.content_check();
        check.update(&bytes);
        check.finish()?;
        let place = Place::new(at)?;
        // Copied, so that no larger buffer of the caller's stays in memory.
        let bytes = Bytes::copy_from_slice(&bytes);
        self.0.put_inline(&place, &options, &bytes).await
    }

    async fn open(&self, at: BlobRef<'_>, options: OpenOptions) -> Result<Option<Blob>> {
        let place = Place::new(at)?;
        let Some(pointer) = self.0.pointer(&place).await? else {
            return Ok(None);
        };
        let (Some(stat), Some(content)) = (pointer.stat(), pointer.content()) else {
            return Ok(None);
        };
        if options
            .version
            .is_some_and(|version| version != stat.version)
        {
            return Err(Error::new(
                ErrorKind::Superseded,
                "the object was replaced since; open it without a version to read what is there now",
            )
            .with_key(place.at()));
        }
        let range = options.range.within(stat.size);
        let shared = Arc::clone(&self.0);
        let inline = pointer.inline().cloned();
        let reader = RecordReader::new(shared, place, content, inline, range.clone());
        Ok(Some(Blob {
            stat,
            range,
            reader: Box::new(reader),
        }))
    }

    async fn stat(&self, at: BlobRef<'_>) -> Result<Option<BlobStat>> {
        let pointer = self.0.pointer(&Place::new(at)?).await?;
        Ok(pointer.and_then(|pointer| pointer.stat()))
    }

    async fn delete(&self, at: BlobRef<'_>) -> Result<bool> {
        let place = Place::new(at)?;
        let deleted = self.0.change(&place, Start::Read, |pointer, now| {
            Ok(Step::Write(pointer.delete(now)))
        });
        deleted.await.map(|(there_was_one, _)| there_was_one)
    }

    async fn restamp(
        &self,
        at: BlobRef<'_>,
        version: Version,
        metadata: BlobMetadata,
    ) -> Result<Publication> {
        metadata.check()?;
        let place = Place::new(at)?;
        let restamped = self.0.change(&place, Start::Read, |pointer, now| {
            let answer = pointer.restamp(version, metadata.clone(), now);
            Ok(match answer {
                Publication::Published(_) => Step::Write(answer),
                _ => Step::Keep(answer),
            })
        });
        restamped.await.map(|(answer, _)| answer)
    }

    async fn list(&self, list: &BlobList) -> Result<Page<BlobEntry>> {
        let asked = list.to_scan()?;
        let Scope::Partition(bucket) = asked.scope() else {
            return Err(Error::invalid("a list of objects names one bucket"));
        };
        let scan = Scan::partition(BLOBS, bucket.clone())
            .id_prefix(list.id_prefix())
            .limit(asked.page_size())?;
        let mut position: Option<Cursor> = asked.position_text()?.map(str::parse).transpose()?;
        loop {
            let scan = match &position {
                Some(cursor) => scan.clone().after(cursor)?,
                None => scan.clone(),
            };
            let page = self.0.records.scan(&scan).await?;
            let mut items = Vec::with_capacity(page.items.len());
            for record in &page.items {
                let pointer = pointer_of(record)?;
                if let Some(stat) = pointer.stat()
                    && pointer.key().starts_with(asked.prefix())
                {
                    let key = pointer.key().to_owned();
                    items.push(BlobEntry { key, stat });
                }
            }
            let Some(next) = page.next else {
                return Ok(Page::last(items));
            };
            if !items.is_empty() {
                let next = Some(asked.cursor(next.to_string()));
                return Ok(Page::new(items, next));
            }
            // The page held only open writes and other prefixes: read the next.
            position = Some(next);
        }
    }

    async fn sweep(&self) -> Result<Swept> {
        self.0.sweep().await
    }

    async fn close(&self) -> Result<()> {
        self.0.background.finished().await;
        self.0.records.close().await
    }
}
