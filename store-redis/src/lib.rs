//! A store in Redis, 7.0 and newer, or in Valkey: one server or a cluster, through the
//! `redis` crate.
//!
//! ```no_run
//! use store_redis::RedisStore;
//! use store_core::{Batch, Body, Collection, Expect, Partition, RecordKey, Store};
//!
//! # #[tokio::main] async fn main() -> store_core::Result<()> {
//! const VISITS: Collection = Collection::new("visits");
//! let redis = RedisStore::connect("redis://localhost").await?;
//! redis.setup().await?;
//! let store = Store::from(&redis);
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
//! # Durability Whether an acknowledged write survives a restart or a crash of the
//! server depends on the server's configuration.
//! [`capabilities`](store_core::RecordStore::capabilities) reports what was found:
//!
//! | configured | an orderly restart | a crash of the server |
//! |---|---|---|
//! | neither `save` nor `appendonly` | loses everything | loses everything |
//! | `save` | loses nothing | loses what was written after the last save |
//! | `appendonly`, `appendfsync everysec` | loses nothing | loses the last second |
//! | `appendonly`, `appendfsync always` | loses nothing | loses nothing |
//!
//! **A fail-over loses acknowledged writes** in each of these configurations, because
//! replicas receive a write after it was acknowledged. Deleted records may exist again, a
//! revoked key may be valid again, and a used nonce may be accepted again. In a cluster
//! whose network is partitioned, a primary on the minority's side still accepts calls for
//! `cluster-node-timeout`. Where that matters, store those records in another backend.
//!
//! # Fail-over behind one address
//! After a fail-over an open connection may still lead to the old primary. If that server
//! replies that it is a replica (`READONLY`), that it has lost its primary
//! (`MASTERDOWN`), or that it is loading its data (`LOADING`, for more than a second),
//! the call fails with [`Retry::Safe`](store_core::Retry::Safe), and the next call opens
//! a new connection, to the server to which the address then resolves. A replica answers
//! reads without an error, so the server's role is also checked: on each new connection,
//! and every half second while it is in use. Reads from a demoted server end within a
//! second, with an error if the address still leads to it.
//!
//! If the URL names several servers that do not form a cluster, the primary among them is
//! used, and after a fail-over the new primary is found in the same way. Sentinel is not
//! supported: name the servers that it monitors, or an address that follows the primary.
//! # When the server's memory is full Writes fail with `Unavailable` and nothing is
//! written. Deletes still work, and so do updates that make a record at most 64 bytes
//! larger, so that an API key can still be disabled.
//!
//! # Setup
//! [`RedisStore::setup`] creates nothing; it loads the scripts. The servers' version and
//! `maxmemory-policy` are checked by `connect` and `setup`, the policy by `ping` too. The
//! policy must be `noeviction`: any other deletes records when memory is full. `setup` may
//! run at every start, and in many processes at the same time.
//!
//! If the server has an ACL, the store's user needs the namespace's keys, as in `~store:*
//! ~store/* &store/*`, and `+@read +@write +@scripting +@transaction +@connection +info
//! +time`; in a cluster `+cluster|slots +cluster|nodes`; for notices `+publish
//! +subscribe`; for [`RedisBuilder::strict_nonces`] `+wait`; and `+config|get`, without
//! which the durability is reported as unknown.
//!
//! # How data is stored
//! | | key | value |
//! |---|---|---|
//! | a record | `store:{acme}:users:alice` | a string: a header, then JSON or bytes |
//! | the ids of a partition's collection | `store:{acme}:users` | a sorted set in which all scores are equal, so that it is in bytewise order |
//! | their deadlines | `store/expiry:{acme}:users` | a sorted set of those ids that expire |
//! | a limit | `store/limit:{user:7}` | a hash: the arrival time of each quota |
//!
//! ```text
//! > GET store:{acme}:users:alice
//! j1 2f0c96…91 1893456000.123456789 {"name":"Alice"}
//! ```
//!
//! The fields are: JSON of format 1, the version, when it expires (dashes for never), and
//! the body. The partition is the hash tag, so a partition is in one slot; `%` and `}` in
//! it are escaped as in a URL. Read with any tool, but change records only through the
//! store, which updates the sorted sets with them.
//!
//! - **A commit** is one script (`commit.lua`): it compares the stored records with the
//!   expectations and writes all or nothing. Redis runs one script at a time, which makes
//!   commits serializable. One large new record, such as a chunk of an object, is written
//!   by `SET`, in a transaction with a script (`index.lua`) that only adds its id to the
//!   sorted sets, because a script that wrote the record would copy it twice.
//! - **A page of a partition** is one script (`scan.lua`): a range of the sorted set and
//!   the records of its ids.
//! - **A page of a whole collection** is `SCAN` over each primary, so its cost grows with
//!   the number of all keys. The collection scan ends with `Superseded` if a server
//!   restarts or the cluster changes between pages, and with `Unavailable` while slots are
//!   being moved, because it could miss records. Begin it again then.
//! - **A take** is one script (`take.lua`). Times have a fixed width and are compared as
//!   text. Lua computes with doubles, so times are added as seconds and nanoseconds, each
//!   of which a double holds exactly.
//! - **An object** is a record that points to its chunks, of 256 KiB, which are spread over
//!   sixteen partitions, and so over the servers of a cluster. Until it is published its
//!   chunks expire ([`RedisBuilder::orphans_expire`]), so those of a crashed process are
//!   removed by the server. To publish it, one script for each of those partitions
//!   (`persist.lua`) removes the expiry of all chunks or of none. Chunks of replaced and
//!   deleted objects are removed by [`sweep`](store_core::BlobStore::sweep), which has to
//!   be called from time to time.
//!
//! # Time
//! Only the store's clock decides what has expired; commands carry its time. The server's
//! own expiry frees memory later, by [`RedisBuilder::grace`]. Ids are removed too: each
//! commit removes some whose records have expired, and a sorted set whose members all
//! expire is deleted with the last of them. So records need no sweep.
//!
//! # What a call costs
//! Each primitive is one request and one reply: `GET` for one record, `MGET` for the
//! records of one slot, `EVALSHA` for a commit, a page and a take. A page of a whole
//! collection is several requests. Publishing an object is one script for each sixteenth
//! of its chunks, at most sixteen up to 400 MiB, and about 12 µs of the server's time for
//! each chunk when it is written. All calls share one connection to each server. Large
//! bodies delay other calls, so open a separate store, with its own connection, for
//! objects that are used much.
//!
//! Concurrent closures that change one bucket
//! ([`RateLimitStore::update`](store_core::RateLimitStore::update)) are coalesced: those
//! that arrive while a write is in flight are applied one after the other and written
//! together.
//!
//! # A lost connection
//! The next call opens a new connection. A failed read is `Retry::Safe`, and so is a
//! write for which no connection could be opened. A commit whose reply is lost is
//! resolved by its version; if that does not show whether it was applied, the error is
//! `Retry::Ambiguous`. A take is never sent twice, and if its reply is lost the error is
//! `Ambiguous`. A write that the server refused (because it is loading, is a replica, or
//! is out of memory) was not applied.
//! # Change notice With [`RedisBuilder::change_notice`] a commit announces each
//! record that it wrote in a cacheable collection, by `PUBLISH` in its script, and
//! [`changes`](store_core::RecordStore::changes) receives it on a separate connection.
//!
//! # Clusters
//! The URL may name any of the servers; with several, one that is up is more likely to be
//! found. Redirections are followed. While a slot is being moved its records can be read,
//! one or several at a time, and a write waits until all keys that it needs are on one
//! server, up to [`RedisBuilder::timeout`]. A command that may have been run is never
//! sent again. Only primaries are used.
//!
//! If calls still fail on moved slots after a resharding has ended, the servers disagree
//! about the owner of a slot. `redis-cli --cluster check` shows that and `--cluster fix`
//! repairs it. It happens when slots are moved to one server and then to another before
//! all servers know of the first move.

