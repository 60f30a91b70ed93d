//! Seeded schedules: every case of the suite over a store in memory whose callers
//! are interleaved, and scenarios over a bad network.
//!
//! `cargo test` runs some seeds of each. `cargo xtask soak --simulations N` runs
//! more. A failure names its seed, and STORE_SIMULATION_SEED=N runs that one alone.

#[path = "own/memory.rs"]
mod memory;

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};
use store_conformance::simulation::{Interleaved, World, run, scenarios};
use store_conformance::{CaseResult, Outcome, cases};

use memory::Memory;

/// Cases that block a thread on purpose.
const NEED_THREADS: &[&str] = &[
    "a_take_during_an_update_is_not_lost",
    "a_delete_during_an_update_is_not_undone",
    "a_recreation_during_an_update_is_noticed",
    "an_update_that_is_always_beaten_is_contended",
];

/// Seeds of each case, and of each scenario.
const CASES: u64 = 1;
const SCENARIOS: u64 = 100;

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
    run(async move {
        let report = suite.run_case(index).await;
        match report.outcome {
            Outcome::Failed => Err(report.message.unwrap_or_default().into()),
            Outcome::Passed | Outcome::Unsupported => Ok(()),
        }
    })
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    for scenario in scenarios::ALL {
        let name = format!("scenario::{}::{}", scenario.contract, scenario.name);
        trials.push(Trial::test(name, move || {
            each(seeds(SCENARIOS), |seed| {
                run(async move {
                    let world = World::open(&Memory, seed).await?;
                    scenario.run(world).await
                })
            })
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
