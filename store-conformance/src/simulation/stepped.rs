//! A record store whose every primitive is a step of a schedule.

#![deny(clippy::missing_trait_methods)]

use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use store_core::changes::Changes;
use store_core::{
    Batch, Capabilities, Clock, Committed, Ping, Record, RecordRef, RecordStore, Records, Result,
    Scan, Swept,
};

use super::scheduler::Scheduler;

/// `store`, where other callers may run before and after each primitive.
#[derive(Debug)]
pub struct Stepped {
    store: Arc<dyn RecordStore>,
    steps: Arc<Scheduler>,
}

impl Stepped {
    /// Over `store`, in the order that `scheduler` chooses.
    pub fn new(store: Arc<dyn RecordStore>, scheduler: &Arc<Scheduler>) -> Self {
        Self {
            store,
            steps: Arc::clone(scheduler),
        }
    }

    /// A step before the call and one before its answer arrives. The trace has no
    /// ids: those of credentials are random.
    async fn between<T>(
        &self,
        what: impl Hash,
        call: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        self.steps.step().await;
        let answer = call.await;
        let error = answer
            .as_ref()
            .err()
            .map(|error| format!("{:?}", error.kind()));
        self.steps.note((what, error));
        self.steps.step().await;
        answer
    }
}

#[async_trait]
impl RecordStore for Stepped {
    async fn get(&self, at: RecordRef<'_>) -> Result<Option<Record>> {
        self.between(("get", at.collection().name()), self.store.get(at))
            .await
    }

    /// Each record is atomic by itself and all together are no snapshot, so each
    /// is a step.
    async fn get_many(&self, at: &[RecordRef<'_>]) -> Result<Vec<Option<Record>>> {
        let mut found = Vec::with_capacity(at.len());
        for &at in at {
            self.steps.step().await;
            let record = self.store.get(at).await?;
            self.steps
                .note(("get", at.collection().name(), record.is_some()));
            found.push(record);
        }
        self.steps.step().await;
        Ok(found)
    }

    async fn scan(&self, scan: &Scan) -> Result<Records> {
        self.between("scan", self.store.scan(scan)).await
    }

    async fn commit(&self, batch: &Batch) -> Result<Committed> {
        let items = batch.items().iter();
        let collections: Vec<_> = items.map(|item| item.key().collection().name()).collect();
        self.between(("commit", collections), self.store.commit(batch))
            .await
    }

    fn get_now(&self, _: RecordRef<'_>) -> Option<Result<Option<Record>>> {
        None
    }

    fn clock(&self) -> &dyn Clock {
        self.store.clock()
    }

    fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }

    async fn ping(&self) -> Result<Ping> {
        self.between("ping", self.store.ping()).await
    }

    async fn changes(&self) -> Result<Changes> {
        self.store.changes().await
    }

    async fn sweep(&self, grace: Duration) -> Result<Swept> {
        self.between("sweep", self.store.sweep(grace)).await
    }

    async fn close(&self) -> Result<()> {
        self.store.close().await
    }
}
