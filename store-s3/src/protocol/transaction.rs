//! Creating, deciding, awaiting and completing transactions.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use store_core::backend::contended;
use store_core::{Batch, Error, Result, Version};

use super::Protocol;
use super::put::{Outcome, Removal};
use super::read::Decision;
use crate::objects::{ETag, Found, Objects, Precondition};
use crate::parallel::parallel;
use crate::wire::{self, Image, Intent, Member, Stored, Transaction, Verdict};

/// A transaction that this process began.
#[derive(Debug)]
pub(super) struct Begun {
    pub(super) id: Version,
    etag: ETag,
    transaction: Transaction,
}

/// The decision, as far as the deciding process knows it.
#[derive(Debug)]
pub(super) enum Decided {
    Committed,
    /// It was certainly not committed.
    Aborted,
    /// The transaction object does not exist, and this process's decision may have been
    /// executed before it was removed.
    Unknown(Error),
}

impl<O: Objects> Protocol<O> {
    /// Creates a pending transaction object under a new name.
    pub(super) async fn begin(&self, batch: &Batch) -> Result<Begun> {
        let members = batch.items().iter().map(|item| Member {
            collection: item.key().collection().name().into(),
            id: item.key().id().into(),
        });
        let transaction = Transaction::new(batch.partition(), batch.version(), members.collect());
        let id = Version::unique();
        let (name, object) = (self.names.transaction(id), transaction.encode());
        // If the reply is lost and the object is not found, another one is created; if
        // the first appears later, the sweep removes it.
        match self
            .put(&name, &Precondition::NotExists, &object, Removal::Possible)
            .await?
        {
            Outcome::Done(etag) => Ok(Begun {
                id,
                etag,
                transaction,
            }),
            Outcome::Refused(..) => Err(contended()),
        }
    }

    /// Decides the transaction. The first decision is final: its condition is the ETag of
    /// the pending object.
    pub(super) async fn decide(&self, begun: &Begun, verdict: Verdict) -> Result<Decided> {
        let name = self.names.transaction(begun.id);
        let object = begun.transaction.decided(verdict).encode();
        let when = Precondition::Matches(begun.etag.clone());
        match self.put(&name, &when, &object, Removal::Possible).await? {
            Outcome::Done(_) if verdict == Verdict::Committed => Ok(Decided::Committed),
            Outcome::Done(_) => Ok(Decided::Aborted),
            // Another process has decided, and other processes can only abort.
            Outcome::Refused(Some(_), _) | Outcome::Refused(None, None) => Ok(Decided::Aborted),
            Outcome::Refused(None, Some(lost)) => Ok(Decided::Unknown(lost)),
        }
    }

    /// Waits until a transaction is decided, and aborts it if that takes longer than any
    /// transaction may.
    pub(super) async fn settle(&self, id: Version) -> Result<()> {
        for polls in 0.. {
            let (found, transaction) = match self.decision(id).await? {
                Decision::Pending(found, transaction) => (found, transaction),
                _ => break,
            };
            if self.objects.outwaited(polls, transaction.items.len()).await {
                self.abort(id, &found, &transaction).await?;
                break;
            }
        }
        Ok(())
    }

    /// Aborts a transaction that is still pending. If it is no longer pending, it is
    /// already decided, which is sufficient.
    async fn abort(&self, id: Version, found: &Found, transaction: &Transaction) -> Result<()> {
        let name = self.names.transaction(id);
        let object = transaction.decided(Verdict::Aborted).encode();
        let when = Precondition::Matches(found.etag.clone());
        self.put(&name, &when, &object, Removal::Possible)
            .await
            .map(drop)
    }

    /// Replaces a record's intent by the state that follows from the decision. Returns
    /// the new object, or `None` if another process has already replaced the intent.
    pub(super) async fn release(
        &self,
        name: &str,
        at: wire::Name<'_>,
        etag: &ETag,
        intent: Intent,
        verdict: Verdict,
    ) -> Result<Option<(ETag, Bytes)>> {
        let object = wire::encode(at, &Stored::Record(outcome(intent, verdict)));
        let when = Precondition::Matches(etag.clone());
        match self.put(name, &when, &object, Removal::Never).await? {
            Outcome::Done(etag) => Ok(Some((etag, object))),
            Outcome::Refused(..) => Ok(None),
        }
    }

    /// Completes a transaction of another process, and aborts it first if it is still
    /// pending. Releases every record that it holds, then removes it.
    pub(crate) async fn finish(&self, id: Version) -> Result<()> {
        self.settle(id).await?;
        let name = self.names.transaction(id);
        let Some(found) = self.objects.get(&name).await? else {
            return Ok(());
        };
        let transaction = Transaction::decode(&found.bytes)?;
        let mut all: Vec<BoxFuture<'_, _>> = Vec::with_capacity(transaction.items.len());
        for member in &transaction.items {
            all.push(Box::pin(self.release_member(id, &transaction, member)));
        }
        parallel(all).await?;
        self.objects.delete(&name).await
    }

    /// Releases one record of a decided transaction.
    async fn release_member(
        &self,
        id: Version,
        transaction: &Transaction,
        member: &Member,
    ) -> Result<()> {
        let at = wire::Name {
            collection: &member.collection,
            partition: &transaction.partition,
            id: &member.id,
        };
        let name = self.names.record_of(at.collection, at.partition, at.id);
        let Some(found) = self.objects.get(&name).await? else {
            return Ok(());
        };
        match wire::decode(&found.bytes)?.stored {
            Stored::Intent(intent) if intent.transaction == id => {
                self.release(&name, at, &found.etag, intent, transaction.state)
                    .await?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Releases an intent whose transaction object does not exist: it was placed too late
    /// to have an effect.
    pub(crate) async fn release_stray(&self, name: &str, found: Found) -> Result<()> {
        let named = wire::decode(&found.bytes)?;
        let at = named.name();
        let Stored::Intent(intent) = named.stored.clone() else {
            return Ok(());
        };
        if !matches!(self.decision(intent.transaction).await?, Decision::Missing) {
            return Ok(());
        }
        // The condition of the put fails if the intent was released in the meantime.
        self.release(name, at, &found.etag, intent, Verdict::Aborted)
            .await
            .map(drop)
    }
}

/// The state of a record after its intent is released.
pub(super) fn outcome(intent: Intent, verdict: Verdict) -> Image {
    let image = match verdict {
        Verdict::Committed => intent.after.or(intent.before),
        Verdict::Pending | Verdict::Aborted => intent.before,
    };
    // There was no object before. The intent becomes a tombstone, because it cannot be
    // removed conditionally.
    image.unwrap_or_else(|| Image::deleted(intent.transaction))
}
