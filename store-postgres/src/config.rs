//! How to open a store in PostgreSQL.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgSslMode};
use store_core::lti::NONCES;
use store_core::{
    Capabilities, Clock, Collection, Durability, Error, ErrorKind, Result, Support, SystemClock,
    collections,
};

use crate::PostgresStore;
use crate::error::BACKEND;

/// A connection idle for longer is asked for a sign of life before it is used,
/// so that a server restarted meanwhile does not make a write ambiguous.
const TRUSTED_IDLE: Duration = Duration::from_secs(30);

/// Statements that each connection keeps prepared: a few for each collection.
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
///     .schema("store")
///     .collection(INVOICES)
///     .max_connections(20)
///     .connect()
///     .await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
#[must_use = "a builder opens nothing until `connect`"]
pub struct Builder {
    source: Source,
    pub(crate) schema: String,
    pub(crate) collections: Vec<Collection>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) timeout: Duration,
    pub(crate) sweep: Option<(Duration, Duration)>,
    pub(crate) grant_to: Option<String>,
    pub(crate) relaxed_limits: bool,
    pub(crate) change_notice: Option<bool>,
    pub(crate) unlogged_nonces: Option<bool>,
    listener_url: Option<String>,
    ca: Option<std::path::PathBuf>,
    max_connections: u32,
    min_connections: u32,
    pub(crate) acquire_timeout: Duration,
    idle_timeout: Option<Duration>,
    max_lifetime: Option<Duration>,
    statement_timeout: Option<Duration>,
}

#[derive(Clone)]
enum Source {
    None,
    Url(String),
    Options(Box<PgConnectOptions>),
    Pool(PgPool),
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            source: Source::None,
            schema: "store".into(),
            collections: collections::all(),
            clock: Arc::new(SystemClock),
            timeout: Duration::from_secs(30),
            sweep: None,
            grant_to: None,
            relaxed_limits: false,
            change_notice: None,
            unlogged_nonces: None,
            listener_url: None,
            ca: None,
            max_connections: 10,
            min_connections: 0,
            acquire_timeout: Duration::from_secs(10),
            idle_timeout: Some(Duration::from_secs(600)),
            max_lifetime: Some(Duration::from_secs(1800)),
            statement_timeout: None,
        }
    }
}

impl Builder {
    /// Where the server is: `postgres://user:password@host:port/database?sslmode=…`.
    /// TLS is by rustls; `sslmode=verify-full` checks the certificate against
    /// the system's authorities, or those of `sslrootcert`.
    pub fn url(mut self, url: impl Into<String>) -> Self {
        self.source = Source::Url(url.into());
        self
    }

    /// The same as sqlx's own options, instead of a URL.
    pub fn connect_options(mut self, options: PgConnectOptions) -> Self {
        self.source = Source::Options(Box::new(options));
        self
    }

    /// A pool that the application has. It is lent: `close` leaves it open, and
    /// its own settings hold instead of those that this builder has for a pool.
    /// Turn its `test_before_acquire` off to save a round trip per call.
    pub fn pool(mut self, pool: PgPool) -> Self {
        self.source = Source::Pool(pool);
        self
    }

    /// The schema that holds everything; `store` by default. Two schemas in one
    /// database are two stores.
    pub fn schema(mut self, name: impl Into<String>) -> Self {
        self.schema = name.into();
        self
    }

    /// Declares a collection of the application's own; `setup` makes its table.
    pub fn collection(mut self, collection: Collection) -> Self {
        self.collections.push(collection);
        self
    }

    /// Declares several collections.
    pub fn collections(mut self, collections: impl IntoIterator<Item = Collection>) -> Self {
        self.collections.extend(collections);
        self
    }

    /// The clock that decides expiry and refill. The machine's by default.
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// How long a call may wait for the server's answer, 30 s by default. A
    /// commit that takes longer is `Timeout` and ambiguous.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The server's own `statement_timeout`, set when a connection starts; none
    /// by default. A statement it ends surely wrote nothing. A pooler must let
    /// the startup parameter `options` pass.
    pub fn statement_timeout(mut self, timeout: Duration) -> Self {
        self.statement_timeout = Some(timeout);
        self
    }

    /// The most connections, 10 by default.
    pub fn max_connections(mut self, connections: u32) -> Self {
        self.max_connections = connections;
        self
    }

