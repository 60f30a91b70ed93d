//! For an implementer of a store of objects: the upload protocol, written once.
//!
//! An [`Engine`] is a [`BlobStore`] over a [`PointerStore`] and a
//! [`ContentStore`]. [`RecordBlobs`](super::RecordBlobs) is one over records, and
//! `store-s3` has one over objects of S3.
//!
//! - The **pointer** holds the state of an object and its content if that is
//!   small, else the content's name. Every step of a write is one
//!   compare-and-swap of the pointer, so content and metadata always belong
//!   together.
//! - **Content** is written once, in numbered chunks under a generation that no
//!   other write uses. It may be written again after a lost reply, and a reader of
//!   a generation reads those bytes or none.
//! - **Notes** name a generation and when to check it. Their names begin with the
//!   due time, so a sweep's cost depends on what is due and not on what is stored.
//!   A note is written before its content can become garbage: before the first
//!   byte of a write is sent, and before the swap that replaces or deletes content
//!   that is stored apart. It is a hint: the sweep reads the pointer before it
//!   frees anything.
//!
//! Two races are closed by making the other side's swap fail first:
//!
//! - *A write whose lease is over continues.* The sweep takes the write off the
//!   pointer before it removes the content. A commit needs its own write in the
//!   pointer and swaps it conditionally. Either the commit comes first, and the
//!   sweep finds the content published, or the commit finds that its write has
//!   ended.
//! - *The replacement of an object is slow.* The sweep meets its note while the
//!   old content is still published. If it only removed the note, the replacement
//!   would then leave content without a note. So the sweep first writes the
//!   pointer again unchanged: the replacement's swap fails, and it writes its note
//!   again.
//!
//! A chunk that is still in flight when its write is freed could leave bytes
//! behind. A sweep checks a note no sooner than the readers' grace after the lease,
//! which is longer than a request takes; and a write of which a request ended
//! without a reply leaves its note to the sweep even if it is aborted.

mod change;
mod detached;
mod in_flight;
mod reader;
mod reclaim;
mod sink;
mod stores;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::{
    Blob, BlobEntry, BlobList, BlobMetadata, BlobRef, BlobSink, BlobStat, BlobStore, Content,
    OpenOptions, Publication, PutMode, PutOptions,
};
use crate::error::{Error, ErrorKind, Result};
use crate::page::Page;
use crate::record::Version;
use crate::record_store::Swept;

use change::{Start, Step, unpublished};
pub use detached::DetachedTasks;
pub(super) use in_flight::InFlight;
use reader::Reader;
pub use reclaim::Note;
use sink::Sink;
pub use stores::{
    ContentStore, ContentWriter, Cover, DueNote, DueNotes, Extent, Place, PointerStore, Stored,
    Written,
};

/// How an engine stores objects.
#[derive(Clone, Copy, Debug)]
pub struct EngineOptions {
    /// Content of up to so many bytes is stored with the pointer.
    pub inline: usize,
    /// How long a write may be idle before it counts as abandoned.
    pub lease: Duration,
    /// How long content stays readable after it was replaced or deleted.
    pub grace: Duration,
}

/// Streamed objects over a store of pointers and a store of content. Cheap to
/// clone. See the [module](self).
#[derive(Debug)]
pub struct Engine<P: PointerStore, C: ContentStore>(Arc<Shared<P, C>>);

#[derive(Debug)]
struct Shared<P, C> {
    pointers: P,
    contents: C,
    options: EngineOptions,
    /// Frees what dropped sinks wrote.
    background: Arc<DetachedTasks>,
}

impl<P: PointerStore, C: ContentStore> Clone for Engine<P, C> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<P: PointerStore, C: ContentStore> Engine<P, C> {
    /// An engine. `background` runs what dropped sinks leave to do, and `close`
    /// waits for it.
    pub fn from_parts(
        pointers: P,
        contents: C,
        options: EngineOptions,
        background: Arc<DetachedTasks>,
    ) -> Self {
        Self(Arc::new(Shared {
            pointers,
            contents,
            options,
            background,
        }))
    }

    /// The same objects, with other options or another way to store new content.
    pub(super) fn with(self, change: impl FnOnce(&mut C, &mut EngineOptions)) -> Self {
        let (mut contents, mut options) = (self.0.contents.clone(), self.0.options);
        change(&mut contents, &mut options);
        let background = Arc::clone(&self.0.background);
        Self::from_parts(self.0.pointers.clone(), contents, options, background)
    }
}

impl<P: PointerStore, C: ContentStore> Shared<P, C> {
    fn content(&self, generation: Version, size: u64) -> Content {
        Content {
            generation,
            size,
            chunk_size: self.contents.chunk_size(),
        }
    }

