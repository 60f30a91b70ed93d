//! The store in Redis beside what one would write by hand with the driver, on
//! the same server, in turns:
//!
//! `STORE_TEST_REDIS_URL=redis://… cargo bench -p store-redis --bench server`

#![allow(clippy::unwrap_used)] // A failed measurement may end the program.

use std::time::{Duration, Instant};

use bytes::Bytes;
use redis::aio::{ConnectionManager, MultiplexedConnection};
use redis::{Client, Script, cmd};
use store_conformance::bench::{Comparison, Goal};
use store_redis::core::blobs::{BlobRef, OpenOptions, PutOptions};
use store_redis::core::limits::{LimitKey, Quota, Quotas, RateLimitStoreExt, Take, Tokens};
use store_redis::core::{Batch, Body, Collection, Expect, Partition, RecordKey, Store};
use store_redis::{RedisStore, redis};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

const USERS: Collection = Collection::new("users");
const KEYS: u64 = 1_000;
const TASKS: u64 = 128;
const CONTENDERS: u64 = 16;
const BLOB: usize = 64 << 20;
const CHUNK: usize = 256 << 10;
const NAMESPACE: &str = "store-bench";

/// What one would write: one number that a double nearly holds.
const GCRA: &str = "
local now, step, room = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local at = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), now)
if at > now + room then return {0, at} end
redis.call('SET', KEYS[1], at + step, 'PX', 60000)
return {1, at + step}";

/// Compare and swap.
const SWAP: &str = "
if redis.call('GETRANGE', KEYS[1], 0, 31) ~= ARGV[1] and ARGV[1] ~= '' then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
return 1";

struct Bench {
    runtime: Runtime,
    store: Store,
    raw: ConnectionManager,
    client: Client,
}

