//! Notes of content that may have to be freed, and the sweep that frees it. Why
//! it frees nothing else is in [the folder's documentation](super).

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use store_core::blobs::BlobRef;
use store_core::{ErrorKind, Result, Swept, Timestamp, Version};

use super::change::{Start, Step};
use super::{Blobs, Place, unpublished};
use crate::error::corrupt;
use crate::objects::{ETag, Objects, Put, When};
use crate::together::together;
use crate::wire::FORMAT;

/// How many notes one sweep looks at, at most.
const BUDGET: usize = 1000;

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
    store: u32,
    bucket: String,
    key: String,
    generation: Version,
    reason: Reason,
    due: Timestamp,
    /// It has no more objects than that.
    objects: u64,
    /// A sweep has begun to free the content, and counted it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    claimed: bool,
    /// The last of them is perhaps still an upload, of this id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    upload: Option<String>,
}

impl Note {
    pub(super) fn new(place: &Place, generation: Version, reason: Reason, due: Timestamp) -> Self {
        Self {
            store: FORMAT,
            bucket: place.bucket.as_str().into(),
            key: place.key.to_string(),
            generation,
            reason,
            due,
            objects: 1,
            claimed: false,
            upload: None,
        }
    }

    pub(super) fn of_objects(self, objects: u64) -> Self {
        Self { objects, ..self }
    }

    pub(super) fn with_upload(self, id: Option<&str>) -> Self {
        let upload = id.map(str::to_owned);
        Self { upload, ..self }
    }

    pub(super) fn objects(&self) -> u64 {
        self.objects
    }

    pub(super) fn due(&self) -> Timestamp {
        self.due
    }

    fn decode(object: &[u8]) -> Result<Self> {
        let note: Self = serde_json::from_slice(object)
            .map_err(|_| corrupt("a note of content is not of the form of one"))?;
        if note.store > FORMAT {
            return Err(corrupt(
                "a note of content was written by a later release; update this program",
            ));
        }
        Ok(note)
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

impl Blobs {
    fn note_name(&self, note: &Note) -> String {
        let reason = match note.reason {
            Reason::Upload => 'u',
            Reason::Retired => 'r',
        };
        self.shared
            .names()
            .note(note.due.as_nanos(), note.generation, reason)
    }

    /// Writes a note, or the same one again.
    pub(super) async fn put_note(&self, note: &Note) -> Result<()> {
        let bytes = serde_json::to_vec(note).expect("texts and numbers");
        let name = self.note_name(note);
        self.shared.bucket().put_once(&name, bytes.into()).await
    }

    /// Removes a note, there or not.
    pub(super) async fn remove_note(&self, note: &Note) -> Result<()> {
        self.shared.bucket().delete(&self.note_name(note)).await
    }

    pub(super) async fn sweep(&self) -> Result<Swept> {
        let names = self.shared.names();
        let (listed, more) = self.shared.bucket().list(&names.notes(), None).await?;
        let now = self.now().as_nanos();
        let due = |name: &&String| names.due_of(name).is_none_or(|due| due <= now);
        let due: Vec<&String> = listed.iter().take_while(due).take(BUDGET).collect();
        let next = listed.get(due.len()).and_then(|name| names.due_of(name));
        let all = due.iter().map(|name| -> BoxFuture<'_, Result<_>> {
            Box::pin(async move {
                match self.settle(name).await {
                    // One that cannot be read must not hide the others.
                    Err(error) if error.is(ErrorKind::Corrupt) => Ok(Err(error)),
                    settled => settled.map(Ok),
                }
            })
        });
        let mut swept = Swept::default();
        let mut unreadable = None;
        for settled in together(all.collect()).await? {
            match settled {
                Ok(freed) => swept.removed += u64::from(freed),
                Err(error) => unreadable = Some(error),
            }
        }
        swept.next_due = next.map(Timestamp::from_nanos);
        swept.more = more && due.len() == listed.len() && unreadable.is_none();
        unreadable.map_or(Ok(swept), Err)
    }

    /// Handles a note that is due; true if this sweep freed the content.
    async fn settle(&self, name: &str) -> Result<bool> {
        let Some(found) = self.shared.bucket().get(name).await? else {
            return Ok(false);
        };
        let note = Note::decode(&found.bytes)?;
        let freed = match self.judge(&note).await? {
            Verdict::Keep => false,
            Verdict::Later(due) => {
                self.put_note(&Note {
                    due,
                    ..note.clone()
                })
                .await?;
                false
            }
            Verdict::Free => {
                let counts = self.claim(name, &found.etag, &note).await;
                if let (Some(id), Some(last)) = (&note.upload, note.objects.checked_sub(1)) {
                    self.abort_upload(note.generation, last, id).await?;
                }
                self.remove_content(note.generation, note.objects).await?;
                counts
            }
        };
        self.shared.bucket().delete(name).await?;
        Ok(freed)
    }

    /// Whether this sweep is the one of several that counts the content. A
    /// conditional put of the note decides it; the work is done by each.
    async fn claim(&self, name: &str, etag: &ETag, note: &Note) -> bool {
        if note.claimed {
            return false;
        }
        let claimed = Note {
            claimed: true,
            ..note.clone()
        };
        let bytes = serde_json::to_vec(&claimed).expect("texts and numbers");
        let when = When::Is(ETag::clone(etag));
        let put = self.shared.bucket().put(name, &when, bytes.into()).await;
        matches!(put, Ok(Put::Done(_)))
    }

    async fn judge(&self, note: &Note) -> Result<Verdict> {
        let place = self.place(BlobRef::new(&note.bucket, &note.key)?)?;
        let (generation, grace) = (note.generation, self.options.grace);
        let judged = self.change(&place, Start::Glance, None, |pointer, now, _| {
            Ok(match (pointer.lease_of(generation), note.reason) {
                _ if pointer.is_published(generation) => match note.reason {
                    Reason::Upload => Step::Keep(Verdict::Keep),
                    Reason::Retired => Step::Write(Verdict::Keep),
                },
                (None, _) => Step::Keep(Verdict::Free),
                (Some(until), _) if until > now => Step::Keep(Verdict::Later(until + grace)),
                (Some(_), _) => {
                    pointer.end(generation);
                    Step::Write(Verdict::Free)
                }
            })
        });
        let (verdict, _) = judged.await.map_err(unpublished)?;
        Ok(verdict)
    }
}