    /// How many connections to keep open even if unused; none by default.
    pub fn min_connections(mut self, connections: u32) -> Self {
        self.min_connections = connections;
        self
    }

    /// How long to wait for a free connection, 10 s by default.
    pub fn acquire_timeout(mut self, timeout: Duration) -> Self {
        self.acquire_timeout = timeout;
        self
    }

    /// How long an unused connection stays open; 10 minutes by default, `None`
    /// for ever.
    pub fn idle_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.idle_timeout = timeout;
        self
    }

    /// How old a connection may get; 30 minutes by default, `None` for any age.
    pub fn max_lifetime(mut self, lifetime: Option<Duration>) -> Self {
        self.max_lifetime = lifetime;
        self
    }

    /// The file of the certificate authorities to trust instead of the
    /// system's, in PEM. Turns full verification on.
    pub fn ca_certificate(mut self, file: impl AsRef<Path>) -> Self {
        self.ca = Some(file.as_ref().into());
        self
    }

    /// Removes records that expired longer than `grace` ago, each `interval`,
    /// in a task that the store owns and `close` stops. Off by default:
    /// one process, or a job of the application's, is enough.
    pub fn sweep_every(mut self, interval: Duration, grace: Duration) -> Self {
        self.sweep = Some((interval, grace));
        self
    }

    /// Whether changes of [cacheable](Collection::cacheable) collections are
    /// told, by NOTIFY, to all who ask for [`changes`](store_core::RecordStore::changes).
    ///
    /// `setup` brings about what is said here: a trigger on each such table, so
    /// that every program tells that writes there, whatever it was opened with.
    /// Unsaid, `setup` leaves the schema as it is, and tables that it adds tell
    /// if others do. Only a store that says `true` can be asked for changes.
    ///
    /// It has a price: PostgreSQL lets only one commit at a time tell something,
    /// in all of its databases, from before the commit is written to disk until
    /// after. Collections that are not cacheable do not take part. And one
    /// connection listens, beside the pool, once somebody asks.
    pub fn change_notice(mut self, told: bool) -> Self {
        self.change_notice = Some(told);
        self
    }

    /// Where to listen for changes, if not where the store is: LISTEN does not
    /// work through a pooler in transaction mode. The server's own address, and
    /// the same database; TLS options that were called here hold there too.
    pub fn listener_url(mut self, url: impl Into<String>) -> Self {
        self.listener_url = Some(url.into());
        self
    }

    /// Whether nonces of LTI launches are kept out of the write-ahead log, which
    /// makes a launch's writes cheaper. `setup` brings about what is said here,
    /// rewriting the table under a lock; unsaid, it leaves it as it is.
    ///
    /// A crash of the server then empties the table, and so does a change to a
    /// standby, which has none of it. Nonces that were out are unknown
    /// afterwards: their launches are refused and begin anew. None is ever
    /// accepted twice.
    pub fn unlogged_nonces(mut self, unlogged: bool) -> Self {
        self.unlogged_nonces = Some(unlogged);
        self
    }

    /// Whether a change of a rate limit is acknowledged before it is on disk, by
    /// `synchronous_commit = off` for that transaction alone. Off by default.
    ///
    /// A crash of the server may then forget the takes of its last moments
    /// (three times its `wal_writer_delay`, 0.6 s), which grants as many again.
    /// It forgets them from the newest on, and never leaves one half done.
    /// Records are not concerned.
    pub fn relaxed_limits(mut self, relaxed: bool) -> Self {
        self.relaxed_limits = relaxed;
        self
    }

    /// The role that will run the store; `setup` grants it what that takes,
    /// which is no right to change the schema.
    pub fn grant_to(mut self, role: impl Into<String>) -> Self {
        self.grant_to = Some(role.into());
        self
    }

    /// What a store of these options can do on a server of this durability.
    pub fn capabilities(&self, durability: Durability) -> Capabilities {
        self.extras().capabilities(durability)
    }

    pub(crate) fn extras(&self) -> Extras {
        Extras {
            change_notice: self.change_notice == Some(true),
            relaxed_limits: self.relaxed_limits,
            unlogged_nonces: self.unlogged_nonces == Some(true),
        }
    }

    /// Opens the store. At least one connection is made, so that a wrong URL is
    /// found here.
    ///
    /// # Errors
    /// `Config` for a wrong option or a server whose encoding is not UTF-8,
    /// `Unauthenticated`, or `Unavailable`.
    pub async fn connect(self) -> Result<PostgresStore> {
        PostgresStore::open(self).await
    }

    /// The pool, and whether it was lent.
    pub(crate) fn make_pool(&self) -> Result<(PgPool, bool)> {
        let mut options = match &self.source {
            Source::None => {
                return Err(config(
                    "no server is named; call Builder::url or Builder::pool",
                ));
            }
            Source::Pool(pool) => return Ok((pool.clone(), true)),
            Source::Url(url) => parse(url)?,
            Source::Options(options) => (**options).clone(),
        };
        if let Some(ca) = &self.ca
            && let Err(e) = std::fs::File::open(ca)
        {
            let error = config("the file of certificate authorities cannot be read");
            return Err(error.with_source(e));
        }
        options = self
            .trusting(options)
            .statement_cache_capacity(STATEMENTS)
            // Floats never travel as text here, and a pgbouncer as it is
            // delivered refuses a connection that asks for how they do.
            .extra_float_digits(None);
        if let Some(timeout) = self.statement_timeout {
            options = options.options([("statement_timeout", timeout.as_millis().to_string())]);
        }
        let pool = PgPoolOptions::new()
            .max_connections(self.max_connections)
            .min_connections(self.min_connections)
            .acquire_timeout(self.acquire_timeout)
            .idle_timeout(self.idle_timeout)
            .max_lifetime(self.max_lifetime)
            .test_before_acquire(false)
            .before_acquire(|connection, meta| {
                Box::pin(async move {
                    if meta.idle_for > TRUSTED_IDLE {
                        sqlx::Connection::ping(connection).await?;
                    }
                    Ok(true)
                })
            })
            .connect_lazy_with(options);
        Ok((pool, false))
    }

    /// How to reach the server to listen to it; `pool` is the store's.
    pub(crate) fn listener_options(&self, pool: &PgPool) -> Result<PgConnectOptions> {
        match &self.listener_url {
            Some(url) => Ok(self.trusting(parse(url)?)),
            None => Ok((*pool.connect_options()).clone()),
        }
    }

    /// `options` with the authorities that were named here.
    fn trusting(&self, options: PgConnectOptions) -> PgConnectOptions {
        match &self.ca {
            Some(ca) => options.ssl_mode(PgSslMode::VerifyFull).ssl_root_cert(ca),
            None => options,
        }
    }
}

