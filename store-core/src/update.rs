//! Read, decide, write if nothing changed meanwhile; again if it did.

use std::time::Duration;

use async_trait::async_trait;

use crate::batch::Batch;
use crate::body::Body;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::key::{Partition, RecordKey};
use crate::record::Record;
use crate::record_store::RecordStore;
use crate::turns::Place;

/// What the closure of an [`update`](RecordStoreExt::update) decides.
#[derive(Debug)]
pub enum Decided<R> {
    /// Write this body, and answer.
    Put(Body, Option<Timestamp>, R),
    /// Delete the record, and answer.
    Delete(R),
    /// Write nothing, and answer.
    Keep(R),
}

/// How often a compare-and-swap loop tries before it gives up as `Contended`.
pub const MAX_ATTEMPTS: u32 = 64;

/// Waits a random moment before attempt `attempt + 1` of something that others
/// keep winning: nothing at first, then up to a bound that doubles to 64 ms.
pub async fn back_off(attempt: u32) {
    if attempt < 2 {
        tokio::task::yield_now().await;
        return;
    }
    let bound = 1u64 << (attempt - 2).min(6);
    tokio::time::sleep(Duration::from_micros(random_below(bound * 1000))).await;
}

/// A number below `bound`, for spreading retries; not for secrets.
fn random_below(bound: u64) -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    // Every RandomState is seeded differently.
    RandomState::new().build_hasher().finish() % bound.max(1)
}

/// The error of a loop that was beaten [`MAX_ATTEMPTS`] times.
pub fn contended() -> Error {
    Error::new(
        ErrorKind::Contended,
        format!(
            "others changed the record {MAX_ATTEMPTS} times before this call could; \
             nothing was written, try again later or spread the load over more keys"
        ),
    )
}

/// Conveniences over any [`RecordStore`].
#[async_trait]
pub trait RecordStoreExt: RecordStore {
    /// Changes one record by compare-and-swap, losing no other's change.
    ///
    /// `decide` sees the current record (`None` if absent) and may run again
    /// when someone else was faster; the answer of the run that committed is
    /// returned. One read and one write without contention. A call that loses a
    /// race waits in line with others of this process on the same record.
    ///
    /// # Errors
    /// Those of `decide`; `Contended` after [`MAX_ATTEMPTS`]; the store's own.
    async fn update<R, F>(&self, partition: &Partition, key: &RecordKey, mut decide: F) -> Result<R>
    where
        R: Send,
        F: FnMut(Option<&Record>) -> Result<Decided<R>> + Send,
    {
        let place = Place::new(self, partition, Some(key));
        let mut turn = place.turn_if_contended().await;
        let mut current = self.get(key.at(partition)).await?;
        for attempt in 0..MAX_ATTEMPTS {
            let mut batch = Batch::new(partition.clone(), self.clock().now());
            let answer = match decide(current.as_ref())? {
                Decided::Keep(answer) => return Ok(answer),
                Decided::Put(body, expires_at, answer) => {
                    batch.put_until(key.clone(), current.as_ref(), body, expires_at)?;
                    answer
                }
                Decided::Delete(answer) => {
                    batch.delete(key.clone(), current.as_ref())?;
                    answer
                }
            };
            match self.commit(&batch).await {
                Ok(_) => return Ok(answer),
                Err(error) => {
                    let conflict = error.into_conflict()?;
                    current = conflict.item(0).and_then(|item| item.current()).cloned();
                }
            }
            if turn.is_some() {
                back_off(attempt).await;
                continue;
            }
            let begun = place.turn().await;
            if begun.waited() {
                current = self.get(key.at(partition)).await?;
            }
            turn = Some(begun);
        }
        Err(contended().with_key(key.at(partition)))
    }
}

impl<S: RecordStore + ?Sized> RecordStoreExt for S {}
