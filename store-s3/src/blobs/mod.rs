//! Streamed objects, kept as objects.
//!
//! | | object |
//! |---|---|
//! | what is known of it, and up to 1 MiB of content | `blobs/=reports/=2030.2Fq1..csv` |
//! | larger content | `content/0f3c…/0` |
//! | a note to look after content | `reclaim/17f0….0f3c….u` |
//!
//! The **pointer** is changed by conditional puts alone, and everything is
//! decided in them: [`Pointer`](store_core::blobs::Pointer) has the rules. Small
//! content follows the pointer in its own object, so that publishing it is one
//! put, and opening it one get.
//!
//! **Content** is written once, under a generation that no other write uses: by
//! one put if it fits one part, else as multipart uploads of a fixed number of
//! parts each, so that no number of parts ends it. Such requests may be sent
//! again at will, and a reader of a generation reads those bytes or none.
//!
//! **Notes** say which content to look at and when. Their names begin with the
//! time, so a sweep costs what is due and not what is stored; to list all
//! content and ask for each pointer would cost a request for every object there
//! is. A note is written before its content can become garbage: before the first
//! byte of a write goes out, and before the put that replaces or deletes a large
//! object. It is a hint: the sweep asks the pointer before it frees anything.
//!
//! Two races are closed by making the other side's put fail first:
//!
//! - *A write that was taken for dead goes on.* Before its content is freed the
//!   write is taken off the pointer. A commit needs its own write there, and is
//!   made on condition of the pointer's ETag: either it comes first, and the
//!   sweep finds it published; or it finds itself gone.
//! - *Somebody who wants to replace an object is slow.* He wrote his note, and
//!   the sweep meets it while the object is still published. If it merely removed
//!   the note, his put would leave content that no note speaks of. So it first
//!   puts the pointer again as it is: his put then fails, and he decides, and
//!   notes, anew.
//!
//! A note also names the upload under way, so that the sweep can abort what a dead
//! process began.
//!
//! A part or a content's put that is still on its way when its write is freed
//! could leave bytes behind: each request ends within the driver's retries, some
//! minutes, and a note is looked at no sooner than the readers' grace after the
//! lease. A write whose content request failed leaves its note to the sweep even
//! if it is given up, for the same reason.
//!
//! A pointer stays when its object is deleted, as records do and for the same
//! reason; it is small then.

mod change;
mod content;
mod head;
mod list;
mod reader;
mod sink;
mod sweep;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use store_core::backend::event;
use store_core::blobs::{
    BLOBS, Blob, BlobEntry, BlobList, BlobMetadata, BlobRef, BlobSink, BlobStat, BlobStore,
    Content, OpenOptions, Publication, PutOptions,
};
use store_core::page::Page;
use store_core::{
    Error, ErrorKind, Partition, RecordKey, RecordRef, Result, Retry, Swept, Timestamp, Version,
};

use crate::error::BACKEND;
use crate::shared::Shared;

use change::{Start, Step};
pub(crate) use content::Parts;
use head::Inline;
use reader::Reader;
use sink::Sink;

/// The most content that rides with the pointer.
pub(crate) const MAX_INLINE: usize = 1 << 20;

/// The event of a write whose content was not freed.
const UNFREED: &str = "could not free what a write left; a later sweep will";

/// The least that S3 takes of all parts of an upload but the last.
pub(crate) const MIN_PART: usize = 5 << 20;

/// How objects are written and read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    pub(crate) inline: usize,
    pub(crate) part_size: usize,
    pub(crate) in_flight: usize,
    /// How many parts one multipart upload gets; S3 takes 10 000.
    pub(crate) parts: u64,
    pub(crate) lease: Duration,
    pub(crate) grace: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            inline: MAX_INLINE,
            part_size: MIN_PART,
            in_flight: 4,
            parts: 8192,
            lease: Duration::from_secs(3600),
            grace: Duration::from_secs(300),
        }
    }
}

/// Streamed objects in the bucket. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct S3Blobs(Arc<Blobs>);

pub(crate) struct Blobs {
    shared: Arc<Shared>,
    options: Options,
}

