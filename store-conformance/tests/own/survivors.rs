//! Runs the suite over mutants of SQL and Lua and finds those that survive.
//!
//! The ordinary run takes a sample: named mutants, each with the case that must fail.
//! `cargo xtask soak` sets [`TABLE`]; then every mutant runs, until a case fails on it.

use std::collections::HashMap;
use std::fs;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use store_conformance::{Outcome, Over, Suite, cases};
use tokio::runtime::Builder;
use tokio::task::JoinSet;

use super::mutator::Mutant;
use super::{End, Failure, Test};

/// The variable with the file to which the verdict on each mutant is written.
pub(crate) const TABLE: &str = "STORE_SOAK_MUTANTS";

/// The variable with a part of the names of the mutants that run: for killing one.
const ONLY: &str = "STORE_SOAK_MUTANT";

/// The name of a text without a change, which must survive.
pub(crate) const UNCHANGED: &str = "unchanged";

/// A case that takes longer has failed. On the unchanged text, none takes a tenth of this.
const DEADLINE: Duration = Duration::from_secs(120);

/// What the names of the cases begin with that would take most of the time. They make
/// hundreds of the calls that other cases make once.
const SLOW: &str = "an_outage_at_any_step";

/// How many cases run at the same time.
const WIDTH: usize = 4;

/// What the suite says about a mutant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The first case that failed.
    Killed(String),
    Survived,
    /// The server does not accept the text.
    Invalid,
    /// No case used the text.
    Unused,
}

/// What a text implements, and so which cases can fail on its mutants.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Subject {
    Records,
    Limits,
    Objects,
    /// Several of these.
    All,
}

/// Which cases to run over a mutant, and in which order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Order {
    /// Only this case, if it is set.
    only: Option<String>,
    /// How many mutants each case has killed. The best run first.
    killed: HashMap<String, u64>,
}

/// The suites of what a text implements.
pub(crate) fn suites(over: &Arc<Over>, subject: Subject) -> Vec<Suite> {
    match subject {
        Subject::Records => {
            let mut both = cases::records::over(over);
            both.extend(cases::store::over(over));
            both
        }
        Subject::Limits => cases::limits::over(over),
        Subject::Objects => cases::blobs::over(over),
        Subject::All => {
            let all = [Subject::Records, Subject::Limits, Subject::Objects];
            all.into_iter().flat_map(|one| suites(over, one)).collect()
        }
    }
}

/// The first case that fails, as `contract::case`.
pub(crate) async fn killer(suites: Vec<Suite>, order: &Order) -> Option<String> {
    let mut waiting: Vec<(u64, String, Arc<Suite>, usize)> = Vec::new();
    for suite in suites.into_iter().map(Arc::new) {
        for (index, (case, _)) in suite.cases().enumerate() {
            let name = format!("{}::{case}", suite.contract());
            let rank = order.killed.get(&name).copied().unwrap_or(0);
            let is_wanted = order
                .only
                .as_ref()
                .map_or(!case.starts_with(SLOW), |only| *only == name);
            if is_wanted {
                waiting.push((rank, name, Arc::clone(&suite), index));
            }
        }
    }
    // The best is last. Among others, a stable sort leaves the order.
    waiting.reverse();
    waiting.sort_by_key(|(rank, ..)| *rank);
    let mut running = JoinSet::new();
    loop {
        while running.len() < WIDTH
            && let Some((_, name, suite, index)) = waiting.pop()
        {
            running.spawn(async move {
                let ended = tokio::time::timeout(DEADLINE, suite.run_case(index)).await;
                match ended {
                    Ok(case) if case.outcome != Outcome::Failed => None,
                    Ok(case) => {
                        eprintln!("{name}: {:?}", case.message);
                        Some(name)
                    }
                    Err(_) => Some(format!("{name} did not end")),
                }
            });
        }
        match running.join_next().await? {
            Ok(None) => {}
            Ok(killer) => return killer,
            Err(error) => return Some(error.to_string()),
        }
    }
}

