//! Several records of one partition, read and changed together.
//!
//! [`transact`] runs a closure that reads and writes through a
//! [`Transaction`]. What it wrote becomes one [`Batch`]; what it read becomes
//! that batch's expectations. If no other client changed
//! any of it in the meantime, all of it is written. Otherwise nothing is written, and the
//! closure runs again with the current records.
//!
//! The closure is plain code without `await`. When it asks for a record that
//! was not read yet, it gets an error, which it returns; the record is fetched
//! and the closure starts over. So it must use
//! nothing but its transaction, because it may run many times. [`Transaction::need`] asks for
//! several records in one round trip.
//!
//! ```
//! use store_core::{Collection, Error, Partition, RecordKey, transaction::transact};
//! # #[tokio::main] async fn main() -> store_core::Result<()> {
//! # let store = store_core::Store::from(store_memory::MemoryStore::new());
//! const ACCOUNTS: Collection = Collection::new("accounts");
//! let bank = Partition::new("bank")?;
//! let ada = RecordKey::new(ACCOUNTS, "ada")?;
//! let bob = RecordKey::new(ACCOUNTS, "bob")?;
//! # transact(&**store.records(), &bank, |tx| tx.put(&ada, 50u64)).await?;
//!
//! let left = transact(&**store.records(), &bank, |tx| {
//!     tx.need([&ada, &bob])?;
//!     let (from, to) = (tx.read::<u64>(&ada)?, tx.read::<u64>(&bob)?);
//!     let left = from
//!         .and_then(|from| from.checked_sub(20))
//!         .ok_or_else(|| Error::invalid("too little on the account"))?;
//!     tx.put(&ada, left)?;
//!     tx.put(&bob, to.map_or(0, |to| *to) + 20)?;
//!     Ok(left)
//! })
//! .await?;
//! assert_eq!(left, 30);
//! # Ok(()) }
//! ```

use std::collections::HashMap;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use crate::backend::{MAX_ATTEMPTS, back_off, contended, lost_race};
use crate::batch::{Batch, Expect, Expectation, MAX_ITEMS};
use crate::body::Body;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::key::{Partition, RecordKey};
use crate::record::{Record, Version};
use crate::record_store::RecordStore;
use crate::turns::Place;

/// How often a transaction tries. Only the first writer in the queue of each process
/// competes. If 50 processes write without pause and each is equally likely to win, a
/// writer loses 256 times in a row with a probability of 0.6 %; with the 64 attempts of
/// other loops it would be 27 %.
const MAX_TURN_ATTEMPTS: u32 = 4 * MAX_ATTEMPTS;

/// The attempt after which pauses grow no longer: 16 ms. A writer that pauses
/// longer than a commit takes loses to the queue of another process, whose next
/// writer does not pause.
const LONGEST_PAUSE: u32 = 6;

/// What was found under each key, absence included.
type Known = HashMap<RecordKey, Option<Record>>;

/// What to write: a body with its expiry, or nothing.
type Staged = Option<(Body, Option<Timestamp>)>;

/// Reads and writes of one attempt of [`transact`].
#[derive(Debug)]
#[doc(alias("unit of work"))]
pub struct Transaction {
    now: Timestamp,
    known: Known,
    /// What this attempt touched, in order: the items of its batch.
    touched: Vec<RecordKey>,
    staged: HashMap<RecordKey, Staged>,
    missing: Vec<RecordKey>,
    seed: Version,
    given: u64,
}

impl Transaction {
    fn new(known: Known, seed: Version, now: Timestamp) -> Self {
        Self {
            now,
            seed,
            given: 0,
            known,
            touched: Vec::new(),
            staged: HashMap::new(),
            missing: Vec::new(),
        }
    }

