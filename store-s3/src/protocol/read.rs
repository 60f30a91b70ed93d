//! Reads one record, which a transaction may hold.

use store_core::{RecordRef, Result, Version};

use super::{Current, Protocol};
use crate::objects::{Found, Objects};
use crate::wire::{self, Intent, Stored, Transaction, Verdict};

/// The state of the transaction that an intent names.
#[derive(Debug)]
pub(crate) enum Decision {
    Pending(Found, Transaction),
    Committed,
    Aborted,
    /// Its object does not exist.
    Missing,
}

impl<O: Objects> Protocol<O> {
    /// The record at `at`, in its state at some moment of this call.
    pub(crate) async fn read_current(&self, at: RecordRef<'_>) -> Result<Current> {
        let found = self.objects.get(&self.names.record(at)).await?;
        self.resolve(at, found).await
    }

    /// The same, from an object that was read before.
    pub(crate) async fn resolve(
        &self,
        at: RecordRef<'_>,
        mut found: Option<Found>,
    ) -> Result<Current> {
        loop {
            let Some(object) = found else {
                return Ok(Current {
                    seen: true,
                    ..Current::assumed_absent()
                });
            };
            let intent = match wire::decode_at(at, &object.bytes)? {
                Stored::Intent(intent) => intent,
                Stored::Record(image) => {
                    return Ok(Current {
                        token: Some(wire::token(&object.etag, &object.bytes)),
                        etag: Some(object.etag),
                        image: Some(image),
                        held_by: None,
                        seen: true,
                    });
                }
            };
            match self.decision(intent.transaction).await? {
                Decision::Pending(..) => {
                    return Ok(held(&object, intent, Verdict::Pending));
                }
                Decision::Committed => return Ok(held(&object, intent, Verdict::Committed)),
                Decision::Aborted => return Ok(held(&object, intent, Verdict::Aborted)),
                Decision::Missing => {
                    // The transaction may have been completed since the record was read.
                    // If the intent still exists, it was placed too late and has no
                    // effect.
                    let again = self.objects.get(&self.names.record(at)).await?;
                    if again
                        .as_ref()
                        .is_some_and(|again| again.etag == object.etag)
                    {
                        return Ok(held(&object, intent, Verdict::Aborted));
                    }
                    found = again;
                }
            }
        }
    }

    /// The decision about a transaction.
    pub(crate) async fn decision(&self, transaction: Version) -> Result<Decision> {
        let name = self.names.transaction(transaction);
        let Some(found) = self.objects.get(&name).await? else {
            return Ok(Decision::Missing);
        };
        let transaction = Transaction::decode(&found.bytes)?;
        Ok(match transaction.state {
            Verdict::Pending => Decision::Pending(found, transaction),
            Verdict::Committed => Decision::Committed,
            Verdict::Aborted => Decision::Aborted,
        })
    }
}

/// The state of a record whose object contains an intent.
fn held(object: &Found, intent: Intent, verdict: Verdict) -> Current {
    Current {
        etag: Some(object.etag.clone()),
        held_by: (verdict == Verdict::Pending).then_some(intent.transaction),
        image: match verdict {
            Verdict::Committed => intent.after.or(intent.before),
            Verdict::Pending | Verdict::Aborted => intent.before,
        },
        token: None,
        seen: true,
    }
}