/// The first of a backend's own tests that fails, as `own::test`.
pub(crate) async fn first_to_fail<P>(
    tests: Vec<Test<P>>,
    place: impl Fn() -> P,
    order: &Order,
) -> Option<String> {
    for (test, run) in tests {
        let name = format!("own::{test}");
        if order.only.as_ref().is_some_and(|only| *only != name) {
            continue;
        }
        // A panic must not end the others.
        let running = tokio::spawn(run(place()));
        if !matches!(
            tokio::time::timeout(DEADLINE, running).await,
            Ok(Ok(Ok(())))
        ) {
            return Some(name);
        }
    }
    None
}

/// Runs a future in a runtime of its own, so that the cases which still run end with it.
pub(crate) fn apart<T>(future: impl Future<Output = T>) -> Result<T, Failure> {
    tokio::task::block_in_place(|| {
        let runtime = Builder::new_multi_thread()
            .worker_threads(4)
            .enable_all()
            .build()?;
        let output = runtime.block_on(future);
        runtime.shutdown_background();
        Ok(output)
    })
}

/// Whether this run may take mutants whose names begin like this: a soak does.
pub(crate) fn takes(name: &str) -> bool {
    let only = std::env::var(ONLY).unwrap_or_default();
    std::env::var_os(TABLE).is_some() && name.contains(&only)
}

/// Judges mutants: those of `sample`, each by its case; or all, for a soak.
pub(crate) fn settle(
    mutants: &[Mutant],
    sample: &[(&str, &str)],
    mut judge: impl FnMut(&Mutant, &Order) -> Result<Verdict, Failure>,
) -> End {
    // The cases are expected to panic; the messages would only fill the screen.
    std::panic::set_hook(Box::new(|_| {}));
    let ended = match std::env::var(TABLE) {
        Ok(table) => all(mutants, Path::new(&table), &mut judge),
        Err(_) => some(mutants, sample, &mut judge),
    };
    drop(std::panic::take_hook());
    ended
}

type Judge<'j> = &'j mut dyn FnMut(&Mutant, &Order) -> Result<Verdict, Failure>;

fn some(mutants: &[Mutant], sample: &[(&str, &str)], judge: Judge<'_>) -> End {
    let mut survivors = Vec::new();
    for (name, case) in sample {
        let found = mutants.iter().find(|mutant| mutant.name == *name);
        let mutant = found.ok_or_else(|| format!("there is no mutant {name}"))?;
        let order = Order {
            only: Some((*case).to_owned()),
            ..Order::default()
        };
        let verdict = judge(mutant, &order)?;
        if verdict != Verdict::Killed((*case).to_owned()) {
            survivors.push(format!("{name}: {case} said {verdict:?}"));
        }
    }
    match survivors.is_empty() {
        true => Ok(()),
        false => Err(format!("not killed:\n{}", survivors.join("\n")).into()),
    }
}

fn all(mutants: &[Mutant], table: &Path, judge: Judge<'_>) -> End {
    let explained = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/MUTANTS.txt"))?;
    let only = std::env::var(ONLY).unwrap_or_default();
    let mut order = Order::default();
    let (mut lines, mut survivors) = (Vec::new(), Vec::new());
    eprintln!("{} mutants", mutants.len());
    for mutant in mutants
        .iter()
        .filter(|mutant| mutant.name == UNCHANGED || mutant.name.contains(&only))
    {
        let begin = Instant::now();
        let verdict = judge(mutant, &order)?;
        if let Verdict::Killed(case) = &verdict {
            if mutant.name == UNCHANGED {
                return Err(format!("{case} fails on the unchanged text").into());
            }
            // A slow case is not worth running first.
            let is_quick = begin.elapsed() < Duration::from_secs(3);
            *order.killed.entry(case.clone()).or_default() += u64::from(is_quick);
        }
        if mutant.name == UNCHANGED {
            continue;
        }
        let line = format!("{verdict:?}\t{}", mutant.name);
        eprintln!("{line}");
        lines.push(line);
        fs::write(table, lines.join("\n"))?;
        let reason = format!("{}  # ", mutant.name);
        let known = explained.lines().any(|line| line.starts_with(&reason));
        if matches!(verdict, Verdict::Survived | Verdict::Unused) && !known {
            survivors.push(mutant.name.clone());
        }
    }
    if survivors.is_empty() {
        return Ok(());
    }
    let advice = "these mutants survive; add a case that fails on each, or explain it in \
                  store-conformance/MUTANTS.txt";
    Err(format!("{advice}:\n{}", survivors.join("\n")).into())
}