    /// The time of this attempt, by the store's clock.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Asks for records that will be read or written, all in one round trip.
    ///
    /// # Errors
    /// One that the closure must return, if any of these was not fetched yet.
    pub fn need<'k>(&mut self, keys: impl IntoIterator<Item = &'k RecordKey>) -> Result<()> {
        let mut complete = true;
        for key in keys {
            if !self.known.contains_key(key) {
                // What other calls miss does not matter here: a closure that
                // collects the answers of several calls asks for all it needs.
                complete = false;
                if !self.missing.contains(key) {
                    self.missing.push(key.clone());
                }
            }
            if !self.touched.contains(key) {
                self.touched.push(key.clone());
            }
        }
        if complete {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Conflict,
            "the transaction has to read first; return this error from the closure, which then runs again",
        ))
    }

    /// The value under `key`: what this transaction wrote, else what is stored,
    /// else `None`.
    ///
    /// # Errors
    /// As [`Transaction::need`]; `Corrupt` if it is no `T`.
    pub fn read<T>(&mut self, key: &RecordKey) -> Result<Option<Arc<T>>>
    where
        T: Serialize + DeserializeOwned + Send + Sync + 'static,
    {
        self.need([key])?;
        if let Some(staged) = self.staged.get(key) {
            return staged.as_ref().map(|(body, _)| body.decode()).transpose();
        }
        self.stored(key).map(Record::decode).transpose()
    }

    /// Whether something is under `key`.
    ///
    /// # Errors
    /// As [`Transaction::need`].
    pub fn exists(&mut self, key: &RecordKey) -> Result<bool> {
        self.need([key])?;
        Ok(match self.staged.get(key) {
            Some(staged) => staged.is_some(),
            None => self.stored(key).is_some(),
        })
    }

    /// Writes `value` under `key`.
    ///
    /// # Errors
    /// As [`Transaction::need`] and [`Body::json`].
    pub fn put<T: Serialize + DeserializeOwned + Send + Sync + 'static>(
        &mut self,
        key: &RecordKey,
        value: T,
    ) -> Result<()> {
        self.put_until(key, value, None)
    }

    /// Writes `value` under `key`, to be absent from `expires_at` on.
    ///
    /// # Errors
    /// As [`Transaction::put`].
    pub fn put_until<T: Serialize + DeserializeOwned + Send + Sync + 'static>(
        &mut self,
        key: &RecordKey,
        value: T,
        expires_at: Option<Timestamp>,
    ) -> Result<()> {
        self.need([key])?;
        let body = Body::json(value)?;
        self.staged.insert(key.clone(), Some((body, expires_at)));
        Ok(())
    }

    /// Removes what is under `key`, if anything.
    ///
    /// # Errors
    /// As [`Transaction::need`].
    pub fn delete(&mut self, key: &RecordKey) -> Result<()> {
        self.need([key])?;
        self.staged.insert(key.clone(), None);
        Ok(())
    }

    /// Like [`Transaction::put`] for a value that is shared already.
    ///
    /// # Errors
    /// As [`Transaction::put`].
    pub fn put_shared<T: Serialize + DeserializeOwned + Send + Sync + 'static>(
        &mut self,
        key: &RecordKey,
        value: Arc<T>,
    ) -> Result<()> {
        self.put_shared_until(key, value, None)
    }

    /// Like [`Transaction::put_until`] for a value that is shared already.
    ///
    /// # Errors
    /// As [`Transaction::put`].
    pub fn put_shared_until<T: Serialize + DeserializeOwned + Send + Sync + 'static>(
        &mut self,
        key: &RecordKey,
        value: Arc<T>,
        expires_at: Option<Timestamp>,
    ) -> Result<()> {
        self.need([key])?;
        self.staged
            .insert(key.clone(), Some((Body::shared(value)?, expires_at)));
        Ok(())
    }

    /// Sixteen bytes that were never used before, for ids generated in the closure.
    /// The same ones, in the same order, each time the closure runs.
    pub fn fresh(&mut self) -> [u8; 16] {
        let mut hash = Sha256::new();
        hash.update(self.seed.to_bytes());
        hash.update(self.given.to_be_bytes());
        self.given += 1;
        let digest = hash.finalize();
        std::array::from_fn(|i| digest[i])
    }

    fn stored(&self, key: &RecordKey) -> Option<&Record> {
        let record = self.known.get(key)?.as_ref()?;
        (!record.is_expired(self.now)).then_some(record)
    }

    /// All that was touched, as one commit; without the writes, only its checks.
    fn batch(&self, partition: &Partition, write: bool) -> Result<Batch> {
        let mut batch = Batch::new(partition.clone(), self.now);
        for key in &self.touched {
            let stored = self.stored(key);
            let expect = stored.map_or(Expect::Absent.into(), Expectation::from);
            match self.staged.get(key).filter(|_| write) {
                Some(Some((body, expires_at))) => {
                    batch.put_until(key.clone(), expect, body.clone(), *expires_at)?
                }
                Some(None) if stored.is_some() => batch.delete(key.clone(), expect)?,
                _ => batch.check(key.clone(), expect)?,
            };
        }
        Ok(batch)
    }
}

