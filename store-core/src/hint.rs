//! Hints: records that lead to a record in another partition.
//!
//! A commit reaches one partition. If a record must also be found from another one,
//! a hint is written there. The rules are the same for every contract:
//!
//! - A hint is written before its record and removed after it, so that a record always
//!   has its hint.
//! - A hint is believed only if the record that it leads to confirms it. One that was
//!   not removed, because the process stopped or the server was down, leads nowhere.

use crate::backend::event;
use crate::batch::{Batch, Expect};
use crate::body::Body;
use crate::clock::Timestamp;
use crate::error::{Error, Result, Retry};
use crate::key::{Partition, RecordKey};
use crate::record::Record;
use crate::record_store::RecordStore;

/// Where a hint is.
#[derive(Clone, Debug)]
pub(crate) struct Hint {
    pub(crate) partition: Partition,
    pub(crate) key: RecordKey,
}

impl Hint {
    /// The hint, if there is one.
    pub(crate) async fn read(&self, records: &dyn RecordStore) -> Result<Option<Record>> {
        records.get(self.key.at(&self.partition)).await
    }

    /// Writes the hint of a record that is about to be written.
    ///
    /// # Errors
    /// `Conflict` if there is one of this name; the store's own.
    pub(crate) async fn write(
        &self,
        records: &dyn RecordStore,
        body: Body,
        expires_at: Option<Timestamp>,
    ) -> Result<()> {
        let mut batch = Batch::new(self.partition.clone(), records.clock().now());
        batch.put_until(self.key.clone(), Expect::Absent, body, expires_at)?;
        records.commit(&batch).await.map(drop)
    }

    /// Removes the hint of a record whose write failed with `error`, unless the record
    /// may have been written.
    pub(crate) async fn withdraw(&self, records: &dyn RecordStore, error: &Error) {
        if error.retry() != Retry::Ambiguous {
            self.remove(records).await;
        }
    }

    /// Removes the hint of a record that is not there any more. A hint that remains does
    /// no harm, so a failure is an event and no error.
    pub(crate) async fn remove(&self, records: &dyn RecordStore) {
        event::ignore("could not remove a stale hint", self.delete(records).await);
    }

    async fn delete(&self, records: &dyn RecordStore) -> Result<()> {
        let mut batch = Batch::new(self.partition.clone(), records.clock().now());
        batch.delete(self.key.clone(), Expect::Any)?;
        records.commit(&batch).await.map(drop)
    }
}
