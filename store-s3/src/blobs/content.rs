//! Content as a sequence of objects, each of which contains one chunk.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{GetRange, MultipartUpload, ObjectStore, ObjectStoreExt, PutPayload};
use store_core::blobs::Content;
use store_core::blobs::engine::{ContentStore, ContentWriter, Cover};
use store_core::{Error, ErrorKind, Result, Retry, Version};
use tokio::task::JoinSet;

use super::Options;
use crate::error::{BACKEND, Effect, from_driver};
use crate::objects::{Bucket, Objects, path};
use crate::parallel::parallel;
use crate::shared::Shared;

/// How content is sent in parts.
#[derive(Clone)]
pub(crate) enum Parts {
    /// By upload ids, so that any process can abort an upload that another began. The
    /// client retries requests of parts itself.
    ById(Arc<dyn MultipartStore>),
    /// Through the interface of the application's own client.
    Borrowed(Arc<dyn ObjectStore>),
}

/// Content in a bucket: each chunk is one object of up to `parts` parts.
#[derive(Clone, Debug)]
pub(crate) struct S3Content {
    shared: Arc<Shared>,
    options: Options,
}

impl S3Content {
    pub(super) fn new(shared: Arc<Shared>, options: Options) -> Self {
        Self { shared, options }
    }

    fn name(&self, generation: Version, index: u64) -> String {
        self.shared.names().content(generation, index)
    }

    /// Begins to write a chunk in parts.
    async fn upload(&self, generation: Version, index: u64) -> Result<Upload> {
        let name = self.name(generation, index);
        let place = path(&name)?;
        let begun = match &self.shared.parts {
            Parts::ById(store) => store.create_multipart(&place).await.map(|id| Way::ById {
                store: Arc::clone(store),
                place,
                id: id.into(),
            }),
            Parts::Borrowed(driver) => driver.put_multipart(&place).await.map(Way::Borrowed),
        };
        Ok(Upload {
            bucket: Arc::clone(self.shared.bucket()),
            name,
            way: Some(begun.map_err(|e| from_driver(e, Effect::Repeatable))?),
            in_flight: JoinSet::new(),
            stored: Vec::new(),
            parts: 0,
            bytes: 0,
        })
    }

    /// Aborts an upload that another process began, finished or not.
    async fn abort_upload(&self, generation: Version, index: u64, id: &str) -> Result<()> {
        let place = path(&self.name(generation, index))?;
        match &self.shared.parts {
            Parts::ById(store) => abort(store, &place, id).await,
            // An application's client has no request for this.
            Parts::Borrowed(_) => Ok(()),
        }
    }
}

#[async_trait]
impl ContentStore for S3Content {
    type Writer = Writer;

    fn piece_size(&self) -> usize {
        self.options.part_size
    }

    fn chunk_size(&self) -> u64 {
        self.options.part_size as u64 * self.options.parts
    }

    fn reads_ahead(&self) -> usize {
        // The caller holds one more.
        self.options.in_flight.saturating_sub(1).max(1)
    }

    fn writer(&self, generation: Version) -> Writer {
        Writer {
            content: self.clone(),
            generation,
            chunks: 0,
            upload: None,
            failed: false,
        }
    }

    async fn read(&self, content: Content, range: Range<u64>) -> Result<Option<Bytes>> {
        let index = range.start / content.chunk_size;
        let start = index * content.chunk_size;
        let name = self.name(content.generation, index);
        let range = GetRange::Bounded(range.start - start..range.end - start);
        let bucket = Arc::clone(self.shared.bucket());
        // A task, so that the read continues while the caller uses earlier content. It is
        // aborted when the set is dropped.
        let mut task = JoinSet::new();
        task.spawn(async move { bucket.get_range(&name, Some(range)).await });
        let found = task.join_next().await;
        let found = found.and_then(Result::ok).ok_or_else(stopped)??;
        Ok(found.map(|(found, _)| found.bytes))
    }

    async fn remove(
        &self,
        generation: Version,
        chunks: Range<u64>,
        upload: Option<&str>,
    ) -> Result<()> {
        if let (Some(id), Some(last)) = (upload, chunks.end.checked_sub(1)) {
            self.abort_upload(generation, last, id).await?;
        }
        let remove = |index| -> BoxFuture<'_, Result<()>> {
            Box::pin(async move {
                let name = self.name(generation, index);
                self.shared.bucket().delete(&name).await
            })
        };
        parallel(chunks.map(remove).collect()).await.map(drop)
    }
}

/// Writes the content of one generation.
pub(crate) struct Writer {
    content: S3Content,
    generation: Version,
    /// How many chunks may exist, the unfinished one included.
    chunks: u64,
    /// The last chunk, if it is written in parts and is not finished.
    upload: Option<Upload>,
    /// Whether a request failed or its reply was not awaited, so that a chunk may still
    /// appear.
    failed: bool,
}

#[async_trait]
impl ContentWriter for Writer {
    async fn prepare(&mut self, is_last: bool) -> Result<Option<Cover>> {
        if self.upload.is_some() {
            return Ok(None);
        }
        // A chunk of one part is one put.
        if !is_last {
            let upload = self.content.upload(self.generation, self.chunks).await?;
            self.upload = Some(upload);
        }
        self.chunks += 1;
        let upload = self.upload.as_ref().and_then(Upload::id);
        Ok(Some(Cover {
            chunks: self.chunks,
            upload: upload.map(str::to_owned),
        }))
    }

