//! Notes of content that may have to be freed, and the sweep that frees it.
//!
//! Notes are spread over a few partitions and their ids begin with the due time,
//! so a sweep's cost depends on what is due and not on what is stored. Every step
//! can be repeated by any process: a chunk is removed whether it exists or not,
//! and a note is removed or moved only if it is unchanged since it was read. Of
//! two sweepers that free the same content, the one that removes the note counts
//! it.
//!
//! Two races are closed by making the other side's swap fail first. A write
//! whose lease expired is taken off the pointer before its chunks are removed, so
//! its commit does not find itself there. And a note of *retired* content whose
//! object is still published (its replacement lost, crashed, or is slow) is
//! removed only after the pointer was rewritten unchanged, so that the swap of a
//! slow replacement fails and its note is written again.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::batch::{Batch, Expect, Expectation};
use crate::blobs::name::Place;
use crate::blobs::{BLOB_RECLAIM, BlobRef, Content, Pointer};
use crate::body::{Body, Unknown};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::key::{Partition, RecordKey};
use crate::record::{Record, Version};
use crate::record_store::Swept;
use crate::scan::Scan;

use super::{Shared, Start, Step};

/// Over how many partitions notes are spread; part of what is stored.
const SHARDS: u8 = 8;

/// The stored form's number.
const FORMAT: u32 = 1;

/// How many chunks one sweep removes at most.
const BUDGET: u64 = 4096;

/// How many notes are read at a time.
const PAGE: usize = 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Reason {
    /// It is being written; abandoned unless the write renews its lease.
    Upload,
    /// It was replaced or deleted.
    Retired,
}

/// Content that may have to be freed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Note {
    format: u32,
    bucket: String,
    key: String,
    generation: Version,
    reason: Reason,
    due: Timestamp,
    /// Chunks below this number are removed already.
    from: u64,
    /// There is no chunk of this number or above.
    to: u64,
    #[serde(flatten)]
    unknown: Unknown,
}

impl Note {
    pub(super) fn new(
        place: &Place,
        generation: Version,
        reason: Reason,
        due: Timestamp,
        chunks: u64,
    ) -> Self {
        Self {
            format: FORMAT,
            bucket: place.bucket.as_str().to_owned(),
            key: place.key.to_string(),
            generation,
            reason,
            due,
            from: 0,
            to: chunks,
            unknown: Unknown::new(),
        }
    }

    pub(super) fn due(&self) -> Timestamp {
        self.due
    }

    fn partition(&self) -> Result<Partition> {
        let last = self.generation.to_bytes()[15];
        Partition::new(shard(last % SHARDS))
    }

    fn record(&self) -> Result<RecordKey> {
        let reason = match self.reason {
            Reason::Upload => 'u',
            Reason::Retired => 'r',
        };
        let due = self.due.as_nanos();
        RecordKey::new(
            BLOB_RECLAIM,
            format!("{due:016x}.{}.{reason}", self.generation),
        )
    }

    fn read(record: &Record) -> Result<Arc<Self>> {
        let note = record.decode::<Self>()?;
        if note.format != FORMAT {
            return Err(Error::corrupt(
                "a note of garbage is of a form that this release does not know",
            )
            .with_key(record.at()));
        }
        Ok(note)
    }
}

fn shard(number: u8) -> String {
    format!("blobs.reclaim.{number}")
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

impl Shared {
    /// Writes a note, or the same one again.
    pub(super) async fn put_note(&self, note: &Note) -> Result<()> {
        let mut batch = Batch::new(note.partition()?, self.now());
        batch.put(note.record()?, Expect::Any, Body::json(note.clone())?)?;
        self.records.commit(&batch).await.map(drop)
    }

    pub(super) async fn note_retired(
        &self,
        place: &Place,
        content: Content,
        now: Timestamp,
    ) -> Result<()> {
        let due = now + self.options.grace;
        let note = Note::new(
            place,
            content.generation,
            Reason::Retired,
            due,
            content.chunks(),
        );
        self.put_note(&note).await
    }

    /// Removes a note, whatever became of it.
    pub(super) async fn remove_note(&self, note: &Note) -> Result<()> {
        self.drop_note(note, Expect::Any.into()).await
    }

    async fn drop_note(&self, note: &Note, expected: Expectation) -> Result<()> {
        let mut batch = Batch::new(note.partition()?, self.now());
        batch.delete(note.record()?, expected)?;
        self.records.commit(&batch).await.map(drop)
    }

    pub(super) async fn sweep(self: &Arc<Self>) -> Result<Swept> {
        let mut swept = Swept::default();
        let mut budget = BUDGET;
        let mut unreadable = None;
        for number in 0..SHARDS {
            let scan = Scan::partition(BLOB_RECLAIM, Partition::new(shard(number))?).limit(PAGE)?;
            let mut page = self.records.scan(&scan).await?;
            'due: loop {
                for record in &page.items {
                    let note = match Note::read(record) {
                        Ok(note) => note,
                        Err(error) => {
                            // One that cannot be read must not hide the others.
                            unreadable = Some(error);
                            continue;
                        }
                    };
                    if note.due > self.now() {
                        swept.next_due = earlier(swept.next_due, note.due);
                        break 'due;
                    }
                    match self.settle(record, &note, &mut budget, &mut swept).await {
                        Ok(()) => {}
                        // Another process handles this note.
                        Err(error) if error.is(ErrorKind::Conflict) => {}
                        Err(error) if error.is(ErrorKind::Corrupt) => unreadable = Some(error),
                        Err(error) => return Err(error),
                    }
                    if budget == 0 {
                        swept.more = true;
                        return Ok(swept);
                    }
                }
                let Some(next) = &page.next else { break };
                page = self.records.scan(&scan.clone().after(next)?).await?;
            }
        }
        unreadable.map_or(Ok(swept), Err)
    }

    /// Handles a note that is due.
    async fn settle(
        self: &Arc<Self>,
        record: &Record,
        note: &Note,
        budget: &mut u64,
        swept: &mut Swept,
    ) -> Result<()> {
        match self.judge(note).await? {
            Verdict::Keep => {
                self.drop_note(note, record.into()).await?;
                Ok(())
            }
            Verdict::Later(due) => {
                swept.next_due = earlier(swept.next_due, due);
                self.put_note(&Note {
                    due,
                    ..note.clone()
                })
                .await?;
                self.drop_note(note, record.into()).await?;
                Ok(())
            }
            Verdict::Free => {
                let to = note.to.min(note.from.saturating_add(*budget));
                self.remove_chunks(note.generation, note.from..to).await?;
                *budget -= to - note.from;
                if to == note.to {
                    self.drop_note(note, record.into()).await?;
                    swept.removed += 1;
                    return Ok(());
                }
                let rest = Note {
                    from: to,
                    ..note.clone()
                };
                let mut batch = Batch::new(note.partition()?, self.now());
                batch.put(note.record()?, record, Body::json(rest)?)?;
                self.records.commit(&batch).await?;
                Ok(())
            }
        }
    }

    async fn judge(&self, note: &Note) -> Result<Verdict> {
        let place = Place::new(BlobRef::new(&note.bucket, &note.key)?)?;
        let grace = self.options.grace;
        let judged = self.change(&place, Start::Read, |pointer: &mut Pointer, now| {
            let generation = note.generation;
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
        judged.await.map(|(verdict, _)| verdict)
    }
}

/// The earlier of a time that is known and another.
fn earlier(known: Option<Timestamp>, other: Timestamp) -> Option<Timestamp> {
    Some(known.map_or(other, |known| known.min(other)))
}
