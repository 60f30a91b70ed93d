//! What the store in Redis promises beyond the suite: the requests of its calls, the
//! keys that it leaves, and what happens to calls when a server fails or a slot moves.

mod calls;
mod changes;
mod closures;
mod cluster;
mod expiry;
mod failover;
mod faults;
mod large;
mod moving;
mod mutants;
mod orphans;
mod refusals;
mod resharding;
mod restart;
mod setup;
mod storms;
mod tls;
mod trips;

#[allow(dead_code, reason = "only the suite's programs use all of it")]
mod harness;
#[path = "../own/mod.rs"]
mod own;

use std::process::ExitCode;

pub(crate) use own::{End, Failure, THINGS, key, number, partition, put, tests, write};
use store_conformance::servers::{Options, missing, redis};
use store_core::{ManualClock, Result, Store};
use store_redis::redis::aio::MultiplexedConnection;
use store_redis::redis::{Client, Cmd, FromRedisValue, RedisResult};
use store_redis::{RedisBuilder, RedisStore};

/// An unused namespace on a server.
#[derive(Clone)]
struct Place {
    url: String,
    namespace: String,
}

impl Place {
    fn new(url: &str) -> Self {
        Self {
            url: url.into(),
            namespace: own::fresh("own", '-'),
        }
    }

    fn builder(&self) -> RedisBuilder {
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

    /// Sends a command to the server, without the store.
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

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [first, url, namespace] = &arguments[..]
        && first == closures::ARGUMENT
    {
        return closures::process(url, namespace);
    }
    let server = match redis::find(&Options::from_env()) {
        Ok(server) => server,
        Err(advice) => return missing(&advice),
    };
    let tests = [
        calls::all(),
        changes::all(),
        closures::all(),
        expiry::all(),
        failover::all(),
        faults::all(),
        large::all(),
        mutants::all(),
        restart::all(),
        setup::all(),
        storms::all(),
        tls::all(),
        cluster::all(),
        moving::all(),
        orphans::all(),
        refusals::all(),
        resharding::all(),
        trips::all(),
    ]
    .concat();
    own::run(tests, || Place::new(server.url()))
}