/// Which object, and where its pointer is.
#[derive(Clone, Debug)]
struct Place {
    bucket: Partition,
    record: RecordKey,
    key: Box<str>,
    name: String,
}

impl Place {
    fn at(&self) -> RecordRef<'_> {
        self.record.at(&self.bucket)
    }
}

impl Blobs {
    fn check_open(&self) -> Result<()> {
        self.shared.check_open()
    }

    fn now(&self) -> Timestamp {
        self.shared.now()
    }

    /// Publishes small content in one change of its pointer.
    async fn put_inline(
        &self,
        place: &Place,
        options: &PutOptions,
        bytes: Bytes,
    ) -> Result<Publication> {
        let generation = Version::unique();
        let content = Content {
            generation,
            size: bytes.len() as u64,
            chunk_size: self.object_size(),
        };
        let inline = Some((generation, bytes));
        let published = self.change(place, Start::Glance, inline, |pointer, now, unsure| {
            if pointer.is_published(generation) {
                let done = pointer.stat().map(Publication::Published);
                return Ok(done.map_or(Step::Unknown, Step::Keep));
            }
            // An earlier put of it may have been done and replaced since.
            if unsure {
                return Ok(Step::Unknown);
            }
            let PutOptions { metadata, mode, .. } = options;
            let answer = pointer.publish_at_once(content, metadata, *mode, now);
            Ok(match answer {
                Publication::Published(_) => Step::Write(answer),
                _ => Step::Keep(answer),
            })
        });
        published.await.map(|(answer, _)| answer)
    }

    fn place(&self, at: BlobRef<'_>) -> Result<Place> {
        let id = at.id();
        Ok(Place {
            bucket: Partition::new(at.bucket())?,
            name: self.shared.names().pointer(at.bucket(), &id),
            record: RecordKey::new(BLOBS, id)?,
            key: at.key().into(),
        })
    }
}

/// An error of a step before the put that alone changes what others see:
/// whatever became of that step, nothing was published or deleted.
fn unpublished(error: Error) -> Error {
    match error.retry() {
        Retry::Ambiguous => error.with_retry(Retry::Safe),
        Retry::Never | Retry::Safe => error,
    }
}

/// Says where an error came from.
fn of<'p>(operation: &'static str, place: &'p Place) -> impl Fn(Error) -> Error + 'p {
    move |error| {
        let error = error.with_backend(BACKEND).with_operation(operation);
        error.with_key(place.at())
    }
}

impl S3Blobs {
    pub(crate) fn new(shared: Arc<Shared>, options: Options) -> Self {
        Self(Arc::new(Blobs { shared, options }))
    }

