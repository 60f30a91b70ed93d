//! The store in Redis, 7.0 and newer, and in Valkey: one server or a cluster,
//! through the `redis` crate.
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
//!
//! # What survives
//! A server keeps its promises while it runs. What an acknowledged write
//! survives beyond that is the server's configuration, and
//! [`capabilities`](store_core::RecordStore::capabilities) tells it as it was found:
//!
//! | configured | a restart in order | a crash of the server |
//! |---|---|---|
//! | neither `save` nor `appendonly` | loses all | loses all |
//! | `save` | loses nothing | loses what came after the last save |
//! | `appendonly`, `appendfsync everysec` | loses nothing | loses the last second |
//! | `appendonly`, `appendfsync always` | loses nothing | loses nothing |
//!
//! **Fail-over loses acknowledged writes**, with any of these: a replica is told
//! of a write after the caller is. What is lost may come back: a deleted record,
//! a revoked key, a nonce that was used. In a cluster whose network is cut, a
//! primary on the wrong side goes on answering for `cluster-node-timeout`. Where
//! that matters, keep those records in another backend.
//!
//! # Fail-over behind one address
//! After a fail-over an open connection may still lead to the old primary. When
//! that answers that it is a replica (`READONLY`), has lost its primary
//! (`MASTERDOWN`), or has been loading its data for over a second (`LOADING`),
//! the call fails with [`Retry::Safe`](store_core::Retry::Safe), and the next one
//! connects anew, to the server that the address leads to by then. A replica
//! answers reads without an error, so the server's role is also checked, twice a
//! second while the store is used: reads from a demoted server end within a
//! second, with an error if the address goes on leading to it.
//!
//! Of several servers in the URL that are no cluster the primary is used, and
//! looked for again in this way. Sentinel is not supported: name the servers
//! that it watches, or an address that follows the primary.
//!
//! # Full memory
//! Writes then fail with `Unavailable` and nothing is written. Deleting works,
//! and so does an update that makes its record at most 64 bytes larger: an API
//! key can be disabled.
//!
//! # Setup
//! [`RedisStore::setup`] creates nothing; it loads the scripts. The servers'
//! version and `maxmemory-policy` are checked by `connect` and `setup`, the policy
//! by `ping` too. It must be `noeviction`: any other deletes records when memory
//! is full. `setup` may run at every start, in many processes at once.
//!
//! With an access list, a user needs the namespace's keys, as in
//! `~store:* ~store/* &store/*`, and `+@read +@write +@scripting +@transaction
//! +@connection +info +time`; in a cluster `+cluster|slots +cluster|nodes`; for notices
//! `+publish +subscribe`; for [`RedisBuilder::strict_nonces`] `+wait`; and
//! `+config|get`, without which the store cannot tell what survives.
//!
//! # How it is kept
//! | | key | value |
//! |---|---|---|
//! | a record | `store:{acme}:users:alice` | a string: a line of header, then JSON or bytes |
//! | a partition's ids | `store:{acme}:users` | a sorted set, all of one score, so in bytewise order |
//! | their deadlines | `store/expiry:{acme}:users` | a sorted set of those ids that expire |
//! | a limit | `store/limit:{user:7}` | a hash: each quota's arrival time |
//!
//! ```text
//! > GET store:{acme}:users:alice
//! j1 2f0c96…91 1893456000.123456789 {"name":"Alice"}
//! ```
//!
//! That is: JSON of format 1, version, when it expires (dashes for never), body.
//! The partition is the hash tag, so a partition is in one slot; `%` and `}` in it
//! are escaped as in a URL. Read with any tool; change records only through the
//! store, which keeps the sorted sets in step.
//!
//! - **A commit** is one script (`commit.lua`): it compares what is there with
//!   what is expected and writes all or nothing. Redis runs one script at a
//!   time, which makes commits serializable.
//!   One large record that must be new, such as a piece of an object, is a `SET`
//!   in a transaction with a script (`list.lua`) that puts only its id in its
//!   place: through a script it would be copied twice.
//! - **A page of a partition** is one script (`scan.lua`): a range of the sorted
//!   set and the records of its ids.
//! - **A page of a whole collection** is `SCAN` over each primary, so it costs
//!   by the number of all keys. It ends with `Superseded` if a server restarts
//!   or the cluster changes between pages, and with `Unavailable` while slots are
//!   being moved: going on could miss records. Begin again then.
//! - **A take** is one script (`take.lua`). Times are kept at one width and
//!   compared as texts. Lua counts in doubles, so where one is added it is by
//!   seconds and nanoseconds, each of which a double holds exactly.
//! - **An object** is a record that points to its chunks, of 256 KiB, which are
//!   spread over sixteen partitions, and so over the servers of a cluster. Until
//!   it is published its chunks expire ([`RedisBuilder::orphans_expire`]): what a
//!   process that died left behind goes by itself. One script for each of those
//!   partitions (`keep.lua`) then lets their chunks stay, all or none. Chunks of
//!   what was replaced or deleted are removed by [`sweep`](store_core::BlobStore::sweep),
//!   which has to be called now and then.
//!
//! # Time
//! The store's clock alone decides what has expired; it is sent along. The
//! server's own expiry only clears away, later by [`RedisBuilder::grace`]. With it go
//! the ids: each commit forgets some whose records are gone, and a sorted set
//! whose members all expire goes with the last of them. So of records there is
//! nothing to sweep.
//!
//! # What a call costs
//! Each primitive is one request and one reply: `GET`, `MGET` for each slot,
//! `EVALSHA` for commit, page and take. A page of a collection is several. Letting
//! an object's chunks stay is one for each sixteenth of them, at most sixteen up
//! to 400 MiB, and about 12 µs of the server for each chunk when it is written. All
//! calls share one connection to each server; large bodies make others wait, so
//! give much-used objects a store (and so a connection) of their own.
//!
//! Closures that change one bucket at the same moment
//! ([`RateLimitStore::update`](store_core::RateLimitStore::update)) are folded: while one
//! write is on its way, those that come meanwhile are applied one after the
//! other and go together in the next.
//!
//! # A lost connection
//! The store connects anew by itself. A failed read changed nothing and is
//! `Retry::Safe`. A commit whose answer is missing is looked up by its version;
//! where that proves nothing the error is `Retry::Ambiguous`. A take is never
//! sent twice, and a lost one is `Ambiguous`. What the server refused (it is
//! loading, a replica, out of memory) surely did not happen.
//!
//! # Notices
//! With [`RedisBuilder::change_notice`] a commit tells of each record that it wrote
//! in a cacheable collection, by `PUBLISH` in its script, and
//! [`changes`](store_core::RecordStore::changes) hears it on a connection of its own.
//!
//! # Clusters
//! Any of its servers in the URL will do; several are more likely to find one
//! that is up. Redirections are followed, each to the server that it names. While
//! a slot is being moved its records can be read, alone or together, and a write
//! waits for what it needs, up to [`RedisBuilder::timeout`]. A command is never sent
//! again after it may have been run. Only primaries are asked.
//!
//! Calls that keep failing on moved slots after the resharding has ended mean
//! that the servers themselves disagree about a slot's owner, which
//! `redis-cli --cluster check` shows and `--cluster fix` mends. It comes of moving
//! slots to one server and then to another before all have heard of the first.

