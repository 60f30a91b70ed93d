//! The suite catches every saboteur, by the case that names the fault, and
//! finds nothing wrong with the backend that they are planted in.

use store_conformance::{Outcome, cases, saboteurs};
use tokio::task::JoinSet;

#[tokio::test(flavor = "multi_thread")]
async fn every_saboteur_is_caught_by_the_case_that_names_its_fault() {
    // Their panics are what is wanted; they need not fill the screen.
    std::panic::set_hook(Box::new(|_| {}));
    let mut running = JoinSet::new();
    for saboteur in saboteurs::all() {
        running.spawn(async move {
            let suite = (saboteur.suite)();
            let index = suite
                .cases()
                .position(|(name, _)| name == saboteur.caught_by);
            let outcome = match index {
                Some(index) => Some(suite.run_case(index).await.outcome),
                None => None,
            };
            (outcome != Some(Outcome::Failed)).then(|| {
                let (contract, name) = (saboteur.contract, saboteur.name);
                format!(
                    "{contract}: {name}: {} said {outcome:?}",
                    saboteur.caught_by
                )
            })
        });
    }
    let missed: Vec<_> = running.join_all().await.into_iter().flatten().collect();
    drop(std::panic::take_hook());
    assert!(missed.is_empty(), "not caught:\n{}", missed.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_backend_without_a_flaw_keeps_every_promise() {
    let sound = saboteurs::sound();
    let contracts = [cases::records::over, cases::api_keys::over];
    for suite in contracts.iter().flat_map(|suites| suites(&sound)) {
        let report = suite.run().await;
        let failed: Vec<_> = report.failed().collect();
        assert!(failed.is_empty(), "{failed:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_table_without_a_flaw_keeps_every_promise_of_lti() {
    let report = saboteurs::sound_lti().run().await;
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
    let report = saboteurs::sound_blobs().run().await;
    let failed: Vec<_> = report.failed().collect();
    assert!(failed.is_empty(), "{failed:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn identity_without_a_flaw_keeps_every_promise() {
    let suites = saboteurs::sound_iam()
        .into_iter()
        .chain(saboteurs::sound_tenants());
    for suite in suites {
        let report = suite.run().await;
        let failed: Vec<_> = report.failed().collect();
        assert!(failed.is_empty(), "{failed:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_buckets_without_a_flaw_keep_every_promise_of_limits() {
    let report = saboteurs::sound_limits().run().await;
    let failed: Vec<_> = report.failed().collect();
    assert!(failed.is_empty(), "{failed:#?}");
}