    async fn begin(
        self: &Arc<Self>,
        place: Place,
        options: PutOptions,
    ) -> Result<Box<dyn BlobSink>> {
        let generation = Version::unique();
        // Whole, since small content in the pointer is written again with it.
        let start = Self::start(Extent::Whole);
        let begun = self.change(&place, start, |pointer, now| {
            let lease_until = now + self.options.lease;
            pointer.begin(generation, lease_until, now)?;
            Ok(Step::Write(lease_until))
        });
        let (lease_until, left) = begun.await.map_err(unpublished)?;
        let shared = Arc::clone(self);
        let sink = Sink::new(shared, place, generation, lease_until, options, left);
        Ok(Box::new(sink))
    }

    /// Publishes small content in one change of its pointer.
    async fn put_inline(
        &self,
        place: &Place,
        options: &PutOptions,
        bytes: &Bytes,
    ) -> Result<Publication> {
        let content = self.content(Version::unique(), bytes.len() as u64);
        let start = match options.mode {
            // The object must exist, so it is read.
            PutMode::IfUnchanged(_) => Start::Read(Extent::Head),
            PutMode::Overwrite | PutMode::CreateOnly => Self::start(Extent::Head),
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

    async fn open(self: &Arc<Self>, place: Place, options: OpenOptions) -> Result<Option<Blob>> {
        let found = self.pointers.read(&place, Extent::Whole).await?;
        let Some(pointer) = found.map(|found| found.pointer) else {
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
            ));
        }
        let range = options.range.within(stat.size);
        let inline = pointer.inline().cloned();
        let shared = Arc::clone(self);
        let reader = Reader::new(shared, place, content, inline, range.clone());
        Ok(Some(Blob {
            stat,
            range,
            reader: Box::new(reader),
        }))
    }
}

/// Names the call and the object in an error.
fn context<'a>(operation: &'static str, at: BlobRef<'a>) -> impl Fn(Error) -> Error + 'a {
    move |error: Error| {
        let error = error.with_operation(operation);
        match Place::new(at) {
            Ok(place) => error.with_key(place.at()),
            Err(_) => error,
        }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<P: PointerStore, C: ContentStore> BlobStore for Engine<P, C> {
    async fn begin(&self, at: BlobRef<'_>, options: PutOptions) -> Result<Box<dyn BlobSink>> {
        options.metadata.check()?;
        let begun = self.0.begin(Place::new(at)?, options).await;
        begun.map_err(context("begin", at))
    }

    async fn put_bytes(
        &self,
        at: BlobRef<'_>,
        options: PutOptions,
        bytes: Bytes,
    ) -> Result<Publication> {
        if bytes.len() > self.0.options.inline {
            return super::put_streamed(self, at, options, bytes).await;
        }
        options.metadata.check()?;
        let mut check = options.content_check();
        check.update(&bytes);
        check.finish()?;
        // Copied, so that no larger buffer of the caller's stays in memory.
        let bytes = Bytes::copy_from_slice(&bytes);
        let put = self.0.put_inline(&Place::new(at)?, &options, &bytes).await;
        put.map_err(context("put", at))
    }

    async fn open(&self, at: BlobRef<'_>, options: OpenOptions) -> Result<Option<Blob>> {
        let opened = self.0.open(Place::new(at)?, options).await;
        opened.map_err(context("open", at))
    }

    async fn stat(&self, at: BlobRef<'_>) -> Result<Option<BlobStat>> {
        let place = Place::new(at)?;
        let found = self.0.pointers.read(&place, Extent::Head).await;
        let found = found.map_err(context("stat", at))?;
        Ok(found.and_then(|found| found.pointer.stat()))
    }

    async fn delete(&self, at: BlobRef<'_>) -> Result<bool> {
        let place = Place::new(at)?;
        let start = Start::Read(Extent::Head);
        let deleted = self.0.change(&place, start, |pointer, now| {
            Ok(Step::Write(pointer.delete(now)))
        });
        let (existed, _) = deleted.await.map_err(context("delete", at))?;
        Ok(existed)
    }

    async fn restamp(
        &self,
        at: BlobRef<'_>,
        version: Version,
        metadata: BlobMetadata,
    ) -> Result<Publication> {
        metadata.check()?;
        let place = Place::new(at)?;
        let start = Start::Read(Extent::Whole);
        let restamped = self.0.change(&place, start, |pointer, now| {
            let answer = pointer.restamp(version, metadata.clone(), now);
            Ok(match answer {
                Publication::Published(_) => Step::Write(answer),
                _ => Step::Keep(answer),
            })
        });
        let (answer, _) = restamped.await.map_err(context("restamp", at))?;
        Ok(answer)
    }

    async fn list(&self, list: &BlobList) -> Result<Page<BlobEntry>> {
        let listed = self.0.pointers.list(list).await;
        listed.map_err(|error| error.with_operation("list"))
    }

    async fn sweep(&self) -> Result<Swept> {
        let swept = self.0.sweep().await;
        swept.map_err(|error| error.with_operation("sweep"))
    }

    async fn close(&self) -> Result<()> {
        self.0.background.finished().await;
        self.0.pointers.close().await
    }
}
