//! A commit of one record: one conditional put.

use store_core::backend::{MAX_ATTEMPTS, contended, event};
use store_core::{Batch, Change, Committed, Error, Result, Retry};

use super::put::{Outcome, Removal};
use super::{Current, Protocol, after, conflict, failed, is_single_use};
use crate::objects::{Objects, Precondition};
use crate::wire;

impl<O: Objects> Protocol<O> {
    pub(super) async fn commit_one(&self, batch: &Batch) -> Result<Committed> {
        let (at, item) = (batch.at(0), &batch.items()[0]);
        let name = self.names.record(at);
        let mut current = match self.assumed(batch, 0) {
            Some(assumed) if !matches!(item.change(), Change::Check) => assumed,
            _ => self.read_current(at).await?,
        };
        for attempt in 0..MAX_ATTEMPTS {
            let refused = failed(batch, &[&current])?;
            if !refused.is_empty() {
                if !current.seen {
                    current = self.read_current(at).await?;
                    continue;
                }
                return Err(conflict(refused));
            }
            let there = current.image.as_ref().is_some_and(|i| !i.is_deleted());
            let Some(image) = after(batch, 0)?.filter(|image| there || !image.is_deleted()) else {
                // A check, or a delete of a record that does not exist.
                if current.seen {
                    return Ok(done(&current));
                }
                current = self.read_current(at).await?;
                continue;
            };
            if let Some(transaction) = current.held_by {
                self.settle(transaction).await?;
                current = self.read_current(at).await?;
                continue;
            }
            let names = match is_single_use(at) {
                true => Removal::Possible,
                false => Removal::Never,
            };
            let (when, is_gone) = (
                Precondition::as_found(current.etag.as_ref()),
                image.is_deleted(),
            );
            let object = wire::encode_once(at, image);
            match self.put(&name, &when, &object, names).await? {
                Outcome::Done(_) if is_gone => {
                    if is_single_use(at) {
                        // The name is never used again, so no tombstone is needed.
                        // If this fails, the sweep removes the tombstone.
                        let deleted = self.objects.delete(&name).await;
                        event::ignore("could not delete a tombstone", deleted);
                    }
                    return Ok(Committed::new());
                }
                Outcome::Done(etag) => {
                    let token = wire::token(&etag, &object);
                    return Ok(Committed::with_tokens(vec![Some(token)]));
                }
                Outcome::Refused(found, lost) => {
                    current = self
                        .resolve(at, found)
                        .await
                        .map_err(|e| in_doubt(e, &lost))?;
                    match lost {
                        None => {}
                        // A copy of the put was executed, and a transaction then held or
                        // checked the record.
                        Some(_) if current.is_of(batch.version()) => return Ok(done(&current)),
                        // A copy of the put may have been executed and then overwritten.
                        Some(lost) => return Err(lost),
                    }
                }
            }
            self.objects.pause(attempt).await;
        }
        Err(contended().with_key(at))
    }
}

/// An error while the outcome of a put is determined.
fn in_doubt(error: Error, lost: &Option<Error>) -> Error {
    match lost {
        Some(_) => error.with_retry(Retry::Ambiguous),
        None => error,
    }
}

fn done(current: &Current) -> Committed {
    Committed::with_tokens(vec![current.token.clone()])
}
