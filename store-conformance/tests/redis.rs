//! Every contract, in Redis.

use std::process::ExitCode;

use store_conformance::servers::{Options, redis};

#[path = "redis_own/harness.rs"]
mod harness;

fn main() -> ExitCode {
    harness::run(redis::find(&Options::from_env()))
}
