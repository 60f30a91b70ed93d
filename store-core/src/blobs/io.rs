//! Readers and sinks as tokio's `AsyncRead` and `AsyncWrite`.

use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};

use crate::backend::event;
use crate::error::{Error, Result};

use super::{Blob, BlobReader, BlobSink, Publication};

/// Small writes are gathered up to this size before the sink sees them.
const GATHER: usize = 64 * 1024;

/// A future that returns the reader or sink, with the result of its call.
type Away<T, A> = Pin<Box<dyn Future<Output = (Box<T>, Result<A>)> + Send>>;

/// A reader or sink, or the future of a call that owns it.
enum Side<T: ?Sized, A> {
    Here(Box<T>),
    Away(Away<T, A>),
    /// The call that owned it was dropped.
    Lost,
}

impl<T: ?Sized, A> Side<T, A> {
    /// Waits for the call in progress; `None` if there is none.
    fn poll_back(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<A>>> {
        let Self::Away(future) = self else {
            return Poll::Ready(None);
        };
        let (side, answer) = ready!(future.as_mut().poll(cx));
        *self = Self::Here(side);
        Poll::Ready(Some(answer))
    }

    fn take(&mut self) -> Result<Box<T>> {
        match std::mem::replace(self, Self::Lost) {
            Self::Here(side) => Ok(side),
            Self::Away(_) | Self::Lost => Err(Error::closed()),
        }
    }
}

/// A reader as tokio's [`AsyncRead`] and [`AsyncBufRead`]. An error of the store
/// is inside the [`io::Error`]: downcast its `get_ref` to
/// [`Error`](crate::Error).
///
/// ```
/// # use store_memory::MemoryStore;
/// use store_core::Store;
/// use store_core::blobs::{BlobMetadata, BlobRef, BlobStoreExt, OpenOptions};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = Store::from(MemoryStore::new());
/// let at = BlobRef::new("notes", "today")?;
/// store.blobs().put(at, BlobMetadata::default(), "bread, salt").await?.published()?;
/// let blob = store.blobs().open(at, OpenOptions::from(7..)).await?.expect("just put");
/// let mut copy = Vec::new();
/// tokio::io::copy(&mut blob.into_async_read(), &mut copy).await?;
/// assert_eq!(copy, b"salt");
/// # Ok(()) }
/// ```
pub struct AsyncBlobReader {
    side: Side<dyn BlobReader, Option<Bytes>>,
    piece: Bytes,
    ended: bool,
}

impl AsyncBlobReader {
    /// Reads what is left in `reader`.
    pub fn new(reader: Box<dyn BlobReader>) -> Self {
        Self {
            side: Side::Here(reader),
            piece: Bytes::new(),
            ended: false,
        }
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        while self.piece.is_empty() && !self.ended {
            match ready!(self.side.poll_back(cx)) {
                Some(Ok(Some(piece))) => self.piece = piece,
                Some(Ok(None)) => self.ended = true,
                Some(Err(error)) => return Poll::Ready(Err(error)),
                None => {
                    let mut reader = self.side.take()?;
                    self.side = Side::Away(Box::pin(async move {
                        let answer = reader.next().await;
                        (reader, answer)
                    }));
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl Blob {
    /// The bytes as tokio's [`AsyncRead`].
    pub fn into_async_read(self) -> AsyncBlobReader {
        AsyncBlobReader::new(self.reader)
    }
}

impl AsyncRead for AsyncBlobReader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_piece(cx)).map_err(io::Error::other)?;
        let length = self.piece.len().min(buffer.remaining());
        buffer.put_slice(&self.piece[..length]);
        self.piece.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncBufRead for AsyncBlobReader {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        ready!(this.poll_piece(cx)).map_err(io::Error::other)?;
        Poll::Ready(Ok(&this.piece))
    }

    fn consume(mut self: Pin<&mut Self>, amount: usize) {
        let amount = amount.min(self.piece.len());
        self.piece.advance(amount);
    }
}

impl fmt::Debug for AsyncBlobReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncBlobReader").finish_non_exhaustive()
    }
}

/// A sink as tokio's [`AsyncWrite`].
///
/// Neither flushing nor shutting down publishes anything: only
/// [`AsyncBlobWriter::commit`] does. So a copy that fails half-way, and then
/// shuts its writer down as copies do, leaves the old object as it is.
///
/// ```
/// # use store_memory::MemoryStore;
/// use store_core::Store;
/// use store_core::blobs::{AsyncBlobWriter, BlobRef, BlobStoreExt, PutOptions};
/// use tokio::io::AsyncWriteExt;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = Store::from(MemoryStore::new());
/// let at = BlobRef::new("notes", "today")?;
/// let sink = store.blobs().begin(at, PutOptions::default()).await?;
/// let mut writer = AsyncBlobWriter::new(sink);
/// writer.write_all(b"bread, salt").await?;
/// writer.shutdown().await?;
/// assert!(store.blobs().stat(at).await?.is_none());
/// writer.commit().await?.published()?;
/// assert!(store.blobs().stat(at).await?.is_some());
/// # Ok(()) }
/// ```
pub struct AsyncBlobWriter {
    side: Side<dyn BlobSink, ()>,
    gathered: BytesMut,
    shut_down: bool,
    /// A write failed: part of the content is missing.
    failed: bool,
}

impl AsyncBlobWriter {
    /// Writes into `sink`.
    pub fn new(sink: Box<dyn BlobSink>) -> Self {
        Self {
            side: Side::Here(sink),
            gathered: BytesMut::new(),
            shut_down: false,
            failed: false,
        }
    }

