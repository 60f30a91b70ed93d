//! A store in PostgreSQL, 15 and newer, through sqlx.
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
//! [`PostgresStore::setup`] creates the schema, or migrates an older one. It may
//! run at every start and in many processes concurrently. It needs a role that may
//! create a schema in the database, or one that owns the schema. Running the store
//! needs less: `USAGE` on the schema and the rights to read and write its tables,
//! which [`PostgresBuilder::grant_to`] grants. A process with such a role need not
//! call `setup`.
//!
//! # Collections
//! Records are in three tables: `records`, `chunks` for
//! [large opaque bytes](store_core::Collection::chunks), and `transient` for
//! collections that [a crash may lose](store_core::Collection::transient). Declare
//! your own collections with [`PostgresBuilder::collection`], so that `setup` knows which
//! table they use and which changes to announce. A collection that was declared with
//! different flags before is refused with `Config`.
//!
//! # With psql
//! Views show the contracts' records in columns: `api_keys`, `rate_limits`,
//! `objects`, `tenants`, `users`, `groups`, `roles`, `policies`, `access_keys`,
//! `attachments`, `inline_policies`, `memberships`, `lti_registrations`,
//! `lti_deployments`, `lti_nonces`, `lti_tool_keys`; if the contract's feature is
//! enabled. To read records of your own collections, use `SELECT id, body->>'name' FROM
//! store.records WHERE collection = 'invoices'`. Reading is always safe. Change records
//! only through the functions `commit_to_<table>` and `commit_many`: they take the
//! partition's lock, which makes commits serializable.
//!
//! # What a call costs
//! Each read, page, commit and take is one statement and one round trip,
//! prepared once per connection. sqlx's pool checks a connection after its use, so
//! the caller does not wait for the check. `cargo xtask bench --backend postgres`
//! measures each call interleaved with the same call written with sqlx alone, and
//! prints the ratios.
//!
//! `store-conformance/TRIPS.md` has the round trips of each call of a contract.
//!
//! # Change notice
//! Off by default. With [`PostgresBuilder::change_notice`],
//! [`RecordStore::changes`](store_core::RecordStore::changes) reports which records of
//! [cacheable](store_core::Collection::cacheable) collections any process puts or
//! deletes, so that a cache can be invalidated. See [`store_core::changes`] for what a
//! notice guarantees.
//!
//! `setup` of such a store creates a trigger on each table, so that every program
//! notifies, and so does a change made with psql. `NOTIFY` serializes commits in the
//! whole server while they are written to disk. Only commits that touch cacheable
//! collections pay this price. The first subscription opens one connection beside the
//! pool, which all subscriptions of this store share.
//! - A lost connection is opened again. Every subscriber receives a gap when the
//!   connection is lost and another when it is restored. A connection that fails silently
//!   is detected after 30 seconds without traffic.
//! - A listener first checks that it receives its own notification. Through a pooler in
//!   transaction mode it does not, and `changes` fails with `Config`: give the URL of the
//!   server itself with [`PostgresBuilder::listener_url`].
//! - Sweeping sends no notices: a record carries its expiry.
//!
//! # Durability
//! An acknowledged commit survives a crash of the server if the server is
//! configured for it, as it is by default. `capabilities()` reports what `connect`
//! found: `fsync`, `synchronous_commit`, standbys. Two options weaken this, and
//! `capabilities()` lists them as exceptions:
//! - [`PostgresBuilder::relaxed_limits`]: changes of rate limits are acknowledged before
//!   they are on disk. A crash loses the latest takes, which are then granted again.
//!   The option applies to the process that sets it.
//! - [`PostgresBuilder::unlogged_transient`]: a crash empties the table of transient
//!   records, which holds the nonces of LTI launches. Launches in progress are refused
//!   as unknown, and none is accepted twice. The option is a property of the schema.
//!
//! `setup` applies an option of the schema in either direction if it is set, and does
//! not change the schema if it is not set. Set it in every program that runs `setup`,
//! or run `setup` in one program only. A role that may not change the tables is
//! refused with `PermissionDenied`, unless nothing has to change.
//!
//! # TLS
//! By rustls. `sslmode=verify-full` in the URL checks the server's certificate
//! and name against the system's authorities, or those of `sslrootcert`;
//! [`PostgresBuilder::tls`] does both. `require` encrypts without checking the
//! server's identity, and `prefer`, sqlx's default, may not even encrypt: use
//! `verify-full`. A server whose certificate is not trusted is refused with `Config`.
//!
//! # Poolers
//! Through PgBouncer in transaction mode: 1.21 or newer with
//! `max_prepared_statements` above zero. Older ones are not supported.
//!
//! # A lost connection
//! A failed read is `Retry::Safe`. A commit whose reply is lost is looked up by its
//! version; if that does not show whether it was applied, the error is
//! `Retry::Ambiguous`. If the server ended the session before it executed the statement,
//! the call is made again on another session. If nothing listens at the port, `connect`
//! fails immediately, whereas an open store tries to connect for
//! [`PostgresBuilder::acquire_timeout`] and then reports the outage.
//!
//! # Bodies
//! A JSON body is stored in a `json` column, exactly as it was written, so that numbers
//! retain every digit and the size of the body does not change. A page of a scan ends
//! after 4 MiB of bodies.
//!
//! # A dropped commit
//! A commit whose future was dropped is applied completely or not at all, but perhaps
//! later: its statement may still wait for the partition's lock on the server, and
//! run after a later commit that was acknowledged. With `Expect::Any` it then overwrites
//! that later commit. Expect a version where this matters;
//! [`PostgresBuilder::statement_timeout`] bounds the delay.
//!
//! # Several hosts
//! `postgres://a,b/db` connects to the first host on which it can write, and searches
//! again when that host fails or is found to be read-only. A session that was opened on a
//! standby is replaced as soon as an error shows that it is read-only, so after a
//! promotion the next call finds the new primary.
//!
//! # Isolation
//! Commits need `READ COMMITTED`, which is the default. A role or database with
//! another `default_transaction_isolation` is refused at its first commit, and so
//! is a transaction of the application's at another level; neither writes
//! anything.

