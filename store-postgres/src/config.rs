//! How to open a store in PostgreSQL.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use store_core::config::{Settings, Source};
use store_core::{Capabilities, Durability, Error, ErrorKind, Result, collections};

use crate::PostgresStore;
use crate::error::BACKEND;
use crate::extras::Extras;
use crate::hosts::{Hosts, Target};
use crate::sessions::{Limits, Sessions};
use crate::setup::Plan;
use crate::sql::Schema;
use crate::url::{self, Own};

/// How many prepared statements each connection caches.
const STATEMENTS: usize = 1000;

/// Options for a [`PostgresStore`].
///
/// ```no_run
/// # async fn f() -> store_core::Result<()> {
/// use store_postgres::PostgresStore;
/// use store_core::Collection;
///
/// const INVOICES: Collection = Collection::new("invoices");
/// let store = PostgresStore::builder()
///     .url("postgres://app@db.example.org/app?sslmode=verify-full")
///     .namespace("store")
///     .collection(INVOICES)
///     .max_connections(20)
///     .connect()
///     .await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
#[must_use = "a builder opens nothing until `connect`"]
pub struct PostgresBuilder {
    pub(crate) common: Settings<Client>,
    pub(crate) sweep: Option<(Duration, Duration)>,
    pub(crate) grant_to: Option<String>,
    pub(crate) relaxed_limits: bool,
    pub(crate) change_notice: Option<bool>,
    pub(crate) unlogged_transient: Option<bool>,
    listener_url: Option<String>,
    limits: Limits,
    statement_timeout: Option<Duration>,
}

/// What may be given instead of a URL.
#[derive(Clone)]
pub(crate) enum Client {
    Options(Box<PgConnectOptions>),
    Pool(PgPool),
}

impl Default for PostgresBuilder {
    fn default() -> Self {
        let mut common = Settings::new(Duration::from_secs(30), Duration::from_secs(5));
        common.collections = collections::all();
        Self {
            common,
            sweep: None,
            grant_to: None,
            relaxed_limits: false,
            change_notice: None,
            unlogged_transient: None,
            listener_url: None,
            limits: Limits {
                max_connections: 10,
                min_connections: 0,
                acquire_timeout: Duration::from_secs(10),
                idle_timeout: Some(Duration::from_secs(600)),
                max_lifetime: Some(Duration::from_secs(1800)),
            },
            statement_timeout: None,
        }
    }
}

impl PostgresBuilder {
    store_core::builder_methods! {
        /// Where the server is: `postgres://user:password@host:port/database?sslmode=…`.
        ///
        /// TLS is by rustls; `sslmode=verify-full` checks the certificate against
        /// the system's authorities and those of `sslrootcert`.
        ///
        /// Several hosts are separated by commas: `postgres://a,b:5433/db`. The store
        /// connects to the first on which it can write, and searches again when that host
        /// fails or turns out to be read-only. `target_session_attrs` is `read-write` (the
        /// default for several hosts), `primary` or `any` (the default for one).
        ///
        /// The store has these additional options, each equivalent to the method of the same
        /// name: `namespace` (or `schema`), `max_connections`, `min_connections`, `timeout`,
        /// `connect_timeout` (in seconds, as in libpq, or a duration), `acquire_timeout`,
        /// `change_notice`. They take precedence over the builder's options. Unknown options
        /// are refused by `connect`.
        url;

        store_url;

        /// The schema that contains the store's tables, functions and views; `store` by
        /// default. Two namespaces in one database are two stores.
        namespace;

        /// Declares a collection of the application.
        collection;

        clock;

        /// How long a call may wait for the server's answer, 30 s by default. A
        /// commit that takes longer is `Timeout` and ambiguous.
        timeout;

        /// How long `connect` waits for a server, and for each of several hosts; 5 s
        /// by default.
        connect_timeout;

        /// Which certificate authorities to trust in addition to the system's or instead of
        /// them. This turns full verification on, whatever `sslmode` says.
        tls;
    }

    /// The same as sqlx's connection options, instead of a URL.
    pub fn connect_options(mut self, options: PgConnectOptions) -> Self {
        self.common.source = Source::Client(Client::Options(Box::new(options)));
        self
    }

    /// A pool that the application owns. `close` leaves it open, and its settings
    /// apply instead of this builder's. Turn its `test_before_acquire` off to save a
    /// round trip per call.
    pub fn pool(mut self, pool: PgPool) -> Self {
        self.common.source = Source::Client(Client::Pool(pool));
        self
    }

    /// The same as [`namespace`](Self::namespace), under PostgreSQL's name for it.
    pub fn schema(self, name: impl Into<String>) -> Self {
        self.namespace(name)
    }

