//! Changes of a pointer by compare-and-swap.

use crate::backend::Attempts;
use crate::blobs::Pointer;
use crate::clock::Timestamp;
use crate::error::{Error, Result, Retry};

use super::{ContentStore, Extent, Note, Place, PointerStore, Shared, Stored, Written};

/// What a change of a pointer starts from.
pub(super) enum Start<T> {
    /// The pointer as it is now.
    Read(Extent),
    /// An earlier state of the pointer, or that there is none. It saves a read; the
    /// conditional write verifies it.
    Assume(Option<Stored<T>>),
}

/// What a change of a pointer decides.
pub(super) enum Step<R> {
    /// Writes the pointer as it is now.
    Write(R),
    /// Leaves the pointer as it was.
    Keep(R),
}

/// What a change returns, and the pointer as it was left.
type Changed<R, T> = (R, Option<Stored<T>>);

impl<P: PointerStore, C: ContentStore> Shared<P, C> {
    /// What a change starts from that knows nothing of the pointer.
    pub(super) fn start(extent: Extent) -> Start<P::Token> {
        match P::REFUSAL_READS {
            true => Start::Assume(None),
            false => Start::Read(extent),
        }
    }

    /// Changes a pointer by compare-and-swap. `decide` gets the current one, or
    /// a new one, and runs again after a conflict. If the change takes published
    /// content away that is stored apart, a note is written before.
    pub(super) async fn change<R: Send>(
        &self,
        place: &Place,
        start: Start<P::Token>,
        mut decide: impl FnMut(&mut Pointer, Timestamp) -> Result<Step<R>> + Send,
    ) -> Result<Changed<R, P::Token>> {
        let (mut current, mut is_fresh) = match start {
            Start::Read(extent) => (self.read(place, extent).await?, true),
            Start::Assume(stored) => (stored, false),
        };
        let mut attempts = Attempts::new();
        loop {
            let now = self.pointers.now();
            let mut pointer = match &current {
                Some(stored) => (*stored.pointer).clone(),
                None => Pointer::new(place.key()),
            };
            let (was_blank, apart) = (pointer.is_blank(), pointer.stored_apart());
            let before = pointer.version();
            let answer = match decide(&mut pointer, now)? {
                Step::Write(answer) if !(was_blank && pointer.is_blank()) => answer,
                Step::Write(answer) | Step::Keep(answer) if is_fresh => {
                    return Ok((answer, current));
                }
                Step::Write(_) | Step::Keep(_) => {
                    (current, is_fresh) = (self.read(place, Extent::Head).await?, true);
                    continue;
                }
            };
            if pointer.is_unread() {
                (current, is_fresh) = (self.read(place, Extent::Whole).await?, true);
                continue;
            }
            if let Some(content) = apart
                && pointer.stored_apart() != apart
            {
                let note = Note::retired(place, content, now + self.options.grace);
                self.pointers.put_note(&note).await.map_err(unpublished)?;
            }
            let made = pointer.version().filter(|made| Some(*made) != before);
            let token = current.as_ref().map(|stored| &stored.token);
            match self.pointers.write(place, token, pointer, now).await? {
                Written::Done(left) => return Ok((answer, left)),
                Written::Refused {
                    current: found,
                    in_doubt,
                } => {
                    let found_version = found.as_ref().and_then(|f| f.pointer.version());
                    if let Some(error) = in_doubt {
                        // Another change over this publication proves that it was done.
                        return match made.is_some() && made == found_version {
                            true => Ok((answer, found)),
                            false => Err(error.with_retry(Retry::Ambiguous)),
                        };
                    }
                    current = found;
                }
            }
            // A wrong assumption says nothing of contention.
            if std::mem::replace(&mut is_fresh, true) {
                attempts.failed().await?;
            }
        }
    }

    /// Reads a pointer before it is changed.
    async fn read(&self, place: &Place, extent: Extent) -> Result<Option<Stored<P::Token>>> {
        self.pointers.read(place, extent).await.map_err(unpublished)
    }
}

/// An error of a step before the write that publishes or deletes: whether or not
/// that step was done, nothing was published or deleted.
pub(super) fn unpublished(error: Error) -> Error {
    match error.retry() {
        Retry::Ambiguous => error.with_retry(Retry::Safe),
        Retry::Never | Retry::Safe => error,
    }
}
