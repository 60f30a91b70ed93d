//! Mutants: connections to the bucket that behave in one respect like a wrong
//! implementation of the protocol. The simulation must kill each of them.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use store_core::Result;

use super::world::Line;
use crate::objects::{ETag, Found, Objects, Precondition, PutResult};
use crate::wire::{self, Stored, Transaction, Verdict};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// No flaw: the protocol itself.
    None,
    /// Commits by a put without the pending object's ETag.
    DecidesUnconditionally,
    /// Aborts another's transaction without its pending object's ETag.
    AbortsUnconditionally,
    /// Reads the value that a pending transaction will write.
    AnswersEarly,
    /// Reads the value from before a committed transaction.
    AnswersLate,
    /// Treats an intent whose transaction object is missing as rolled back without
    /// reading the record again.
    NeverReadsAgain,
    /// Treats a transaction as aborted after waiting for it, without aborting it.
    TrustsTheLease,
    /// Commits checked records without holding them.
    ChecksWithoutIntents,
    /// Writes intents without a condition.
    PlacesUnconditionally,
    /// Writes a single record without a condition.
    PutsUnconditionally,
    /// Removes committed transactions before their records are freed.
    ForgetsTheCommitted,
    /// Removes tombstones that are younger than a call in progress.
    RemovesYoungTombstones,
}

impl Flaw {
    pub(super) const ALL: [Self; 11] = [
        Self::DecidesUnconditionally,
        Self::AbortsUnconditionally,
        Self::AnswersEarly,
        Self::AnswersLate,
        Self::NeverReadsAgain,
        Self::TrustsTheLease,
        Self::ChecksWithoutIntents,
        Self::PlacesUnconditionally,
        Self::PutsUnconditionally,
        Self::ForgetsTheCommitted,
        Self::RemovesYoungTombstones,
    ];
}

/// A connection with a flaw.
#[derive(Debug)]
pub(super) struct Flawed {
    line: Line,
    flaw: Flaw,
    /// The last read, for `NeverReadsAgain`.
    last: Arc<Mutex<Memory>>,
}

#[derive(Debug, Default)]
struct Memory {
    record: Option<(String, Option<Found>)>,
    /// Whether the transaction was just found missing.
    missing: bool,
    outwaited: bool,
}

impl Flawed {
    pub(super) fn new(line: Line, flaw: Flaw) -> Self {
        Self {
            line,
            flaw,
            last: Arc::default(),
        }
    }

    fn memory(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts without the given condition: reads the object first, and uses a condition
    /// that holds.
    async fn force(&self, name: &str, bytes: Bytes) -> Result<PutResult> {
        loop {
            let found = self.line.get(name).await?;
            let when = Precondition::as_found(found.as_ref().map(|found| &found.etag));
            match self.line.put(name, &when, bytes.clone()).await? {
                PutResult::Refused => {}
                put => return Ok(put),
            }
        }
    }

    /// The transaction as the mutant misinterprets it.
    fn misread(&self, found: Found) -> Found {
        let Ok(transaction) = Transaction::decode(&found.bytes) else {
            return found;
        };
        let believed = match (self.flaw, transaction.state) {
            (Flaw::AnswersEarly, Verdict::Pending) => Verdict::Committed,
            (Flaw::AnswersLate, Verdict::Committed) => Verdict::Aborted,
            (Flaw::TrustsTheLease, Verdict::Pending) if self.memory().outwaited => Verdict::Aborted,
            _ => return found,
        };
        Found {
            bytes: transaction.decided(believed).encode(),
            ..found
        }
    }
}

fn is_transaction(name: &str) -> bool {
    name.starts_with("transactions/")
}

/// The content of a transaction object.
fn verdict(name: &str, bytes: &[u8]) -> Option<Verdict> {
    let transaction = is_transaction(name).then(|| Transaction::decode(bytes));
    Some(transaction?.ok()?.state)
}

/// Whether it is an intent, and whether its record is only checked.
fn intent(name: &str, bytes: &Bytes) -> Option<bool> {
    if is_transaction(name) {
        return None;
    }
    match wire::decode(bytes).ok()?.stored {
        Stored::Intent(intent) => Some(intent.after.is_none()),
        Stored::Record(_) => None,
    }
}

#[async_trait]
impl Objects for Flawed {
    async fn get(&self, name: &str) -> Result<Option<Found>> {
        if self.flaw == Flaw::NeverReadsAgain {
            let again = {
                let mut memory = self.memory();
                let of_it = memory.record.clone().filter(|(read, _)| read == name);
                of_it.filter(|_| std::mem::take(&mut memory.missing))
            };
            if let Some((_, found)) = again {
                return Ok(found);
            }
        }
        let found = self.line.get(name).await?;
        if !is_transaction(name) {
            self.memory().record = Some((name.into(), found.clone()));
            return Ok(found);
        }
        self.memory().missing = found.is_none();
        Ok(found.map(|found| self.misread(found)))
    }

    async fn put(&self, name: &str, when: &Precondition, bytes: Bytes) -> Result<PutResult> {
        match self.flaw {
            Flaw::DecidesUnconditionally if verdict(name, &bytes) == Some(Verdict::Committed) => {
                return self.force(name, bytes).await;
            }
            Flaw::AbortsUnconditionally if verdict(name, &bytes) == Some(Verdict::Aborted) => {
                return self.force(name, bytes).await;
            }
            Flaw::ChecksWithoutIntents if intent(name, &bytes) == Some(true) => {
                return Ok(PutResult::Written("\"none\"".into()));
            }
            Flaw::PlacesUnconditionally if intent(name, &bytes).is_some() => {
                return self.force(name, bytes).await;
            }
            Flaw::PutsUnconditionally
                if !is_transaction(name) && intent(name, &bytes).is_none() =>
            {
                return self.force(name, bytes).await;
            }
            Flaw::TrustsTheLease if verdict(name, &bytes) == Some(Verdict::Aborted) => {
                return Ok(PutResult::Refused);
            }
            _ => {}
        }
        let put = self.line.put(name, when, bytes.clone()).await?;
        if self.flaw == Flaw::ForgetsTheCommitted
            && verdict(name, &bytes) == Some(Verdict::Committed)
            && matches!(put, PutResult::Written(_))
        {
            self.line.delete(name).await?;
        }
        Ok(put)
    }

    async fn delete(&self, name: &str) -> Result<()> {
        self.line.delete(name).await
    }

    async fn remove(&self, name: &str, etag: &ETag) -> Result<bool> {
        self.line.remove(name, etag).await
    }

    async fn list(&self, folder: &str, after: Option<&str>) -> Result<(Vec<String>, bool)> {
        self.line.list(folder, after).await
    }

    async fn pause(&self, attempt: u32) {
        self.line.pause(attempt).await;
    }

    async fn outwaited(&self, polls: u32, items: usize) -> bool {
        let outwaited = self.line.outwaited(polls, items).await;
        self.memory().outwaited |= outwaited;
        outwaited
    }
}
