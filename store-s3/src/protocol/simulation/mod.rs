//! A deterministic simulation of the protocol: a bucket in memory in which each request
//! is a step, executed in an order that the simulation chooses.
//!
//! Every call is recorded. At the end the history must be strictly serializable, without
//! partial reads (`store_conformance::history`). Then the sweep runs, and no incomplete
//! state may remain.
//!
//! At each step one of these happens: a waiting request is executed; a wait for another
//! process's transaction ends, early or late; a reply or a request is lost; a request is
//! delayed; a process ends, and its last request may arrive later. A process that is not
//! chosen for a long time stands for one whose lease has expired.
//!
//! Crates such as shuttle and turmoil simulate threads and networks. This simulation's
//! steps are requests to an object store, which those crates do not model.

mod choices;
mod flaws;
mod run;
mod world;

use store_conformance::history::{Dice, Write};

use choices::{ByChance, InTurn};
use flaws::Flaw;
use run::{Draft, Figures, Plan, Process, Want, run};

/// The variable with the number of random schedules. It is set by `cargo xtask soak`; by
/// default it is a small sample.
const SCHEDULES: &str = "STORE_SOAK_SCHEDULES";

/// The variable with the maximum number of states that each exhaustive search visits,
/// likewise.
const PLACES: &str = "STORE_SOAK_PLACES";

/// The variable with the first seed of the random schedules.
const SEED: &str = "STORE_SOAK_SEED";

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().expect("a number"))
}

/// One random schedule.
fn by_chance(seed: u64, flaw: Flaw) -> Result<Figures, String> {
    let mut dice = Dice::new(seed);
    let plan = Plan::by_chance(&mut dice, flaw);
    let mut chooser = ByChance {
        dice,
        faults: plan.fault_chance,
        delays_long: plan.delays_long,
    };
    match run(&plan, &mut chooser) {
        Ok(figures) => Ok(figures.unwrap_or_default()),
        Err(violation) => Err(format!("seed {seed}: {plan:?}\n{violation}")),
    }
}

/// Runs every schedule of a plan that leads to a new state, up to `most` states. Returns
/// the number of visited states, and whether these are all.
fn every(plan: &Plan, most: usize) -> (usize, bool) {
    let mut chooser = InTurn::default();
    loop {
        if let Err(violation) = run(plan, &mut chooser) {
            panic!("{plan:?}\n{violation}");
        }
        let all = !chooser.advance();
        if all || chooser.places() >= most {
            return (chooser.places(), all);
        }
    }
}

/// Two writers of the same two records. Each makes one call.
fn two_writers() -> Vec<(&'static str, Plan)> {
    use Want::{Absent, Any};
    use Write::{Check, Delete, Put};
    // Record 0 exists, record 1 does not.
    let plan = |a: Draft, b: Draft, aborts| Plan {
        records: 4,
        processes: [a, b].map(|draft| Process::Writer(vec![draft])).into(),
        faults: 0,
        fault_chance: 0,
        delays_long: false,
        aborts,
        flaw: Flaw::None,
    };
    let create = vec![(1, Absent, Put), (3, Absent, Put)];
    let skew = |checked, put| vec![(checked, Absent, Check), (put, Absent, Put)];
    vec![
        ("both create both", plan(create.clone(), create.clone(), 0)),
        ("write skew", plan(skew(1, 3), skew(3, 1), 0)),
        (
            "both create both, and one may abort the other",
            plan(create.clone(), create, 1),
        ),
        (
            "write skew, and one may abort the other",
            plan(skew(1, 3), skew(3, 1), 1),
        ),
        (
            "one writes and one deletes the same records",
            plan(
                vec![(0, Any, Put), (1, Any, Put)],
                vec![(0, Any, Delete), (1, Any, Delete)],
                0,
            ),
        ),
    ]
}

#[test]
fn all_schedules_of_two_writers_of_two_records_are_linearizable() {
    let most = number(PLACES, 1_000) as usize;
    for (what, plan) in two_writers() {
        let begin = std::time::Instant::now();
        let (places, all) = every(&plan, most);
        let all = if all { "all" } else { "the first" };
        println!(
            "{what}: {all} {places} places, {:.1} s",
            begin.elapsed().as_secs_f32()
        );
    }
}

#[test]
fn random_schedules_are_linearizable() {
    let (schedules, seed) = (number(SCHEDULES, 2_000), number(SEED, 1));
    let mut figures = Figures::default();
    for seed in seed..seed + schedules {
        match by_chance(seed, Flaw::None) {
            Ok(one) => {
                figures.moves += one.moves;
                figures.calls += one.calls;
            }
            Err(violation) => panic!("{violation}"),
        }
    }
    println!(
        "{schedules} schedules from seed {seed}: {} requests, {} calls, all explained",
        figures.moves, figures.calls
    );
}

#[test]
fn every_mutant_is_killed() {
    for flaw in Flaw::ALL {
        let caught = (1..20_000).find_map(|seed| Some((seed, by_chance(seed, flaw).err()?)));
        let (seed, violation) = caught.unwrap_or_else(|| panic!("no schedule killed {flaw:?}"));
        let first = violation.lines().nth(1).unwrap_or_default();
        println!("{flaw:?}: seed {seed}: {first}");
    }
}