mod blobs;
mod changes;
mod cluster;
mod commit;
mod config;
mod error;
mod keys;
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
mod walk;
mod wire;

use std::fmt;
use std::sync::Arc;

pub use redis;
use redis::Client;
pub use store_core;
use store_core::layers::{Recourse, Resolving};
use store_core::{RecordStore, Result, Store};

pub use config::{RedisBuilder, RedisConfig};
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

    /// Options: namespace, timeouts, TLS, user and password, the clock.
    pub fn builder() -> RedisBuilder {
        RedisBuilder::default()
    }

    /// Opens the store at the server that `client` names.
    ///
    /// # Errors
    /// As [`RedisBuilder::connect`].
    pub async fn from_client(client: Client) -> Result<Self> {
        Self::builder().client(client).connect().await
    }

    async fn open(builder: RedisBuilder) -> Result<Self> {
        let records = Arc::new(RedisRecords::open(&builder).await?);
        let limits = RedisLimits::new(Arc::clone(&records));
        let shared = Arc::clone(records.shared());
        let resolving: Arc<dyn RecordStore> =
            Arc::new(Resolving::with(Arc::clone(&records) as _, move |batch| {
                match commit::strict(&shared, batch) {
                    None => Recourse::Resolve,
                    // That it was written does not prove that replicas have it.
                    Some(_) => Recourse::Report,
                }
            }));
        let blobs = blobs::over(&records, Arc::clone(&resolving), builder.orphans);
        let store = Store::new(resolving)
            .with_blobs(Arc::new(blobs))
            .with_limits(Arc::new(limits));
        Ok(Self { records, store })
    }

    /// Checks that every primary can keep what the store promises, and loads
    /// the scripts into it. Idempotent; it writes no key. A store works without
    /// it too: a server that does not know a script is sent it.
    ///
    /// # Errors
    /// `Config` if a server is older than Redis 7.0, or if its
    /// `maxmemory-policy` lets it delete records.
    pub async fn setup(&self) -> Result<()> {
        self.records.shared().setup().await
    }

    /// What the server is, as it tells it: `Redis 7.0.15`, `Valkey 8.0.2`.
    pub fn server_version(&self) -> &str {
        &self.records.shared().facts.version
    }

    /// Closes the store, as [`Store::close`] says. A client that was lent
    /// can still be used.
    ///
    /// # Errors
    /// None; the result is for uniformity.
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
