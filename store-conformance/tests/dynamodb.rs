//! Every contract, in DynamoDB.

use std::process::ExitCode;

use store_conformance::servers::{Options, dynamodb};

#[path = "dynamodb_own/harness.rs"]
mod harness;

fn main() -> ExitCode {
    harness::run(dynamodb::find(&Options::from_env()))
}
