//! Every contract, in a Redis Cluster of three primaries.

use std::process::ExitCode;

use store_conformance::servers::{Options, redis};

#[path = "redis_own/harness.rs"]
mod harness;

fn main() -> ExitCode {
    harness::run(redis::cluster(&Options::from_env(), 0))
}
