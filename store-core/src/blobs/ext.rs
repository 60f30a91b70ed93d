//! Conveniences over any store of objects.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::backend::event;
use crate::error::{Error, ErrorKind, Result, Retry};
use crate::page::Items;
use crate::record_store::Swept;

use super::{
    Blob, BlobEntry, BlobList, BlobReader, BlobRef, BlobSink, BlobStat, BlobStore, BlobSweeper,
    OpenOptions, Publication, PutMode, PutOptions,
};

/// How much is read from a source at a time.
const PIECE: usize = 256 * 1024;

/// Conveniences over any [`BlobStore`].
#[async_trait]
pub trait BlobStoreExt: BlobStore {
    /// Writes an object whose content is in memory.
    ///
    /// ```
    /// # use store_memory::MemoryStore;
    /// use store_core::Store;
    /// use store_core::blobs::{BlobMetadata, BlobRef, BlobStoreExt};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> store_core::Result<()> {
    /// let store = Store::from(MemoryStore::new());
    /// let at = BlobRef::new("pages", "/index.html")?;
    /// let put = store.blobs().put(at, BlobMetadata::tagged("\"v1\""), "<p>Hello").await?;
    /// assert_eq!(put.published()?.size, 8);
    /// let (stat, bytes) = store.blobs().read(at, 1 << 20).await?.expect("just put");
    /// assert_eq!((stat.metadata.tag.as_deref(), &bytes[..]), (Some("\"v1\""), &b"<p>Hello"[..]));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// The store's own.
    async fn put(
        &self,
        at: BlobRef<'_>,
        options: impl Into<PutOptions> + Send,
        bytes: impl Into<Bytes> + Send,
    ) -> Result<Publication> {
        self.put_bytes(at, options.into(), bytes.into()).await
    }

    /// Writes an object from `source`, which is read to its end; a piece of it
    /// is in memory at a time. If it fails, nothing is published.
    ///
    /// # Errors
    /// `Unavailable`, with the source's error in it, if the source fails; the
    /// store's own.
    async fn put_from<R: AsyncRead + Unpin + Send + ?Sized>(
        &self,
        at: BlobRef<'_>,
        options: impl Into<PutOptions> + Send,
        source: &mut R,
    ) -> Result<Publication> {
        let options = options.into();
        let mut sink = self.begin(at, options).await?;
        let written = stream_from(source, &mut sink).await;
        end(sink, written).await
    }

    /// A whole object in memory, if there is one. An object of one chunk is not
    /// copied.
    ///
    /// # Errors
    /// `LimitExceeded`, before anything is read, if it is larger than `max`
    /// bytes; the store's own.
    async fn read(&self, at: BlobRef<'_>, max: u64) -> Result<Option<(BlobStat, Bytes)>> {
        let Some(Blob {
            stat, mut reader, ..
        }) = self.open(at, OpenOptions::default()).await?
        else {
            return Ok(None);
        };
        if stat.size > max {
            return Err(Error::new(
                ErrorKind::LimitExceeded,
                format!(
                    "the object is {} bytes and at most {max} were asked for; read it in pieces",
                    stat.size
                ),
            ));
        }
        let first = reader.next().await?.unwrap_or_default();
        if first.len() as u64 == stat.size {
            return Ok(Some((stat, first)));
        }
        let mut bytes = BytesMut::with_capacity(usize::try_from(stat.size).unwrap_or(0));
        bytes.extend_from_slice(&first);
        while let Some(piece) = reader.next().await? {
            bytes.extend_from_slice(&piece);
        }
        Ok(Some((stat, bytes.freeze())))
    }

    /// Writes the object at `from` to `to`, with its metadata; `None` if there
    /// is none. The content passes through this process, a piece at a time.
    ///
    /// # Errors
    /// The store's own.
    async fn copy(
        &self,
        from: BlobRef<'_>,
        to: BlobRef<'_>,
        mode: PutMode,
    ) -> Result<Option<Publication>> {
        let Some(Blob {
            stat, mut reader, ..
        }) = self.open(from, OpenOptions::default()).await?
        else {
            return Ok(None);
        };
        let options = PutOptions::from(stat.metadata)
            .mode(mode)
            .expect_size(stat.size);
        let mut sink = self.begin(to, options).await?;
        let written = stream(&mut reader, &mut sink).await;
        end(sink, written).await.map(Some)
    }

    /// The objects of this page and of all after it. See [`BlobStore::list`].
    fn list_stream(&self, list: BlobList) -> Items<'_, BlobEntry> {
        list.page_request().clone().stream(move |page| {
            let list = list.clone().page(page);
            async move { self.list(&list).await }
        })
    }

    /// Sweeps immediately and then after every `period`, in a task, until the returned
    /// value is dropped or the store is closed. A minute is a good period.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    fn sweep_every(self: Arc<Self>, period: Duration) -> BlobSweeper
    where
        Self: 'static,
    {
        BlobSweeper::start(self, period)
    }

    /// Sweeps until nothing is due. Returns how many contents were freed, and when the
    /// next one is due. See [`BlobStoreExt::sweep_every`] for doing so at intervals.
    ///
    /// # Errors
    /// The store's own. What was swept stays swept.
    async fn sweep_all(&self) -> Result<Swept> {
        let mut removed = 0;
        loop {
            let swept = self.sweep().await?;
            removed += swept.removed;
            if !swept.more {
                return Ok(Swept { removed, ..swept });
            }
        }
    }
}

impl<S: BlobStore + ?Sized> BlobStoreExt for S {}

async fn stream(reader: &mut Box<dyn BlobReader>, sink: &mut Box<dyn BlobSink>) -> Result<()> {
    while let Some(piece) = reader.next().await? {
        sink.write(piece).await?;
    }
    Ok(())
}

async fn stream_from<R: AsyncRead + Unpin + Send + ?Sized>(
    source: &mut R,
    sink: &mut Box<dyn BlobSink>,
) -> Result<()> {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(PIECE);
        let read = source.read_buf(&mut buffer).await.map_err(|error| {
            Error::new(
                ErrorKind::Unavailable,
                "the source failed before its end, so nothing was published; begin again",
            )
            .with_retry(Retry::Safe)
            .with_source(error)
        })?;
        if read == 0 {
            return Ok(());
        }
        sink.write(buffer.split().freeze()).await?;
    }
}

/// Commits if everything was written, and aborts otherwise.
pub(super) async fn end(sink: Box<dyn BlobSink>, written: Result<()>) -> Result<Publication> {
    match written {
        Ok(()) => sink.commit().await,
        Err(error) => {
            // The first error is reported; the sweep frees what is left.
            event::ignore(super::UNFREED, sink.abort().await);
            Err(error)
        }
    }
}
