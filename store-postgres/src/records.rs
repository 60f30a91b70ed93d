//! Records: each operation is one statement.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::PgConnection;
use store_core::changes::Changes;
use store_core::{
    Batch, Capabilities, Clock, Committed, Error, Partition, Ping, Record, RecordKey, RecordRef,
    RecordStore, Records, Result, Scan, Scope, Swept,
};

use crate::changes::Listener;
use crate::commit::{PartitionLock, send};
use crate::config::PostgresBuilder;
use crate::error::{BACKEND, Effect};
use crate::scan;
use crate::setup::Plan;
use crate::shared::Shared;
use crate::sql::{Table, safe};
use crate::sweeper;
use crate::wire::{integer, nanos, record};
use store_core::backend::Background;

/// The maximum number of records that a sweep removes from one table.
const SWEEP_BATCH: i32 = 1000;

/// The records. Each commit is attempted once; a lost reply is left to
/// [`Resolving`](store_core::layers::Resolving).
#[derive(Debug)]
pub(crate) struct PostgresRecords {
    shared: Arc<Shared>,
    plan: Plan,
    sweeper: Option<Background>,
    listener: Listener,
}

impl PostgresRecords {
    pub(crate) async fn open(builder: PostgresBuilder) -> Result<Self> {
        let shared = Arc::new(Shared::open(&builder).await?);
        Ok(Self {
            listener: Listener::new(
                Arc::clone(&shared),
                builder.listener_options(&shared.sessions)?,
                builder.patience(),
                &builder.common.collections,
            ),
            plan: builder.plan(shared.schema.clone()),
            sweeper: builder.sweep.map(|(interval, grace)| {
                let shared = Arc::clone(&shared);
                sweeper::start(interval, move || {
                    let shared = Arc::clone(&shared);
                    async move { sweep(&shared, grace).await }
                })
            }),
            shared,
        })
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    pub(crate) fn shared_arc(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    pub(crate) async fn setup(&self) -> Result<()> {
        self.shared.check_open()?;
        let state = self
            .plan
            .clone()
            .run(self.shared.sessions.pool.clone())
            .await?;
        self.shared.was_set_up(state.unlogged_transient);
        Ok(())
    }
}

/// The record at `at`, read on `connection`.
pub(crate) async fn get(
    shared: &Shared,
    connection: &mut PgConnection,
    at: RecordRef<'_>,
) -> Result<Option<Record>> {
    let statements = shared.statements.on(Table::of(at.collection()));
    let query = sqlx::query(safe(&statements.get))
        .bind(at.collection().name())
        .bind(at.partition())
        .bind(at.id())
        .bind(nanos(shared.now()))
        .fetch_optional(connection);
    let row = shared.answer("get", Effect::Repeatable, query).await?;
    row.map_or(Ok(None), |row| {
        record(
            &row,
            0,
            Partition::new(at.partition())?,
            RecordKey::new(at.collection(), at.id())?,
        )
    })
}

impl PostgresRecords {
    async fn read(&self, at: RecordRef<'_>) -> Result<Option<Record>> {
        self.shared
            .call(|| async move {
                let mut connection = self.shared.connection("get").await?;
                get(&self.shared, &mut connection, at).await
            })
            .await
    }

    async fn read_many(&self, at: &[RecordRef<'_>]) -> Result<Vec<Option<Record>>> {
        let mut found = vec![None; at.len()];
        let table = |at: &RecordRef<'_>| Table::of(at.collection());
        let first = table(&at[0]);
        let text = match at.iter().all(|at| table(at) == first) {
            true => &self.shared.statements.on(first).get_many,
            false => &self.shared.statements.get_many,
        };
        let collection = |at: &RecordRef<'_>| at.collection().name();
        let mut connection = self.shared.connection("get_many").await?;
        let query = sqlx::query(safe(text))
            .bind((0..at.len()).map(|item| item as i32).collect::<Vec<_>>())
            .bind(at.iter().map(|at| table(at) as i32).collect::<Vec<_>>())
            .bind(at.iter().map(collection).collect::<Vec<_>>())
            .bind(at.iter().map(|at| at.partition()).collect::<Vec<_>>())
            .bind(at.iter().map(|at| at.id()).collect::<Vec<_>>())
            .bind(nanos(self.shared.now()))
            .fetch_all(&mut *connection);
        let rows = self
            .shared
            .answer("get_many", Effect::Repeatable, query)
            .await?;
        for row in rows {
            let item = integer(&row, 4)?.and_then(|item| usize::try_from(item).ok());
            let Some((item, at)) = item.and_then(|item| Some((item, at.get(item)?))) else {
                return Err(Error::corrupt(
                    "the server returned a record that was not requested",
                ));
            };
            let key = RecordKey::new(at.collection(), at.id())?;
            found[item] = record(&row, 0, Partition::new(at.partition())?, key)?;
        }
        Ok(found)
    }
}

/// Removes a batch of what expired longer than `grace` ago.
async fn sweep(shared: &Shared, grace: Duration) -> Result<Swept> {
    let mut connection = shared.connection("sweep").await?;
    let query = sqlx::query(safe(&shared.sweep))
        .bind(nanos(shared.now() - grace))
        .bind(SWEEP_BATCH)
        .fetch_one(&mut *connection);
    // A sweep may always be repeated, because it removes only expired records.
    let row = shared.answer("sweep", Effect::Repeatable, query).await?;
    let removed = integer(&row, 0)?.unwrap_or_default();
    let more: bool = sqlx::Row::try_get(&row, 1)
        .map_err(|e| crate::error::from_sqlx(e, Effect::Repeatable, "sweep"))?;
    Ok(Swept {
        removed: u64::try_from(removed).unwrap_or_default(),
        more,
        ..Swept::default()
    })
}

#[async_trait]
impl RecordStore for PostgresRecords {
    async fn get(&self, at: RecordRef<'_>) -> Result<Option<Record>> {
        self.read(at).await
    }

    async fn get_many(&self, at: &[RecordRef<'_>]) -> Result<Vec<Option<Record>>> {
        self.shared.check_open()?;
        if at.is_empty() {
            return Ok(Vec::new());
        }
        self.shared.call(|| self.read_many(at)).await
    }

    async fn scan(&self, scan: &Scan) -> Result<Records> {
        self.shared.check_open()?;
        if scan::matches_nothing(scan) {
            return Ok(Records::last(Vec::new()));
        }
        let page = || async {
            match scan.scope() {
                Scope::Partition(partition) => scan::partition(&self.shared, scan, partition).await,
                Scope::Partitions(prefix) => scan::collection(&self.shared, scan, prefix).await,
            }
        };
        self.shared.call(page).await
    }

    async fn commit(&self, batch: &Batch) -> Result<Committed> {
        self.shared.check_open()?;
        if !batch.is_empty() {
            let commit = || async {
                let mut connection = self.shared.connection("commit").await?;
                send(&self.shared, &mut connection, batch, PartitionLock::ByItems).await
            };
            self.shared.call(commit).await?;
        }
        Ok(Committed::new())
    }

    fn clock(&self) -> &dyn Clock {
        &*self.shared.clock
    }

    fn capabilities(&self) -> Capabilities {
        self.shared.capabilities()
    }

    async fn ping(&self) -> Result<Ping> {
        self.shared.ping().await
    }

    async fn sweep(&self, grace: Duration) -> Result<Swept> {
        sweep(&self.shared, grace).await
    }

    async fn close(&self) -> Result<()> {
        if let Some(sweeper) = &self.sweeper {
            sweeper.stop().await;
        }
        self.shared.close().await;
        self.listener.close().await;
        Ok(())
    }

    async fn changes(&self) -> Result<Changes> {
        self.shared.check_open()?;
        if !self.shared.notifies() {
            return Err(Error::unsupported(
                "this store was opened without change notice; see PostgresBuilder::change_notice",
            )
            .with_backend(BACKEND));
        }
        self.listener.subscribe().await
    }
}