    /// The server's own `statement_timeout`, set when a connection starts; none
    /// by default. A statement that it cancels wrote nothing. A pooler must let
    /// the startup parameter `options` pass.
    pub fn statement_timeout(mut self, timeout: Duration) -> Self {
        self.statement_timeout = Some(timeout);
        self
    }

    /// The maximum number of connections, 10 by default.
    pub fn max_connections(mut self, connections: u32) -> Self {
        self.limits.max_connections = connections;
        self
    }

    /// How many connections stay open even if unused; none by default.
    pub fn min_connections(mut self, connections: u32) -> Self {
        self.limits.min_connections = connections;
        self
    }

    /// How long a call waits for a free connection, 10 s by default.
    pub fn acquire_timeout(mut self, timeout: Duration) -> Self {
        self.limits.acquire_timeout = timeout;
        self
    }

    /// How long an unused connection stays open; 10 minutes by default, `None`
    /// for ever.
    pub fn idle_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.limits.idle_timeout = timeout;
        self
    }

    /// The age at which a connection is closed; 30 minutes by default, `None` for never.
    pub fn max_lifetime(mut self, lifetime: Option<Duration>) -> Self {
        self.limits.max_lifetime = lifetime;
        self
    }

    /// Removes records that expired longer than `grace` ago, every `interval`,
    /// in a background task that `close` stops. Off by default. One process that does it
    /// is enough.
    pub fn sweep_every(mut self, interval: Duration, grace: Duration) -> Self {
        self.sweep = Some((interval, grace));
        self
    }

    /// Whether changes of [cacheable](store_core::Collection::cacheable) collections are sent by
    /// NOTIFY to all subscribers of [`changes`](store_core::RecordStore::changes).
    ///
    /// `setup` applies this option: a trigger on each table sends the notifications,
    /// whichever program writes and whatever its options are. If the option is not set,
    /// `setup` does not change the schema, and an added collection is announced if others
    /// are. Only a store opened with `true` offers `changes`.
    ///
    /// This slows down commits: PostgreSQL serializes all commits that send a
    /// notification, across all databases of the server, while they are written to disk.
    /// Commits to collections that are not cacheable are not affected. The first
    /// subscription opens one connection beside the pool.
    pub fn change_notice(mut self, enabled: bool) -> Self {
        self.change_notice = Some(enabled);
        self
    }

    /// Where to listen for changes, if not at the store's URL: LISTEN does not work
    /// through a pooler in transaction mode. Give the address of the server itself and
    /// the same database. The builder's TLS options apply to this connection too.
    pub fn listener_url(mut self, url: impl Into<String>) -> Self {
        self.listener_url = Some(url.into());
        self
    }

    /// Whether records of [transient](store_core::Collection::transient) collections, such as
    /// the nonces of LTI launches, bypass the write-ahead log, which makes their
    /// writes cheaper. `setup` applies this option, rewriting the table under a lock. If
    /// it is not set, `setup` does not change the table.
    ///
    /// A crash of the server then empties the table, and a standby that is promoted
    /// has none of its records. Nonces that were issued before are then unknown: their
    /// launches are refused and must be started again. No nonce is ever accepted twice.
    pub fn unlogged_transient(mut self, unlogged: bool) -> Self {
        self.unlogged_transient = Some(unlogged);
        self
    }

    /// Whether a change of a rate limit is acknowledged before it is on disk, by
    /// `synchronous_commit = off` for that transaction alone. Off by default.
    ///
    /// A crash of the server may then lose the takes of the last 0.6 s (three times
    /// its `wal_writer_delay`), which are then granted again. It loses the newest takes
    /// and never leaves a take partly applied. Records are not affected.
    pub fn relaxed_limits(mut self, relaxed: bool) -> Self {
        self.relaxed_limits = relaxed;
        self
    }

    /// The role that will run the store. `setup` grants it the rights that it needs,
    /// which do not include changing the schema.
    pub fn grant_to(mut self, role: impl Into<String>) -> Self {
        self.grant_to = Some(role.into());
        self
    }

    /// The SQL that `setup` executes in a database without the schema, for an
    /// administrator to read and run. After that `setup` has nothing left to do.
    ///
    /// # Errors
    /// `Config` for a wrong option.
    pub fn migration_sql(self) -> Result<String> {
        let options = self.resolved()?;
        options.plan(options.schema_name()?).sql()
    }

    /// What `setup` is to do.
    pub(crate) fn plan(&self, schema: Schema) -> Plan {
        Plan {
            schema,
            collections: self.common.collections.clone(),
            grant_to: self.grant_to.clone(),
            change_notice: self.change_notice,
            unlogged_transient: self.unlogged_transient,
        }
    }

    /// The capabilities of a store with these options on a server of this durability.
    pub fn capabilities(&self, durability: Durability) -> Capabilities {
        self.extras().capabilities(durability)
    }

    pub(crate) fn extras(&self) -> Extras {
        let transient = self.common.collections.iter().filter(|c| c.is_transient());
        Extras {
            transient: transient.map(|c| c.name()).collect(),
            change_notice: self.change_notice == Some(true),
            relaxed_limits: self.relaxed_limits,
            unlogged_transient: self.unlogged_transient == Some(true),
        }
    }

    /// Opens the store. It opens at least one connection, so that a wrong URL is
    /// reported here.
    ///
    /// # Errors
    /// `Config` for a wrong option or a server whose encoding is not UTF-8,
    /// `Unauthenticated`, or `Unavailable`.
    pub async fn connect(self) -> Result<PostgresStore> {
        PostgresStore::open(self.resolved()?).await
    }

    /// These options, combined with those of the URL.
    pub(crate) fn resolved(mut self) -> Result<Self> {
        let Some(url) = self.common.url()? else {
            return Ok(self);
        };
        let Own {
            common,
            max_connections,
            min_connections,
            acquire_timeout,
            change_notice,
        } = url::read(url)?.own;
        let limits = &mut self.limits;
        limits.max_connections = max_connections.unwrap_or(limits.max_connections);
        limits.min_connections = min_connections.unwrap_or(limits.min_connections);
        limits.acquire_timeout = acquire_timeout.unwrap_or(limits.acquire_timeout);
        self.common.replace(common);
        self.change_notice = change_notice.or(self.change_notice);
        Ok(self)
    }

    /// The namespace as PostgreSQL's schema.
    pub(crate) fn schema_name(&self) -> Result<Schema> {
        Schema::new(self.common.namespace.as_deref().unwrap_or("store"))
    }

    /// The pool. It opens no connection yet.
    pub(crate) fn sessions(&self) -> Result<Sessions> {
        let hosts = match &self.common.source {
            Source::None => {
                return Err(config(
                    "no server is configured; call PostgresBuilder::url or PostgresBuilder::pool",
                ));
            }
            Source::Client(Client::Pool(pool)) => {
                return Ok(Sessions::borrowed(
                    pool.clone(),
                    self.common.connect_timeout,
                ));
            }
            Source::Url(text) => url::read(&text.parse()?)?.hosts,
            Source::Parsed(url) => url::read(url)?.hosts,
            Source::Client(Client::Options(options)) => {
                Hosts::new(vec![(**options).clone()], Target::Any)
            }
        };
        let hosts = hosts.map(|options| self.prepared(options))?;
        Ok(Sessions::own(
            hosts,
            &self.limits,
            self.common.connect_timeout,
        ))
    }

    /// `options` with the settings that every session of the store needs.
    fn prepared(&self, options: PgConnectOptions) -> Result<PgConnectOptions> {
        let mut options = self
            .trusting(options)?
            .statement_cache_capacity(STATEMENTS)
            // The store sends no floats as text, and PgBouncer by default refuses
            // connections with this parameter.
            .extra_float_digits(None);
        if let Some(timeout) = self.statement_timeout {
            options = options.options([("statement_timeout", timeout.as_millis().to_string())]);
        }
        Ok(options)
    }

    /// The connection options of the listener; `sessions` are the store's.
    pub(crate) fn listener_options(&self, sessions: &Sessions) -> Result<PgConnectOptions> {
        match &self.listener_url {
            Some(text) => self.trusting(url::read(&text.parse()?)?.hosts.first().clone()),
            None => Ok((*sessions.pool.connect_options()).clone()),
        }
    }

    /// How long to wait for a connection.
    pub(crate) fn patience(&self) -> Duration {
        self.limits.acquire_timeout
    }

    /// `options` with the certificate authorities of this builder.
    fn trusting(&self, options: PgConnectOptions) -> Result<PgConnectOptions> {
        if self.common.tls.only_this_ca {
            return Err(config(
                "PostgreSQL's driver trusts the system's authorities too, so Tls::only_this_ca \
                 is not supported; leave it out",
            ));
        }
        Ok(match self.common.tls.authorities()? {
            Some(pem) => options
                .ssl_mode(PgSslMode::VerifyFull)
                .ssl_root_cert_from_pem(pem),
            None => options,
        })
    }
}

pub(crate) fn config(message: impl Into<Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::Config, message).with_backend(BACKEND)
}

impl fmt::Debug for PostgresBuilder {
    /// Without the URL, which may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresBuilder")
            .field("common", &self.common)
            .field("sweep", &self.sweep)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}
