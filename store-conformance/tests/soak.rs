//! Long recorded races, each checked for an order that explains it; the races of the
//! contracts, each checked for its exact outcome; and random calls, each compared with a
//! model.
//!
//! `cargo test` runs a second of it. `cargo xtask soak --seconds N` runs longer:
//! every run begins at another seed, prints the seeds that it covered, and
//! stops at the first history that no order explains.

#[path = "own/memory.rs"]
mod memory;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use store_conformance::cases::lti::{Campus, Placement};
use store_conformance::cases::records::Race;
use store_conformance::cases::{api_keys, compare_with_models, iam, limits, lti};
use store_conformance::{CaseResult, Harness, Over};
use store_core::{RateLimitStore, RecordStore};

use memory::Memory;

const HELP: &str = "\
Runs recorded races in memory and checks every history.

  --seconds N   how long; 1 by default
  --seed N      where to begin; from the time by default
  --seeds N     how many seeds instead of how long";

struct Arguments {
    seconds: u64,
    seed: u64,
    seeds: u64,
}

/// `None` if there is nothing to run: for help, for a list of tests, or if other tests are
/// named.
fn arguments() -> Result<Option<Arguments>, String> {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    let mut arguments = Arguments {
        seconds: 1,
        seed: since.as_secs() % 1_000_000_000,
        seeds: u64::MAX,
    };
    let mut given = std::env::args().skip(1);
    while let Some(name) = given.next() {
        let mut number = || {
            let text = given.next().unwrap_or_default();
            let wrong = |_| format!("{name} needs a number, not {text:?}\n{HELP}");
            text.parse::<u64>().map_err(wrong)
        };
        match &*name {
            "--seconds" => arguments.seconds = number()?,
            "--seed" => arguments.seed = number()?,
            "--seeds" => {
                arguments.seeds = number()?;
                arguments.seconds = u64::MAX / 2;
            }
            "--help" | "-h" => {
                println!("{HELP}");
                return Ok(None);
            }
            "--list" => return Ok(None),
            // Arguments that `cargo test` passes to every test program.
            "--quiet" | "-q" | "--nocapture" | "--exact" | "--include-ignored" => {}
            filter if !filter.starts_with('-') => {
                if !"soak".contains(filter) {
                    return Ok(None);
                }
            }
            other => return Err(format!("{other} is not an option\n{HELP}")),
        }
    }
    Ok(Some(arguments))
}

/// Four races from one seed: narrow, wide, over several records, and over a
/// network that loses messages.
fn races(seed: u64) -> [Race; 4] {
    let mut wide = Race::new(seed);
    (wide.tasks, wide.calls, wide.records) = (8, 60, 6);
    let mut long = Race::new(seed);
    (long.calls, long.records) = (120, 2);
    [wide, long, Race::together(seed), Race::lossy(seed)]
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// They take longer than a history, so they run for one in so many seeds.
const EACH: u64 = 16;

/// What one run of the contracts does, for the last line.
const CONTRACTS: &str =
    "144 API key calls, 64 launches, 16 attachments, 2000 takes, 2400 calls compared with models";

/// Checks recorded calls on buckets, and returns how many.
async fn buckets(over: &Arc<Over>, seed: u64) -> Result<usize, Failure> {
    let one = limits::calls_have_an_order(over.clone(), 4, 60, seed).await?;
    let many = limits::calls_have_an_order(over.clone(), 8, 24, seed).await?;
    Ok(one + many)
}

/// The races and the models of the contracts.
async fn contracts(over: &Arc<Over>, seed: u64) -> CaseResult {
    api_keys::changes_have_an_order(over.clone(), 6, 12, seed).await?;
    api_keys::lives_have_an_order(over.clone(), 6, 12, seed).await?;
    lti::race_launches::<Campus, Placement>(over.clone(), 4, 16).await?;
    iam::race_attachments(over.clone(), 2, 8).await?;
    let opened = Harness::<dyn RateLimitStore>::open(&**over, ()).await?;
    limits::walk(&opened, seed, 2000).await?;
    compare_with_models(over, seed, 300).await
}

fn main() -> ExitCode {
    let arguments = match arguments() {
        Ok(Some(arguments)) => arguments,
        Ok(None) => return ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::FAILURE;
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build()
        .expect("a runtime can be started");
    let over = Arc::new(Over::new(Arc::new(Memory)));
    let records: Arc<dyn Harness<dyn RecordStore>> = over.clone();
    let begin = Instant::now();
    let (mut histories, mut calls, mut rounds, mut seed) = (0u64, 0, 0, arguments.seed);
    let (mut bucket_histories, mut bucket_calls) = (0u64, 0);
    while seed - arguments.seed < arguments.seeds
        && begin.elapsed() < Duration::from_secs(arguments.seconds)
    {
        for race in races(seed) {
            match runtime.block_on(race.run(&records)) {
                Ok(checked) => calls += checked,
                Err(violation) => {
                    eprintln!("{race:?}\n{violation}");
                    return ExitCode::FAILURE;
                }
            }
            histories += 1;
        }
        match runtime.block_on(buckets(&over, seed)) {
            Ok(checked) => bucket_calls += checked,
            Err(error) => {
                eprintln!("the calls on buckets, seed {seed}: {error}");
                return ExitCode::FAILURE;
            }
        }
        bucket_histories += 2;
        if (seed - arguments.seed).is_multiple_of(EACH) {
            if let Err(error) = runtime.block_on(contracts(&over, seed)) {
                eprintln!("the contracts' races, seed {seed}: {error}");
                return ExitCode::FAILURE;
            }
            rounds += 1;
        }
        seed += 1;
    }
    println!(
        "soak: seeds {} to {}, {histories} histories, {calls} calls on records, \
         {bucket_histories} histories, {bucket_calls} calls on buckets, each history explained; \
         {rounds} times {CONTRACTS}; {:.1} s",
        arguments.seed,
        seed - 1,
        begin.elapsed().as_secs_f64()
    );
    ExitCode::SUCCESS
}
