//! The state that all parts of an opened store share: the pool, the clock, the
//! statements.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use sqlx::postgres::{PgQueryResult, PgRow};
use sqlx::{Either, Row};
use store_core::backend::event;
use store_core::{Capabilities, Clock, Durability, Error, Ping, Result, Retry, Timestamp};

use crate::config::{PostgresBuilder, config};
use crate::error::{BACKEND, Effect, doubt, from_sqlx, in_session, timed_out};
use crate::extras::Extras;
#[cfg(feature = "limits")]
use crate::limits::Texts;
use crate::sessions::{Session, Sessions};
use crate::sql::{AllStatements, Schema};
use crate::wire::integer;

pub(crate) struct Shared {
    pub(crate) sessions: Sessions,
    pub(crate) schema: Schema,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) statements: AllStatements,
    pub(crate) sweep: Arc<str>,
    #[cfg(feature = "limits")]
    pub(crate) limits: Texts,
    timeout: Duration,
    closed: AtomicBool,
    server: Server,
    extras: Extras,
    /// Whether the schema's transient table is unlogged; another program may have set it
    /// up.
    unlogged_transient: AtomicBool,
}

/// What the server reported when the store was opened.
struct Server {
    version: String,
    durability: Durability,
    unlogged_transient: bool,
}

impl Shared {
    pub(crate) async fn open(builder: &PostgresBuilder) -> Result<Self> {
        let schema = builder.schema_name()?;
        let sessions = builder.sessions()?;
        let server = Server::ask(&sessions, &schema).await?;
        let text = |text: &str| -> Arc<str> { schema.in_text(text).into() };
        Ok(Self {
            statements: AllStatements::new(&schema),
            sweep: text("SELECT removed, more FROM {schema}.sweep($1, $2)"),
            #[cfg(feature = "limits")]
            limits: Texts::new(&schema, builder.relaxed_limits),
            sessions,
            schema,
            clock: Arc::clone(&builder.common.clock),
            timeout: builder.common.timeout,
            closed: AtomicBool::new(false),
            extras: builder.extras(),
            unlogged_transient: AtomicBool::new(server.unlogged_transient),
            server,
        })
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn server_version(&self) -> &str {
        &self.server.version
    }

    pub(crate) fn capabilities(&self) -> Capabilities {
        let extras = Extras {
            unlogged_transient: self.unlogged_transient.load(Ordering::Relaxed),
            ..self.extras.clone()
        };
        extras.capabilities(self.server.durability)
    }

    /// Whether this store offers change notices.
    pub(crate) fn notifies(&self) -> bool {
        self.extras.change_notice
    }

    /// Records the state of the schema after `setup`.
    pub(crate) fn was_set_up(&self, unlogged_transient: bool) {
        self.unlogged_transient
            .store(unlogged_transient, Ordering::Relaxed);
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

    /// Acquires a session. On an error nothing was sent.
    pub(crate) async fn connection(&self, operation: &'static str) -> Result<Session> {
        self.check_open()?;
        self.sessions
            .acquire()
            .await
            .map_err(|e| from_sqlx(e, Effect::Repeatable, operation))
    }

    /// Runs `call`, and runs it once more on another session if the first session was
    /// unusable and nothing was written.
    pub(crate) async fn call<T, F>(&self, call: impl Fn() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        match call().await {
            Err(error) if error.retry() == Retry::Safe && doubt(&error).is_some() => {
                event::retry("a session was unusable; trying another", 1);
                call().await
            }
            answer => answer,
        }
    }

    /// The result of `query`, a statement of this `effect`.
    ///
    /// If the future is dropped, the statement still completes on the server. The pool
    /// waits for that before it uses the connection again.
    pub(crate) async fn answer<T>(
        &self,
        operation: &'static str,
        effect: Effect,
        query: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T> {
        match tokio::time::timeout(self.timeout, query).await {
            Ok(answer) => answer.map_err(|e| self.failed(e, effect, operation)),
            Err(_) => Err(timed_out(effect, operation)),
        }
    }

    /// The error for `e`. Also marks the sessions that may be unusable after `e`.
    pub(crate) fn failed(&self, e: sqlx::Error, effect: Effect, operation: &'static str) -> Error {
        let error = in_session(e, effect, operation);
        if let Some(doubt) = doubt(&error) {
            event::failure(
                "sessions may be unusable and will be replaced or tested",
                &error,
            );
            self.sessions.raise(doubt);
        }
        error
    }

    /// Executes a writing statement and returns its rows.
    ///
    /// The rows before an error show whether the statement was executed.
    pub(crate) async fn written(
        &self,
        operation: &'static str,
        mut answer: impl Stream<Item = Result<Either<PgQueryResult, PgRow>, sqlx::Error>> + Unpin,
    ) -> Result<Vec<PgRow>> {
        let (mut rows, mut answered) = (Vec::new(), false);
        let reading = async {
            // Reads to the end of the reply, because only then has the server
            // committed.
            while let Some(part) = answer.next().await {
                match part {
                    Ok(Either::Right(row)) => rows.push(row),
                    Ok(Either::Left(_)) => {}
                    Err(e) => {
                        let error = self.failed(e, Effect::Write, operation);
                        let unclear = answered && doubt(&error).is_some();
                        return Err(match unclear {
                            true => error.with_retry(Retry::Ambiguous),
                            false => error,
                        });
                    }
                }
                answered = true;
            }
            Ok(())
        };
        match tokio::time::timeout(self.timeout, reading).await {
            Ok(read) => read.map(|()| rows),
            Err(_) => Err(timed_out(Effect::Write, operation)),
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
        if !self.sessions.is_borrowed() {
            self.sessions.pool.close().await;
        }
    }
}

impl Server {
    async fn ask(sessions: &Sessions, schema: &Schema) -> Result<Self> {
        let failed = |e| from_sqlx(e, Effect::Repeatable, "connect");
        let mut session = sessions.first().await.map_err(failed)?;
        let text = schema.in_text(include_str!("../sql/server.sql"));
        let row = sqlx::query(sqlx::AssertSqlSafe(text))
            .fetch_one(&mut *session)
            .await
            .map_err(failed)?;
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
            unlogged_transient: setting("transient_persistence")? == "u",
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
