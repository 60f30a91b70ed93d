//! A record store in which another caller acts at a chosen moment.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use store_core::{
    Batch, Capabilities, Clock, Committed, Ping, Record, RecordRef, RecordStore, Records, Result,
    Scan,
};

type Action = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

/// Runs an action before the first commit, and forwards everything else.
pub(super) struct Interfering {
    store: Arc<dyn RecordStore>,
    action: Mutex<Option<Action>>,
}

impl Interfering {
    pub(super) fn before_commit(store: Arc<dyn RecordStore>, action: Action) -> Self {
        let action = Mutex::new(Some(action));
        Self { store, action }
    }

    /// Whether the action ran.
    pub(super) fn happened(&self) -> bool {
        let action = self.action.lock().expect("nothing panics under this lock");
        action.is_none()
    }
}

impl fmt::Debug for Interfering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Interfering").field(&self.store).finish()
    }
}

#[async_trait]
impl RecordStore for Interfering {
    async fn get(&self, at: RecordRef<'_>) -> Result<Option<Record>> {
        self.store.get(at).await
    }

    async fn get_many(&self, at: &[RecordRef<'_>]) -> Result<Vec<Option<Record>>> {
        self.store.get_many(at).await
    }

    async fn scan(&self, scan: &Scan) -> Result<Records> {
        self.store.scan(scan).await
    }

    async fn commit(&self, batch: &Batch) -> Result<Committed> {
        let action = self
            .action
            .lock()
            .expect("nothing panics under this lock")
            .take();
        if let Some(action) = action {
            action.await?;
        }
        self.store.commit(batch).await
    }

    fn clock(&self) -> &dyn Clock {
        self.store.clock()
    }

    fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }

    async fn ping(&self) -> Result<Ping> {
        self.store.ping().await
    }
}