#![cfg_attr(docsrs, feature(doc_cfg))]
// Code for a contract whose feature is disabled may be unused.
#![cfg_attr(
    not(all(feature = "blobs", feature = "limits")),
    allow(dead_code, unused_imports)
)]

mod changes;
mod commit;
mod config;
mod error;
mod extras;
mod hosts;
#[cfg(feature = "limits")]
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
mod views;
mod wire;
mod within;

use std::fmt;
use std::sync::Arc;

pub use sqlx;
use sqlx::{PgConnection, PgPool};
pub use store_core;
use store_core::layers::Resolving;
use store_core::{Collection, Result, Store, collections};

pub use config::PostgresBuilder;
#[cfg(feature = "limits")]
use limits::PostgresLimits;
use records::PostgresRecords;
pub use settings::PostgresConfig;
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
    collections: Arc<[Collection]>,
}

impl PostgresStore {
    /// Opens the store in the schema `store` of the database at `url`.
    ///
    /// # Errors
    /// As [`PostgresBuilder::connect`].
    pub async fn connect(url: impl Into<String>) -> Result<Self> {
        Self::builder().url(url).connect().await
    }

    /// A builder, with options for the schema, collections, pool, timeouts, TLS and the
    /// clock.
    pub fn builder() -> PostgresBuilder {
        PostgresBuilder::default()
    }

    /// Opens the store over a pool that the application owns.
    ///
    /// # Errors
    /// As [`PostgresBuilder::connect`].
    pub async fn from_pool(pool: PgPool) -> Result<Self> {
        Self::builder().pool(pool).connect().await
    }

    async fn open(builder: PostgresBuilder) -> Result<Self> {
        let collections = builder.common.collections.as_slice().into();
        let records = Arc::new(PostgresRecords::open(builder).await?);
        let resolving = Resolving::new(Arc::clone(&records) as _);
        let store = Store::new(Arc::new(resolving));
        #[cfg(feature = "limits")]
        let store = store.with_limits(Arc::new(PostgresLimits::new(Arc::clone(&records))));
        Ok(Self {
            records,
            store,
            collections,
        })
    }

    /// Creates the schema and its tables, or migrates an older schema. Idempotent,
    /// and safe when many processes start concurrently. If nothing has to change, it
    /// needs no right to change the schema. Once started, it completes even if the future
    /// is dropped.
    ///
    /// # Errors
    /// `Config` if a newer program created the schema, or a collection was set up with
    /// other flags before; `PermissionDenied` if the role may not create the schema.
    #[doc(alias("migrate", "schema"))]
    pub async fn setup(&self) -> Result<()> {
        self.records.setup().await?;
        collections::register(&**self.store.records(), &self.collections).await
    }

    /// The store inside a transaction of the application, so that records and the
    /// application's rows change atomically. See [`Within`].
    pub fn within<'a>(&'a self, transaction: &'a mut PgConnection) -> Within<'a> {
        Within::new(self.records.shared(), transaction)
    }

    /// The server's version, as it reports it: `15.18 (Debian …)`.
    pub fn server_version(&self) -> &str {
        self.records.shared().server_version()
    }

    /// Closes the store, see [`Store::close`]. A pool that the application owns stays
    /// open.
    ///
    /// # Errors
    /// None. It returns a `Result` because other backends can fail.
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
