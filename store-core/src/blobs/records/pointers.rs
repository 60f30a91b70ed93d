//! Pointers and notes as records.

use std::sync::Arc;

use async_trait::async_trait;

use crate::batch::{Batch, Expect, Expectation};
use crate::blobs::engine::{DueNotes, Extent, Note, Place, PointerStore, Stored, Written};
use crate::blobs::{BLOB_RECLAIM, BLOBS, BlobEntry, BlobList, Pointer};
use crate::body::Body;
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::key::{Partition, RecordKey};
use crate::page::{Cursor, Page};
use crate::record::Record;
use crate::record_store::RecordStore;
use crate::scan::{Scan, Scope};
use crate::update;

/// Over how many partitions notes are spread; part of what is stored.
const SHARDS: u8 = 8;

/// How many notes are read at a time.
const PAGE: usize = 32;

/// A [`PointerStore`] over records: a pointer is a record whose partition is the
/// object's bucket; notes are spread over a few partitions, by generation.
#[derive(Clone, Debug)]
pub struct RecordPointers(Arc<dyn RecordStore>);

impl RecordPointers {
    pub(super) fn new(records: Arc<dyn RecordStore>) -> Self {
        Self(records)
    }

    async fn change_note(
        &self,
        note: &Note,
        expected: impl Into<Expectation<'_>>,
        body: Option<Body>,
    ) -> Result<()> {
        let number = note.generation().to_bytes()[15] % SHARDS;
        let mut batch = Batch::new(shard(number)?, self.now());
        let key = RecordKey::new(BLOB_RECLAIM, note.name())?;
        match body {
            Some(body) => batch.put(key, expected, body)?,
            None => batch.delete(key, expected)?,
        };
        self.0.commit(&batch).await.map(drop)
    }
}

fn shard(number: u8) -> Result<Partition> {
    Partition::new(format!("blobs.reclaim.{number}"))
}

/// The pointer in a record, whatever its key.
fn pointer_of(record: &Record) -> Result<Arc<Pointer>> {
    let pointer = record.decode::<Pointer>()?;
    pointer.check().map_err(|e| e.with_key(record.at()))?;
    Ok(pointer)
}

/// The pointer in the record of `place`.
fn stored(place: &Place, record: Record) -> Result<Stored<Record>> {
    let pointer = pointer_of(&record)?;
    if pointer.key() != place.key() {
        return Err(Error::corrupt("the object's record belongs to another key"));
    }
    let token = record;
    Ok(Stored { token, pointer })
}

#[async_trait]
impl PointerStore for RecordPointers {
    type Token = Record;
    type NoteToken = Record;
    /// A shard, and how far it was read.
    type Position = (u8, Option<Cursor>);

    const REFUSAL_READS: bool = true;

    fn now(&self) -> Timestamp {
        self.0.clock().now()
    }

    async fn read(&self, place: &Place, _: Extent) -> Result<Option<Stored<Record>>> {
        let record = self.0.get(place.at()).await?;
        record.map(|record| stored(place, record)).transpose()
    }

    async fn write(
        &self,
        place: &Place,
        current: Option<&Record>,
        pointer: Pointer,
        now: Timestamp,
    ) -> Result<Written<Record>> {
        let mut batch = Batch::new(place.bucket().clone(), now);
        let (key, expected) = (place.record().clone(), Expectation::from(current));
        if pointer.is_blank() {
            batch.delete(key, expected)?;
        } else {
            let expires_at = pointer.expires_at();
            batch.put_until(key, expected, Body::json(pointer)?, expires_at)?;
        }
        let stored = |record: Option<Record>| record.map(|record| stored(place, record));
        Ok(match update::swap(&*self.0, &batch).await? {
            Ok(written) => Written::Done(stored(written).transpose()?),
            Err(current) => Written::Refused {
                current: stored(current).transpose()?,
                in_doubt: None,
            },
        })
    }

    async fn list(&self, list: &BlobList) -> Result<Page<BlobEntry>> {
        let query = list.to_scan()?;
        let Scope::Partition(bucket) = query.scope() else {
            return Err(Error::invalid(
                "a list of objects must be limited to one bucket",
            ));
        };
        let scan = Scan::partition(BLOBS, bucket.clone())
            .id_prefix(list.id_prefix())
            .limit(query.page_size())?;
        let mut position: Option<Cursor> = query.position_text()?.map(str::parse).transpose()?;
        loop {
            let scan = match &position {
                Some(cursor) => scan.clone().after(cursor)?,
                None => scan.clone(),
            };
            let page = self.0.scan(&scan).await?;
            let mut items = Vec::with_capacity(page.items.len());
            for record in &page.items {
                let pointer = pointer_of(record)?;
                if let Some(stat) = pointer.stat()
                    && pointer.key().starts_with(query.prefix())
                {
                    let key = pointer.key().to_owned();
                    items.push(BlobEntry { key, stat });
                }
            }
            let Some(next) = page.next else {
                return Ok(Page::last(items));
            };
            if !items.is_empty() {
                let next = Some(query.cursor(next.to_string()));
                return Ok(Page::new(items, next));
            }
            // The page held only open writes and other prefixes: read the next.
            position = Some(next);
        }
    }

    async fn put_note(&self, note: &Note) -> Result<()> {
        let body = Body::json(note.clone())?;
        self.change_note(note, Expect::Any, Some(body)).await
    }

    async fn remove_note(&self, note: &Note) -> Result<()> {
        self.change_note(note, Expect::Any, None).await
    }

    async fn replace_note(&self, found: &Record, note: &Note) -> Result<()> {
        let body = Body::json(note.clone())?;
        self.change_note(note, found, Some(body)).await
    }

    async fn take_note(&self, found: &Record, note: &Note) -> Result<()> {
        self.change_note(note, found, None).await
    }

    async fn due_notes(
        &self,
        now: Timestamp,
        position: Option<Self::Position>,
    ) -> Result<DueNotes<Record, Self::Position>> {
        let (number, cursor) = position.unwrap_or_default();
        let mut scan = Scan::partition(BLOB_RECLAIM, shard(number)?).limit(PAGE)?;
        if let Some(cursor) = &cursor {
            scan = scan.after(cursor)?;
        }
        let page = self.0.scan(&scan).await?;
        let next_shard = (number + 1 < SHARDS).then_some((number + 1, None));
        let mut due = DueNotes {
            notes: Vec::with_capacity(page.items.len()),
            next_due: None,
            next: match page.next {
                Some(cursor) => Some((number, Some(cursor))),
                None => next_shard.clone(),
            },
        };
        for record in page.items {
            match record.decode::<Note>() {
                Ok(note) if note.due() > now => {
                    due.next_due = Some(note.due());
                    due.next = next_shard;
                    break;
                }
                Ok(note) => due.notes.push(Ok(((*note).clone(), record))),
                Err(error) => due.notes.push(Err(error.with_key(record.at()))),
            }
        }
        Ok(due)
    }

    async fn close(&self) -> Result<()> {
        self.0.close().await
    }
}
