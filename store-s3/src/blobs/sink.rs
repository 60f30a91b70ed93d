//! Writing an object: small content is buffered until it is published, larger
//! content is sent in parts, a few at a time.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use store_core::backend::event;
use store_core::blobs::{BlobSink, Content, ContentCheck, Publication, PutOptions};
use store_core::{Error, ErrorKind, Result, Retry, Timestamp, Version};

use super::change::{Start, Step};
use super::content::Upload;
use super::head::{Inline, Known};
use super::sweep::{Note, Reason};
use super::{Blobs, Place, UNFREED, of, unpublished};
use crate::error::closed;

/// A write; dropped before its end, it is discarded by a task.
pub(super) struct Sink(Option<Writing>);

struct Writing {
    blobs: Arc<Blobs>,
    place: Place,
    generation: Version,
    lease_until: Timestamp,
    options: PutOptions,
    check: ContentCheck,
    /// How this write left the pointer, so that the next change need not read it.
    known: Option<Known>,
    /// At most a part.
    buffer: Vec<u8>,
    /// The bytes before those.
    sent: u64,
    /// The content's objects that are there.
    objects: u64,
    /// The next one, if some of it was sent.
    upload: Option<Upload>,
    /// Covers all of them.
    note: Option<Note>,
    /// An unknown part of some write is missing.
    broken: bool,
}

impl Sink {
    pub(super) fn new(
        blobs: Arc<Blobs>,
        place: Place,
        generation: Version,
        lease_until: Timestamp,
        options: PutOptions,
        known: Option<Known>,
    ) -> Self {
        let mut writing = Writing {
            blobs,
            place,
            generation,
            lease_until,
            check: options.content_check(),
            options,
            known: None,
            buffer: Vec::new(),
            sent: 0,
            objects: 0,
            upload: None,
            note: None,
            broken: false,
        };
        writing.remember(known);
        Self(Some(writing))
    }

    fn writing(&mut self) -> Result<&mut Writing> {
        self.0.as_mut().ok_or_else(closed)
    }
}

impl Writing {
    /// Stores how the pointer was left, without the old content that was with it.
    fn remember(&mut self, known: Option<Known>) {
        self.known = known.map(|mut known| {
            if matches!(known.inline, Inline::Here(_)) {
                known.inline = Inline::Unread;
            }
            known
        });
    }

    fn start(&mut self) -> Start {
        self.known
            .take()
            .map_or(Start::Glance, |known| Start::Known(Box::new(known)))
    }

