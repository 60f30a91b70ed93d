//! The suite catches every saboteur, by the case that names the fault.

use store_conformance::{Outcome, saboteurs};

#[tokio::test(flavor = "multi_thread")]
async fn every_saboteur_is_caught_by_the_case_that_names_its_fault() {
    // Their panics are what is wanted; they need not fill the screen.
    std::panic::set_hook(Box::new(|_| {}));
    let mut missed = Vec::new();
    for saboteur in saboteurs::all() {
        let suite = (saboteur.suite)();
        let index = suite
            .cases()
            .position(|(name, _)| name == saboteur.caught_by);
        let outcome = match index {
            Some(index) => Some(suite.run_case(index).await.outcome),
            None => None,
        };
        if outcome != Some(Outcome::Failed) {
            missed.push(format!(
                "{}: {} said {outcome:?}",
                saboteur.name, saboteur.caught_by
            ));
        }
    }
    drop(std::panic::take_hook());
    assert!(missed.is_empty(), "not caught:\n{}", missed.join("\n"));
}
