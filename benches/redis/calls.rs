//! Compares single calls, one after the other, with the fastest equivalent code for the
//! driver.

use std::time::Duration;

use redis::aio::ConnectionManager;
use redis::{Script, cmd};
use store_conformance::bench::{Comparison, Goal};
use store_core::limits::Take;
use store_core::{Batch, Body, Expect};
use store_redis::redis;

use crate::{Bench, name, quotas, raw_key};

/// A typical hand-written script. It stores the arrival time as one number, which a
/// double represents only approximately.
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

impl Bench {
    pub(crate) fn get(&self) {
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

    pub(crate) fn commit(&self) {
        let ours = |i| async move {
            let (partition, key) = name(i);
            let mut batch = Batch::new(partition, self.store.now());
            batch
                .put(
                    key,
                    Expect::Present,
                    Body::json(("user".to_owned(), i)).unwrap(),
                )
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

    pub(crate) fn take(&self) {
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
