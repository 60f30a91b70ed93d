//! Reading an object: small content is there already, larger comes in pieces, a
//! few ahead.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use store_core::blobs::{BlobReader, Content};
use store_core::{Error, ErrorKind, Result, Retry};
use tokio::task::JoinHandle;

use super::{Blobs, Place, of};
use crate::error::corrupt;

pub(super) struct Reader {
    blobs: Arc<Blobs>,
    place: Place,
    content: Content,
    /// All of it, if it came with the pointer.
    inline: Option<Bytes>,
    /// What is left to hand out.
    range: Range<u64>,
    /// Where the next piece to ask for begins.
    ahead: u64,
    in_flight: VecDeque<Piece>,
}

/// A piece on its way: a task, so that it goes on while the reader does something
/// else.
struct Piece {
    length: u64,
    task: JoinHandle<Result<Option<Bytes>>>,
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Reader {
    pub(super) fn new(
        blobs: Arc<Blobs>,
        place: Place,
        content: Content,
        inline: Option<Bytes>,
        range: Range<u64>,
    ) -> Self {
        Self {
            blobs,
            place,
            content,
            inline,
            ahead: range.start,
            range,
            in_flight: VecDeque::new(),
        }
    }

    fn read_ahead(&mut self) {
        let options = &self.blobs.options;
        // The caller holds one still.
        let most = options.in_flight.saturating_sub(1).max(1);
        while self.ahead < self.range.end && self.in_flight.len() < most {
            let index = self.ahead / self.content.chunk_size;
            let object = index * self.content.chunk_size;
            let end = (self.ahead + options.part_size as u64)
                .min(object + self.content.chunk_size)
                .min(self.range.end);
            let (blobs, generation) = (Arc::clone(&self.blobs), self.content.generation);
            let range = self.ahead - object..end - object;
            let read = async move { blobs.read_content(generation, index, range).await };
            self.in_flight.push_back(Piece {
                length: end - self.ahead,
                task: tokio::spawn(read),
            });
            self.ahead = end;
        }
    }

    /// The next piece; it stays on its way if nobody waits for it any more.
    async fn piece(&mut self) -> Result<Option<Bytes>> {
        self.read_ahead();
        let Some(piece) = self.in_flight.front_mut() else {
            return Ok(None);
        };
        let answer = (&mut piece.task).await;
        let length = piece.length;
        self.in_flight.pop_front();
        let answer = answer.map_err(|_| {
            Error::new(
                ErrorKind::Unavailable,
                "the runtime that the object was read on was stopped",
            )
            .with_retry(Retry::Safe)
        });
        match answer?? {
            Some(bytes) if bytes.len() as u64 == length => Ok(Some(bytes)),
            Some(_) => Err(corrupt(
                "an object's content is shorter than it was written",
            )),
            None => Err(self.gone().await),
        }
    }

    /// Why the content is not there.
    async fn gone(&mut self) -> Error {
        match self.blobs.glance(&self.place).await {
            Err(error) => error,
            Ok(Some(known)) if known.pointer.is_published(self.content.generation) => {
                corrupt("an object's content is lost; put the object again")
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
impl BlobReader for Reader {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        self.blobs.check_open()?;
        if self.range.is_empty() {
            return Ok(None);
        }
        if let Some(bytes) = &self.inline {
            let piece = bytes.slice(self.range.start as usize..self.range.end as usize);
            self.range.start = self.range.end;
            return Ok(Some(piece));
        }
        match self.piece().await {
            Ok(Some(bytes)) => {
                self.range.start += bytes.len() as u64;
                Ok(Some(bytes))
            }
            Ok(None) => Ok(None),
            Err(error) => {
                // The answer is used up: whoever calls again asks again from here.
                self.in_flight.clear();
                self.ahead = self.range.start;
                Err(of("read", &self.place)(error))
            }
        }
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("at", &self.place.at())
            .field("left", &self.range)
            .finish_non_exhaustive()
    }
}
