//! Seeded schedules: every case of the suite over a store in memory whose callers
//! are interleaved, and scenarios over a bad network.
//!
//! `cargo test` runs some seeds of each. `cargo xtask soak --simulations N` runs
//! more. A failure names its seed, and STORE_SIMULATION_SEED=N runs that one alone.

#[path = "own/memory.rs"]
mod memory;

use std::cell::Cell;
use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use libtest_mimic::{Arguments, Failed, Trial};
use store_conformance::simulation::mutants::{self, Mutant};
use store_conformance::simulation::scenarios::{self, Scenario};
use store_conformance::simulation::{Interleaved, World, run};
use store_conformance::store_core::Store;
use store_conformance::{CaseResult, Harness, Outcome, cases};

use memory::Memory;

/// Cases that block a thread on purpose.
const NEED_THREADS: &[&str] = &[
    "a_take_during_an_update_is_not_lost",
    "a_delete_during_an_update_is_not_undone",
    "a_recreation_during_an_update_is_noticed",
    "an_update_that_is_always_beaten_is_contended",
];

/// Seeds of each case, of each scenario, and of each scenario that is run twice.
const CASES: u64 = 1;
const SCENARIOS: u64 = 100;
const REPLAYS: u64 = 10;

/// The most seeds until a mutant must be killed.
const MUTANTS: u64 = 500;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable} is not a number")),
    )
}

/// The seeds to run: the one in the environment, or this many.
fn seeds(usual: u64) -> std::ops::Range<u64> {
    match number("STORE_SIMULATION_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("STORE_SIMULATIONS").unwrap_or(usual),
    }
}

fn each(seeds: std::ops::Range<u64>, one: impl Fn(u64) -> CaseResult) -> Result<(), Failed> {
    for seed in seeds {
        one(seed).map_err(|error| format!("STORE_SIMULATION_SEED={seed}: {error}"))?;
    }
    Ok(())
}

fn case(suite: usize, index: usize, seed: u64) -> CaseResult {
    let interleaved = Arc::new(Interleaved::new(Arc::new(Memory), seed));
    let suite = cases::all(interleaved).swap_remove(suite);
    run(seed, async move {
        let report = suite.run_case(index).await;
        match report.outcome {
            Outcome::Failed => Err(report.message.unwrap_or_default().into()),
            Outcome::Passed | Outcome::Unsupported => Ok(()),
        }
    })
}

/// Runs a scenario; returns the trace of its schedule.
fn scenario_over(
    harness: Arc<dyn Harness<Store>>,
    scenario: &'static Scenario,
    seed: u64,
) -> Result<u64, Box<dyn Error + Send + Sync>> {
    let trace = Arc::new(AtomicU64::new(0));
    let traced = Arc::clone(&trace);
    run(seed, async move {
        let world = World::open(&*harness, seed).await?;
        let result = scenario.run(Arc::clone(&world)).await;
        traced.store(world.trace(), Ordering::Relaxed);
        result
    })?;
    Ok(trace.load(Ordering::Relaxed))
}

/// Asserts that a seed gives the same schedule, step by step, each time.
fn replay(scenario: &'static Scenario, seed: u64) -> CaseResult {
    let first = scenario_over(Arc::new(Memory), scenario, seed)?;
    let again = scenario_over(Arc::new(Memory), scenario, seed)?;
    if first != again {
        return Err("the same seed gave another schedule".into());
    }
    Ok(())
}

/// Asserts that some schedule shows the bug.
fn killed(mutant: &Mutant) -> Result<(), Failed> {
    let scenario = mutant.scenario().ok_or("there is no such scenario")?;
    QUIET.set(true);
    let shown = (0..MUTANTS).any(|seed| scenario_over(mutant.harness(), scenario, seed).is_err());
    QUIET.set(false);
    match shown {
        true => Ok(()),
        false => Err(format!("no schedule of {} failed", scenario.name).into()),
    }
}

thread_local! {
    /// Whether panics on this thread are expected, and not printed.
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

fn main() -> ExitCode {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !QUIET.get() {
            print(panic);
        }
    }));
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    for scenario in scenarios::ALL {
        let name = format!("scenario::{}::{}", scenario.contract, scenario.name);
        trials.push(Trial::test(name, move || {
            each(seeds(SCENARIOS), |seed| {
                scenario_over(Arc::new(Memory), scenario, seed).map(drop)
            })
        }));
        let name = format!("replay::{}::{}", scenario.contract, scenario.name);
        trials.push(Trial::test(name, move || {
            each(seeds(REPLAYS), |seed| replay(scenario, seed))
        }));
    }
    for mutant in mutants::all() {
        trials.push(Trial::test(format!("mutant::{}", mutant.name), move || {
            killed(&mutant)
        }));
    }
    let suites = cases::all(Arc::new(Interleaved::new(Arc::new(Memory), 0)));
    for (place, suite) in suites.iter().enumerate() {
        for (index, (name, _)) in suite.cases().enumerate() {
            if NEED_THREADS.contains(&name) {
                continue;
            }
            let name = format!("case::{}::{name}", suite.contract());
            trials.push(Trial::test(name, move || {
                each(seeds(CASES), |seed| case(place, index, seed))
            }));
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}
