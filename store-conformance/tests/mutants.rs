//! The suite kills every mutant, by the case that names the fault, and finds
//! nothing wrong with the store that the mutants are made from.

use store_conformance::{Outcome, cases, mutants};
use tokio::task::JoinSet;

#[tokio::test(flavor = "multi_thread")]
async fn every_mutant_is_killed_by_the_case_that_names_its_fault() {
    // Their panics are what is wanted; they need not fill the screen.
    std::panic::set_hook(Box::new(|_| {}));
    let mut running = JoinSet::new();
    for mutant in mutants::all() {
        running.spawn(async move {
            let suite = (mutant.suite)();
            let index = suite.cases().position(|(name, _)| name == mutant.killed_by);
            let outcome = match index {
                Some(index) => Some(suite.run_case(index).await.outcome),
                None => None,
            };
            (outcome != Some(Outcome::Failed)).then(|| {
                let (contract, name) = (mutant.contract, mutant.name);
                format!("{contract}: {name}: {} said {outcome:?}", mutant.killed_by)
            })
        });
    }
    let missed: Vec<_> = running.join_all().await.into_iter().flatten().collect();
    drop(std::panic::take_hook());
    assert!(missed.is_empty(), "not caught:\n{}", missed.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_backend_without_a_flaw_keeps_every_promise() {
    let sound = mutants::sound();
    let contracts = [cases::records::over, cases::api_keys::over];
    for suite in contracts.iter().flat_map(|suites| suites(&sound)) {
        let report = suite.run().await;
        let failed: Vec<_> = report.failed().collect();
        assert!(failed.is_empty(), "{failed:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_table_without_a_flaw_keeps_every_promise_of_lti() {
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
async fn the_shelf_without_a_flaw_keeps_every_promise_of_blobs() {
    let report = mutants::sound_blobs().run().await;
    let failed: Vec<_> = report.failed().collect();
    assert!(failed.is_empty(), "{failed:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn identity_without_a_flaw_keeps_every_promise() {
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
async fn the_buckets_without_a_flaw_keep_every_promise_of_limits() {
    let report = mutants::sound_limits().run().await;
    let failed: Vec<_> = report.failed().collect();
    assert!(failed.is_empty(), "{failed:#?}");
}