fn main() {
    let runtime = Runtime::new().unwrap();
    let url = std::env::var("STORE_TEST_REDIS_URL").expect("STORE_TEST_REDIS_URL is set");
    let client = Client::open(&*url).unwrap();
    let (store, raw) = runtime.block_on(open(&url, &client)).unwrap();
    let bench = Bench {
        runtime,
        store,
        raw,
        client,
    };
    bench.get();
    bench.commit();
    bench.take();
    bench.throughput();
    bench.contention();
    bench.blobs();
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
        batch.put(key, Expect::Any, Body::json(("user", i))?)?;
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
    /// Runs `work` so many times, one after the other.
    fn timed<F: Future<Output = ()>>(&self, times: u64, work: impl Fn(u64) -> F) -> Duration {
        self.runtime.block_on(async {
            let begin = Instant::now();
            for i in 0..times {
                work(i).await;
            }
            begin.elapsed()
        })
    }

    /// The same by so many tasks at once.
    fn at_once<F: Future<Output = ()> + Send + 'static>(
        &self,
        tasks: u64,
        times: u64,
        work: impl Fn(u64) -> F + Clone + Send + Sync + 'static,
    ) -> Duration {
        self.runtime.block_on(async {
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
        })
    }

    fn get(&self) {
        let ours = |i| async move {
            let (partition, key) = name(i);
            let found = self.store.records().get(key.at(&partition)).await.unwrap();
            assert!(found.is_some());
        };
        let raw = |i| {
            let mut raw = self.raw.clone();
            async move {
                let found: Vec<u8> = cmd("GET")
                    .arg(raw_key(i))
                    .query_async(&mut raw)
                    .await
                    .unwrap();
                assert!(!found.is_empty());
            }
        };
        let measured = Comparison::new("get")
            .contender("the store", |n| self.timed(n, ours))
            .contender("the driver's GET", |n| self.timed(n, raw))
            .goal(Goal::AtMost(1.10))
            .slice(Duration::from_millis(100))
            .run();
        println!("{measured}");
    }

    fn commit(&self) {
        let ours = |i| async move {
            let (partition, key) = name(i);
            let mut batch = Batch::new(partition, self.store.now());
            batch
                .put(key, Expect::Present, Body::json(("user", i)).unwrap())
                .unwrap();
            self.store.records().commit(&batch).await.unwrap();
        };
        let script = Script::new(SWAP);
        let raw = |i| {
            let (mut raw, script) = (self.raw.clone(), script.clone());
            async move {
                let stored = format!("{:032x}[\"user\",{i}]", 0);
                let version = format!("{:032x}", 0);
                let mut call = script.key(raw_key(i));
                let done: u64 = call
                    .arg(version)
                    .arg(stored)
                    .invoke_async(&mut raw)
                    .await
                    .unwrap();
                assert_eq!(done, 1);
            }
        };
        let measured = Comparison::new("commit of one record")
            .contender("the store", |n| self.timed(n, ours))
            .contender("a script by hand", |n| self.timed(n, raw))
            .goal(Goal::AtMost(1.10))
            .slice(Duration::from_millis(100))
            .run();
        println!("{measured}");
    }

    fn take(&self) {
        let quotas = quotas();
        let ours = |i: u64| {
            let quotas = &quotas;
            async move {
                let key = format!("key{}", i % 100);
                let take = Take::new(&key, quotas, 1, self.store.now()).unwrap();
                assert!(self.store.limits().take(&take).await.unwrap().is_allowed());
            }
        };
        let script = Script::new(GCRA);
        let raw = |i: u64| {
            let (mut raw, script) = (self.raw.clone(), script.clone());
            async move { gcra(&mut raw, &script, i).await }
        };
        let measured = Comparison::new("take")
            .contender("the store", |n| self.timed(n, ours))
            .contender("a script by hand", |n| self.timed(n, raw))
            .goal(Goal::AtMost(1.10))
            .slice(Duration::from_millis(100))
            .run();
        println!("{measured}");
    }

    fn throughput(&self) {
        let (store, quotas) = (self.store.clone(), quotas());
        let takes = move |i: u64| {
            let (store, quotas) = (store.clone(), quotas.clone());
            async move {
                let key = format!("key{}", i % KEYS);
                let take = Take::new(&key, &quotas, 1, store.now()).unwrap();
                assert!(store.limits().take(&take).await.unwrap().is_allowed());
            }
        };
        let raw = self.raw.clone();
        let gets = move |i| {
            let mut raw = raw.clone();
            async move {
                let found: Vec<u8> = cmd("GET")
                    .arg(raw_key(i))
                    .query_async(&mut raw)
                    .await
                    .unwrap();
                assert!(!found.is_empty());
            }
        };
        let measured = Comparison::new("128 tasks on one connection")
            .contender("takes", |n| self.at_once(TASKS, n, takes.clone()))
            .contender("plain GETs", |n| self.at_once(TASKS, n, gets.clone()))
            .goal(Goal::AtMost(1.0 / 0.55))
            .slice(Duration::from_millis(300))
            .run();
        println!("{measured}");
    }

    fn contention(&self) {
        let (store, quota) = (self.store.clone(), Quota::per_second(1_000_000).unwrap());
        let ours = move |_| {
            let (store, quota) = (store.clone(), quota.clone());
            async move {
                let key = LimitKey::new("hot").unwrap();
                let change = |_: Option<Tokens>, _: &Quota, now| {
                    Some(Tokens {
                        tokens: 1.0,
                        last_refill: now,
                    })
                };
                store
                    .limits()
                    .update_tokens(key, &quota, change)
                    .await
                    .unwrap();
            }
        };
        let client = self.client.clone();
        let lines: Vec<MultiplexedConnection> = self.runtime.block_on(async {
            let mut lines = Vec::new();
            for _ in 0..CONTENDERS {
                lines.push(client.get_multiplexed_async_connection().await.unwrap());
            }
            lines
        });
        let watch = move |i: u64| {
            let mut line = lines[(i % CONTENDERS) as usize].clone();
            async move { watched(&mut line).await }
        };
        let measured = Comparison::new("16 contenders for one key")
            .contender("the store", |n| self.at_once(CONTENDERS, n, ours.clone()))
            .contender("WATCH, a connection each", |n| {
                self.at_once(CONTENDERS, n, watch.clone())
            })
            .goal(Goal::AtLeast(20.0))
            .slice(Duration::from_millis(300))
            .run();
        println!("{measured}");
    }

    fn blobs(&self) {
        let chunk = Bytes::from(
            (0..CHUNK)
                .map(|i| ((i * 7919) >> 3) as u8)
                .collect::<Vec<_>>(),
        );
        let whole = vec![7u8; BLOB];
        let at = BlobRef::new("bench", "object").unwrap();
        let write = |_| {
            let chunk = chunk.clone();
            async move {
                let mut sink = self
                    .store
                    .blobs()
                    .begin(at, PutOptions::default())
                    .await
                    .unwrap();
                for _ in 0..BLOB / CHUNK {
                    sink.write(chunk.clone()).await.unwrap();
                }
                let _ = sink.commit().await.unwrap();
            }
        };
        let config = redis::aio::ConnectionManagerConfig::new().set_response_timeout(None);
        let patient = self.client.get_connection_manager_with_config(config);
        let patient = self.runtime.block_on(patient).unwrap();
        let set = |_| {
            let (mut raw, whole) = (patient.clone(), &whole);
            async move {
                let mut command = cmd("SET");
                command
                    .arg("raw:blob")
                    .arg(whole)
                    .exec_async(&mut raw)
                    .await
                    .unwrap();
            }
        };
        let read = |_| async move {
            let opened = self.store.blobs().open(at, OpenOptions::default()).await;
            let mut blob = opened.unwrap().unwrap();
            let mut size = 0;
            while let Some(bytes) = blob.reader.next().await.unwrap() {
                size += bytes.len();
            }
            assert_eq!(size, BLOB);
        };
        let get = |_| {
            let mut raw = patient.clone();
            async move {
                let bytes: Vec<u8> = cmd("GET")
                    .arg("raw:blob")
                    .query_async(&mut raw)
                    .await
                    .unwrap();
                assert_eq!(bytes.len(), BLOB);
            }
        };
        let measured = Comparison::new("writing 64 MiB")
            .contender("the store", |n| self.timed(n, write))
            .contender("one SET", |n| self.timed(n, set))
            .goal(Goal::AtLeast(1.5))
            .batch(1)
            .rounds(7)
            .run();
        println!("{measured}");
        let measured = Comparison::new("reading 64 MiB")
            .contender("the store", |n| self.timed(n, read))
            .contender("one GET", |n| self.timed(n, get))
            .goal(Goal::AtLeast(1.5))
            .batch(1)
            .rounds(7)
            .run();
        println!("{measured}");
    }
}

fn quotas() -> Quotas {
    Quotas::new([Quota::per_second(1_000_000).unwrap()]).unwrap()
}

async fn gcra(raw: &mut ConnectionManager, script: &Script, i: u64) {
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_micros() as u64;
    let mut call = script.key(format!("raw:key{}", i % 100));
    let answer: (u64, u64) = call
        .arg(now)
        .arg(1)
        .arg(1_000_000)
        .invoke_async(raw)
        .await
        .unwrap();
    assert_eq!(answer.0, 1);
}

/// Reads and writes one key as the driver's documentation shows it.
async fn watched(line: &mut MultiplexedConnection) {
    loop {
        cmd("WATCH").arg("raw:hot").exec_async(line).await.unwrap();
        let found: Option<u64> = cmd("GET").arg("raw:hot").query_async(line).await.unwrap();
        let mut both = redis::pipe();
        both.atomic()
            .cmd("SET")
            .arg("raw:hot")
            .arg(found.unwrap_or(0) + 1);
        let done: Option<((),)> = both.query_async(line).await.unwrap();
        if done.is_some() {
            return;
        }
    }
}
