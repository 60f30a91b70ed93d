//! Writing an object chunk by chunk, a few at a time.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use crate::backend::event;
use crate::blobs::name::Place;
use crate::blobs::{BlobSink, Content, ContentCheck, Publication, PutOptions};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result, Retry};
use crate::record::{Record, Version};

use super::in_flight::InFlight;
use super::reclaim::{Note, Reason};
use super::{Shared, Start, Step, unpublished};

/// How many chunks the first note covers; each later one covers [`NOTE_GROWTH`]
/// times as many, so that a long write costs few notes and the sweep of an
/// abandoned one removes few chunks that never existed.
const FIRST_NOTE: u64 = 4;
const NOTE_GROWTH: u64 = 4;

/// A write; dropped before its end, it is discarded by a task.
pub(super) struct RecordSink(Option<Writing>);

struct Writing {
    shared: Arc<Shared>,
    place: Place,
    generation: Version,
    lease_until: Timestamp,
    options: PutOptions,
    check: ContentCheck,
    /// The pointer's record as this write left it, so that the next change need
    /// not read it.
    left: Option<Record>,
    /// Less than a chunk.
    buffer: Vec<u8>,
    /// Chunks handed to the store.
    chunks: u64,
    /// Covers them, and perhaps more.
    note: Option<Note>,
    noted: u64,
    in_flight: InFlight<()>,
    /// An unknown part of some write is missing.
    broken: bool,
    /// A chunk's request ended without an answer, so the chunk may still arrive.
    late_chunk: bool,
}

impl RecordSink {
    pub(super) fn new(
        shared: Arc<Shared>,
        place: Place,
        generation: Version,
        lease_until: Timestamp,
        options: PutOptions,
        left: Option<Record>,
    ) -> Self {
        Self(Some(Writing {
            shared,
            place,
            generation,
            lease_until,
            check: options.content_check(),
            options,
            left,
            buffer: Vec::new(),
            chunks: 0,
            note: None,
            noted: 0,
            in_flight: InFlight::default(),
            broken: false,
            late_chunk: false,
        }))
    }

    fn writing(&mut self) -> Result<&mut Writing> {
        self.0.as_mut().ok_or_else(Error::closed)
    }
}

impl Writing {
    /// What a change of the pointer starts from.
    fn start(&mut self) -> Start {
        match self.left.take() {
            Some(record) => Start::Assume(Some(record)),
            None => Start::Read,
        }
    }

    /// Waits until fewer than `limit` chunks are in flight.
    async fn fewer_in_flight(&mut self, limit: usize) -> Result<()> {
        let answer = self.in_flight.fewer_than(limit).await;
        self.late_chunk |= is_ambiguous(&answer);
        answer
    }

    fn chunk_size(&self) -> usize {
        self.shared.options.chunk_size
    }

    fn check_whole(&self) -> Result<()> {
        if self.broken {
            return Err(Error::invalid(
                "an earlier write failed or was dropped, so part of the content is missing; \
                 abort this write and begin again",
            )
            .with_key(self.place.at()));
        }
        Ok(())
    }

    fn superseded(&self) -> Error {
        Error::new(
            ErrorKind::Superseded,
            "a newer write or a delete came first, or the lease ran out; \
             abort, and begin again if it still matters",
        )
        .with_key(self.place.at())
    }

    async fn fill(&mut self, mut bytes: Bytes) -> Result<()> {
        while !bytes.is_empty() {
            let room = self.chunk_size() - self.buffer.len();
            let piece = bytes.split_to(room.min(bytes.len()));
            // Copied, so that a stored chunk never keeps a larger buffer of the
            // caller's alive, and grown to no more than a chunk.
            let needed = self.buffer.len() + piece.len();
            if needed > self.buffer.capacity() {
                let target = needed
                    .max(2 * self.buffer.capacity())
                    .min(self.chunk_size());
                self.buffer.reserve_exact(target - self.buffer.len());
            }
            self.buffer.extend_from_slice(&piece);
            if self.buffer.len() == self.chunk_size() {
                self.flush().await?;
            }
        }
        Ok(())
    }

    /// Hands the buffer to the store as the next chunk.
    async fn flush(&mut self) -> Result<()> {
        if self.chunks == u64::from(u32::MAX) {
            return Err(Error::new(
                ErrorKind::LimitExceeded,
                "an object has at most four thousand million chunks; write it in larger ones",
            ));
        }
        self.renew().await?;
        self.cover().await?;
        let bytes = Bytes::from(std::mem::take(&mut self.buffer).into_boxed_slice());
        let (shared, generation, index) = (Arc::clone(&self.shared), self.generation, self.chunks);
        self.chunks += 1;
        self.in_flight
            .push(async move { shared.put_chunk(generation, index, bytes).await });
        self.fewer_in_flight(self.shared.options.in_flight).await
    }

    /// Renews the lease if half of it is over. Without a lease nothing is written:
    /// the sweep may be freeing what is stored.
    async fn renew(&mut self) -> Result<()> {
        let now = self.shared.now();
        let lease = self.shared.options.lease;
        if self.lease_until <= now {
            return Err(self.superseded());
        }
        if self.lease_until.since(now) > lease / 2 {
            return Ok(());
        }
        let (generation, start) = (self.generation, self.start());
        let renewed = self.shared.change(&self.place, start, |pointer, now| {
            let until = now + lease;
            Ok(match pointer.renew(generation, until, now) {
                true => Step::Write(Some(until)),
                false => Step::Keep(None),
            })
        });
        let (until, left) = renewed.await?;
        self.left = left;
        self.lease_until = until.ok_or_else(|| self.superseded())?;
        Ok(())
    }

