//! `cargo xtask soak`: the long tests.

use std::process::Command;

use lexopt::prelude::*;

use crate::backends::{BACKENDS, CRASH_TEST, STORM_TEST};
use crate::options::Options;
use crate::workspace::Workspace;
use crate::{Result, process};

pub const HELP: &str = "
Run the long tests:

  histories   store-conformance/tests/soak.rs, in release: long recorded
              histories of racing clients, each checked for linearizability per
              key, and the contracts' races
  crashes     each backend that survives a crash, with its server configured to
              survive one: killed again and again during concurrent commits,
              takes, objects and nonce races; after each crash, everything
              acknowledged is there, nothing is half done, and no nonce was
              accepted twice

  storms      the same backends behind a connection that is cut at random: before
              a request, in it, before its reply, or in the reply; every answer
              is true, and no take or nonce counts twice

  schedules   store-s3's protocol over a simulated bucket, in release: every
              schedule of two writers of two records, those in which one is
              impatient up to a number of states (--places), and a number of
              random schedules with faults (--schedules)

  simulations every case over memory with interleaved callers, and scenarios of
              each contract over a bad network, in release; each seed is another
              schedule

  mutants     the SQL of PostgreSQL and the scripts of Redis with one small change
              each, over the suite. Fails if a mutant survives that
              store-conformance/MUTANTS.txt does not explain. The verdicts are left in
              target/mutants-sql.txt and target/mutants-lua.txt

Usage: cargo xtask soak [OPTIONS]

Options:
  --seconds N   how long the histories; 60 by default
  --cycles N    how many crashes of each backend; 50 by default
  --storms N    how many storms over each backend; 40 by default
  --schedules N how many random schedules; 100000 by default
  --places N    the most states that each set of schedules visits; 1000000 by
                default
  --simulations N  how many seeds of each case and each scenario; 1000 by default
  --mutants L   the language of the mutants: sql, lua, all (the default) or none
  --sample      only a few seconds of the histories, as `cargo xtask ci` does: its
                test-all already runs some of the others
  --seed N      the first seed; a failure names its seed
  --install     fetch missing servers into target/servers, without root

Example, for a night:
  cargo xtask soak --seconds 28800 --cycles 5000 --storms 5000
";

/// Seconds of a run by hand, and in CI.
const LONG: u64 = 60;
const SAMPLE: u64 = 5;

/// Crashes of a run by hand.
const CYCLES: u64 = 50;

/// Storms of a run by hand.
const STORMS: u64 = 40;

/// Random schedules of a run by hand, and states that the exhaustive ones visit.
const SCHEDULES: u64 = 100_000;
const PLACES: u64 = 1_000_000;

/// Seeds of each simulation of a run by hand.
const SIMULATIONS: u64 = 1000;

pub fn run(mut arguments: lexopt::Parser) -> Result {
    let (mut count, mut places) = (SCHEDULES, PLACES);
    let (mut seconds, mut cycles, mut storms, mut seed) = (LONG, CYCLES, STORMS, None);
    let mut seeds = SIMULATIONS;
    let mut mutated = String::from("all");
    let mut kind = Built::Release;
    let mut options = Options::default();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("seconds") => seconds = arguments.value()?.parse()?,
            Long("cycles") => cycles = arguments.value()?.parse()?,
            Long("storms") => storms = arguments.value()?.parse()?,
            Long("schedules") => count = arguments.value()?.parse()?,
            Long("places") => places = arguments.value()?.parse()?,
            Long("simulations") => seeds = arguments.value()?.parse()?,
            Long("mutants") => mutated = arguments.value()?.parse()?,
            Long("sample") => {
                (seconds, cycles, storms, count, seeds) = (SAMPLE, 0, 0, 0, 0);
                mutated = "none".into();
                kind = Built::AsTests;
            }
            Long("seed") => seed = Some(arguments.value()?.parse()?),
            Long("install") => options.install = true,
            other => return Err(other.unexpected().into()),
        }
    }
    let languages = languages(&mutated)?;
    histories(seconds, seed, kind)?;
    schedules(count, places, seed)?;
    simulations(seeds)?;
    mutants(&languages, &options)?;
    on_each(CRASH_TEST, "STORE_SOAK_CYCLES", cycles, &options)?;
    on_each(STORM_TEST, "STORE_SOAK_SEEDS", storms, &options)
}

