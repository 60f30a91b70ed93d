//! Closures that change one hot bucket: from many tasks of one process, and from
//! many processes.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, ExitCode, Stdio};

use store_conformance::proxy::{self, Proxy};
use store_core::limits::{LimitKey, Quota, RateLimitStoreExt, Tokens};
use store_core::{ManualClock, Store};
use store_redis::RedisStore;
use tokio::task::{JoinSet, block_in_place};

use crate::{End, Failure, Place, tests};

tests![
    closures_on_one_hot_key_are_coalesced_into_few_writes,
    closures_of_eight_processes_lose_nothing,
];

/// With this argument, a URL and a namespace, this program is one of those processes.
pub(crate) const ARGUMENT: &str = "--take-by-closures";

const PROCESSES: usize = 8;
const TASKS: usize = 4;
const EACH: usize = 25;

/// Takes one token from the bucket `hot`, by a closure.
async fn take_by_closure(store: &Store, quota: &Quota) -> store_core::Result<()> {
    let change = |tokens: Option<Tokens>, quota: &Quota, now| {
        let full = Tokens {
            tokens: f64::from(quota.burst()),
            last_refill: now,
        };
        let left = tokens.unwrap_or(full);
        Some(Tokens {
            tokens: left.tokens - 1.0,
            ..left
        })
    };
    let key = LimitKey::new("hot")?;
    store.limits().update_tokens(key, quota, change).await?;
    Ok(())
}

/// Runs `tasks` tasks that take `each` tokens, each task with its own handle.
async fn race(redis: &RedisStore, tasks: usize, each: usize) -> End {
    let quota = Quota::per_second(1_000_000)?;
    let mut racers = JoinSet::new();
    for _ in 0..tasks {
        let (store, quota) = (Store::from(redis), quota.clone());
        racers.spawn(async move {
            for _ in 0..each {
                take_by_closure(&store, &quota).await?;
            }
            Ok::<_, store_core::Error>(())
        });
    }
    while let Some(ended) = racers.join_next().await {
        ended??;
    }
    Ok(())
}

/// How many tokens were taken.
async fn taken(store: &Store) -> Result<f64, Failure> {
    let quota = Quota::per_second(1_000_000)?;
    let bucket = store.limits().peek(LimitKey::new("hot")?).await?;
    let bucket = bucket.ok_or("just written")?;
    let left = bucket
        .tokens(&quota, store.now())
        .ok_or("written by closures")?;
    Ok(f64::from(quota.burst()) - left.tokens)
}

async fn closures_on_one_hot_key_are_coalesced_into_few_writes(place: Place) -> End {
    let proxy = Proxy::start(place.address(), Some(proxy::redis), 0).await?;
    let url = format!("redis://{}", proxy.address());
    let redis = place.builder().url(url).connect().await?;
    proxy.requests();
    race(&redis, 64, 20).await?;
    let requests = proxy.requests();
    println!("1280 updates by 64 tasks: {requests} requests");
    assert!(requests < 640, "{requests}");
    assert_eq!(taken(&Store::from(&redis)).await?, 1280.0);
    Ok(())
}

async fn closures_of_eight_processes_lose_nothing(place: Place) -> End {
    let start = |_| {
        Command::new(std::env::current_exe()?)
            .args([ARGUMENT, &place.url, &place.namespace])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
    };
    let mut processes: Vec<Child> = (0..PROCESSES).map(start).collect::<std::io::Result<_>>()?;
    block_in_place(|| {
        // All connect before the first begins.
        for process in &mut processes {
            let output = process.stdout.take().ok_or("piped")?;
            BufReader::new(output).read_line(&mut String::new())?;
        }
        for process in &mut processes {
            writeln!(process.stdin.take().ok_or("piped")?)?;
        }
        for mut process in processes {
            assert!(process.wait()?.success());
        }
        Ok::<_, Failure>(())
    })?;
    let all = PROCESSES * TASKS * EACH;
    assert_eq!(taken(&place.open().await?).await?, all as f64);
    Ok(())
}

/// One of those processes: it connects, prints a line, and begins when it reads one.
pub(crate) fn process(url: &str, namespace: &str) -> ExitCode {
    let work = async {
        let builder = RedisStore::builder().url(url).namespace(namespace);
        let redis = builder.clock(ManualClock::default()).connect().await?;
        println!("ready");
        block_in_place(|| std::io::stdin().read_line(&mut String::new()))?;
        race(&redis, TASKS, EACH).await
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime can be started");
    match runtime.block_on(work) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:?}");
            ExitCode::FAILURE
        }
    }
}