    /// Writes a note if none covers the next chunk.
    async fn cover(&mut self) -> Result<()> {
        if self.chunks < self.noted {
            return Ok(());
        }
        let to = (self.noted * NOTE_GROWTH).max(FIRST_NOTE);
        let due = self.lease_until + self.shared.options.grace;
        let note = Note::new(&self.place, self.generation, Reason::Upload, due, to);
        self.shared.put_note(&note).await?;
        self.noted = to;
        match self.note.replace(note) {
            Some(earlier) if earlier.due() < due => self.shared.remove_note(&earlier).await,
            _ => Ok(()),
        }
    }

    /// Writes what is left of the content and waits until all of it is stored.
    /// Small content is returned instead.
    async fn finish(&mut self) -> Result<(Content, Option<Bytes>)> {
        self.check_whole()?;
        self.check.finish()?;
        let tail = self.buffer.len();
        let size = self.chunks as usize * self.chunk_size() + tail;
        let content = self.shared.content(self.generation, size);
        if self.chunks == 0 && tail <= self.shared.options.inline {
            let bytes = std::mem::take(&mut self.buffer).into_boxed_slice();
            return Ok((content, Some(bytes.into())));
        }
        if tail > 0 {
            self.flush().await?;
        }
        self.fewer_in_flight(1).await?;
        self.shared
            .keep_chunks(self.generation, self.chunks)
            .await?;
        Ok((content, None))
    }

    async fn publish(&mut self, content: Content, inline: Option<Bytes>) -> Result<Publication> {
        let start = self.start();
        let PutOptions { metadata, mode, .. } = &self.options;
        let published = self.shared.change(&self.place, start, |pointer, now| {
            let answer = pointer.publish(content, metadata, *mode, now);
            if let (Publication::Published(_), Some(bytes)) = (&answer, &inline) {
                pointer.set_inline(bytes.clone());
            }
            Ok(Step::Write(answer))
        });
        published.await.map(|(answer, _)| answer)
    }

    async fn commit(&mut self) -> Result<Publication> {
        let answer = match self.finish().await {
            Ok((content, inline)) => self.publish(content, inline).await,
            Err(error) if error.is(ErrorKind::Superseded) => Ok(Publication::Superseded),
            Err(error) => Err(unpublished(error)),
        };
        // If this fails the sweep frees what is left.
        let freed = match (&answer, &self.note) {
            (Ok(Publication::Published(_)), Some(note)) => self.shared.remove_note(note).await,
            (Ok(_), None) if self.chunks == 0 => Ok(()),
            // It may be published.
            (Err(error), _) if error.retry() == Retry::Ambiguous => Ok(()),
            _ => self.discard().await,
        };
        event::ignore(crate::blobs::UNFREED, freed);
        answer
    }

    /// Removes what was written now, instead of leaving it to the sweep.
    async fn discard(&mut self) -> Result<()> {
        // Before its chunks are removed, none may be on its way.
        while let Some(answer) = self.in_flight.first().await {
            self.late_chunk |= is_ambiguous(&answer);
        }
        let (generation, start) = (self.generation, self.start());
        let discarded = self.shared.change(&self.place, start, |pointer, _| {
            Ok(if pointer.is_published(generation) {
                Step::Keep(false)
            } else if pointer.end(generation) {
                Step::Write(true)
            } else {
                Step::Keep(true)
            })
        });
        let (discarded, _) = discarded.await?;
        if !discarded {
            return Ok(());
        }
        self.shared
            .remove_chunks(generation, 0..self.chunks)
            .await?;
        match &self.note {
            // A chunk that still arrives is removed by the sweep, which needs
            // the note to find it.
            Some(note) if !self.late_chunk => self.shared.remove_note(note).await,
            _ => Ok(()),
        }
    }
}

/// Whether the request may still take effect.
fn is_ambiguous<T>(answer: &Result<T>) -> bool {
    matches!(answer, Err(error) if error.retry() == Retry::Ambiguous)
}

#[async_trait]
impl BlobSink for RecordSink {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        let writing = self.writing()?;
        writing.check_whole()?;
        writing.broken = true;
        // Even an empty write shows that the writer is active.
        writing.renew().await?;
        writing.check.update(&bytes);
        writing.fill(bytes).await?;
        writing.broken = false;
        Ok(())
    }

    async fn commit(mut self: Box<Self>) -> Result<Publication> {
        // Taken only when it ended: if this future is dropped, the write is.
        let answer = self.writing()?.commit().await;
        self.0 = None;
        answer
    }

    async fn abort(mut self: Box<Self>) -> Result<()> {
        let writing = self.writing()?;
        let aborted = writing.discard().await;
        self.0 = None;
        aborted
    }
}

impl Drop for RecordSink {
    fn drop(&mut self) {
        if let Some(mut writing) = self.0.take() {
            let shared = Arc::clone(&writing.shared);
            shared.background.spawn(async move {
                // If this fails the sweep frees what is left.
                event::ignore(crate::blobs::UNFREED, writing.discard().await);
            });
        }
    }
}

impl fmt::Debug for RecordSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(writing) = &self.0 else {
            return f.write_str("RecordSink");
        };
        f.debug_struct("RecordSink")
            .field("at", &writing.place.at())
            .field("chunks", &writing.chunks)
            .field("broken", &writing.broken)
            .finish_non_exhaustive()
    }
}