    async fn open_at(&self, place: Place, options: OpenOptions) -> Result<Option<Blob>> {
        let Some(known) = self.0.look(&place).await? else {
            return Ok(None);
        };
        let (Some(stat), Some(content)) = (known.pointer.stat(), known.pointer.content()) else {
            return Ok(None);
        };
        if options
            .version
            .is_some_and(|version| version != stat.version)
        {
            return Err(Error::new(
                ErrorKind::Superseded,
                "the object was replaced since; open it without a version to read what is there now",
            ));
        }
        let range = options.range.within(stat.size);
        let inline = match known.inline {
            Inline::Here(bytes) => Some(bytes),
            Inline::Elsewhere | Inline::Unread => None,
        };
        let reader = Reader::new(Arc::clone(&self.0), place, content, inline, range.clone());
        Ok(Some(Blob {
            stat,
            range,
            reader: Box::new(reader),
        }))
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl BlobStore for S3Blobs {
    async fn begin(&self, at: BlobRef<'_>, options: PutOptions) -> Result<Box<dyn BlobSink>> {
        self.0.check_open()?;
        options.metadata.check()?;
        let place = self.0.place(at)?;
        let generation = Version::unique();
        let lease = self.0.options.lease;
        // Whole, since small content there is put again with it.
        let begun = self.0.change(&place, Start::Look, None, |pointer, now, _| {
            if let Some(until) = pointer.lease_of(generation) {
                return Ok(Step::Keep(until));
            }
            pointer.begin(generation, now + lease, now)?;
            Ok(Step::Write(now + lease))
        });
        let (lease_until, known) = begun
            .await
            .map_err(unpublished)
            .map_err(of("begin", &place))?;
        let blobs = Arc::clone(&self.0);
        let sink = Sink::new(blobs, place, generation, lease_until, options, known);
        Ok(Box::new(sink))
    }

    async fn put_bytes(
        &self,
        at: BlobRef<'_>,
        options: PutOptions,
        bytes: Bytes,
    ) -> Result<Publication> {
        self.0.check_open()?;
        if bytes.len() > self.0.options.inline {
            let mut sink = self.begin(at, options).await?;
            return match sink.write(bytes).await {
                Ok(()) => sink.commit().await,
                Err(error) => {
                    // The first error is reported; the sweep frees what is left.
                    event::ignore(UNFREED, sink.abort().await);
                    Err(error)
                }
            };
        }
        options.metadata.check()?;
        let mut check = options.content_check();
        check.update(&bytes);
        check.finish()?;
        let place = self.0.place(at)?;
        let put = self.0.put_inline(&place, &options, bytes).await;
        put.map_err(of("put", &place))
    }

    async fn open(&self, at: BlobRef<'_>, options: OpenOptions) -> Result<Option<Blob>> {
        self.0.check_open()?;
        let place = self.0.place(at)?;
        let opened = self.open_at(place.clone(), options).await;
        opened.map_err(of("open", &place))
    }

    async fn stat(&self, at: BlobRef<'_>) -> Result<Option<BlobStat>> {
        self.0.check_open()?;
        let place = self.0.place(at)?;
        let known = self.0.glance(&place).await.map_err(of("stat", &place))?;
        Ok(known.and_then(|known| known.pointer.stat()))
    }

    async fn delete(&self, at: BlobRef<'_>) -> Result<bool> {
        self.0.check_open()?;
        let place = self.0.place(at)?;
        let deleted = self
            .0
            .change(&place, Start::Glance, None, |pointer, now, unsure| {
                if unsure {
                    return Ok(Step::Unknown);
                }
                let there_was_one = pointer.delete(now);
                Ok(match there_was_one || !pointer.is_blank() {
                    true => Step::Write(there_was_one),
                    // Neither an object nor a write that could make one.
                    false => Step::Keep(false),
                })
            });
        let (there_was_one, _) = deleted.await.map_err(of("delete", &place))?;
        Ok(there_was_one)
    }

    async fn restamp(
        &self,
        at: BlobRef<'_>,
        version: Version,
        metadata: BlobMetadata,
    ) -> Result<Publication> {
        self.0.check_open()?;
        metadata.check()?;
        let place = self.0.place(at)?;
        let mut made = None;
        let restamped = self
            .0
            .change(&place, Start::Look, None, |pointer, now, unsure| {
                let current = pointer.stat();
                if let Some(stat) = current.filter(|stat| Some(stat.version) == made) {
                    return Ok(Step::Keep(Publication::Published(stat)));
                }
                let answer = pointer.restamp(version, metadata.clone(), now);
                Ok(match &answer {
                    Publication::Published(stat) => {
                        made = Some(stat.version);
                        Step::Write(answer)
                    }
                    _ if unsure => Step::Unknown,
                    _ => Step::Keep(answer),
                })
            });
        let (answer, _) = restamped.await.map_err(of("restamp", &place))?;
        Ok(answer)
    }

    async fn list(&self, list: &BlobList) -> Result<Page<BlobEntry>> {
        self.0.check_open()?;
        let of = |error: Error| error.with_backend(BACKEND).with_operation("list");
        self.0.list(list).await.map_err(of)
    }

    async fn sweep(&self) -> Result<Swept> {
        self.0.check_open()?;
        let of = |error: Error| error.with_backend(BACKEND).with_operation("sweep");
        self.0.sweep().await.map_err(of)
    }

    async fn close(&self) -> Result<()> {
        self.0.shared.close().await;
        Ok(())
    }
}

impl fmt::Debug for Blobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Blobs")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
