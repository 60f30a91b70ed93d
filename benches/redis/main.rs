//! Compares the store in Redis with hand-written code for the driver and with another
//! library, interleaved on the same server:
//!
//! `cargo xtask bench --backend redis -- [NAME]...`
//!
//! A server is found or started as for the tests; see `store_conformance::servers`.
//! The names are get, commit, take, throughput, contention and blobs; without a name all
//! are measured.

#![allow(clippy::unwrap_used)] // A failed measurement may end the program.

mod blobs;
mod calls;
mod contention;
mod throughput;
mod worker;

use std::time::{Duration, Instant};

use redis::aio::ConnectionManager;
use redis::{Client, cmd};
use store_conformance::servers::{self, Options, or_exit};
use store_core::limits::{Quota, QuotaSet};
use store_core::{Batch, Body, Collection, Expect, Partition, RecordKey, Store};
use store_redis::{RedisStore, redis};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

const USERS: Collection = Collection::new("users");
const KEYS: u64 = 1_000;
const NAMESPACE: &str = "store-bench";

struct Bench {
    runtime: Runtime,
    url: String,
    store: Store,
    raw: ConnectionManager,
    client: Client,
}

type Part = fn(&Bench);

const PARTS: [(&str, Part); 6] = [
    ("get", Bench::get),
    ("commit", Bench::commit),
    ("take", Bench::take),
    ("throughput", Bench::throughput),
    ("contention", Bench::contention),
    ("blobs", Bench::blobs),
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [first, rest @ ..] = &arguments[..]
        && first == worker::ARGUMENT
    {
        return contention::contend(rest);
    }
    let runtime = Runtime::new().unwrap();
    let server = or_exit(servers::redis::find(&Options::from_env()));
    println!("{}\n", server.origin());
    let url = server.url().to_owned();
    let client = Client::open(&*url).unwrap();
    let (store, raw) = runtime.block_on(open(&url, &client)).unwrap();
    let bench = Bench {
        runtime,
        url,
        store,
        raw,
        client,
    };
    let named: Vec<&String> = arguments.iter().filter(|a| !a.starts_with('-')).collect();
    for (name, part) in PARTS {
        if named.is_empty() || named.iter().any(|wanted| *wanted == name) {
            part(&bench);
        }
    }
}

async fn open(
    url: &str,
    client: &Client,
) -> Result<(Store, ConnectionManager), Box<dyn std::error::Error>> {
    let opened = RedisStore::builder()
        .url(url)
        .namespace(NAMESPACE)
        .connect()
        .await?;
    opened.setup().await?;
    let store = Store::from(&opened);
    println!(
        "{}, {:?}",
        opened.server_version(),
        store.records().capabilities().durability
    );
    let raw = client.get_connection_manager().await?;
    for i in 0..KEYS {
        let (partition, key) = name(i);
        let mut batch = Batch::new(partition, store.now());
        batch.put(key, Expect::Any, Body::json(("user".to_owned(), i))?)?;
        store.records().commit(&batch).await?;
        let stored = format!("{:032x}[\"user\",{i}]", 0);
        cmd("SET")
            .arg(raw_key(i))
            .arg(stored)
            .exec_async(&mut raw.clone())
            .await?;
    }
    Ok((store, raw))
}

fn name(i: u64) -> (Partition, RecordKey) {
    let i = i % KEYS;
    let partition = Partition::new(format!("p{}", i % 100)).unwrap();
    (partition, RecordKey::new(USERS, format!("id{i}")).unwrap())
}

fn raw_key(i: u64) -> String {
    let i = i % KEYS;
    format!("raw:{{p{}}}:users:id{i}", i % 100)
}

impl Bench {
    /// Runs `work` `times` times, one after the other.
    fn timed<F: Future<Output = ()>>(&self, times: u64, work: impl Fn(u64) -> F) -> Duration {
        self.runtime.block_on(async {
            let begin = Instant::now();
            for i in 0..times {
                work(i).await;
            }
            begin.elapsed()
        })
    }

    /// The same in several concurrent tasks.
    fn at_once<F: Future<Output = ()> + Send + 'static>(
        &self,
        tasks: u64,
        times: u64,
        work: impl Fn(u64) -> F + Clone + Send + Sync + 'static,
    ) -> Duration {
        self.runtime.block_on(at_once(tasks, times, work))
    }
}

/// Runs `work` `times` times in several concurrent tasks.
async fn at_once<F: Future<Output = ()> + Send + 'static>(
    tasks: u64,
    times: u64,
    work: impl Fn(u64) -> F + Clone + Send + Sync + 'static,
) -> Duration {
    let begin = Instant::now();
    let mut set = JoinSet::new();
    for task in 0..tasks {
        let work = work.clone();
        set.spawn(async move {
            for i in 0..times.div_ceil(tasks) {
                work(i * tasks + task).await;
            }
        });
    }
    while let Some(ended) = set.join_next().await {
        ended.unwrap();
    }
    begin.elapsed()
}

fn quotas() -> QuotaSet {
    QuotaSet::new([Quota::per_second(1_000_000).unwrap()]).unwrap()
}
