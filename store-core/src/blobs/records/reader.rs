//! Reading an object chunk by chunk, a few ahead.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use crate::blobs::name::Place;
use crate::blobs::{BlobReader, Content};
use crate::error::{Error, ErrorKind, Result};
use crate::record::Record;

use super::Shared;
use super::in_flight::InFlight;

pub(super) struct RecordReader {
    shared: Arc<Shared>,
    place: Place,
    content: Content,
    /// The content itself, if it was in the object's record.
    inline: Option<Bytes>,
    /// What is left to return.
    range: Range<u64>,
    /// The next chunk to request.
    ahead: u64,
    in_flight: InFlight<Option<Record>>,
}

impl RecordReader {
    pub(super) fn new(
        shared: Arc<Shared>,
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
            ahead: range.start / content.chunk_size,
            range,
            in_flight: InFlight::default(),
        }
    }

    fn read_ahead(&mut self) {
        let end = self.range.end.div_ceil(self.content.chunk_size);
        while self.ahead < end && self.in_flight.len() < self.shared.options.in_flight {
            let (generation, index) = (self.content.generation, self.ahead);
            match self.shared.chunk_now(generation, index) {
                Some(answer) => self.in_flight.push_done(answer),
                None => {
                    let shared = Arc::clone(&self.shared);
                    self.in_flight
                        .push(async move { shared.chunk(generation, index).await });
                }
            }
            self.ahead += 1;
        }
    }

    /// The requested part of the next chunk; nothing is copied.
    fn cut(&mut self, chunk: &Record) -> Result<Bytes> {
        let chunk_size = self.content.chunk_size;
        let start = self.range.start / chunk_size * chunk_size;
        let length = chunk_size.min(self.content.size - start);
        let bytes = chunk
            .body()
            .as_bytes()
            .filter(|bytes| bytes.len() as u64 == length)
            .ok_or_else(|| {
                Error::corrupt("a piece of the object is not of the size it was written with")
                    .with_key(chunk.at())
            })?;
        let from = self.range.start - start;
        let to = (self.range.end - start).min(length);
        self.range.start = start + to;
        Ok(bytes.slice(from as usize..to as usize))
    }

    /// The reason why a chunk is missing.
    async fn missing(&mut self) -> Error {
        match self.shared.pointer(&self.place).await {
            Err(error) => error,
            Ok(Some(pointer)) if pointer.is_published(self.content.generation) => {
                Error::corrupt("a piece of the object is missing; put the object again")
                    .with_key(self.place.at())
            }
            Ok(_) => Error::new(
                ErrorKind::Superseded,
                "the object was replaced or deleted while it was read, and its old content has \
                 been freed; open it again, or give readers a longer grace",
            )
            .with_key(self.place.at()),
        }
    }
}

#[async_trait]
impl BlobReader for RecordReader {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        if self.range.is_empty() {
            return Ok(None);
        }
        if let Some(bytes) = &self.inline {
            let piece = bytes.slice(self.range.start as usize..self.range.end as usize);
            self.range.start = self.range.end;
            return Ok(Some(piece));
        }
        self.read_ahead();
        let answer = match self.in_flight.first().await {
            Some(Ok(Some(chunk))) => match self.cut(&chunk) {
                Ok(bytes) => return Ok(Some(bytes)),
                Err(error) => Some(error),
            },
            Some(Err(error)) => Some(error),
            Some(Ok(None)) | None => None,
        };
        // The answer is used up: the next call reads again from here.
        self.in_flight = InFlight::default();
        self.ahead = self.range.start / self.content.chunk_size;
        match answer {
            Some(error) => Err(error),
            None => Err(self.missing().await),
        }
    }
}

impl fmt::Debug for RecordReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordReader")
            .field("at", &self.place.at())
            .field("left", &self.range)
            .finish_non_exhaustive()
    }
}