/// A language that has mutants, the test program of the backend that uses it, and the test.
type Mutated = (&'static str, &'static str, &'static str);

const MUTATED: [Mutated; 2] = [
    (
        "sql",
        "postgres_own",
        "mutants_of_the_sql_are_killed_or_explained",
    ),
    (
        "lua",
        "redis_own",
        "mutants_of_the_scripts_are_killed_or_explained",
    ),
];

/// The rows of [`MUTATED`] that `--mutants` names.
fn languages(name: &str) -> Result<Vec<Mutated>> {
    let named: Vec<_> = MUTATED
        .into_iter()
        .filter(|(language, ..)| name == "all" || name == *language)
        .collect();
    if named.is_empty() && name != "none" {
        return Err(format!("--mutants is sql, lua, all or none, not `{name}`").into());
    }
    Ok(named)
}

/// Runs the suite over every mutant of these languages.
fn mutants(languages: &[Mutated], options: &Options) -> Result {
    let target = Workspace::load()?.target;
    for (language, program, test) in languages {
        let table = target.join(format!("mutants-{language}.txt"));
        println!("mutants of {language}: {}", table.display());
        one_test(program, test, options, |command| {
            command.env("STORE_SOAK_MUTANTS", &table);
        })?;
    }
    Ok(())
}

/// Runs one test of a program, with an environment.
fn one_test(
    program: &str,
    test: &str,
    options: &Options,
    environment: impl FnOnce(&mut Command),
) -> Result {
    let mut command = process::cargo();
    command
        .args(["test", "--quiet", "--test", program])
        .args(process::TESTED);
    command.args(["--features", "store-conformance/servers"]);
    command.args(["--", "--exact", test]);
    environment(&mut command);
    options.apply(&mut command);
    let printed = process::stdout(&mut command)?;
    print!("{printed}");
    // If the test is renamed, nothing runs and cargo succeeds.
    if !printed.contains("test result: ok. 1 passed") {
        return Err(format!("{program} has no test {test}").into());
    }
    Ok(())
}

/// A few seconds of the histories.
pub fn sample() -> Result {
    histories(SAMPLE, None, Built::AsTests)
}

/// Runs one test of each backend that survives crashes; the variable sets how often the
/// test repeats its work.
fn on_each(test: &str, variable: &str, times: u64, options: &Options) -> Result {
    if times == 0 {
        return Ok(());
    }
    let survivors = BACKENDS
        .iter()
        .filter_map(|one| Some((one.name, one.crash?)));
    for (name, program) in survivors {
        println!("{name}: {test}, {times} times");
        one_test(program, test, options, |command| {
            command.env(variable, times.to_string());
        })?;
    }
    Ok(())
}

/// Runs `count` random schedules of store-s3's protocol, and exhaustive ones up to
/// `places` states. The unit tests run some of each.
fn schedules(count: u64, places: u64, seed: Option<u64>) -> Result {
    if count == 0 {
        return Ok(());
    }
    let mut command = process::cargo();
    command.args([
        "test",
        "--quiet",
        "--release",
        "--package=store-s3",
        "--lib",
    ]);
    command.args(["--", "--nocapture", "_schedule_"]);
    command.env("STORE_SOAK_SCHEDULES", count.to_string());
    command.env("STORE_SOAK_PLACES", places.to_string());
    if let Some(seed) = seed {
        command.env("STORE_SOAK_SEED", seed.to_string());
    }
    let printed = process::stdout(&mut command)?;
    print!("{printed}");
    // If the tests are renamed, nothing runs and cargo succeeds.
    if !printed.contains("test result: ok. 2 passed") {
        return Err("store-s3 has no simulation to run".into());
    }
    Ok(())
}

/// Runs every simulation with this many seeds. The tests run a few.
fn simulations(seeds: u64) -> Result {
    if seeds == 0 {
        return Ok(());
    }
    let mut command = process::cargo();
    command.args([
        "test",
        "--quiet",
        "--release",
        "--package=store-conformance",
    ]);
    command.args(["--test=simulation"]);
    command.env("STORE_SIMULATIONS", seeds.to_string());
    println!("simulations: seeds 0 to {}", seeds - 1);
    process::run(&mut command)
}

/// How a program is built: a sample is too short to be worth a release build.
enum Built {
    Release,
    /// As `test-all` does, so that nothing is built again.
    AsTests,
}

fn histories(seconds: u64, seed: Option<u64>, kind: Built) -> Result {
    let workspace = Workspace::load()?;
    let package = workspace.package("store-conformance");
    if !package.is_some_and(|package| package.targets_of("test").any(|test| test.name == "soak")) {
        return Err("there is no store-conformance/tests/soak.rs to run".into());
    }
    let mut command = process::cargo();
    command.args(["test", "--quiet", "--test=soak"]);
    match kind {
        Built::Release => command.args(["--release", "--package=store-conformance"]),
        Built::AsTests => command
            .args(process::TESTED)
            .args(["--features", "store-conformance/servers"]),
    };
    command.args(["--", "--seconds", &seconds.to_string()]);
    if let Some(seed) = seed {
        command.args(["--seed", &seed.to_string()]);
    }
    process::run(&mut command)
}
