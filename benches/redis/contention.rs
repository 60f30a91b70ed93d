//! Compares updates of one hot key by closures with WATCH as the driver's documentation
//! shows it, in one process and in several.

use std::process::Command;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use redis::aio::MultiplexedConnection;
use redis::{Client, cmd};
use store_conformance::bench::{Comparison, Goal};
use store_core::Store;
use store_core::limits::{LimitKey, Quota, RateLimitStoreExt, Tokens};
use store_redis::{RedisStore, redis};
use tokio::runtime::Runtime;

use crate::worker::{self, Worker};
use crate::{Bench, NAMESPACE, at_once};

const CONTENDERS: u64 = 16;

/// The number of processes over which the contenders are distributed.
const PROCESSES: u64 = 4;

impl Bench {
    pub(crate) fn contention(&self) {
        let ours = by_closure(self.store.clone());
        let watch = by_watch(&self.runtime, &self.client, CONTENDERS);
        let measured = Comparison::new("16 contenders for one key")
            .contender("the store", |n| self.at_once(CONTENDERS, n, ours.clone()))
            .contender("WATCH, a connection each", |n| {
                self.at_once(CONTENDERS, n, watch.clone())
            })
            .goal(Goal::AtLeast(20.0))
            .slice(Duration::from_millis(300))
            .run();
        println!("{measured}");

        let (mut ours, mut watch) = (self.processes("closure"), self.processes("watch"));
        let measured = Comparison::new("16 contenders for one key, in 4 processes")
            .contender("the store", |n| raced(&mut ours, n))
            .contender("WATCH, a connection each", |n| raced(&mut watch, n))
            .goal(Goal::AtLeast(3.0))
            .slice(Duration::from_millis(300))
            .run();
        println!("{measured}");
    }

    /// Starts processes that contend with the given method.
    fn processes(&self, way: &str) -> Vec<Worker> {
        let start = |_| {
            let mut command = Command::new(std::env::current_exe().unwrap());
            command.args([worker::ARGUMENT, &self.url, way]);
            Worker::start(&mut command)
        };
        (0..PROCESSES).map(start).collect()
    }
}

/// Runs all processes concurrently, and waits for the last.
fn raced(processes: &mut [Worker], times: u64) -> Duration {
    let begin = Instant::now();
    for process in &mut *processes {
        process.begin(times.div_ceil(PROCESSES));
    }
    for process in processes {
        process.end();
    }
    begin.elapsed()
}

/// The main function of such a process. `arguments` are the URL and the method.
pub(crate) fn contend(arguments: &[String]) {
    let runtime = Runtime::new().unwrap();
    let tasks = CONTENDERS / PROCESSES;
    match arguments {
        [url, way] if way == "closure" => {
            let opened = RedisStore::builder().url(url).namespace(NAMESPACE);
            let store = runtime.block_on(opened.connect()).unwrap();
            let work = by_closure(store.into());
            worker::serve(|n| runtime.block_on(at_once(tasks, n, work.clone())));
        }
        [url, _] => {
            let client = Client::open(&**url).unwrap();
            let work = by_watch(&runtime, &client, tasks);
            worker::serve(|n| runtime.block_on(at_once(tasks, n, work.clone())));
        }
        _ => panic!("no URL"),
    }
}

/// Decrements the bucket `hot`.
fn by_closure(store: Store) -> impl Fn(u64) -> BoxFuture<'static, ()> + Clone + Send + Sync {
    let quota = Quota::per_second(1_000_000).unwrap();
    move |_| {
        let (store, quota) = (store.clone(), quota.clone());
        Box::pin(async move {
            let key = LimitKey::new("hot").unwrap();
            let change = |found: Option<Tokens>, _: &Quota, now| {
                let tokens = found.map_or(1e9, |found| found.tokens) - 1.0;
                Some(Tokens {
                    tokens,
                    last_refill: now,
                })
            };
            let limits = store.limits();
            limits.update_tokens(key, &quota, change).await.unwrap();
        })
    }
}

/// Decrements a number; each contender has its own connection.
fn by_watch(
    runtime: &Runtime,
    client: &Client,
    contenders: u64,
) -> impl Fn(u64) -> BoxFuture<'static, ()> + Clone + Send + Sync + use<> {
    let lines: Vec<MultiplexedConnection> = runtime.block_on(async {
        let mut lines = Vec::new();
        for _ in 0..contenders {
            lines.push(client.get_multiplexed_async_connection().await.unwrap());
        }
        lines
    });
    move |i| {
        let mut line = lines[(i % contenders) as usize].clone();
        Box::pin(async move { watched(&mut line).await })
    }
}

/// Reads and writes one key with WATCH, as the driver's documentation shows it.
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