    fn check_whole(&self) -> Result<()> {
        self.blobs.check_open()?;
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

    async fn fill(&mut self, mut bytes: Bytes) -> Result<()> {
        let part = self.blobs.options.part_size;
        while !bytes.is_empty() {
            // Only now, so that content of just one part goes out at once.
            if self.buffer.len() == part {
                self.send_part().await?;
            }
            let piece = bytes.split_to(bytes.len().min(part - self.buffer.len()));
            // Copied, so that no larger buffer of the caller's is kept alive, and
            // grown to no more than a part.
            let needed = self.buffer.len() + piece.len();
            if needed > self.buffer.capacity() {
                let room = match self.sent {
                    0 => needed.max(2 * self.buffer.capacity()).min(part),
                    _ => part,
                };
                self.buffer.reserve_exact(room - self.buffer.len());
            }
            self.buffer.extend_from_slice(&piece);
        }
        Ok(())
    }

    /// Sends the buffer off as the next part.
    async fn send_part(&mut self) -> Result<()> {
        self.renew().await?;
        let blobs = Arc::clone(&self.blobs);
        if self.upload.is_none() {
            let upload = blobs.upload(self.generation, self.objects).await?;
            self.upload = Some(upload);
            self.cover().await?;
        }
        let Some(upload) = &mut self.upload else {
            return Ok(());
        };
        let part = Bytes::from(std::mem::take(&mut self.buffer));
        self.sent += part.len() as u64;
        upload.push(part, blobs.options.in_flight).await?;
        if upload.parts() == blobs.options.parts {
            upload.complete().await?;
            self.upload = None;
            self.objects += 1;
        }
        Ok(())
    }

    /// Renews the lease if half of it is over. Without a lease nothing is written:
    /// the sweep may be freeing what is stored.
    async fn renew(&mut self) -> Result<()> {
        let now = self.blobs.now();
        let lease = self.blobs.options.lease;
        if self.lease_until <= now {
            return Err(Self::superseded());
        }
        if self.lease_until.since(now) > lease / 2 {
            return Ok(());
        }
        let generation = self.generation;
        let (blobs, start) = (Arc::clone(&self.blobs), self.start());
        let renewed = blobs.change(&self.place, start, None, |pointer, now, _| {
            let until = now + lease;
            Ok(match pointer.renew(generation, until, now) {
                true => Step::Write(Some(until)),
                false => Step::Keep(None),
            })
        });
        let (until, known) = renewed.await.map_err(unpublished)?;
        self.remember(known);
        self.lease_until = until.ok_or_else(Self::superseded)?;
        Ok(())
    }

    /// Writes a note that covers the next object, before any of it exists.
    async fn cover(&mut self) -> Result<()> {
        let due = self.lease_until + self.blobs.options.grace;
        let note = Note::new(&self.place, self.generation, Reason::Upload, due)
            .of_objects(self.objects + 1)
            .with_upload(self.upload.as_ref().and_then(Upload::id));
        self.blobs.put_note(&note).await?;
        match self.note.replace(note) {
            Some(earlier) if earlier.due() < due => self.blobs.remove_note(&earlier).await,
            _ => Ok(()),
        }
    }

    /// Sends what is left, unless it is stored with the pointer, and waits until
    /// all of it is stored.
    async fn finish(&mut self) -> Result<(Content, Option<(Version, Bytes)>)> {
        self.check_whole()?;
        self.check.finish()?;
        let content = Content {
            generation: self.generation,
            size: self.sent + self.buffer.len() as u64,
            chunk_size: self.blobs.object_size(),
        };
        if self.sent == 0 && self.buffer.len() <= self.blobs.options.inline {
            let bytes = Bytes::from(std::mem::take(&mut self.buffer));
            return Ok((content, Some((self.generation, bytes))));
        }
        self.broken = true;
        if self.upload.is_some() {
            self.send_part().await?;
        } else {
            self.renew().await?;
            self.cover().await?;
            let bytes = Bytes::from(std::mem::take(&mut self.buffer));
            let blobs = Arc::clone(&self.blobs);
            blobs
                .put_content(self.generation, self.objects, bytes)
                .await?;
            self.objects += 1;
        }
        if let Some(upload) = &mut self.upload {
            upload.complete().await?;
            self.upload = None;
            self.objects += 1;
        }
        self.broken = false;
        Ok((content, None))
    }

    async fn publish(
        &mut self,
        content: Content,
        inline: Option<(Version, Bytes)>,
    ) -> Result<Publication> {
        let (blobs, start) = (Arc::clone(&self.blobs), self.start());
        let PutOptions { metadata, mode, .. } = &self.options;
        let published = blobs.change(&self.place, start, inline, |pointer, now, unsure| {
            let generation = content.generation;
            let is_done = pointer.is_published(generation);
            let is_open = pointer.lease_of(generation).is_some();
            let answer = pointer.publish(content, metadata, *mode, now);
            Ok(match is_open {
                true => Step::Write(answer),
                false if is_done || !unsure => Step::Keep(answer),
                false => Step::Unknown,
            })
        });
        let (answer, known) = published.await?;
        self.remember(known);
        Ok(answer)
    }

    /// Removes what was written now, instead of leaving it to the sweep.
    async fn discard(&mut self) -> Result<()> {
        let generation = self.generation;
        let (blobs, start) = (Arc::clone(&self.blobs), self.start());
        let discarded = blobs.change(&self.place, start, None, |pointer, _, _| {
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
        if let Some(mut upload) = self.upload.take() {
            upload.abort().await?;
        }
        let Some(note) = &self.note else {
            return Ok(());
        };
        blobs.remove_content(generation, note.objects()).await?;
        match self.broken {
            // A failed request may still arrive: the sweep checks again.
            true => Ok(()),
            false => blobs.remove_note(note).await,
        }
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

    async fn commit(&mut self) -> Result<Publication> {
        let answer = match self.finish().await {
            Ok((content, inline)) => self.publish(content, inline).await,
            Err(error) if error.is(ErrorKind::Superseded) => Ok(Publication::Superseded),
            Err(error) => Err(unpublished(error)),
        };
        // If this fails the sweep frees what is left.
        let freed = match (&answer, &self.note) {
            (Ok(Publication::Published(_)), Some(note)) => self.blobs.remove_note(note).await,
            (Ok(Publication::Published(_)), None) => Ok(()),
            // It may be published.
            (Err(error), _) if error.retry() == Retry::Ambiguous => Ok(()),
            _ => self.discard().await,
        };
        event::ignore(UNFREED, freed);
        answer
    }
}

#[async_trait]
impl BlobSink for Sink {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        let writing = self.writing()?;
        let written = writing.write(bytes).await;
        written.map_err(of("write", &writing.place))
    }

    async fn commit(mut self: Box<Self>) -> Result<Publication> {
        // Taken only when it ended: if this future is dropped, the write is.
        let writing = self.writing()?;
        let answer = writing.commit().await;
        let answer = answer.map_err(of("commit", &writing.place));
        self.0 = None;
        answer
    }

    async fn abort(mut self: Box<Self>) -> Result<()> {
        let writing = self.writing()?;
        writing.blobs.check_open()?;
        let aborted = writing.discard().await;
        let aborted = aborted.map_err(of("abort", &writing.place));
        self.0 = None;
        aborted
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        if let Some(mut writing) = self.0.take() {
            let blobs = Arc::clone(&writing.blobs);
            blobs.shared.background.spawn(async move {
                // If this fails the sweep frees what is left.
                event::ignore(UNFREED, writing.discard().await);
            });
        }
    }
}

impl fmt::Debug for Sink {
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
