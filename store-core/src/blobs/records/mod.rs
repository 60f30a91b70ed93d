//! Streamed objects as records.
//!
//! - A **pointer** (collection [`BLOBS`], partition = bucket) holds all that is
//!   known of an object and names its content. Every step of a write is one
//!   compare-and-swap of this one record, so content and metadata are never torn.
//! - **Chunks** ([`BLOB_CHUNKS`]) are written once, under a generation that no
//!   other write uses, spread over [`LANES`] partitions.
//! - **Notes** ([`BLOB_RECLAIM`]) say which generation to look at and when. A
//!   note is written before its chunks can become garbage: before the first
//!   chunk of a write, and before the swap that replaces or deletes an object.
//!   It is a hint: the sweep asks the pointer before it frees anything.

mod chunks;
mod in_flight;
mod reader;
mod reclaim;
mod sink;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::backend::{MAX_ATTEMPTS, back_off, contended};
use crate::batch::{Batch, Expectation};
use crate::blobs::name::Place;
use crate::blobs::{
    BLOBS, Blob, BlobEntry, BlobList, BlobMetadata, BlobRef, BlobSink, BlobStat, BlobStore,
    OpenOptions, Pointer, Publication, PutOptions,
};
use crate::body::{Body, MAX_BODY};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result, Retry};
use crate::key::{Partition, RecordKey};
use crate::record::{Record, Version};
use crate::record_store::{RecordStore, Swept};
use crate::scan::{Cursor, Page, Scan, Scope};

use reader::RecordReader;
use sink::RecordSink;

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
}

/// Gives the chunks of a write an end, until it is published: for a server that
/// removes expired records by itself, and at less cost than a sweep.
#[async_trait]
pub trait ProvisionalChunks: Send + Sync + std::fmt::Debug {
    /// When a chunk that is written at `now` goes, if nobody keeps it. A write
    /// that takes longer is not published.
    fn end(&self, now: Timestamp) -> Timestamp;

    /// Lets these chunks of one partition, [`MAX_ITEMS`](crate::batch::MAX_ITEMS)
    /// at most, stay for good. Called for every chunk once all are written,
    /// before the object is published, for several partitions at a time.
    ///
    /// # Errors
    /// `Superseded` if one is gone; the store's own. Nothing is published then.
    async fn keep(&self, partition: &Partition, chunks: &[RecordKey]) -> Result<()>;
}

#[derive(Clone, Copy, Debug)]
struct Options {
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
        }))
    }

    fn with(self, change: impl FnOnce(&mut Options)) -> Self {
        let mut options = self.0.options;
        change(&mut options);
        let provisional = self.0.provisional.clone();
        Self::open_with(Arc::clone(&self.0.records), options, provisional)
    }

    /// Lets chunks expire until their object is published, so that those of an
    /// abandoned write go without a sweep. Keeping them costs a call for each of
    /// the sixteen partitions that they are spread over, or more for 400 MiB and
    /// above. What is left of a write that ends between that and its publication
    /// still waits for the sweep.
    pub fn provisional(self, chunks: Arc<dyn ProvisionalChunks>) -> Self {
        Self::open_with(Arc::clone(&self.0.records), self.0.options, Some(chunks))
    }

    /// The same objects, newly written ones in chunks of `bytes`: at least 1,
    /// at most [`MAX_BODY`], which also stand for less and for more.
    pub fn chunk_size(self, bytes: usize) -> Self {
        self.with(|options| options.chunk_size = bytes.clamp(1, MAX_BODY))
    }

    /// How many chunks a sink or reader has under way at a time; at least one.
    pub fn in_flight(self, chunks: usize) -> Self {
        self.with(|options| options.in_flight = chunks.max(1))
    }

    /// How long a write may stand still before it is taken for abandoned. A
    /// write that goes on renews its lease.
    pub fn lease(self, lease: Duration) -> Self {
        self.with(|options| options.lease = lease)
    }

    /// How long content stays readable after it was replaced or deleted, for
    /// the readers that have it open.
    pub fn grace(self, grace: Duration) -> Self {
        self.with(|options| options.grace = grace)
    }
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
    /// a new one, and may run again when someone else was faster. If the change
    /// takes away published content, a note is written before.
    async fn change<R: Send>(
        &self,
        place: &Place,
        mut decide: impl FnMut(&mut Pointer, Timestamp) -> Result<Step<R>> + Send,
    ) -> Result<R> {
        let read = self.records.get(place.at()).await;
        let mut current = read.map_err(unpublished)?;
        for attempt in 0..MAX_ATTEMPTS {
            let now = self.now();
            let mut pointer = match &current {
                Some(record) => (*pointer_at(place, record)?).clone(),
                None => Pointer::new(&place.key),
            };
            let before = pointer.content();
            let answer = match decide(&mut pointer, now)? {
                Step::Keep(answer) => return Ok(answer),
                Step::Write(answer) => answer,
            };
            if let Some(content) = before
                && before != pointer.content()
            {
                let noted = self.note_retired(place, content, now).await;
                noted.map_err(unpublished)?;
            }
            match self.swap(place, current.as_ref(), pointer, now).await {
                Ok(()) => return Ok(answer),
                Err(error) => {
                    let conflict = error.into_conflict()?;
                    current = conflict.item(0).and_then(|item| item.current()).cloned();
                }
            }
            back_off(attempt).await;
        }
        Err(contended().with_key(place.at()))
    }

    async fn swap(
        &self,
        place: &Place,
        current: Option<&Record>,
        pointer: Pointer,
        now: Timestamp,
    ) -> Result<()> {
        let mut batch = Batch::new(place.bucket.clone(), now);
        let expected = Expectation::from(current);
        if pointer.is_blank() {
            if current.is_none() {
                return Ok(());
            }
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
        self.records.commit(&batch).await.map(drop)
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

/// An error of a step before the swap, which alone changes what others see:
/// whatever became of that step, nothing was published or deleted.
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
        let lease_until = self
            .0
            .change(&place, |pointer, now| {
                let lease_until = now + self.0.options.lease;
                pointer.begin(generation, lease_until, now)?;
                Ok(Step::Write(lease_until))
            })
            .await?;
        let shared = Arc::clone(&self.0);
        Ok(Box::new(RecordSink::new(
            shared,
            place,
            generation,
            lease_until,
            options,
        )))
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
        let reader = RecordReader::new(shared, place, content, range.clone());
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
        self.0
            .change(&place, |pointer, now| Ok(Step::Write(pointer.delete(now))))
            .await
    }

    async fn restamp(
        &self,
        at: BlobRef<'_>,
        version: Version,
        metadata: BlobMetadata,
    ) -> Result<Publication> {
        metadata.check()?;
        let place = Place::new(at)?;
        self.0
            .change(&place, |pointer, now| {
                let answer = pointer.restamp(version, metadata.clone(), now);
                Ok(match answer {
                    Publication::Published(_) => Step::Write(answer),
                    _ => Step::Keep(answer),
                })
            })
            .await
    }

    async fn list(&self, list: &BlobList) -> Result<Page<BlobEntry>> {
        let asked = list.as_scan();
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
            // A page of open writes and of other prefixes alone: go on.
            position = Some(next);
        }
    }

    async fn sweep(&self) -> Result<Swept> {
        self.0.sweep().await
    }

    async fn close(&self) -> Result<()> {
        self.0.records.close().await
    }
}
