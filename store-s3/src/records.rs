//! Records: each call is a few requests of the protocol.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use store_core::{
    Batch, Capabilities, Clock, Committed, Error, ErrorKind, Partition, Ping, Record, RecordKey,
    RecordRef, RecordStore, Records, Result, Retry, Scan, Swept,
};

use crate::config::S3Builder;
use crate::error::BACKEND;
use crate::parallel::parallel;
use crate::shared::Shared;
use crate::{scan, sweep};

#[derive(Debug)]
pub(crate) struct S3Records {
    shared: Arc<Shared>,
    capabilities: Capabilities,
}

impl S3Records {
    pub(crate) async fn open(builder: &S3Builder) -> Result<Self> {
        Ok(Self {
            shared: Arc::new(Shared::open(builder).await?),
            capabilities: builder.capabilities(),
        })
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    async fn find(&self, at: RecordRef<'_>) -> Result<Option<Record>> {
        let current = self.shared.protocol.read_current(at).await?;
        let partition = Partition::new(at.partition())?;
        let key = RecordKey::new(at.collection(), at.id())?;
        current.record_of(&partition, &key, self.shared.now())
    }
}

/// Adds the backend and the operation to an error.
fn of(operation: &'static str) -> impl Fn(Error) -> Error {
    move |error| error.with_backend(BACKEND).with_operation(operation)
}

#[async_trait]
impl RecordStore for S3Records {
    async fn get(&self, at: RecordRef<'_>) -> Result<Option<Record>> {
        self.shared.check_open()?;
        self.find(at).await.map_err(of("get"))
    }

    async fn get_many(&self, at: &[RecordRef<'_>]) -> Result<Vec<Option<Record>>> {
        self.shared.check_open()?;
        let mut all: Vec<BoxFuture<'_, _>> = Vec::with_capacity(at.len());
        for at in at {
            all.push(Box::pin(self.find(*at)));
        }
        parallel(all).await.map_err(of("get_many"))
    }

    async fn scan(&self, scan: &Scan) -> Result<Records> {
        self.shared.check_open()?;
        scan::page(&self.shared, scan).await.map_err(of("scan"))
    }

    async fn commit(&self, batch: &Batch) -> Result<Committed> {
        self.shared.check_open()?;
        let committed = match batch.items().len() {
            0 | 1 => self.shared.protocol.commit(batch).await,
            // Runs in a separate task. If the caller's future were dropped half-way,
            // other processes would have to wait for the lease.
            _ => {
                let (shared, batch) = (Arc::clone(&self.shared), batch.clone());
                let commit = async move { shared.protocol.commit(&batch).await };
                match tokio::spawn(commit).await {
                    Ok(committed) => committed,
                    Err(_) => Err(Error::new(
                        ErrorKind::Unavailable,
                        "the runtime shut down during the commit",
                    )
                    .with_retry(Retry::Ambiguous)),
                }
            }
        };
        committed.map_err(of("commit"))
    }

    fn clock(&self) -> &dyn Clock {
        &*self.shared.clock
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities.clone()
    }

    async fn ping(&self) -> Result<Ping> {
        self.shared.ping().await.map_err(of("ping"))
    }

    async fn sweep(&self, grace: Duration) -> Result<Swept> {
        self.shared.check_open()?;
        sweep::sweep(&self.shared, grace).await.map_err(of("sweep"))
    }

    async fn close(&self) -> Result<()> {
        self.shared.close().await;
        Ok(())
    }
}