#![cfg_attr(docsrs, feature(doc_cfg))]
// Code for a contract whose feature is disabled may be unused.
#![cfg_attr(
    not(all(feature = "blobs", feature = "limits")),
    allow(dead_code, unused_imports)
)]

#[cfg(feature = "blobs")]
mod blobs;
mod changes;
mod cluster;
mod collection_scan;
mod commit;
mod config;
mod connection;
mod error;
mod keys;
#[cfg(feature = "limits")]
mod limits;
mod node;
mod records;
mod scan;
mod script;
mod servers;
mod setup;
mod shared;
mod tls;
mod url;
mod wire;

use std::fmt;
use std::sync::Arc;

pub use redis;
use redis::Client;
pub use store_core;
use store_core::layers::{Recourse, Resolving};
use store_core::{RecordStore, Result, Store};

pub use config::{RedisBuilder, RedisConfig};
#[cfg(feature = "limits")]
use limits::RedisLimits;
use records::RedisRecords;

/// Opens `redis:` URLs for a [`Registry`](store_core::open::Registry). Their
/// options are those of [`RedisBuilder::url`].
pub const OPENER: store_core::open::Opener = store_core::open::Opener::new(url::SCHEMES, |url| {
    Box::pin(async move {
        let store = RedisStore::builder().store_url(url).connect().await?;
        Ok(store.into())
    })
});

