//! Changes of one record by compare-and-swap.

use async_trait::async_trait;

use crate::backend::{Attempts, lost_race};
use crate::batch::Batch;
use crate::body::Body;
use crate::clock::Timestamp;
use crate::error::Result;
use crate::key::{Partition, RecordKey};
use crate::page::{Items, PageRequest};
use crate::record::Record;
use crate::record_store::RecordStore;
use crate::scan::Scan;
use crate::turns::Place;

/// What the closure of an [`update`](RecordStoreExt::update) decides.
#[derive(Debug)]
pub enum Decided<R> {
    /// Writes this body and returns the value. Fields of the current record that the
    /// type of the value does not know are preserved; see [`Body::json`].
    Put(Body, Option<Timestamp>, R),
    /// Deletes the record and returns the value.
    Delete(R),
    /// Writes nothing and returns the value.
    Keep(R),
}

/// Conveniences over any [`RecordStore`].
#[async_trait]
pub trait RecordStoreExt: RecordStore {
    /// The records of this page of a scan and of all after it. See
    /// [`RecordStore::scan`].
    fn scan_stream(&self, scan: Scan) -> Items<'_, Record> {
        PageRequest::new().stream(move |page| {
            let scan = match page.cursor() {
                Some(cursor) => scan.clone().after(cursor),
                None => Ok(scan.clone()),
            };
            async move { self.scan(&scan?).await }
        })
    }

    /// Changes one record by compare-and-swap, without losing a concurrent change.
    ///
    /// `decide` sees the current record (`None` if absent) and runs again if another
    /// client changed the record first. The value of the run that committed is
    /// returned. One read and one write without contention. A call that loses a race
    /// waits in a queue with the other writers of the record in this process.
    ///
    /// # Errors
    /// Those of `decide`; `Contended` after [`MAX_ATTEMPTS`](crate::backend::MAX_ATTEMPTS); the store's own.
    #[doc(alias("compare-and-swap", "read-modify-write", "cas"))]
    async fn update<R, F>(&self, partition: &Partition, key: &RecordKey, mut decide: F) -> Result<R>
    where
        R: Send,
        F: FnMut(Option<&Record>) -> Result<Decided<R>> + Send,
    {
        let place = Place::new(self, partition, Some(key));
        let mut turn = place.turn_if_contended().await;
        let mut current = self.get(key.at(partition)).await?;
        let mut attempts = Attempts::new();
        loop {
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
            let conflict = match self.commit(&batch).await {
                Ok(_) => return Ok(answer),
                Err(error) => lost_race(error)?,
            };
            let mut stale = conflict.is_none();
            current = conflict.and_then(|conflict| conflict.item(0)?.current().cloned());
            if turn.is_some() {
                let more = attempts.failed().await;
                more.map_err(|error| error.with_key(key.at(partition)))?;
            } else {
                let begun = place.turn().await;
                stale |= begun.waited();
                turn = Some(begun);
            }
            if stale {
                current = self.get(key.at(partition)).await?;
            }
        }
    }
}

impl<S: RecordStore + ?Sized> RecordStoreExt for S {}

/// Commits a batch of one item. Returns the record as written, or the current one if
/// another client was faster.
pub(crate) async fn swap(
    records: &dyn RecordStore,
    batch: &Batch,
) -> Result<std::result::Result<Option<Record>, Option<Record>>> {
    match records.commit(batch).await {
        Ok(committed) => Ok(Ok(batch.record(0).map(|record| match committed.token(0) {
            Some(token) => record.with_token(token.clone()),
            None => record,
        }))),
        Err(error) => Ok(Err(match lost_race(error)? {
            Some(conflict) => conflict.item(0).and_then(|item| item.current()).cloned(),
            None => records.get(batch.at(0)).await?,
        })),
    }
}
