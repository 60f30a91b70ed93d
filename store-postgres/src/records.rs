//! Records: each primitive one statement.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::PgConnection;
use store_core::backend::resolve_lost_reply;
use store_core::changes::Changes;
use store_core::{
    Batch, Capabilities, Clock, Committed, Error, ErrorKind, Partition, Ping, Record, RecordKey,
    RecordRef, RecordStore, Records, Result, Retry, Scan, Scope, Swept,
};

use crate::changes::Listener;
use crate::commit::{Hold, send};
use crate::config::PostgresBuilder;
use crate::error::{BACKEND, Effect, in_collections};
use crate::scan;
use crate::setup::Plan;
use crate::shared::Shared;
use crate::sql::{many, safe};
use crate::sweeper;
use crate::wire::{integer, nanos, record};
use store_core::backend::Background;

/// The most records that a sweep removes of one collection.
const SWEEP_BATCH: i32 = 1000;

/// The records; a commit whose answer was lost is looked into.
#[derive(Debug)]
pub(crate) struct PostgresRecords {
    once: Once,
    plan: Plan,
    sweeper: Option<Background>,
    listener: Listener,
}

/// The records, each call sent once.
#[derive(Clone, Debug)]
pub(crate) struct Once(Arc<Shared>);

impl PostgresRecords {
    pub(crate) async fn open(builder: PostgresBuilder) -> Result<Self> {
        let once = Once(Arc::new(Shared::open(&builder).await?));
        let schema = &once.0.schema;
        Ok(Self {
            listener: Listener::new(
                builder.listener_options(&once.0.sessions)?,
                builder.patience(),
                schema,
                &builder.collections,
            ),
            plan: Plan {
                schema: schema.clone(),
                collections: builder.collections,
                grant_to: builder.grant_to,
                change_notice: builder.change_notice,
                unlogged_nonces: builder.unlogged_nonces,
            },
            sweeper: builder
                .sweep
                .map(|(interval, grace)| sweeper::start(once.clone(), interval, grace)),
            once,
        })
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.once.0
    }

    pub(crate) fn shared_arc(&self) -> Arc<Shared> {
        Arc::clone(&self.once.0)
    }

    pub(crate) async fn setup(&self) -> Result<()> {
        self.shared().check_open()?;
        let state = self
            .plan
            .clone()
            .run(self.shared().sessions.pool.clone())
            .await?;
        self.shared().was_set_up(state.unlogged_nonces);
        Ok(())
    }
}

/// The record at `at`, read on `connection`.
pub(crate) async fn get(
    shared: &Shared,
    connection: &mut PgConnection,
    at: RecordRef<'_>,
) -> Result<Option<Record>> {
    let statements = shared.statements(at.collection());
    let query = sqlx::query(safe(&statements.get))
        .bind(at.partition())
        .bind(at.id())
        .bind(nanos(shared.now()))
        .fetch_optional(connection);
    let row = shared
        .answer("get", Effect::Repeatable, query)
        .await
        .map_err(|error| in_collections(error, [at.collection()]))?;
    row.map_or(Ok(None), |row| {
        record(
            &row,
            0,
            Partition::new(at.partition())?,
            RecordKey::new(at.collection(), at.id())?,
        )
    })
}

impl Once {
    /// What both stores' `get` does, without a boxed future in a boxed future.
    async fn read(&self, at: RecordRef<'_>) -> Result<Option<Record>> {
        self.0
            .call(|| async move {
                let mut connection = self.0.connection("get").await?;
                get(&self.0, &mut connection, at).await
            })
            .await
    }

    async fn read_many(&self, at: &[RecordRef<'_>]) -> Result<Vec<Option<Record>>> {
        let mut found = vec![None; at.len()];
        let mut collections: Vec<_> = at.iter().map(|at| at.collection()).collect();
        collections.sort();
        collections.dedup();
        let text = match collections[..] {
            [collection] => Arc::clone(&self.0.statements(collection).get_many),
            _ => many(&self.0.schema, &collections).into(),
        };
        let source = |at: &RecordRef<'_>| {
            collections
                .binary_search(&at.collection())
                .map_or(-1, |place| place as i32)
        };
        let mut connection = self.0.connection("get_many").await?;
        let query = sqlx::query(safe(&text))
            .bind((0..at.len()).map(|item| item as i32).collect::<Vec<_>>())
            .bind(at.iter().map(source).collect::<Vec<_>>())
            .bind(at.iter().map(|at| at.partition()).collect::<Vec<_>>())
            .bind(at.iter().map(|at| at.id()).collect::<Vec<_>>())
            .bind(nanos(self.0.now()))
            .fetch_all(&mut *connection);
        let rows = self
            .0
            .answer("get_many", Effect::Repeatable, query)
            .await
            .map_err(|error| in_collections(error, collections.iter().copied()))?;
        for row in rows {
            let item = integer(&row, 4)?.and_then(|item| usize::try_from(item).ok());
            let Some((item, at)) = item.and_then(|item| Some((item, at.get(item)?))) else {
                return Err(Error::corrupt(
                    "the server named a record that was not asked for",
                ));
            };
            let key = RecordKey::new(at.collection(), at.id())?;
            found[item] = record(&row, 0, Partition::new(at.partition())?, key)?;
        }
        Ok(found)
    }
}

