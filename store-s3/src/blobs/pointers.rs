//! Pointers and notes as small objects.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use object_store::GetRange;
use serde::{Deserialize, Serialize};
use store_core::blobs::engine::{DueNotes, Extent, Note, Place, PointerStore, Stored, Written};
use store_core::blobs::{BlobEntry, BlobList, Pointer};
use store_core::body::read_json;
use store_core::page::Page;
use store_core::scan::Scope;
use store_core::{Error, ErrorKind, Result, Timestamp};

use super::head;
use crate::error::BACKEND;
use crate::objects::{ETag, Found, Objects, Precondition, PutResult};
use crate::pages::Listing;
use crate::parallel::parallel;
use crate::protocol::{Outcome, Removal};
use crate::shared::Shared;

/// How many bytes of an object are read if only its pointer is needed. Nearly all
/// pointers are shorter.
const HEAD: u64 = 16 * 1024;

/// The size with which an entry of a list is counted, since entries are small.
const ENTRY: usize = 1024;

/// Pointers and notes in a bucket.
#[derive(Clone, Debug)]
pub(crate) struct S3Pointers(Arc<Shared>);

/// A note's object, as it was read.
pub(crate) struct FoundNote {
    name: String,
    etag: ETag,
    claimed: bool,
}

/// The content of a note's object.
#[derive(Serialize, Deserialize)]
struct NoteObject {
    /// Whether a sweep has freed the content and counted it. Not all servers have a
    /// conditional delete, so the conditional put of this flag decides which of several
    /// sweeps counts the content.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    claimed: bool,
    #[serde(flatten)]
    note: Note,
}

impl S3Pointers {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }

    pub(super) fn name(&self, place: &Place) -> String {
        let (bucket, id) = (place.bucket().as_str(), place.record().id());
        self.0.names().pointer(bucket, id)
    }

    /// The pointer in the object of that name, without its content unless that is
    /// very short, and the bucket that the object belongs to.
    async fn head(&self, name: &str) -> Result<Option<head::Decoded>> {
        let mut range = Some(GetRange::Bounded(0..HEAD));
        loop {
            let Some((found, size)) = self.0.bucket().get_range(name, range.take()).await? else {
                return Ok(None);
            };
            // The second read returns the whole object.
            if let Some(decoded) = head::decode(&found, size)? {
                return Ok(Some(decoded));
            }
        }
    }

    /// The published object whose pointer has that name, if the list includes it.
    async fn entry(&self, name: &str, bucket: &str, prefix: &str) -> Result<Option<BlobEntry>> {
        let Some(head::Decoded { of, stored }) = self.head(name).await? else {
            return Ok(None);
        };
        let key = stored.pointer.key();
        let is_included = *of == *bucket && key.starts_with(prefix);
        let stat = stored.pointer.stat().filter(|_| is_included);
        Ok(stat.map(|stat| BlobEntry {
            key: key.to_owned(),
            stat,
        }))
    }

    fn note_name(&self, note: &Note) -> String {
        self.0.names().note(&note.name())
    }

    /// Puts a note if it is unchanged since it was read.
    async fn put_unchanged(&self, found: &FoundNote, note: &Note, claimed: bool) -> Result<()> {
        let when = Precondition::Matches(ETag::clone(&found.etag));
        let object = encode(note, claimed);
        match self.0.bucket().put(&found.name, &when, object).await? {
            PutResult::Written(_) => Ok(()),
            PutResult::Refused | PutResult::Busy => Err(changed()),
        }
    }

    async fn read_note(&self, name: String) -> Result<Option<Result<(Note, FoundNote)>>> {
        let Some(Found { etag, bytes }) = self.0.bucket().get(&name).await? else {
            return Ok(None);
        };
        let object = read_json::<NoteObject>(&bytes);
        Ok(Some(match object {
            Ok(NoteObject { claimed, note }) => Ok((
                note,
                FoundNote {
                    name,
                    etag,
                    claimed,
                },
            )),
            Err(error) => Err(error.with_backend(BACKEND)),
        }))
    }
}

fn encode(note: &Note, claimed: bool) -> bytes::Bytes {
    let note = note.clone();
    let object = NoteObject { claimed, note };
    serde_json::to_vec(&object)
        .expect("the value contains only texts and numbers")
        .into()
}

fn changed() -> Error {
    let message = "another process changed the note; sweep again";
    Error::new(ErrorKind::Conflict, message).with_backend(BACKEND)
}

#[async_trait]
impl PointerStore for S3Pointers {
    type Token = ETag;
    type NoteToken = FoundNote;
    /// The last name that was listed.
    type Position = String;

    const REFUSAL_READS: bool = false;

    fn now(&self) -> Timestamp {
        self.0.now()
    }

    fn check_open(&self) -> Result<()> {
        self.0.check_open()
    }

