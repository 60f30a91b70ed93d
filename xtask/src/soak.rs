//! `cargo xtask soak`: the long tests.

use lexopt::prelude::*;

use crate::workspace::Workspace;
use crate::{Result, process};

pub const HELP: &str = "
Run the long tests (store-conformance/tests/soak.rs) in release: long recorded
histories of racing clients, each checked for linearizability per key.

Usage: cargo xtask soak [--seconds N | --sample] [--seed N]

Options:
  --seconds N   how long; 60 by default
  --sample      a few seconds, as `cargo xtask ci` does: proves that it runs
  --seed N      where chance begins; a failure names its seed

Example, over night:
  cargo xtask soak --seconds 28800
";

/// Seconds of a run by hand, and in CI.
const LONG: u64 = 60;
const SAMPLE: u64 = 5;

pub fn run(mut arguments: lexopt::Parser) -> Result {
    let mut seconds = LONG;
    let mut seed = None;
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("seconds") => seconds = arguments.value()?.parse()?,
            Long("sample") => seconds = SAMPLE,
            Long("seed") => seed = Some(arguments.value()?.parse()?),
            other => return Err(other.unexpected().into()),
        }
    }
    soak(seconds, seed)
}

/// A few seconds of it.
pub fn sample() -> Result {
    soak(SAMPLE, None)
}

fn soak(seconds: u64, seed: Option<u64>) -> Result {
    let workspace = Workspace::load()?;
    let package = workspace.package("store-conformance");
    if !package.is_some_and(|package| package.targets_of("test").any(|test| test.name == "soak")) {
        return Err("there is no store-conformance/tests/soak.rs to run".into());
    }
    let mut command = process::cargo();
    command.args([
        "test",
        "--release",
        "--quiet",
        "--package=store-conformance",
    ]);
    command.args(["--test=soak", "--", "--seconds", &seconds.to_string()]);
    if let Some(seed) = seed {
        command.args(["--seed", &seed.to_string()]);
    }
    process::run(&mut command)
}
