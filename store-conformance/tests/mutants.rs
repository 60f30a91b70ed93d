//! The suite kills every mutant with the case that names its fault, and the stores that
//! the mutants are made from pass it.

use store_conformance::{Outcome, cases, mutants};
use tokio::task::JoinSet;

/// How often a case may run until it fails. A mutant with a race loses it only in some
/// schedules; all others are killed by the first run.
const RUNS: usize = 20;

#[tokio::test(flavor = "multi_thread")]
async fn every_mutant_is_killed_by_the_case_that_names_its_fault() {
    // The cases are expected to panic; the messages would only fill the screen.
    std::panic::set_hook(Box::new(|_| {}));
    let mut running = JoinSet::new();
    for mutant in mutants::all() {
        running.spawn(async move {
            let suite = (mutant.suite)();
            let index = suite.cases().position(|(name, _)| name == mutant.killed_by);
            let mut outcome = None;
            if let Some(index) = index {
                for _ in 0..RUNS {
                    outcome = Some(suite.run_case(index).await.outcome);
                    if outcome == Some(Outcome::Failed) {
                        break;
                    }
                }
            }
            (outcome != Some(Outcome::Failed)).then(|| {
                let (contract, name) = (mutant.contract, mutant.name);
                format!("{contract}: {name}: {} said {outcome:?}", mutant.killed_by)
            })
        });
    }
    let missed: Vec<_> = running.join_all().await.into_iter().flatten().collect();
    drop(std::panic::take_hook());
    assert!(missed.is_empty(), "not killed:\n{}", missed.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_backend_without_a_flaw_passes() {
    let sound = mutants::sound();
    let contracts = [
        cases::records::over,
        cases::store::over,
        cases::limits::over,
        cases::api_keys::over,
        cases::iam::over,
        cases::lti::over,
    ];
    for suite in contracts.iter().flat_map(|suites| suites(&sound)) {
        let report = suite.run().await;
        let failed: Vec<_> = report.failed().collect();
        assert!(failed.is_empty(), "{failed:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lti_table_without_a_flaw_passes() {
    let report = mutants::sound_lti().run().await;
    let failed: Vec<_> = report.failed().collect();
    assert!(failed.is_empty(), "{failed:#?}");
    let declined = report
        .cases
        .iter()
        .filter(|case| case.outcome == Outcome::Unsupported);
    assert_eq!(declined.count(), 2, "it seals no keys and must say so");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_object_store_without_a_flaw_passes() {
    let report = mutants::sound_blobs().run().await;
    let failed: Vec<_> = report.failed().collect();
    assert!(failed.is_empty(), "{failed:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn identity_without_a_flaw_passes() {
    let suites = mutants::sound_iam()
        .into_iter()
        .chain(mutants::sound_tenants());
    for suite in suites {
        let report = suite.run().await;
        let failed: Vec<_> = report.failed().collect();
        assert!(failed.is_empty(), "{failed:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_buckets_without_a_flaw_pass() {
    let report = mutants::sound_limits().run().await;
    let failed: Vec<_> = report.failed().collect();
    assert!(failed.is_empty(), "{failed:#?}");
}
