//! Reading an object piece by piece, a few ahead.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::{BoxFuture, ready};
use futures_util::stream::{FuturesOrdered, StreamExt};

use crate::blobs::{BlobReader, Content};
use crate::error::{Error, ErrorKind, Result};

use super::{ContentStore, Extent, Place, PointerStore, Shared};

pub(super) struct Reader<P: PointerStore, C: ContentStore> {
    shared: Arc<Shared<P, C>>,
    place: Place,
    content: Content,
    /// The content itself, if it was stored with the pointer.
    inline: Option<Bytes>,
    /// What is left to return.
    range: Range<u64>,
    /// Where the next piece to request begins.
    ahead: u64,
    in_flight: FuturesOrdered<BoxFuture<'static, Result<Option<Bytes>>>>,
}

impl<P: PointerStore, C: ContentStore> Reader<P, C> {
    pub(super) fn new(
        shared: Arc<Shared<P, C>>,
        place: Place,
        content: Content,
        inline: Option<Bytes>,
        range: Range<u64>,
    ) -> Self {
        Self {
            shared,
            place,
            content,
            inline,
            ahead: range.start,
            range,
            in_flight: FuturesOrdered::new(),
        }
    }

    /// The piece that begins at `start`: it lies within one chunk.
    fn piece(&self, start: u64) -> Range<u64> {
        let (piece, chunk) = (
            self.shared.contents.piece_size() as u64,
            self.content.chunk_size,
        );
        let end = (start / chunk + 1).saturating_mul(chunk);
        start..end.min(start.saturating_add(piece)).min(self.range.end)
    }

    fn read_ahead(&mut self) {
        let contents = &self.shared.contents;
        while self.ahead < self.range.end && self.in_flight.len() < contents.reads_ahead() {
            let (content, range) = (self.content, self.piece(self.ahead));
            self.ahead = range.end;
            match contents.read_now(content, &range) {
                Some(answer) => self.in_flight.push_back(Box::pin(ready(answer))),
                None => {
                    let contents = contents.clone();
                    let read = async move { contents.read(content, range).await };
                    self.in_flight.push_back(Box::pin(read));
                }
            }
        }
    }

    async fn next_piece(&mut self) -> Result<Bytes> {
        self.read_ahead();
        let expected = self.piece(self.range.start);
        match self.in_flight.next().await {
            Some(Ok(Some(bytes))) if bytes.len() as u64 == expected.end - expected.start => {
                self.range.start = expected.end;
                Ok(bytes)
            }
            Some(Ok(Some(_))) => Err(Error::corrupt(
                "a piece of the object is not of the size it was written with; put the object \
                 again",
            )),
            Some(Err(error)) => Err(error),
            Some(Ok(None)) | None => Err(self.missing().await),
        }
    }

    /// The reason why content is missing.
    async fn missing(&mut self) -> Error {
        // Reads that are not polled may hold all connections of a pool.
        self.in_flight = FuturesOrdered::new();
        match self.shared.pointers.read(&self.place, Extent::Head).await {
            Err(error) => error,
            Ok(Some(found)) if found.pointer.is_published(self.content.generation) => {
                Error::corrupt("a piece of the object is missing; put the object again")
            }
            Ok(_) => Error::new(
                ErrorKind::Superseded,
                "the object was replaced or deleted while it was read, and its old content has \
                 been freed; open it again, or give readers a longer grace",
            ),
        }
    }
}

#[async_trait]
impl<P: PointerStore, C: ContentStore> BlobReader for Reader<P, C> {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        self.shared.pointers.check_open()?;
        if self.range.is_empty() {
            return Ok(None);
        }
        if let Some(bytes) = &self.inline {
            let piece = bytes.slice(self.range.start as usize..self.range.end as usize);
            self.range.start = self.range.end;
            return Ok(Some(piece));
        }
        let piece = self.next_piece().await;
        if piece.is_err() {
            // The answer is used up: the next call reads again from here.
            self.in_flight = FuturesOrdered::new();
            self.ahead = self.range.start;
        }
        let context = |error: Error| error.with_operation("read").with_key(self.place.at());
        piece.map(Some).map_err(context)
    }
}

impl<P: PointerStore, C: ContentStore> fmt::Debug for Reader<P, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("at", &self.place.at())
            .field("left", &self.range)
            .finish_non_exhaustive()
    }
}
