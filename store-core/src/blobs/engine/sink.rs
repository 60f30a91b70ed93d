//! Writing an object: small content is buffered until it is published, larger
//! content is sent in pieces, several at a time.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use crate::backend::event;
use crate::blobs::{BlobSink, Content, ContentCheck, Publication, PutOptions, UNFREED};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result, Retry};
use crate::record::Version;

use super::change::{Start, Step, unpublished};
use super::{
    ContentStore, ContentWriter, Cover, Extent, Note, Place, PointerStore, Shared, Stored,
};

/// An open write holds no more old content than this together with its pointer.
const MAX_HELD: usize = 64 * 1024;

/// A write; dropped before its end, it is discarded by a task.
pub(super) struct Sink<P: PointerStore, C: ContentStore>(Option<Writing<P, C>>);

struct Writing<P: PointerStore, C: ContentStore> {
    shared: Arc<Shared<P, C>>,
    place: Place,
    generation: Version,
    lease_until: Timestamp,
    options: PutOptions,
    check: ContentCheck,
    /// The pointer as this write left it, so that the next change need not read it.
    left: Option<Stored<P::Token>>,
    /// At most a piece.
    buffer: Vec<u8>,
    /// How many bytes were sent before those.
    sent: u64,
    writer: C::Writer,
    /// Covers what was sent, and perhaps more.
    note: Option<Note>,
    /// An unknown part of some write is missing.
    broken: bool,
}

impl<P: PointerStore, C: ContentStore> Sink<P, C> {
    pub(super) fn new(
        shared: Arc<Shared<P, C>>,
        place: Place,
        generation: Version,
        lease_until: Timestamp,
        options: PutOptions,
        left: Option<Stored<P::Token>>,
    ) -> Self {
        let mut writing = Writing {
            writer: shared.contents.writer(generation),
            shared,
            place,
            generation,
            lease_until,
            check: options.content_check(),
            options,
            left: None,
            buffer: Vec::new(),
            sent: 0,
            note: None,
            broken: false,
        };
        writing.remember(left);
        Self(Some(writing))
    }

    fn writing(&mut self) -> Result<&mut Writing<P, C>> {
        self.0.as_mut().ok_or_else(Error::closed)
    }
}

impl<P: PointerStore, C: ContentStore> Writing<P, C> {
    fn remember(&mut self, mut left: Option<Stored<P::Token>>) {
        if let Some(stored) = &mut left
            && stored
                .pointer
                .inline()
                .is_some_and(|old| old.len() > MAX_HELD)
        {
            Arc::make_mut(&mut stored.pointer).leave_unread();
        }
        self.left = left;
    }

    /// What a change of the pointer starts from.
    fn start(&mut self) -> Start<P::Token> {
        match self.left.take() {
            Some(stored) => Start::Assume(Some(stored)),
            None => Start::Read(Extent::Head),
        }
    }

    fn check_whole(&self) -> Result<()> {
        self.shared.pointers.check_open()?;
        if self.broken {
            return Err(Error::invalid(
                "an earlier write failed or was dropped, so part of the content is missing; \
                 abort this write and begin again",
            ));
        }
        Ok(())
    }

