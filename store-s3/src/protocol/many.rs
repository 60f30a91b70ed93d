//! A commit of several records: two phases over a transaction object.

use bytes::Bytes;
use futures_util::future::{BoxFuture, ready};
use store_core::backend::{MAX_ATTEMPTS, contended, event};
use store_core::{Batch, Change, Committed, Error, Result, Retry, Version};

use super::put::{Outcome, Removal};
use super::transaction::{Begun, Decided};
use super::{Current, Protocol, after, conflict, failed, is_single_use};
use crate::error::is_lost;
use crate::objects::{ETag, Objects, Precondition};
use crate::parallel::parallel;
use crate::wire::{self, Intent, Stored, Verdict};

/// How an attempt ended.
enum Attempt {
    Committed(Committed),
    /// A record has changed, so all records are read and checked again.
    Again,
}

/// An intent that was placed.
struct Placed {
    index: usize,
    etag: ETag,
    intent: Intent,
}

impl<O: Objects> Protocol<O> {
    pub(super) async fn commit_many(&self, batch: &Batch) -> Result<Committed> {
        let writes = batch
            .items()
            .iter()
            .any(|item| !matches!(item.change(), Change::Check));
        // A commit without writes must read the records.
        let mut found = self.gather(batch, writes).await?;
        for attempt in 0..MAX_ATTEMPTS {
            let all: Vec<&Current> = found.iter().collect();
            let refused = failed(batch, &all)?;
            if refused.is_empty() && writes {
                if let Attempt::Committed(committed) = self.attempt(batch, &found).await? {
                    return Ok(committed);
                }
                self.objects.pause(attempt).await;
                found = self.gather(batch, false).await?;
                continue;
            }
            // If no record changed between the two rounds of reads, all were in these
            // states at the moment between the rounds.
            let again = self.gather(batch, false).await?;
            if found.iter().zip(&again).all(|(a, b)| a.seen && same(a, b)) {
                return match refused.is_empty() {
                    true => Ok(tokens(&again)),
                    false => Err(conflict(refused)),
                };
            }
            found = again;
        }
        Err(contended().with_key(batch.at(0)))
    }

    /// All records of the batch, each as it was at some moment. If `use_assumptions`, a
    /// token or an expectation replaces a read where it is sufficient.
    async fn gather(&self, batch: &Batch, use_assumptions: bool) -> Result<Vec<Current>> {
        let mut all: Vec<BoxFuture<'_, _>> = Vec::with_capacity(batch.items().len());
        for index in 0..batch.items().len() {
            all.push(
                match self.assumed(batch, index).filter(|_| use_assumptions) {
                    Some(assumed) => Box::pin(ready(Ok(assumed))),
                    None => Box::pin(self.read_current(batch.at(index))),
                },
            );
        }
        parallel(all).await
    }

    async fn attempt(&self, batch: &Batch, found: &[Current]) -> Result<Attempt> {
        let begun = self.begin(batch).await.map_err(not_decided)?;
        let mut placed = Vec::with_capacity(found.len());
        // All writers use the same order, so that no two wait for each other.
        let mut order: Vec<usize> = (0..found.len()).collect();
        order.sort_unstable_by_key(|index| self.names.record(batch.at(*index)));
        for index in order {
            match self
                .place(batch, index, begun.id, found[index].clone())
                .await
            {
                Ok(Some(intent)) => placed.push(intent),
                Ok(None) => {
                    self.abandon(batch, &begun, placed).await;
                    return Ok(Attempt::Again);
                }
                Err(error) => {
                    self.abandon(batch, &begun, placed).await;
                    return Err(not_decided(error));
                }
            }
        }
        match self.decide(&begun, Verdict::Committed).await {
            Ok(Decided::Committed) => {
                let committed = self.complete(batch, &begun, placed).await;
                Ok(Attempt::Committed(committed))
            }
            Ok(Decided::Aborted) => {
                self.abandon(batch, &begun, placed).await;
                Ok(Attempt::Again)
            }
            Ok(Decided::Unknown(lost)) => self.recognize(batch, lost).await,
            // The outcome is unknown; the next reader determines it.
            Err(error) if is_lost(&error) => Err(error),
            Err(error) => {
                self.abandon(batch, &begun, placed).await;
                Err(error)
            }
        }
    }

