//! What Redis' store promises beyond the suite: its requests, what it leaves
//! behind, what becomes of a call when a server goes away, or a slot moves.

mod calls;
mod changes;
mod cluster;
mod expiry;
mod faults;
mod moving;
mod restart;
mod tls;
mod trips;

use std::future::Future;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use libtest_mimic::{Arguments, Failed, Trial};
use store_conformance::core::{
    Batch, Body, Collection, Expect, Expectation, ManualClock, Partition, RecordKey, Result, Store,
};
use store_conformance::servers::{Options, missing, redis};
use store_redis::redis::aio::MultiplexedConnection;
use store_redis::redis::{Client, Cmd, FromRedisValue, RedisResult};
use store_redis::{Builder, RedisStore};

type Failure = Box<dyn std::error::Error + Send + Sync>;
type End = std::result::Result<(), Failure>;
type Test = (
    &'static str,
    fn(Place) -> Pin<Box<dyn Future<Output = End> + Send>>,
);

/// The test functions of a module, as data.
macro_rules! tests {
    ($($name:ident),* $(,)?) => {
        pub(crate) fn all() -> Vec<crate::Test> {
            vec![$((stringify!($name), |place| Box::pin($name(place)))),*]
        }
    };
}
pub(crate) use tests;

const THINGS: Collection = Collection::new("things");
const OTHERS: Collection = Collection::new("others");

/// A namespace that nobody used, on a server.
#[derive(Clone)]
struct Place {
    url: String,
    namespace: String,
}

impl Place {
    fn new(url: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self {
            url: url.into(),
            namespace: format!("own-{}-{number}", std::process::id()),
        }
    }

    fn builder(&self) -> Builder {
        RedisStore::builder()
            .url(&self.url)
            .namespace(&self.namespace)
            .clock(ManualClock::default())
    }

    async fn open(&self) -> Result<Store> {
        Ok(self.builder().connect().await?.into())
    }

    /// `host:port`.
    fn address(&self) -> &str {
        self.url.trim_start_matches("redis://")
    }

    async fn connection(&self) -> RedisResult<MultiplexedConnection> {
        Client::open(&*self.url)?
            .get_multiplexed_async_connection()
            .await
    }

    /// Asks the server itself.
    async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> RedisResult<T> {
        command.query_async(&mut self.connection().await?).await
    }

    /// The keys of this namespace.
    async fn keys(&self) -> RedisResult<Vec<String>> {
        let mut command = store_redis::redis::cmd("KEYS");
        command.arg(format!("{}[:/]*", self.namespace));
        self.ask(&command).await
    }
}

fn key(id: &str) -> RecordKey {
    RecordKey::new(THINGS, id).expect("a short name")
}

fn other(id: &str) -> RecordKey {
    RecordKey::new(OTHERS, id).expect("a short name")
}

fn partition() -> Partition {
    Partition::new("p").expect("a short name")
}

/// A put of a number, alone in its batch.
fn put(store: &Store, id: &str, expect: impl Into<Expectation>, number: u64) -> Result<Batch> {
    let mut batch = Batch::new(partition(), store.now());
    batch.put(key(id), expect, Body::json(number)?)?;
    Ok(batch)
}

/// The number in a record.
async fn number(store: &Store, id: &str) -> Result<Option<u64>> {
    let found = store.records().get(key(id).at(&partition())).await?;
    found
        .map(|record| record.decode::<u64>().map(|n| *n))
        .transpose()
}

/// Puts whatever is there.
async fn write(store: &Store, id: &str, number: u64) -> Result<()> {
    store
        .records()
        .commit(&put(store, id, Expect::Any, number)?)
        .await
        .map(drop)
}

fn main() -> ExitCode {
    let server = match redis::find(&Options::from_env()) {
        Ok(server) => server,
        Err(advice) => return missing(&advice),
    };
    let runtime = Arc::new(
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(4)
            .enable_all()
            .build()
            .expect("a runtime can be started"),
    );
    let tests = [
        calls::all(),
        changes::all(),
        expiry::all(),
        faults::all(),
        restart::all(),
        tls::all(),
        cluster::all(),
        moving::all(),
        trips::all(),
    ]
    .concat();
    let trials = tests.into_iter().map(|(name, test)| {
        let (runtime, place) = (Arc::clone(&runtime), Place::new(server.url()));
        Trial::test(name, move || {
            runtime
                .block_on(test(place))
                .map_err(|error| Failed::from(format!("{error:?}")))
        })
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit_code()
}
