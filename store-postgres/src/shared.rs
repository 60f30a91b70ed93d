//! What every part of an opened store uses: the pool, the clock, the statements.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::{PgPool, Postgres, Row};
use store_core::{Capabilities, Clock, Collection, Durability, Error, Ping, Result, Timestamp};

use crate::commit::COMMIT_MANY;
use crate::config::{Builder, Extras, config};
use crate::error::{BACKEND, Effect, from_sqlx, timed_out};
use crate::limits::Texts;
use crate::sql::{Schema, StatementCache, Statements};
use crate::wire::integer;

pub(crate) struct Shared {
    pub(crate) pool: PgPool,
    lent: bool,
    pub(crate) schema: Schema,
    pub(crate) clock: Arc<dyn Clock>,
    statements: StatementCache,
    pub(crate) commit_many: Arc<str>,
    pub(crate) sweep: Arc<str>,
    pub(crate) limits: Texts,
    timeout: Duration,
    closed: AtomicBool,
    server: Server,
    extras: Extras,
    /// As the schema is, which another program may have set up.
    unlogged_nonces: AtomicBool,
}

/// What the server said about itself when the store was opened.
struct Server {
    version: String,
    durability: Durability,
    unlogged_nonces: bool,
}

impl Shared {
    pub(crate) async fn open(builder: &Builder) -> Result<Self> {
        let schema = Schema::new(&builder.schema)?;
        let (pool, lent) = builder.make_pool()?;
        let server = Server::ask(&pool, &schema).await?;
        let text = |text: &str| -> Arc<str> { schema.in_text(text).into() };
        Ok(Self {
            commit_many: text(COMMIT_MANY),
            sweep: text("SELECT removed, more FROM {schema}.sweep($1, $2)"),
            limits: Texts::new(&schema, builder.relaxed_limits),
            pool,
            lent,
            schema,
            clock: Arc::clone(&builder.clock),
            statements: StatementCache::default(),
            timeout: builder.timeout,
            closed: AtomicBool::new(false),
            extras: builder.extras(),
            unlogged_nonces: AtomicBool::new(server.unlogged_nonces),
            server,
        })
    }

    pub(crate) fn statements(&self, collection: Collection) -> Arc<Statements> {
        self.statements.of(&self.schema, collection)
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn server_version(&self) -> &str {
        &self.server.version
    }

    pub(crate) fn capabilities(&self) -> Capabilities {
        let extras = Extras {
            unlogged_nonces: self.unlogged_nonces.load(Ordering::Relaxed),
            ..self.extras
        };
        extras.capabilities(self.server.durability)
    }

    /// Whether changes can be asked for here.
    pub(crate) fn tells(&self) -> bool {
        self.extras.change_notice
    }

    /// What `setup` made of the schema.
    pub(crate) fn was_set_up(&self, unlogged_nonces: bool) {
        self.unlogged_nonces
            .store(unlogged_nonces, Ordering::Relaxed);
    }

    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    pub(crate) fn check_open(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::closed().with_backend(BACKEND));
        }
        Ok(())
    }

    /// A connection; nothing was sent if there is none.
    pub(crate) async fn connection(
        &self,
        operation: &'static str,
    ) -> Result<PoolConnection<Postgres>> {
        self.check_open()?;
        self.pool
            .acquire()
            .await
            .map_err(|e| from_sqlx(e, Effect::Repeatable, operation))
    }

    /// The answer of `query`, a statement that was begun in `effect`.
    ///
    /// A statement given up on runs to its end on the server; the pool waits
    /// for that before the connection is used again.
    pub(crate) async fn answer<T>(
        &self,
        operation: &'static str,
        effect: Effect,
        query: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T> {
        match tokio::time::timeout(self.timeout, query).await {
            Ok(answer) => answer.map_err(|e| from_sqlx(e, effect, operation)),
            Err(_) => Err(timed_out(effect, operation)),
        }
    }

    pub(crate) async fn ping(&self) -> Result<Ping> {
        let mut connection = self.connection("ping").await?;
        let query =
            sqlx::query("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint * 1000")
                .fetch_one(&mut *connection);
        let row = self.answer("ping", Effect::Repeatable, query).await?;
        let server = integer(&row, 0)?.and_then(|nanos| u64::try_from(nanos).ok());
        let server = server.map_or(Timestamp::EPOCH, Timestamp::from_nanos);
        Ok(Ping::at(server, self.now()))
    }

    pub(crate) async fn close(&self) {
        self.closed.store(true, Ordering::Release);
        if !self.lent {
            self.pool.close().await;
        }
    }
}

impl Server {
    async fn ask(pool: &PgPool, schema: &Schema) -> Result<Self> {
        let text = schema.in_text(include_str!("../sql/server.sql"));
        let row = sqlx::query(sqlx::AssertSqlSafe(text))
            .fetch_one(pool)
            .await
            .map_err(|e| from_sqlx(e, Effect::Repeatable, "connect"))?;
        let setting = |name: &str| -> Result<String> {
            row.try_get(name)
                .map_err(|e| from_sqlx(e, Effect::Repeatable, "connect"))
        };
        if setting("server_encoding")? != "UTF8" {
            return Err(config(
                "the database's encoding is not UTF8; create one with ENCODING 'UTF8'",
            ));
        }
        let commit = setting("synchronous_commit")?;
        let standbys = setting("synchronous_standby_names")?;
        let durability = if setting("fsync")? == "off" || commit == "off" {
            Durability::Restart
        } else if !standbys.is_empty() && commit != "local" {
            Durability::Replicated
        } else {
            Durability::Crash
        };
        Ok(Self {
            version: setting("server_version")?,
            durability,
            unlogged_nonces: setting("nonces_persistence")? == "u",
        })
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("schema", &self.schema)
            .field("clock", &self.clock)
            .field("closed", &self.closed)
            .finish_non_exhaustive()
    }
}
