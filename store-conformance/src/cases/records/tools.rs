//! What the cases about records share.

use std::any::Any;
use std::sync::Arc;

use store_core::{
    Batch, Body, Collection, Error, ErrorKind, Expect, ManualClock, Partition, Record, RecordKey,
    RecordStore, Records, Result, Scan, Timestamp, Version,
};

use crate::harness::{Harness, Opened};

/// The harness of every case.
pub(super) type Given = Arc<dyn Harness<dyn RecordStore>>;

/// The collection of most records.
pub(super) const THINGS: Collection = Collection::new("things");
/// A second collection.
pub(super) const OTHERS: Collection = Collection::new("others");

/// A new namespace, and the partition of it that most cases use.
pub(super) struct Space {
    pub(super) first: Arc<dyn RecordStore>,
    pub(super) second: Arc<dyn RecordStore>,
    pub(super) clock: ManualClock,
    pub(super) partition: Partition,
    _guard: Option<Box<dyn Any + Send + Sync>>,
}

impl Space {
    pub(super) async fn open(harness: &Given) -> Result<Self> {
        let Opened {
            first,
            second,
            clock,
            guard,
            ..
        } = harness.open(()).await?;
        Ok(Self {
            first,
            second,
            clock,
            partition: Partition::new("p")?,
            _guard: guard,
        })
    }

    /// The handle of worker `number`: even and odd workers use different ones.
    pub(super) fn handle(&self, number: usize) -> Arc<dyn RecordStore> {
        Arc::clone(if number.is_multiple_of(2) {
            &self.first
        } else {
            &self.second
        })
    }

    pub(super) fn now(&self) -> Timestamp {
        self.first.clock().now()
    }

    /// An empty commit in the partition, as of now.
    pub(super) fn batch(&self) -> Batch {
        Batch::new(self.partition.clone(), self.now())
    }

    /// Writes a number through the first handle, unconditionally.
    pub(super) async fn put(&self, id: &str, number: u64) -> Result<Version> {
        self.put_until(id, number, None).await
    }

    /// As [`Space::put`], absent from `expires_at` on.
    pub(super) async fn put_until(
        &self,
        id: &str,
        number: u64,
        expires_at: Option<Timestamp>,
    ) -> Result<Version> {
        let mut batch = self.batch();
        batch.put_until(key(id)?, Expect::Any, Body::json(number)?, expires_at)?;
        self.first.commit(&batch).await?;
        Ok(batch.version())
    }

    /// Deletes through the first handle, unconditionally.
    pub(super) async fn delete(&self, id: &str) -> Result<()> {
        let mut batch = self.batch();
        batch.delete(key(id)?, Expect::Any)?;
        self.first.commit(&batch).await.map(drop)
    }

    /// The record, by the second handle.
    pub(super) async fn record(&self, id: &str) -> Result<Option<Record>> {
        self.second.get(key(id)?.at(&self.partition)).await
    }

    /// The number in the record, by the second handle.
    pub(super) async fn number(&self, id: &str) -> Result<Option<u64>> {
        self.record(id).await?.map(|r| number(&r)).transpose()
    }

    /// All of `THINGS` in the partition.
    pub(super) fn scan(&self) -> Scan {
        Scan::partition(THINGS, self.partition.clone())
    }

    /// The records at `keys` at one moment: read, then confirmed unchanged in
    /// one commit of checks.
    pub(super) async fn snapshot(&self, keys: &[RecordKey]) -> Result<Vec<Option<Record>>> {
        for _ in 0..1000 {
            let at: Vec<_> = keys.iter().map(|key| key.at(&self.partition)).collect();
            let found = self.second.get_many(&at).await?;
            let mut checks = self.batch();
            for (key, record) in keys.iter().zip(&found) {
                checks.check(key.clone(), record.as_ref())?;
            }
            match self.second.commit(&checks).await {
                Ok(_) => return Ok(found),
                Err(error) if error.is(ErrorKind::Conflict) => tokio::task::yield_now().await,
                Err(error) => return Err(error),
            }
        }
        panic!("reads and checks never agree");
    }
}

pub(super) fn key(id: impl AsRef<str>) -> Result<RecordKey> {
    RecordKey::new(THINGS, id)
}

/// The number that a record holds.
pub(super) fn number(record: &Record) -> Result<u64> {
    record.decode::<u64>().map(|number| *number)
}

/// Every page of a scan, each checked for what holds of all pages.
pub(super) async fn pages(store: &dyn RecordStore, scan: Scan) -> Result<Vec<Vec<Record>>> {
    let mut pages = Vec::new();
    let mut next = None;
    loop {
        let page: Records = match &next {
            None => store.scan(&scan).await?,
            Some(cursor) => store.scan(&scan.clone().after(cursor)?).await?,
        };
        assert!(
            page.items.len() <= scan.page_size(),
            "a page of {} records holds {}",
            scan.page_size(),
            page.items.len()
        );
        assert!(
            page.next.is_none() || !page.items.is_empty(),
            "a page with a cursor is empty"
        );
        pages.push(page.items);
        assert!(pages.len() < 10_000, "a list that never ends");
        next = page.next;
        if next.is_none() {
            return Ok(pages);
        }
    }
}

/// The ids on every page of a scan, in the order they came.
pub(super) async fn ids(store: &dyn RecordStore, scan: Scan) -> Result<Vec<String>> {
    let pages = pages(store, scan).await?;
    Ok(pages.iter().flatten().map(|r| r.id().to_owned()).collect())
}

/// Asserts that a commit was refused by its expectations; returns the error.
pub(super) fn conflict<T: std::fmt::Debug>(answer: Result<T>) -> Error {
    let error = answer.expect_err("an expectation does not hold");
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    error
}