    async fn read(&self, place: &Place, extent: Extent) -> Result<Option<Stored<ETag>>> {
        self.0.check_open()?;
        let name = self.name(place);
        match extent {
            Extent::Whole => {
                let found = self.0.bucket().get(&name).await?;
                let decode = |found| head::decode_at(place, &found);
                found.map(decode).transpose()
            }
            Extent::Head => {
                let decoded = self.head(&name).await?;
                decoded.map(|decoded| decoded.at(place)).transpose()
            }
        }
    }

    async fn write(
        &self,
        place: &Place,
        current: Option<&ETag>,
        mut pointer: Pointer,
        _: Timestamp,
    ) -> Result<Written<ETag>> {
        self.0.check_open()?;
        let object = head::encode(place, &mut pointer);
        let (name, when) = (self.name(place), Precondition::as_found(current));
        let put = self.0.protocol.put(&name, &when, &object, Removal::Never);
        Ok(match put.await? {
            Outcome::Done(token) => Written::Done(Some(Stored {
                token,
                pointer: Arc::new(pointer),
            })),
            Outcome::Refused(found, in_doubt) => {
                let current = found.map(|found| head::decode_at(place, &found));
                Written::Refused {
                    current: current.transpose()?,
                    in_doubt,
                }
            }
        })
    }

    async fn list(&self, list: &BlobList) -> Result<Page<BlobEntry>> {
        self.0.check_open()?;
        let query = list.to_scan()?;
        let Scope::Partition(bucket) = query.scope() else {
            return Err(Error::invalid(
                "a list of objects must be limited to one bucket",
            ));
        };
        let (names, bucket) = (self.0.names(), bucket.as_str());
        if list.id_prefix().contains('\0') {
            return Ok(Page::last(Vec::new()));
        }
        let listing = Listing {
            shared: &self.0,
            folder: names.pointers(bucket),
            prefix: names.pointer(bucket, list.id_prefix()),
        };
        let prefix = query.prefix();
        let read = |name: String| -> BoxFuture<'_, _> {
            Box::pin(async move {
                let entry = self.entry(&name, bucket, prefix).await?;
                Ok(entry.map(|entry| (entry, ENTRY)))
            })
        };
        let page = listing.page(query.position_text()?, query.page_size(), read);
        let found = page.await?;
        let next = found.next.map(|position| query.cursor(position));
        Ok(Page::new(found.items, next))
    }

    async fn put_note(&self, note: &Note) -> Result<()> {
        let object = encode(note, false);
        self.0
            .bucket()
            .put_once(&self.note_name(note), object)
            .await
    }

    async fn remove_note(&self, note: &Note) -> Result<()> {
        self.0.bucket().delete(&self.note_name(note)).await
    }

    async fn replace_note(&self, found: &FoundNote, note: &Note) -> Result<()> {
        self.put_unchanged(found, note, found.claimed).await
    }

    async fn take_note(&self, found: &FoundNote, note: &Note) -> Result<()> {
        if !found.claimed {
            self.put_unchanged(found, note, true).await?;
        }
        self.0.bucket().delete(&found.name).await?;
        match found.claimed {
            // Claimed by a process that ended before it removed the note.
            true => Err(changed()),
            false => Ok(()),
        }
    }

    async fn due_notes(
        &self,
        now: Timestamp,
        position: Option<String>,
    ) -> Result<DueNotes<FoundNote, String>> {
        self.0.check_open()?;
        let names = self.0.names();
        let bucket = self.0.bucket();
        let (listed, more) = bucket.list(&names.notes(), position.as_deref()).await?;
        let due_at = |name: &str| names.due_of(name).map(Timestamp::from_nanos);
        // An object without a time in its name is read too, and reported.
        let is_due = |name: &&String| due_at(name).is_none_or(|due| due <= now);
        let due: Vec<String> = listed.iter().take_while(is_due).cloned().collect();
        let next_due = listed.get(due.len()).and_then(|name| due_at(name));
        let next = due.last().filter(|_| more && due.len() == listed.len());
        let next = next.cloned();
        let read = |name| -> BoxFuture<'_, _> { Box::pin(self.read_note(name)) };
        let notes = parallel(due.into_iter().map(read).collect()).await?;
        Ok(DueNotes {
            notes: notes.into_iter().flatten().collect(),
            next_due,
            next,
        })
    }

    async fn close(&self) -> Result<()> {
        self.0.close().await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// Notes as release 0.1 stores them, which every later release must read.
    #[test]
    fn the_stored_forms_of_a_note_are_read() {
        for claimed in [false, true] {
            let mut form = json!({
                "format": 1,
                "bucket": "reports",
                "key": "2030/q1.csv",
                "generation": "00000000000000000000000000000b07",
                "reason": "retired",
                "due": "2030-01-01T00:05:00.000000000Z",
                "from": 0,
                "to": 3,
            });
            if claimed {
                form["claimed"] = true.into();
            }
            let read: NoteObject = read_json(form.to_string().as_bytes()).expect("a stored form");
            assert_eq!(read.claimed, claimed);
            let written = encode(&read.note, claimed);
            let written: Value = serde_json::from_slice(&written).expect("just written");
            assert_eq!(written, form);
        }
    }
}