    fn superseded() -> Error {
        Error::new(
            ErrorKind::Superseded,
            "a newer write or a delete came first, or the lease ran out; \
             abort, and begin again if it still matters",
        )
    }

    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.check_whole()?;
        self.broken = true;
        // Even an empty write shows that the writer is active.
        self.renew().await?;
        self.check.update(&bytes);
        self.fill(bytes).await?;
        self.broken = false;
        Ok(())
    }

    async fn fill(&mut self, mut bytes: Bytes) -> Result<()> {
        let size = self.shared.contents.piece_size();
        while !bytes.is_empty() {
            // A full buffer waits for more, so that the last piece is known as such.
            if self.buffer.len() == size {
                self.send(false).await?;
            }
            let piece = bytes.split_to(bytes.len().min(size - self.buffer.len()));
            // Copied, so that no larger buffer of the caller's stays in memory, and
            // grown to no more than a piece.
            let needed = self.buffer.len() + piece.len();
            if needed > self.buffer.capacity() {
                let room = match self.sent {
                    0 => needed.max(2 * self.buffer.capacity()).min(size),
                    _ => size,
                };
                self.buffer.reserve_exact(room - self.buffer.len());
            }
            self.buffer.extend_from_slice(&piece);
        }
        Ok(())
    }

    /// Sends the buffer as the next piece.
    async fn send(&mut self, is_last: bool) -> Result<()> {
        self.renew().await?;
        if let Some(cover) = self.writer.prepare(is_last).await? {
            self.cover(cover).await?;
        }
        let piece = self.take_buffer();
        self.sent += piece.len() as u64;
        self.writer.send(piece, is_last).await
    }

    fn take_buffer(&mut self) -> Bytes {
        std::mem::take(&mut self.buffer).into_boxed_slice().into()
    }

    /// Renews the lease if half of it is over. Without a lease nothing is written:
    /// the sweep may be freeing what is stored.
    async fn renew(&mut self) -> Result<()> {
        let now = self.shared.pointers.now();
        let lease = self.shared.options.lease;
        if self.lease_until <= now {
            return Err(Self::superseded());
        }
        if self.lease_until.since(now) > lease / 2 {
            return Ok(());
        }
        self.writer.settle().await?;
        let (generation, start) = (self.generation, self.start());
        let renewed = self.shared.change(&self.place, start, |pointer, now| {
            let until = now + lease;
            Ok(match pointer.renew(generation, until, now) {
                true => Step::Write(Some(until)),
                false => Step::Keep(None),
            })
        });
        let (until, left) = renewed.await.map_err(unpublished)?;
        self.remember(left);
        self.lease_until = until.ok_or_else(Self::superseded)?;
        Ok(())
    }

    /// Writes a note of what the next piece adds, before it is sent.
    async fn cover(&mut self, cover: Cover) -> Result<()> {
        self.writer.settle().await?;
        let due = self.lease_until + self.shared.options.grace;
        let note = Note::upload_of(&self.place, self.generation, due, cover);
        let pointers = &self.shared.pointers;
        pointers.put_note(&note).await?;
        match self.note.replace(note) {
            Some(earlier) if earlier.due() < due => pointers.remove_note(&earlier).await,
            _ => Ok(()),
        }
    }

    /// Sends what is left of the content and waits until all of it is stored.
    /// Small content is returned instead.
    async fn finish(&mut self) -> Result<(Content, Option<Bytes>)> {
        self.check_whole()?;
        self.check.finish()?;
        let size = self.sent + self.buffer.len() as u64;
        let content = self.shared.content(self.generation, size);
        if self.sent == 0 && self.buffer.len() <= self.shared.options.inline {
            return Ok((content, Some(self.take_buffer())));
        }
        self.broken = true;
        self.send(true).await?;
        self.writer.finish().await?;
        self.broken = false;
        Ok((content, None))
    }

    async fn publish(&mut self, content: Content, inline: Option<Bytes>) -> Result<Publication> {
        let start = self.start();
        let PutOptions { metadata, mode, .. } = &self.options;
        let published = self.shared.change(&self.place, start, |pointer, now| {
            let is_open = pointer.lease_of(content.generation).is_some();
            let answer = pointer.publish(content, metadata, *mode, now);
            if let (true, Publication::Published(_), Some(bytes)) = (is_open, &answer, &inline) {
                pointer.set_inline(bytes.clone());
            }
            Ok(match is_open {
                true => Step::Write(answer),
                false => Step::Keep(answer),
            })
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
            (Ok(Publication::Published(_)), Some(note)) => {
                self.shared.pointers.remove_note(note).await
            }
            // Nothing was sent, and the write is not open any more.
            (Ok(_), None) if self.sent == 0 && self.buffer.is_empty() => Ok(()),
            // It may be published.
            (Err(error), _) if error.retry() == Retry::Ambiguous => Ok(()),
            _ => self.discard().await,
        };
        event::ignore(UNFREED, freed);
        answer
    }

    /// Removes what was written now, instead of leaving it to the sweep.
    async fn discard(&mut self) -> Result<()> {
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
        let (discarded, _) = discarded.await.map_err(unpublished)?;
        if !discarded {
            return Ok(());
        }
        // Before chunks are removed, none may be in flight.
        let may_appear = self.writer.abort().await?;
        let Some(note) = &self.note else {
            return Ok(());
        };
        let chunks = 0..self.writer.chunks();
        self.shared
            .contents
            .remove(generation, chunks, None)
            .await?;
        match may_appear {
            // The sweep needs the note to find and remove a late chunk.
            true => Ok(()),
            false => self.shared.pointers.remove_note(note).await,
        }
    }

    /// Names the call and the object in an error.
    fn context(&self, operation: &'static str) -> impl Fn(Error) -> Error + '_ {
        move |error| error.with_operation(operation).with_key(self.place.at())
    }
}

#[async_trait]
impl<P: PointerStore, C: ContentStore> BlobSink for Sink<P, C> {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        let writing = self.writing()?;
        let written = writing.write(bytes).await;
        written.map_err(writing.context("write"))
    }

    async fn commit(mut self: Box<Self>) -> Result<Publication> {
        // Taken only when it ended: if this future is dropped, the write is.
        let writing = self.writing()?;
        let answer = writing.commit().await;
        let answer = answer.map_err(writing.context("commit"));
        self.0 = None;
        answer
    }

    async fn abort(mut self: Box<Self>) -> Result<()> {
        let writing = self.writing()?;
        let aborted = writing.discard().await;
        let aborted = aborted.map_err(writing.context("abort"));
        self.0 = None;
        aborted
    }
}

impl<P: PointerStore, C: ContentStore> Drop for Sink<P, C> {
    fn drop(&mut self) {
        if let Some(mut writing) = self.0.take() {
            let shared = Arc::clone(&writing.shared);
            shared.background.spawn(async move {
                // If this fails the sweep frees what is left.
                event::ignore(UNFREED, writing.discard().await);
            });
        }
    }
}

impl<P: PointerStore, C: ContentStore> fmt::Debug for Sink<P, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(writing) = &self.0 else {
            return f.write_str("Sink");
        };
        f.debug_struct("Sink")
            .field("at", &writing.place.at())
            .field("sent", &writing.sent)
            .field("broken", &writing.broken)
            .finish_non_exhaustive()
    }
}
