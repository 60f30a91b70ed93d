//! Notes of content that may have to be freed, and the sweep that frees it.
//!
//! Every step can be repeated by any process: a chunk is removed whether it
//! exists or not, and a note is removed or moved only if it is unchanged since it
//! was read. Of two sweepers that free the same content, the one that removes the
//! note counts it. Why nothing else is freed is in the [module](super).

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::blobs::{BlobRef, Content, Pointer};
use crate::body::{Format, Unknown};
use crate::clock::Timestamp;
use crate::error::{ErrorKind, Result};
use crate::record::Version;
use crate::record_store::Swept;

use super::change::{Start, Step, unpublished};
use super::in_flight::InFlight;
use super::{ContentStore, Cover, Extent, Place, PointerStore, Shared};

/// How many chunks one sweep removes at most. A note counts as one at least.
const BUDGET: u64 = 4096;

/// How many notes a sweep handles at a time.
const NOTES_IN_FLIGHT: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Reason {
    /// It is being written; abandoned unless the write renews its lease.
    Upload,
    /// It was replaced or deleted.
    Retired,
}

/// Content that may have to be freed, and when to check. The stored form is what
/// serde makes of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Note {
    format: Format<1>,
    bucket: String,
    key: String,
    generation: Version,
    reason: Reason,
    due: Timestamp,
    /// Chunks below this number are removed already.
    #[serde(default)]
    from: u64,
    /// There is no chunk of this number or above.
    to: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    upload: Option<String>,
    #[serde(flatten)]
    unknown: Unknown,
}

impl Note {
    pub(super) fn upload_of(
        place: &Place,
        generation: Version,
        due: Timestamp,
        cover: Cover,
    ) -> Self {
        Self {
            format: Format,
            bucket: place.bucket().as_str().to_owned(),
            key: place.key().to_owned(),
            generation,
            reason: Reason::Upload,
            due,
            from: 0,
            to: cover.chunks,
            upload: cover.upload,
            unknown: Unknown::new(),
        }
    }

    pub(super) fn retired(place: &Place, content: Content, due: Timestamp) -> Self {
        let cover = Cover {
            chunks: content.chunks(),
            upload: None,
        };
        Self {
            reason: Reason::Retired,
            ..Self::upload_of(place, content.generation, due, cover)
        }
    }

    /// What the note is stored under: its due time in hexadecimal, the generation
    /// and the reason. Names sort by the time.
    pub fn name(&self) -> String {
        let reason = match self.reason {
            Reason::Upload => 'u',
            Reason::Retired => 'r',
        };
        format!("{:016x}.{}.{reason}", self.due.as_nanos(), self.generation)
    }

    /// When to check.
    pub fn due(&self) -> Timestamp {
        self.due
    }

    /// The content.
    pub fn generation(&self) -> Version {
        self.generation
    }

    /// The name of a server's unfinished upload of the last chunk.
    pub fn upload(&self) -> Option<&str> {
        self.upload.as_deref()
    }
}

/// What to do about a note that is due.
enum Verdict {
    /// The content is in use for good.
    Keep,
    /// It is still being written: check again then.
    Later(Timestamp),
    /// It cannot be reached any more.
    Free,
}

impl<P: PointerStore, C: ContentStore> Shared<P, C> {
    pub(super) async fn sweep(self: &Arc<Self>) -> Result<Swept> {
        let mut swept = Swept::default();
        let mut budget = BUDGET;
        let mut unreadable = None;
        let mut position = None;
        loop {
            let page = self.pointers.due_notes(self.pointers.now(), position);
            let page = page.await?;
            swept.next_due = earlier(swept.next_due, page.next_due);
            let mut in_flight = InFlight::default();
            let mut found = page.notes.into_iter();
            loop {
                let note = (budget > 0).then(|| found.next()).flatten();
                match note {
                    Some(Ok((note, token))) => {
                        let chunks = note.to.saturating_sub(note.from).clamp(1, budget);
                        budget -= chunks;
                        let shared = Arc::clone(self);
                        in_flight.push(async move { shared.settle(note, token, chunks).await });
                        if in_flight.len() < NOTES_IN_FLIGHT {
                            continue;
                        }
                    }
                    Some(Err(error)) => in_flight.push(std::future::ready(Err(error))),
                    None => {}
                }
                match in_flight.next().await {
                    None => break,
                    Some(Ok(one)) => {
                        swept.removed += one.removed;
                        swept.next_due = earlier(swept.next_due, one.next_due);
                    }
                    // Another process handles this note.
                    Some(Err(error)) if error.is(ErrorKind::Conflict) => {}
                    // One that cannot be read must not hide the others.
                    Some(Err(error)) if error.is(ErrorKind::Corrupt) => unreadable = Some(error),
                    Some(Err(error)) => return Err(error),
                }
            }
            if budget == 0 {
                swept.more = true;
                return Ok(swept);
            }
            position = page.next;
            if position.is_none() {
                return unreadable.map_or(Ok(swept), Err);
            }
        }
    }

    /// Handles a note that is due; removes at most so many chunks.
    async fn settle(&self, note: Note, found: P::NoteToken, chunks: u64) -> Result<Swept> {
        let mut swept = Swept::default();
        let pointers = &self.pointers;
        match self.judge(&note).await? {
            Verdict::Keep => pointers.take_note(&found, &note).await?,
            Verdict::Later(due) => {
                swept.next_due = Some(due);
                let later = Note {
                    due,
                    ..note.clone()
                };
                pointers.put_note(&later).await?;
                pointers.take_note(&found, &note).await?;
            }
            Verdict::Free => {
                let to = note.to.min(note.from.saturating_add(chunks));
                let upload = note.upload().filter(|_| to == note.to);
                self.contents
                    .remove(note.generation, note.from..to, upload)
                    .await?;
                if to < note.to {
                    let rest = Note { from: to, ..note };
                    pointers.replace_note(&found, &rest).await?;
                } else {
                    pointers.take_note(&found, &note).await?;
                    swept.removed = 1;
                }
            }
        }
        Ok(swept)
    }

    async fn judge(&self, note: &Note) -> Result<Verdict> {
        let place = Place::new(BlobRef::new(&note.bucket, &note.key)?)?;
        let (generation, grace) = (note.generation, self.options.grace);
        let start = Start::Read(Extent::Head);
        let judged = self.change(&place, start, |pointer: &mut Pointer, now| {
            if pointer.is_published(generation) {
                return Ok(match note.reason {
                    Reason::Upload => Step::Keep(Verdict::Keep),
                    Reason::Retired => Step::Write(Verdict::Keep),
                });
            }
            Ok(match pointer.lease_of(generation) {
                None => Step::Keep(Verdict::Free),
                Some(until) if until > now => Step::Keep(Verdict::Later(until + grace)),
                Some(_) => {
                    pointer.end(generation);
                    Step::Write(Verdict::Free)
                }
            })
        });
        let (verdict, _) = judged.await.map_err(unpublished)?;
        Ok(verdict)
    }
}

/// The earlier of two times, where they are known.
fn earlier(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    one.into_iter().chain(other).min()
}