#[async_trait]
impl RecordStore for Once {
    async fn get(&self, at: RecordRef<'_>) -> Result<Option<Record>> {
        self.read(at).await
    }

    async fn get_many(&self, at: &[RecordRef<'_>]) -> Result<Vec<Option<Record>>> {
        self.0.check_open()?;
        if at.is_empty() {
            return Ok(Vec::new());
        }
        self.0.call(|| self.read_many(at)).await
    }

    async fn scan(&self, scan: &Scan) -> Result<Records> {
        self.0.check_open()?;
        if scan::matches_nothing(scan) {
            return Ok(Records::last(Vec::new()));
        }
        let page = || async {
            match scan.scope() {
                Scope::Partition(partition) => scan::partition(&self.0, scan, partition).await,
                Scope::Partitions(prefix) => scan::collection(&self.0, scan, prefix).await,
            }
        };
        let page = self.0.call(page).await;
        page.map_err(|error| in_collections(error, [scan.in_collection()]))
    }

    async fn commit(&self, batch: &Batch) -> Result<Committed> {
        self.0.check_open()?;
        if !batch.is_empty() {
            let commit = || async {
                let mut connection = self.0.connection("commit").await?;
                send(&self.0, &mut connection, batch, Hold::ByItems).await
            };
            self.0.call(commit).await?;
        }
        Ok(Committed::new())
    }

    fn clock(&self) -> &dyn Clock {
        &*self.0.clock
    }

    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }

    async fn ping(&self) -> Result<Ping> {
        self.0.ping().await
    }

    async fn sweep(&self, grace: Duration) -> Result<Swept> {
        let mut connection = self.0.connection("sweep").await?;
        let query = sqlx::query(safe(&self.0.sweep))
            .bind(nanos(self.0.now() - grace))
            .bind(SWEEP_BATCH)
            .fetch_one(&mut *connection);
        // Sweeping twice does no harm, so it may always be repeated.
        let row = self.0.answer("sweep", Effect::Repeatable, query).await?;
        let removed = integer(&row, 0)?.unwrap_or_default();
        let more: bool = sqlx::Row::try_get(&row, 1)
            .map_err(|e| crate::error::from_sqlx(e, Effect::Repeatable, "sweep"))?;
        Ok(Swept {
            removed: u64::try_from(removed).unwrap_or_default(),
            more,
        })
    }

    async fn close(&self) -> Result<()> {
        self.0.close().await;
        Ok(())
    }
}

#[async_trait]
impl RecordStore for PostgresRecords {
    async fn get(&self, at: RecordRef<'_>) -> Result<Option<Record>> {
        self.once.read(at).await
    }

    async fn get_many(&self, at: &[RecordRef<'_>]) -> Result<Vec<Option<Record>>> {
        self.once.get_many(at).await
    }

    async fn scan(&self, scan: &Scan) -> Result<Records> {
        self.once.scan(scan).await
    }

    async fn commit(&self, batch: &Batch) -> Result<Committed> {
        match self.once.commit(batch).await {
            Err(lost) if lost.retry() == Retry::Ambiguous && lost.is(ErrorKind::Unavailable) => {
                resolve_lost_reply(&self.once, batch, lost).await
            }
            answer => answer,
        }
    }

    fn clock(&self) -> &dyn Clock {
        self.once.clock()
    }

    fn capabilities(&self) -> Capabilities {
        self.once.capabilities()
    }

    async fn ping(&self) -> Result<Ping> {
        self.once.ping().await
    }

    async fn changes(&self) -> Result<Changes> {
        self.shared().check_open()?;
        if !self.shared().tells() {
            return Err(Error::unsupported(
                "this store was opened without change notice; see PostgresBuilder::change_notice",
            )
            .with_backend(BACKEND));
        }
        self.listener.subscribe(self.shared()).await
    }

    async fn sweep(&self, grace: Duration) -> Result<Swept> {
        self.once.sweep(grace).await
    }

    async fn close(&self) -> Result<()> {
        if let Some(sweeper) = &self.sweeper {
            sweeper.stop().await;
        }
        let closed = self.once.close().await;
        self.listener.close().await;
        closed
    }
}