    /// Waits for the write that is under way.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let answer = ready!(self.side.poll_back(cx)).unwrap_or(Ok(()));
        self.failed |= answer.is_err();
        Poll::Ready(answer)
    }

    /// Hands the sink what was gathered.
    fn hand_over(&mut self) -> Result<()> {
        let mut sink = self.side.take()?;
        let bytes = self.gathered.split().freeze();
        self.side = Side::Away(Box::pin(async move {
            let answer = sink.write(bytes).await;
            (sink, answer)
        }));
        Ok(())
    }

    fn poll_all_written(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        loop {
            ready!(self.poll_idle(cx))?;
            if self.gathered.is_empty() {
                return Poll::Ready(Ok(()));
            }
            self.hand_over()?;
        }
    }

    /// Publishes what was written. See [`BlobSink::commit`].
    ///
    /// # Errors
    /// As [`BlobSink::commit`]; after a write that failed, its kind of error
    /// and nothing is published.
    pub async fn commit(mut self) -> Result<Publication> {
        let written = poll_fn(|cx| self.poll_all_written(cx)).await;
        let sink = self.side.take()?;
        match written {
            Ok(()) if !self.failed => sink.commit().await,
            written => {
                // What is left behind is swept later if this cannot remove it.
                event::ignore(super::UNFREED, sink.abort().await);
                written?;
                Err(Error::invalid(
                    "an earlier write failed, so part of the content is missing; begin again",
                ))
            }
        }
    }

    /// Gives up. See [`BlobSink::abort`].
    ///
    /// # Errors
    /// As [`BlobSink::abort`].
    pub async fn abort(mut self) -> Result<()> {
        // An error of the write under way changes nothing.
        let idle = poll_fn(|cx| self.poll_idle(cx)).await;
        event::ignore(
            "the write under way failed before its object was aborted",
            idle,
        );
        self.side.take()?.abort().await
    }
}

impl AsyncWrite for AsyncBlobWriter {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_idle(cx)).map_err(io::Error::other)?;
        if self.shut_down || self.failed {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let length = bytes.len().min(GATHER - self.gathered.len());
        self.gathered.extend_from_slice(&bytes[..length]);
        if self.gathered.len() == GATHER {
            self.hand_over().map_err(io::Error::other)?;
            // So that it gets on its way; its end is awaited by the next call.
            if let Poll::Ready(answer) = self.poll_idle(cx) {
                answer.map_err(io::Error::other)?;
            }
        }
        Poll::Ready(Ok(length))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_all_written(cx).map_err(io::Error::other)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shut_down = true;
        self.poll_flush(cx)
    }
}

impl fmt::Debug for AsyncBlobWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncBlobWriter")
            .field("shut_down", &self.shut_down)
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}