/// What a store has that was asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extras {
    pub(crate) change_notice: bool,
    pub(crate) relaxed_limits: bool,
    pub(crate) unlogged_nonces: bool,
}

impl Extras {
    pub(crate) fn capabilities(self, durability: Durability) -> Capabilities {
        let mut capabilities = Capabilities::new(BACKEND);
        capabilities.transactions = Support::Native;
        capabilities.ordered_scans = Support::Native;
        capabilities.collection_scans = Support::Native;
        capabilities.blobs = Support::Emulated;
        capabilities.rate_limits = Support::Native;
        if self.change_notice {
            capabilities.change_notice = Support::Native;
        }
        capabilities.durability = durability;
        // A server that forgets everything at a crash makes no exceptions.
        if matches!(durability, Durability::Crash | Durability::Replicated) {
            let weaker = [
                (self.relaxed_limits, "rate limits"),
                (self.unlogged_nonces, NONCES.name()),
            ];
            let weaker = weaker.into_iter().filter(|(asked, _)| *asked);
            capabilities.exceptions = weaker
                .map(|(_, part)| (part, Durability::Restart))
                .collect();
        }
        capabilities
    }
}

fn parse(url: &str) -> Result<PgConnectOptions> {
    url.parse().map_err(|_| {
        // The parser's own words may hold the URL, password and all.
        config("the URL is not of the form postgres://user@host:port/database")
    })
}

pub(crate) fn config(message: &'static str) -> Error {
    Error::new(ErrorKind::Config, message).with_backend(BACKEND)
}

impl fmt::Debug for Builder {
    /// Without the URL, which may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("schema", &self.schema)
            .field("collections", &self.collections)
            .field("clock", &self.clock)
            .field("timeout", &self.timeout)
            .field("sweep", &self.sweep)
            .field("max_connections", &self.max_connections)
            .finish_non_exhaustive()
    }
}
