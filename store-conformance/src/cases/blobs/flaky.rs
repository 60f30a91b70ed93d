//! Records that fail on command, between the standard implementation of objects
//! and the records of the backend under test.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use store_core::blobs::{BLOB_CHUNKS, RecordBlobs};
use store_core::layers::RecordLayer;
use store_core::{
    Batch, BlobStore, Change, Committed, Error, ErrorKind, Record, RecordRef, RecordStore, Records,
    Result, Retry, Scan, Store,
};

/// Which call fails, and how.
#[derive(Clone, Copy, Debug)]
pub(super) enum Outage {
    /// None fails.
    Never,
    /// From this one on all fail, and do nothing.
    From(usize),
    /// This one alone, without doing anything.
    Before(usize),
    /// This one alone, after it was done: the reply is lost.
    After(usize),
}

/// Records of a server that is reached over an unreliable connection.
#[derive(Debug)]
pub(super) struct Flaky {
    inner: Arc<dyn RecordStore>,
    calls: AtomicUsize,
    outage: Outage,
}

impl Flaky {
    pub(super) fn over(store: &Store, outage: Outage) -> Arc<Self> {
        Arc::new(Self {
            inner: Arc::clone(store.records()),
            calls: AtomicUsize::new(0),
            outage,
        })
    }

    pub(super) fn blobs(self: &Arc<Self>) -> Arc<dyn BlobStore> {
        Arc::new(RecordBlobs::new(Arc::clone(self) as Arc<dyn RecordStore>))
    }

    /// How many calls were made.
    pub(super) fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    /// Counts a call; an error if its request gets lost, true if its reply does.
    fn call(&self) -> Result<bool> {
        let number = self.calls.fetch_add(1, Ordering::Relaxed);
        match self.outage {
            Outage::From(first) if number >= first => Err(lost().with_retry(Retry::Safe)),
            Outage::Before(one) if number == one => Err(lost().with_retry(Retry::Safe)),
            Outage::After(one) => Ok(number == one),
            _ => Ok(false),
        }
    }
}

fn lost() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "the connection failed; try again later",
    )
}

fn answered<T>(answer: T, is_lost: bool) -> Result<T> {
    if is_lost { Err(lost()) } else { Ok(answer) }
}

#[async_trait]
impl RecordLayer for Flaky {
    fn inner(&self) -> &dyn RecordStore {
        &*self.inner
    }

    /// A server cannot answer without a round trip.
    fn get_now(&self, _: RecordRef<'_>) -> Option<Result<Option<Record>>> {
        None
    }

    async fn get(&self, at: RecordRef<'_>) -> Result<Option<Record>> {
        let lost = self.call()?;
        answered(self.inner.get(at).await?, lost)
    }

    async fn get_many(&self, at: &[RecordRef<'_>]) -> Result<Vec<Option<Record>>> {
        let lost = self.call()?;
        answered(self.inner.get_many(at).await?, lost)
    }

    async fn scan(&self, scan: &Scan) -> Result<Records> {
        let lost = self.call()?;
        answered(self.inner.scan(scan).await?, lost)
    }

    async fn commit(&self, batch: &Batch) -> Result<Committed> {
        let lost = self.call()?;
        answered(self.inner.commit(batch).await?, lost)
    }

    /// The store under test stays open, so that a case can look at what is left.
    async fn close(&self) -> Result<()> {
        Ok(())
    }
}

/// Records on whose server the first chunk arrives late: its writer gets no reply.
#[derive(Debug)]
pub(super) struct LateChunk {
    inner: Arc<dyn RecordStore>,
    late: Mutex<Option<Batch>>,
    is_first: AtomicUsize,
}

impl LateChunk {
    pub(super) fn over(store: &Store) -> Arc<Self> {
        Arc::new(Self {
            inner: Arc::clone(store.records()),
            late: Mutex::new(None),
            is_first: AtomicUsize::new(0),
        })
    }

    pub(super) fn blobs(self: &Arc<Self>) -> Arc<dyn BlobStore> {
        Arc::new(RecordBlobs::new(Arc::clone(self) as Arc<dyn RecordStore>))
    }

    /// The chunk arrives now; false if none was sent.
    pub(super) async fn deliver(&self) -> Result<bool> {
        let late = self.late.lock().expect("no panic").take();
        match late {
            Some(batch) => self.inner.commit(&batch).await.map(|_| true),
            None => Ok(false),
        }
    }
}

#[async_trait]
impl RecordLayer for LateChunk {
    fn inner(&self) -> &dyn RecordStore {
        &*self.inner
    }

    async fn commit(&self, batch: &Batch) -> Result<Committed> {
        let is_chunk = batch.items().iter().any(|item| {
            let is_put = matches!(item.change(), Change::Put { .. });
            is_put && item.key().collection() == BLOB_CHUNKS
        });
        if is_chunk && self.is_first.fetch_add(1, Ordering::Relaxed) == 0 {
            *self.late.lock().expect("no panic") = Some(batch.clone());
            return Err(lost().with_retry(Retry::Ambiguous));
        }
        self.inner.commit(batch).await
    }
}
