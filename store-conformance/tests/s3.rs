//! Every contract, on a server that speaks S3.

use std::process::ExitCode;

use store_conformance::servers::{Options, s3};

#[path = "s3_own/harness.rs"]
#[allow(dead_code, reason = "the other program's part of it")]
mod harness;

fn main() -> ExitCode {
    harness::run(s3::find(&Options::from_env()))
}
