//! Measures how much memory a process needs to stream a large object in and out. It runs
//! in a separate process, so that nothing else is counted.

use std::process::Command;

use store_core::Store;
use store_postgres::PostgresStore;
use tokio::runtime::Runtime;

use super::{SCHEMA, blobs};

const SIZE: usize = 1 << 30;
const GOAL_MIB: u64 = 32;

/// The environment variable with the server's URL, which is set in the process that
/// streams.
const VARIABLE: &str = "STORE_BENCH_MEMORY";

/// Streams in a separate process, and prints its output.
pub(super) fn report(url: &str) {
    let this = std::env::current_exe().unwrap();
    let ended = Command::new(this).env(VARIABLE, url).status().unwrap();
    assert!(ended.success());
}

/// The URL, if this process is the one that streams.
pub(super) fn is_asked() -> Option<String> {
    std::env::var(VARIABLE).ok()
}

pub(super) fn measure(url: &str) {
    let streaming = async {
        let store = PostgresStore::builder().url(url).schema(SCHEMA);
        let store = Store::from(store.connect().await.unwrap());
        blobs::write(&store, SIZE).await;
        assert_eq!(blobs::read(&store).await, SIZE);
    };
    Runtime::new().unwrap().block_on(streaming);
    let Some(peak) = peak_mib() else {
        println!("Not measured: memory, which this system does not report.\n");
        return;
    };
    let verdict = if peak <= GOAL_MIB {
        "reached"
    } else {
        "MISSED"
    };
    println!("memory of a process that streams 1 GiB in and out");
    println!("  {peak} MiB resident at most  goal <= {GOAL_MIB} MiB: {verdict}\n");
}

/// The peak resident memory of this process, in MiB, rounded up.
fn peak_mib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().ok()?;
    Some(kib.div_ceil(1024))
}