    async fn send(&mut self, piece: Bytes, is_last: bool) -> Result<()> {
        self.failed = true;
        let options = self.content.options;
        match &mut self.upload {
            None => {
                let name = self.content.name(self.generation, self.chunks - 1);
                let bucket = self.content.shared.bucket();
                bucket.put_once(&name, piece).await?;
            }
            Some(upload) => {
                upload.push(piece, options.in_flight).await?;
                if is_last || upload.parts() == options.parts {
                    upload.complete().await?;
                    self.upload = None;
                }
            }
        }
        self.failed = false;
        Ok(())
    }

    async fn finish(&mut self) -> Result<()> {
        // The last piece completed the upload.
        Ok(())
    }

    fn chunks(&self) -> u64 {
        self.chunks
    }

    async fn abort(&mut self) -> Result<bool> {
        if let Some(mut upload) = self.upload.take() {
            upload.abort().await?;
        }
        Ok(self.failed)
    }
}

/// An object that is written in parts. It must be completed or aborted.
struct Upload {
    bucket: Arc<Bucket>,
    name: String,
    /// `None` once it has ended.
    way: Option<Way>,
    in_flight: JoinSet<object_store::Result<Option<(usize, PartId)>>>,
    stored: Vec<(usize, PartId)>,
    parts: usize,
    bytes: u64,
}

/// An unfinished upload.
enum Way {
    ById {
        store: Arc<dyn MultipartStore>,
        place: Path,
        id: Arc<str>,
    },
    Borrowed(Box<dyn MultipartUpload>),
}

impl Upload {
    /// The id by which another process can abort it.
    fn id(&self) -> Option<&str> {
        match &self.way {
            Some(Way::ById { id, .. }) => Some(id),
            Some(Way::Borrowed(_)) | None => None,
        }
    }

    /// How many parts were sent.
    fn parts(&self) -> u64 {
        self.parts as u64
    }

    /// Sends the next part, once fewer than `limit` are in flight.
    async fn push(&mut self, part: Bytes, limit: usize) -> Result<()> {
        self.fewer_than(limit).await?;
        let number = self.parts;
        self.parts += 1;
        self.bytes += part.len() as u64;
        let part = PutPayload::from(part);
        // One task for each part, so that parts are sent while the caller produces more
        // content.
        match &mut self.way {
            None => return Err(stopped()),
            Some(Way::Borrowed(upload)) => {
                let put = upload.put_part(part);
                self.in_flight.spawn(async { put.await.map(|()| None) });
            }
            Some(Way::ById { store, place, id }) => {
                let (store, place, id) = (Arc::clone(store), place.clone(), id.to_string());
                self.in_flight.spawn(async move {
                    let put = store.put_part(&place, &id, number, part).await;
                    put.map(|part| Some((number, part)))
                });
            }
        }
        Ok(())
    }

    async fn fewer_than(&mut self, limit: usize) -> Result<()> {
        while self.in_flight.len() >= limit.max(1) {
            match self.in_flight.join_next().await {
                Some(Ok(Ok(part))) => self.stored.extend(part),
                Some(Ok(Err(e))) => return Err(from_driver(e, Effect::Repeatable)),
                Some(Err(_)) | None => return Err(stopped()),
            }
        }
        Ok(())
    }

    /// Waits until all parts are stored, and combines them into an object.
    async fn complete(&mut self) -> Result<()> {
        self.fewer_than(1).await?;
        let completed = match &mut self.way {
            None => return Err(stopped()),
            Some(Way::Borrowed(upload)) => upload.complete().await,
            Some(Way::ById { store, place, id }) => {
                self.stored.sort_unstable_by_key(|(number, _)| *number);
                let parts = self.stored.drain(..).map(|(_, part)| part).collect();
                store
                    .complete_multipart(place, &id.to_string(), parts)
                    .await
            }
        };
        if let Err(e) = completed {
            // A repetition after a lost reply finds no upload.
            let size = self.bucket.size(&self.name).await;
            if !size.is_ok_and(|size| size == Some(self.bytes)) {
                return Err(from_driver(e, Effect::Repeatable));
            }
        }
        self.way = None;
        Ok(())
    }

    /// Removes the parts that were sent.
    async fn abort(&mut self) -> Result<()> {
        // A part that arrives after the abort would remain.
        self.in_flight.shutdown().await;
        match self.way.take() {
            Some(way) => way.abort().await,
            None => Ok(()),
        }
    }
}

impl Way {
    async fn abort(self) -> Result<()> {
        match self {
            Self::ById { store, place, id } => abort(&store, &place, &id).await,
            Self::Borrowed(mut upload) => ended(upload.abort().await),
        }
    }
}

async fn abort(store: &Arc<dyn MultipartStore>, place: &Path, id: &str) -> Result<()> {
    ended(store.abort_multipart(place, &id.to_owned()).await)
}

/// Treats an upload that does not exist as aborted.
fn ended(aborted: object_store::Result<()>) -> Result<()> {
    match aborted {
        Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
        Err(e) => Err(from_driver(e, Effect::Repeatable)),
    }
}

impl Drop for Upload {
    /// If the task of a write was stopped, its parts remain, like those of a dead
    /// process.
    fn drop(&mut self) {
        self.in_flight.abort_all();
    }
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upload")
            .field("parts", &self.parts)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ById(_) => "ById",
            Self::Borrowed(_) => "Borrowed",
        })
    }
}

fn stopped() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "the runtime shut down during the request; start the write again",
    )
    .with_retry(Retry::Safe)
    .with_backend(BACKEND)
}
