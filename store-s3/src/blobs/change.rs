//! Reading a pointer, and changing it if nothing changed meanwhile.

use bytes::Bytes;
use object_store::GetRange;
use store_core::backend::{MAX_ATTEMPTS, contended};
use store_core::blobs::Pointer;
use store_core::{Error, Result, Retry, Timestamp, Version};

use super::head::{self, Inline, Known};
use super::sweep::{Note, Reason};
use super::{Blobs, Place};
use crate::objects::{Objects, When};
use crate::protocol::{Names, Outcome};

/// How much of an object is read where its pointer alone matters. Nearly all
/// pointers are shorter.
const GLANCE: u64 = 16 * 1024;

/// Where a change begins.
pub(super) enum Start {
    /// With what is there, small content included.
    Look,
    /// With the pointer that is there.
    Glance,
    /// With what an earlier change left, or what others made of it since.
    Known(Box<Known>),
}

/// What a change of a pointer decides.
pub(super) enum Step<R> {
    /// Puts the pointer as it is now.
    Write(R),
    /// Leaves the object as it was.
    Keep(R),
    /// Leaves the object as it was: an earlier put of this change whose reply
    /// was lost may have been done and undone by others.
    Unknown,
}

impl Blobs {
    /// The object as it is, small content included.
    pub(super) async fn look(&self, place: &Place) -> Result<Option<Known>> {
        let found = self.shared.bucket().get(&place.name).await?;
        found
            .map(|found| head::decode_at(place, &found))
            .transpose()
    }

    /// The pointer as it is; small content only if it is very small.
    pub(super) async fn glance(&self, place: &Place) -> Result<Option<Known>> {
        match self.first(&place.name).await? {
            Some(found) => head::is_of(place, found).map(Some),
            None => Ok(None),
        }
    }

    /// The same under a name, and the bucket that the object says it is of.
    pub(super) async fn first(&self, name: &str) -> Result<Option<(Box<str>, Known)>> {
        let mut range = Some(GetRange::Bounded(0..GLANCE));
        loop {
            let Some((found, size)) = self.shared.bucket().get_range(name, range.take()).await?
            else {
                return Ok(None);
            };
            // The second time it is whole.
            if let Some(known) = head::decode(&found, size)? {
                return Ok(Some(known));
            }
        }
    }

    /// Changes a pointer by compare-and-swap, and says how it was left. `decide`
    /// gets the current one, or a new one, and may run again when someone else
    /// was faster; it is told whether an earlier put of its own may have been
    /// done. `content` is put with the pointer if that publishes it. If the
    /// change takes away content that is elsewhere, a note is written before.
    pub(super) async fn change<R: Send>(
        &self,
        place: &Place,
        start: Start,
        content: Option<(Version, Bytes)>,
        decide: impl FnMut(&mut Pointer, Timestamp, bool) -> Result<Step<R>> + Send,
    ) -> Result<(R, Option<Known>)> {
        let mut lost = None;
        let changed = self.try_change(place, start, content, decide, &mut lost);
        changed.await.map_err(|error| match lost {
            Some(_) => error.with_retry(Retry::Ambiguous),
            None => error,
        })
    }

    async fn try_change<R: Send>(
        &self,
        place: &Place,
        start: Start,
        content: Option<(Version, Bytes)>,
        mut decide: impl FnMut(&mut Pointer, Timestamp, bool) -> Result<Step<R>> + Send,
        lost: &mut Option<Error>,
    ) -> Result<(R, Option<Known>)> {
        self.check_open()?;
        let (mut current, mut is_fresh) = match start {
            Start::Look => (self.look(place).await?, true),
            Start::Glance => (self.glance(place).await?, true),
            Start::Known(known) => (Some(*known), false),
        };
        for attempt in 0..MAX_ATTEMPTS {
            let now = self.now();
            let mut pointer = match &current {
                Some(known) => known.pointer.clone(),
                None => Pointer::new(&place.key),
            };
            let before = pointer.content();
            let answer = match decide(&mut pointer, now, lost.is_some())? {
                Step::Write(answer) => answer,
                Step::Keep(answer) if is_fresh => return Ok((answer, current)),
                Step::Unknown if is_fresh => return Err(lost.take().unwrap_or_else(contended)),
                Step::Keep(_) | Step::Unknown => {
                    (current, is_fresh) = (self.glance(place).await?, true);
                    continue;
                }
            };
            let was = current.as_ref().map_or(&Inline::Elsewhere, |k| &k.inline);
            let inline = match (pointer.content(), &content) {
                (Some(now), Some((generation, bytes))) if now.generation == *generation => {
                    Inline::Here(bytes.clone())
                }
                (after, _) if after == before => was.clone(),
                _ => Inline::Elsewhere,
            };
            if inline == Inline::Unread {
                (current, is_fresh) = (self.look(place).await?, true);
                continue;
            }
            if let Some(content) = before
                && pointer.content() != before
                && *was == Inline::Elsewhere
            {
                let due = now + self.options.grace;
                let note = Note::new(place, content.generation, Reason::Retired, due);
                self.put_note(&note.of_objects(content.chunks())).await?;
            }
            let bytes = match &inline {
                Inline::Here(bytes) => Some(bytes),
                Inline::Elsewhere | Inline::Unread => None,
            };
            let object = head::encode(place, &pointer, bytes);
            let when = When::as_found(current.as_ref().map(|known| &known.etag));
            let put = self
                .shared
                .protocol
                .put(&place.name, &when, &object, Names::Stay);
            match put.await? {
                Outcome::Done(etag) => {
                    let known = Known {
                        etag,
                        pointer,
                        inline,
                    };
                    return Ok((answer, Some(known)));
                }
                Outcome::Refused(found, in_doubt) => {
                    *lost = in_doubt.or(lost.take());
                    let found = found.map(|found| head::decode_at(place, &found));
                    (current, is_fresh) = (found.transpose()?, true);
                }
            }
            self.shared.bucket().pause(attempt).await;
        }
        Err(contended())
    }
}