/// A store in Redis. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct RedisStore {
    records: Arc<RedisRecords>,
    store: Store,
}

impl RedisStore {
    /// Opens the store in the namespace `store` of the server, or the cluster,
    /// at `url`; see [`RedisBuilder::url`].
    ///
    /// # Errors
    /// As [`RedisBuilder::connect`].
    pub async fn connect(url: impl Into<String>) -> Result<Self> {
        Self::builder().url(url).connect().await
    }

    /// A builder, with options for the URL, namespace, timeouts, TLS, credentials and
    /// clock.
    pub fn builder() -> RedisBuilder {
        RedisBuilder::default()
    }

    /// Opens the store at the address in `client`.
    ///
    /// # Errors
    /// As [`RedisBuilder::connect`].
    pub async fn from_client(client: Client) -> Result<Self> {
        Self::builder().client(client).connect().await
    }

    async fn open(builder: RedisBuilder) -> Result<Self> {
        let records = Arc::new(RedisRecords::open(&builder).await?);
        let shared = Arc::clone(records.shared());
        let resolving: Arc<dyn RecordStore> =
            Arc::new(Resolving::with(Arc::clone(&records) as _, move |batch| {
                match commit::strict(&shared, batch) {
                    None => Recourse::Resolve,
                    // Finding the commit does not prove that replicas have received it.
                    Some(_) => Recourse::Report,
                }
            }));
        let store = Store::new(Arc::clone(&resolving));
        #[cfg(feature = "blobs")]
        let store = store.with_blobs(Arc::new(blobs::over(&records, resolving, builder.orphans)));
        #[cfg(feature = "limits")]
        let store = store.with_limits(Arc::new(RedisLimits::new(Arc::clone(&records))));
        Ok(Self { records, store })
    }

    /// Checks the version and eviction policy of every primary, and loads the scripts. It
    /// is idempotent and writes no key. A store also works without it, because a script
    /// is sent to a server that does not have it.
    ///
    /// # Errors
    /// `Config` if a server is older than Redis 7.0, or if its
    /// `maxmemory-policy` lets it delete records.
    pub async fn setup(&self) -> Result<()> {
        self.records.shared().setup().await
    }

    /// Name and version of the server: `Redis 7.0.15`, `Valkey 8.0.2`.
    pub fn server_version(&self) -> &str {
        &self.records.shared().facts.version
    }

    /// Closes the store, see [`Store::close`]. A client that the application owns stays
    /// open.
    ///
    /// # Errors
    /// None. It returns a `Result` because other backends can fail.
    pub async fn close(&self) -> Result<()> {
        self.store.close().await
    }
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore").finish_non_exhaustive()
    }
}

impl From<RedisStore> for Store {
    fn from(store: RedisStore) -> Self {
        store.store
    }
}

impl From<&RedisStore> for Store {
    fn from(store: &RedisStore) -> Self {
        store.store.clone()
    }
}
