//! The store in PostgreSQL, 15 and newer, through sqlx.
//!
//! ```no_run
//! use store_postgres::PostgresStore;
//! use store_core::{Batch, Body, Collection, Expect, Partition, RecordKey, Store};
//!
//! # #[tokio::main] async fn main() -> store_core::Result<()> {
//! const VISITS: Collection = Collection::new("visits");
//! let postgres = PostgresStore::builder()
//!     .url("postgres://localhost/app")
//!     .collection(VISITS)
//!     .connect()
//!     .await?;
//! postgres.setup().await?;
//! let store = Store::from(&postgres);
//! let site = Partition::new("example.org")?;
//! let key = RecordKey::new(VISITS, "front page")?;
//!
//! let mut batch = Batch::new(site.clone(), store.now());
//! batch.put(key.clone(), Expect::Absent, Body::json(1u64)?)?;
//! store.records().commit(&batch).await?;
//!
//! let visits = store.records().get(key.at(&site)).await?.expect("just written");
//! assert_eq!(*visits.decode::<u64>()?, 1);
//! # Ok(()) }
//! ```
//!
//! # Setup
//! [`PostgresStore::setup`] makes the schema, or brings an older one up to
//! date. It may run at every start and in many processes at once. It needs a
//! role that may create a schema in the database, or one that owns the schema.
//! Running the store needs less: `USAGE` on the schema and reading and writing
//! its tables, which [`PostgresBuilder::grant_to`] grants. A process with such a role
//! need not call `setup`.
//!
//! # Collections
//! Records are in three tables: `records`, `chunks` for
//! [large opaque bytes](store_core::Collection::chunks), and `transient` for
//! collections that [a crash may lose](store_core::Collection::transient). Declare
//! your own collections with [`PostgresBuilder::collection`], so that `setup`
//! knows which table they use and which changes to announce; one that was declared
//! with other flags before is refused with `Config`.
//!
//! # With psql
//! Views show the contracts' records in columns: `api_keys`, `rate_limits`,
//! `objects`, `tenants`, `users`, `groups`, `policies`, `attachments`,
//! `inline_policies`, `memberships`, `lti_registrations`, `lti_deployments`, `lti_nonces`,
//! `lti_tool_keys`. Your own are
//! `SELECT id, body->>'name' FROM store.records WHERE collection = 'invoices'`.
//! Read what you like, but change records only through the functions
//! `commit_to_<table>` and `commit_many`: they hold the partition's lock, on
//! which every promise about commits rests.
//!
//! # What a call costs
//! Each read, page, commit and take is one statement and one round trip,
//! prepared once per connection. The pool of sqlx checks a connection after its use, off
//! the caller's path. `cargo xtask bench --backend postgres` measures them, in
//! turns with the same done by hand with sqlx, and prints the ratios.
//!
//! What each call of a contract costs is counted over the wire, in the table
//! [TRIPS.md](https://github.com/store-rs/store/blob/main/store-conformance/TRIPS.md).
//!
//! # Change notice
//! Off unless asked for with [`PostgresBuilder::change_notice`]; then
//! [`RecordStore::changes`](store_core::RecordStore::changes) tells, from whatever process, which records of
//! [cacheable](store_core::Collection::cacheable) collections were put or deleted, so
//! that what was read may be remembered. See [`store_core::changes`] for what a notice
//! is worth.
//!
//! `setup` of a store that asks for it puts a trigger on each such table, so that
//! every program tells, and a person with psql too. NOTIFY lets one commit at a
//! time through, in the whole server, while it is written to disk; that is its
//! price, paid only by commits that touch cacheable collections. The first who
//! asks for changes opens one connection beside the pool, by which all of this
//! store's listeners hear; nothing is ever asked of the pool for it afterwards.
//! - A line that breaks is opened again, and everybody who listens is told of a
//!   gap when it breaks and when it is back. One that breaks without a word is
//!   found out after 30 seconds of silence.
//! - A listener proves first that it hears. Through a pooler in transaction mode
//!   it does not, and `changes` is refused with `Config`: name the server itself
//!   with [`PostgresBuilder::listener_url`].
//! - Sweeping is silent: a record says itself when it expires.
//!
//! # Durability
//! An acknowledged commit survives a crash of the server if the server is
//! configured so, as it is when delivered; `capabilities()` says what was found:
//! `fsync`, `synchronous_commit`, standbys. Two exceptions can be asked for, and
//! are told there:
//! - [`PostgresBuilder::relaxed_limits`]: changes of rate limits are acknowledged before
//!   they are on disk. A crash forgets those of the last moments, which grants as
//!   many again. It is a matter of each program.
//! - [`PostgresBuilder::unlogged_transient`]: a crash empties the table of transient
//!   records, which holds the nonces of LTI launches. Launches under way are refused
//!   as unknown; none is accepted twice. It is a property of the schema.
//!
//! What is a matter of the schema, `setup` brings about where it is said, in
//! either direction, and leaves as it is where it is not. So say it in every
//! program that runs `setup`, or in one that alone does. A role that may not
//! change the tables is refused with `PermissionDenied`, unless nothing is to be
//! done.
//!
//! # TLS
//! By rustls. `sslmode=verify-full` in the URL checks the server's certificate
//! and name against the system's authorities, or those of `sslrootcert`;
//! [`PostgresBuilder::tls`] does both. `require` encrypts and checks nobody,
//! and `prefer`, sqlx's default, may not even encrypt: say `verify-full`. A server
//! that is not trusted is refused with `Config`.
//!
//! # Poolers
//! Through PgBouncer in transaction mode: 1.21 or newer with
//! `max_prepared_statements` above zero. Older ones are not supported.
//!
//! # A lost connection
//! A failed read changed nothing and is `Retry::Safe`. A commit whose answer is
//! missing is looked up by its version; where that proves nothing the error is
//! `Retry::Ambiguous`. If the server ended the session before it executed the
//! statement, the call is made again on another session. `connect` reports at once
//! that nothing listens at a port; an open store goes on trying to connect for
//! [`PostgresBuilder::acquire_timeout`] and then reports the outage.
//!
//! # Bodies
//! A JSON body is stored in a `json` column, exactly as it was written, so that it
//! reads back to the last digit and has the size it had. A page of a scan ends
//! after 4 MiB of bodies.
//!
//! # A dropped commit
//! A commit whose future was dropped is done wholly or not at all, but perhaps
//! later: its statement may still wait for the partition's lock on the server, and
//! be done after a later commit that was acknowledged. With `Expect::Any` it then
//! overwrites that one. Expect a version where it matters;
//! [`PostgresBuilder::statement_timeout`] bounds how late it can be.
//!
//! # Several hosts
//! `postgres://a,b/db` connects to the first host on which it can write, and looks
//! again when that one fails or is found to be read-only. A session that was opened
//! on a standby is replaced as soon as an error shows that it is read-only, so
//! after a promotion the next call finds the new primary.
//!
//! # Isolation
//! Commits need `READ COMMITTED`, which is the default. A role or database with
//! another `default_transaction_isolation` is refused at its first commit, and so
//! is a transaction of the application's at another level; neither writes
//! anything.