/// Runs `work` until it commits, or fails for a reason of its own.
///
/// One read for each group of records that it [needs](Transaction::need) and
/// one commit. A transaction that loses a race waits in line with others of
/// this process on the same partition, so that hundreds of tasks may write one
/// record at the same time. An answer that writes nothing, and an error, are returned at
/// once if one read was enough for them; otherwise it is verified first that
/// all that was read held at one moment.
///
/// # Errors
/// Those of `work`, with nothing written; `InvalidInput` if it touches more
/// than [`MAX_ITEMS`] records or writes too many
/// bytes; `Contended` after 256 attempts; the store's own.
pub async fn transact<R, F>(
    records: &dyn RecordStore,
    partition: &Partition,
    mut work: F,
) -> Result<R>
where
    R: Send,
    F: FnMut(&mut Transaction) -> Result<R> + Send,
{
    let mut known = Known::new();
    let seed = Version::unique();
    let mut reads = 0;
    let mut attempt = 0;
    let place = Place::new(records, partition, None);
    let mut turn = place.turn_if_contended().await;
    loop {
        let mut tx = Transaction::new(known, seed, records.clock().now());
        let outcome = work(&mut tx);
        if !tx.missing.is_empty() {
            // Too many records for one commit are refused before they are read, and a
            // closure that asks for other records each time does not run for ever.
            tx.batch(partition, false)?;
            if reads > MAX_ITEMS {
                return Err(Error::invalid(
                    "the closure asks for other records each time it runs; take ids from \
                     Transaction::fresh",
                ));
            }
            known = fetch(records, partition, tx).await?;
            reads += 1;
            continue;
        }
        let writes = outcome.is_ok() && !tx.staged.is_empty();
        if !writes && reads <= 1 && attempt == 0 {
            return outcome;
        }
        let batch = tx.batch(partition, writes)?;
        let conflict = match records.commit(&batch).await {
            Ok(_) => return outcome,
            Err(error) => lost_race(error)?,
        };
        known = tx.known;
        for failed in conflict.iter().flat_map(|conflict| conflict.failed()) {
            if let Some(item) = batch.items().get(failed.index()) {
                known.insert(item.key().clone(), failed.current().cloned());
            }
        }
        if attempt + 1 == MAX_TURN_ATTEMPTS {
            return Err(contended());
        }
        attempt += 1;
        let mut stale = conflict.is_none();
        if turn.is_some() {
            back_off((attempt - 1).min(LONGEST_PAUSE)).await;
        } else {
            let begun = place.turn().await;
            stale |= begun.waited();
            turn = Some(begun);
        }
        if stale {
            known = refresh(records, partition, known).await?;
        }
    }
}

/// Reads again what is known, in one round trip.
async fn refresh(records: &dyn RecordStore, partition: &Partition, known: Known) -> Result<Known> {
    let mut keys: Vec<RecordKey> = known.into_keys().collect();
    // The order of a map is random, and a simulation replays the order of reads.
    keys.sort_unstable();
    let at: Vec<_> = keys.iter().map(|key| key.at(partition)).collect();
    let found = records.get_many(&at).await?;
    Ok(keys.into_iter().zip(found).collect())
}

async fn fetch(records: &dyn RecordStore, partition: &Partition, tx: Transaction) -> Result<Known> {
    let at: Vec<_> = tx.missing.iter().map(|key| key.at(partition)).collect();
    let found = match *at {
        [at] => vec![records.get(at).await?],
        _ => records.get_many(&at).await?,
    };
    let mut known = tx.known;
    known.extend(tx.missing.into_iter().zip(found));
    Ok(known)
}
