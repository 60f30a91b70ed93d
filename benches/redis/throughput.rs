//! Compares many tasks on one connection with plain GETs, and with rate-limiter-flexible,
//! a library for Node, also on one connection.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use redis::cmd;
use store_conformance::bench::{Comparison, Goal};
use store_core::limits::Take;
use store_redis::redis;

use crate::worker::Worker;
use crate::{Bench, KEYS, quotas, raw_key};

const TASKS: u64 = 128;

impl Bench {
    pub(crate) fn throughput(&self) {
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
            .goal(Goal::AtMost(1.0 / 0.55));
        let measured = match node(&self.url) {
            Ok(mut node) => measured
                .contender("rate-limiter-flexible", move |n| {
                    node.begin(n);
                    node.end()
                })
                .goal(Goal::AtLeast(1.15))
                .slice(Duration::from_millis(300))
                .run(),
            Err(why) => {
                println!("rate-limiter-flexible is NOT MEASURED: {why}");
                measured.slice(Duration::from_millis(300)).run()
            }
        };
        println!("{measured}");
    }
}

/// Starts the Node program, after installing it from its lock file into the folder for
/// files of benchmarks. It runs with its fastest setting, which sends concurrent requests
/// together.
fn node(url: &str) -> Result<Worker, String> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("rate-limiter-flexible");
    let place = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("rate-limiter-flexible");
    std::fs::create_dir_all(&place).map_err(|e| e.to_string())?;
    for file in ["package.json", "package-lock.json", "main.mjs"] {
        std::fs::copy(own.join(file), place.join(file)).map_err(|e| e.to_string())?;
    }
    let mut install = Command::new("npm");
    install.args([
        "ci",
        "--ignore-scripts",
        "--no-audit",
        "--no-fund",
        "--silent",
    ]);
    let installed = install
        .current_dir(&place)
        .stdout(std::process::Stdio::null())
        .status();
    match installed {
        Ok(status) if status.success() => {}
        Ok(status) => return Err(format!("npm ci ended with {status}")),
        Err(error) => return Err(format!("npm: {error}")),
    }
    let mut node = Command::new("node");
    node.current_dir(&place).arg("main.mjs");
    node.args([url, &TASKS.to_string(), &KEYS.to_string()]);
    Ok(Worker::start(&mut node))
}