mod changes;
mod commit;
mod config;
mod error;
mod extras;
mod hosts;
mod limits;
mod records;
mod scan;
mod sessions;
mod settings;
mod setup;
mod shared;
mod sql;
mod sweeper;
mod url;
mod wire;
mod within;

use std::fmt;
use std::sync::Arc;

pub use sqlx;
use sqlx::{PgConnection, PgPool};
pub use store_core;
use store_core::layers::Resolving;
use store_core::{Result, Store};

pub use config::PostgresBuilder;
use limits::PostgresLimits;
use records::PostgresRecords;
pub use settings::Config;
pub use within::Within;

/// Opens `postgres:` URLs for a [`Registry`](store_core::open::Registry). Their
/// options are those of [`PostgresBuilder::url`].
pub const OPENER: store_core::open::Opener = store_core::open::Opener::new(url::SCHEMES, |url| {
    Box::pin(async move {
        Ok(PostgresStore::builder()
            .store_url(url)
            .connect()
            .await?
            .into())
    })
});

/// A store in PostgreSQL. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct PostgresStore {
    records: Arc<PostgresRecords>,
    store: Store,
}

impl PostgresStore {
    /// Opens the store in the schema `store` of the database at `url`.
    ///
    /// # Errors
    /// As [`PostgresBuilder::connect`].
    pub async fn connect(url: impl Into<String>) -> Result<Self> {
        Self::builder().url(url).connect().await
    }

    /// Options: schema, collections, pool, timeouts, TLS, the clock.
    pub fn builder() -> PostgresBuilder {
        PostgresBuilder::default()
    }

    /// Opens the store over a pool that stays the application's.
    ///
    /// # Errors
    /// As [`PostgresBuilder::connect`].
    pub async fn from_pool(pool: PgPool) -> Result<Self> {
        Self::builder().pool(pool).connect().await
    }

    async fn open(builder: PostgresBuilder) -> Result<Self> {
        let records = Arc::new(PostgresRecords::open(builder).await?);
        let limits = PostgresLimits::new(Arc::clone(&records));
        let resolving = Resolving::new(Arc::clone(&records) as _);
        let store = Store::new(Arc::new(resolving)).with_limits(Arc::new(limits));
        Ok(Self { records, store })
    }

    /// Makes the schema and the tables of all declared collections, or brings
    /// an older schema up to date. Idempotent, and safe when many processes
    /// start at once; where nothing is to do, no right to change anything is
    /// needed. Once begun it goes on to its end, also if the caller gives up.
    ///
    /// # Errors
    /// `Config` if a newer program made the schema, `PermissionDenied` if the
    /// role may not create it.
    pub async fn setup(&self) -> Result<()> {
        self.records.setup().await
    }

    /// The store inside a transaction of the application's own, so that records
    /// and the application's rows change together or not at all. See [`Within`].
    pub fn within<'a>(&'a self, transaction: &'a mut PgConnection) -> Within<'a> {
        Within::new(self.records.shared(), transaction)
    }

    /// The server's version, as it tells it: `15.18 (Debian …)`.
    pub fn server_version(&self) -> &str {
        self.records.shared().server_version()
    }

    /// Closes the store, as [`Store::close`] says. A pool that was lent
    /// stays open.
    ///
    /// # Errors
    /// None; the result is for uniformity.
    pub async fn close(&self) -> Result<()> {
        self.store.close().await
    }
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore").finish_non_exhaustive()
    }
}

impl From<PostgresStore> for Store {
    fn from(store: PostgresStore) -> Self {
        store.store
    }
}

impl From<&PostgresStore> for Store {
    fn from(store: &PostgresStore) -> Self {
        store.store.clone()
    }
}
