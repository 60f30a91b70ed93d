//! Change notices, received with LISTEN on a separate connection.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use store_core::backend::{ChangeListener, NoticeSource, NoticeStream};
use store_core::changes::Changes;
use store_core::{Collection, Error, Result};

use crate::config::config;
use crate::error::{BACKEND, Effect, from_sqlx};
use crate::shared::Shared;

/// How long a server may take to deliver a notice or to answer.
const REPLY_TIMEOUT: Duration = Duration::from_secs(10);

/// Receives notices for the subscribers of one store.
#[derive(Debug)]
pub(crate) struct Listener {
    listener: ChangeListener,
    shared: Arc<Shared>,
    /// The declared collections whose changes must be announced.
    collections: Vec<Collection>,
}

/// Where to listen.
struct Channel {
    shared: Arc<Shared>,
    options: PgConnectOptions,
    acquire_timeout: Duration,
}

struct Subscription {
    listener: PgListener,
    /// The pool of the one connection of `listener`, which uses no other.
    _pool: PgPool,
}

impl Listener {
    pub(crate) fn new(
        shared: Arc<Shared>,
        options: PgConnectOptions,
        acquire_timeout: Duration,
        collections: &[Collection],
    ) -> Self {
        let cacheable = collections.iter().copied().filter(|c| c.is_cacheable());
        Self {
            listener: ChangeListener::new(Channel {
                shared: Arc::clone(&shared),
                options,
                acquire_timeout,
            }),
            shared,
            collections: cacheable.collect(),
        }
    }

    /// See [`ChangeListener::subscribe`].
    pub(crate) async fn subscribe(&self) -> Result<Changes> {
        self.check_announced().await?;
        self.listener.subscribe().await
    }

    /// Refuses a schema whose triggers do not announce all changes.
    async fn check_announced(&self) -> Result<()> {
        let shared = &self.shared;
        let text = shared
            .schema
            .in_text("SELECT name FROM {schema}.collections WHERE announces");
        let mut connection = shared.connection("changes").await?;
        let query = sqlx::query_scalar(sqlx::AssertSqlSafe(text)).fetch_all(&mut *connection);
        let announced: Vec<String> = shared.answer("changes", Effect::Repeatable, query).await?;
        let is_silent = |c: &Collection| !announced.iter().any(|name| name == c.name());
        if self.collections.iter().any(is_silent) {
            return Err(config(
                "the schema does not announce all changes yet; run setup of a store with \
                 PostgresBuilder::change_notice(true) once, as the schema's owner",
            ));
        }
        Ok(())
    }

    /// See [`ChangeListener::close`].
    pub(crate) async fn close(&self) {
        self.listener.close().await;
    }
}

impl Channel {
    fn name(&self) -> String {
        format!("store_changes/{}", self.shared.schema.name())
    }
}

#[async_trait]
impl NoticeSource for Channel {
    fn backend(&self) -> &'static str {
        BACKEND
    }

    async fn connect(&self) -> Result<Box<dyn NoticeStream>> {
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(self.acquire_timeout)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_lazy_with(self.options.clone());
        let listen = async {
            let mut listener = PgListener::connect_with(&pool).await?;
            listener.eager_reconnect(false);
            listener.listen(&self.name()).await?;
            Ok(listener)
        };
        let listener = listen
            .await
            .map_err(|e| from_sqlx(e, Effect::Repeatable, "changes"))?;
        Ok(Box::new(Subscription {
            listener,
            _pool: pool,
        }))
    }

    async fn send_probe(&self, probe: &str) -> Result<usize> {
        let mut connection = self.shared.connection("changes").await?;
        let notify = sqlx::query("SELECT pg_notify($1, $2)")
            .bind(self.name())
            .bind(probe)
            .execute(&mut *connection);
        let sent = self.shared.answer("changes", Effect::Repeatable, notify);
        sent.await.map(|_| 1)
    }

    fn patience(&self) -> Duration {
        REPLY_TIMEOUT.min(self.shared.timeout())
    }

    /// A pooler in transaction mode accepts LISTEN but delivers no notifications, because
    /// each transaction may run in another session. Nor do notifications arrive if the
    /// listener is connected to another database.
    fn unproven(&self) -> Error {
        config(
            "the listening connection receives no notices: it leads through a pooler in \
             transaction mode, or to another database; give the server's own URL in \
             PostgresBuilder::listener_url",
        )
    }
}

#[async_trait]
impl NoticeStream for Subscription {
    async fn next(&mut self) -> Option<String> {
        let notice = self.listener.try_recv().await.ok()??;
        Some(notice.payload().to_owned())
    }

    async fn ping(&mut self) -> bool {
        sqlx::query("SELECT 1")
            .execute(&mut self.listener)
            .await
            .is_ok()
    }
}
