//! The objects of one content: one for each so many bytes, in their order.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{GetRange, MultipartUpload, ObjectStore, ObjectStoreExt, PutPayload};
use store_core::{Error, ErrorKind, Result, Retry, Version};
use tokio::task::JoinSet;

use super::Blobs;
use crate::error::{Effect, from_driver};
use crate::objects::{Bucket, Objects, path};

/// How content is sent in parts.
#[derive(Clone)]
pub(crate) enum Parts {
    /// By the ids of uploads, so that anybody can abort what another began. Such
    /// a client sends a part again by itself.
    ById(Arc<dyn MultipartStore>),
    /// As a client that was borrowed offers it.
    Borrowed(Arc<dyn ObjectStore>),
}

impl Blobs {
    /// How many bytes each object of a content has, but for the last.
    pub(super) fn object_size(&self) -> u64 {
        self.options.part_size as u64 * self.options.parts
    }

    /// Writes an object of a content at once.
    pub(super) async fn put_content(
        &self,
        generation: Version,
        index: u64,
        bytes: Bytes,
    ) -> Result<()> {
        let name = self.shared.names().content(generation, index);
        self.shared.bucket().put_once(&name, bytes).await
    }

    /// Begins to write an object of a content in parts.
    pub(super) async fn upload(&self, generation: Version, index: u64) -> Result<Upload> {
        let name = self.shared.names().content(generation, index);
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
            on_their_way: JoinSet::new(),
            there: Vec::new(),
            parts: 0,
            bytes: 0,
        })
    }

    /// Aborts an upload that another process began, under way or not.
    pub(super) async fn abort_upload(
        &self,
        generation: Version,
        index: u64,
        id: &str,
    ) -> Result<()> {
        let place = path(&self.shared.names().content(generation, index))?;
        match &self.shared.parts {
            Parts::ById(store) => abort(store, &place, id).await,
            // It has no way to.
            Parts::Borrowed(_) => Ok(()),
        }
    }

    /// Some bytes of an object of a content; `None` if it is gone.
    pub(super) async fn read_content(
        &self,
        generation: Version,
        index: u64,
        range: Range<u64>,
    ) -> Result<Option<Bytes>> {
        let name = self.shared.names().content(generation, index);
        let range = Some(GetRange::Bounded(range));
        let found = self.shared.bucket().get_range(&name, range).await?;
        Ok(found.map(|(found, _)| found.bytes))
    }

    /// Removes the first `objects` of a content, there or not.
    pub(super) async fn remove_content(&self, generation: Version, objects: u64) -> Result<()> {
        for index in 0..objects {
            let name = self.shared.names().content(generation, index);
            self.shared.bucket().delete(&name).await?;
        }
        Ok(())
    }
}

/// An object that is written in parts. It must be completed or aborted.
pub(super) struct Upload {
    bucket: Arc<Bucket>,
    name: String,
    /// `None` once it is over.
    way: Option<Way>,
    on_their_way: JoinSet<object_store::Result<Option<(usize, PartId)>>>,
    there: Vec<(usize, PartId)>,
    parts: usize,
    bytes: u64,
}

/// An upload under way.
enum Way {
    ById {
        store: Arc<dyn MultipartStore>,
        place: Path,
        id: Arc<str>,
    },
    Borrowed(Box<dyn MultipartUpload>),
}

impl Upload {
    /// What others can abort it by.
    pub(super) fn id(&self) -> Option<&str> {
        match &self.way {
            Some(Way::ById { id, .. }) => Some(id),
            Some(Way::Borrowed(_)) | None => None,
        }
    }

    /// How many parts were sent off.
    pub(super) fn parts(&self) -> u64 {
        self.parts as u64
    }

    /// Sends the next part off, once fewer than `limit` are on their way.
    pub(super) async fn push(&mut self, part: Bytes, limit: usize) -> Result<()> {
        self.fewer_than(limit).await?;
        let number = self.parts;
        self.parts += 1;
        self.bytes += part.len() as u64;
        let part = PutPayload::from(part);
        // A task each, so that parts go on while the writer does something else.
        match &mut self.way {
            None => return Err(stopped()),
            Some(Way::Borrowed(upload)) => {
                let put = upload.put_part(part);
                self.on_their_way.spawn(async { put.await.map(|()| None) });
            }
            Some(Way::ById { store, place, id }) => {
                let (store, place, id) = (Arc::clone(store), place.clone(), id.to_string());
                self.on_their_way.spawn(async move {
                    let put = store.put_part(&place, &id, number, part).await;
                    put.map(|part| Some((number, part)))
                });
            }
        }
        Ok(())
    }

    async fn fewer_than(&mut self, limit: usize) -> Result<()> {
        while self.on_their_way.len() >= limit.max(1) {
            match self.on_their_way.join_next().await {
                Some(Ok(Ok(part))) => self.there.extend(part),
                Some(Ok(Err(e))) => return Err(from_driver(e, Effect::Repeatable)),
                Some(Err(_)) | None => return Err(stopped()),
            }
        }
        Ok(())
    }

    /// Makes an object of the parts once all are there.
    pub(super) async fn complete(&mut self) -> Result<()> {
        self.fewer_than(1).await?;
        let completed = match &mut self.way {
            None => return Err(stopped()),
            Some(Way::Borrowed(upload)) => upload.complete().await,
            Some(Way::ById { store, place, id }) => {
                self.there.sort_unstable_by_key(|(number, _)| *number);
                let parts = self.there.drain(..).map(|(_, part)| part).collect();
                store
                    .complete_multipart(place, &id.to_string(), parts)
                    .await
            }
        };
        if let Err(e) = completed {
            // Sent again after a lost reply, it finds no upload.
            let size = self.bucket.size(&self.name).await;
            if !size.is_ok_and(|size| size == Some(self.bytes)) {
                return Err(from_driver(e, Effect::Repeatable));
            }
        }
        self.way = None;
        Ok(())
    }

    /// Gives up what was sent.
    pub(super) async fn abort(&mut self) -> Result<()> {
        // One that came after it would stay.
        self.on_their_way.shutdown().await;
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

/// Whether an upload is over: one that is not there any more is.
fn ended(aborted: object_store::Result<()>) -> Result<()> {
    match aborted {
        Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
        Err(e) => Err(from_driver(e, Effect::Repeatable)),
    }
}

impl Drop for Upload {
    /// Of a write whose task was stopped: what it leaves is what a process that
    /// dies leaves.
    fn drop(&mut self) {
        self.on_their_way.abort_all();
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
        "the runtime that the write ran on was stopped; begin it anew",
    )
    .with_retry(Retry::Safe)
}