    /// Places an intent of this transaction on the record; `None` if the record is not as
    /// the batch expects.
    async fn place(
        &self,
        batch: &Batch,
        index: usize,
        transaction: Version,
        mut current: Current,
    ) -> Result<Option<Placed>> {
        let at = batch.at(index);
        let names = match is_single_use(at) {
            true => Removal::Possible,
            false => Removal::Never,
        };
        for attempt in 0..MAX_ATTEMPTS {
            let record = current.record(batch, index, batch.now())?;
            if !batch.items()[index].expect().holds(record.as_ref()) {
                return Ok(None);
            }
            if let Some(other) = current.held_by {
                self.settle(other).await?;
                current = self.read_current(at).await?;
                continue;
            }
            let intent = Intent {
                transaction,
                before: current.image.clone(),
                after: after(batch, index)?,
            };
            let object = wire::encode(at, &Stored::Intent(intent.clone()));
            let when = Precondition::as_found(current.etag.as_ref());
            match self
                .put(&self.names.record(at), &when, &object, names)
                .await?
            {
                Outcome::Done(etag) => {
                    return Ok(Some(Placed {
                        index,
                        etag,
                        intent,
                    }));
                }
                // If a copy of the put was executed, another process has undone it,
                // because this transaction was aborted.
                Outcome::Refused(found, _) => current = self.resolve(at, found).await?,
            }
            self.objects.pause(attempt).await;
        }
        Err(contended().with_key(at))
    }

    /// Releases the records of a decided transaction, as far as possible. A process that
    /// finds an unreleased record releases it.
    async fn complete(&self, batch: &Batch, begun: &Begun, placed: Vec<Placed>) -> Committed {
        let mut tokens = vec![None; batch.items().len()];
        let released = self.release_all(batch, placed, Verdict::Committed).await;
        let whole = released.is_ok();
        let released = released.unwrap_or_else(|error| {
            event::failure(
                "could not complete a decided commit; readers will complete it",
                &error,
            );
            Vec::new()
        });
        for (index, object) in released {
            let is_put = !matches!(batch.items()[index].change(), Change::Delete);
            if let Some((etag, object)) = object.filter(|_| is_put) {
                tokens[index] = Some(wire::token(&etag, &object));
            }
        }
        if whole {
            self.drop_transaction(begun).await;
        }
        Committed::with_tokens(tokens)
    }

    /// Deletes the object of a finished transaction; if that fails the sweep does it.
    async fn drop_transaction(&self, begun: &Begun) {
        let name = self.names.transaction(begun.id);
        let deleted = self.objects.delete(&name).await;
        event::ignore("could not delete a finished transaction", deleted);
    }

    /// Removes all intents, as far as possible: without a decision they have no effect.
    async fn abandon(&self, batch: &Batch, begun: &Begun, placed: Vec<Placed>) {
        match self.decide(begun, Verdict::Aborted).await {
            Ok(Decided::Aborted) => {}
            Ok(_) => return,
            Err(error) => {
                return event::failure("could not abort a commit; a sweep will abort it", &error);
            }
        }
        match self.release_all(batch, placed, Verdict::Aborted).await {
            Ok(_) => self.drop_transaction(begun).await,
            Err(error) => event::failure(
                "could not undo an aborted commit; readers will undo it",
                &error,
            ),
        }
    }

    #[allow(clippy::type_complexity, reason = "an item's place and its object")]
    async fn release_all(
        &self,
        batch: &Batch,
        placed: Vec<Placed>,
        verdict: Verdict,
    ) -> Result<Vec<(usize, Option<(ETag, Bytes)>)>> {
        let mut all: Vec<BoxFuture<'_, _>> = Vec::with_capacity(placed.len());
        for placed in placed {
            let at = batch.at(placed.index);
            let name = self.names.record(at);
            all.push(Box::pin(async move {
                let released = self
                    .release(&name, at.into(), &placed.etag, placed.intent, verdict)
                    .await?;
                Ok((placed.index, released))
            }));
        }
        parallel(all).await
    }

    /// After a lost reply to the decision, finds out whether the transaction was
    /// committed. If other processes have completed and removed it, a record has this
    /// transaction's version, unless it has changed since.
    async fn recognize(&self, batch: &Batch, lost: Error) -> Result<Attempt> {
        let found = self.gather(batch, false).await;
        let ours = |current: &Current| current.is_of(batch.version());
        match found {
            Ok(found) if found.iter().any(ours) => Ok(Attempt::Committed(Committed::new())),
            _ => Err(lost),
        }
    }
}

/// Converts an error before the decision. It is not ambiguous, because what was written
/// so far has no effect.
fn not_decided(error: Error) -> Error {
    match error.retry() {
        Retry::Ambiguous => error.with_retry(Retry::Safe),
        Retry::Never | Retry::Safe => error,
    }
}

/// Whether a record is unchanged between two reads of it.
fn same(a: &Current, b: &Current) -> bool {
    let version = |current: &Current| current.image.as_ref().map(|image| image.version);
    a.etag == b.etag && a.held_by == b.held_by && version(a) == version(b)
}

fn tokens(found: &[Current]) -> Committed {
    Committed::with_tokens(found.iter().map(|current| current.token.clone()).collect())
}
