//! The storm check works: a store whose answers over an unreliable connection are true
//! passes, and each store with a false kind of answer fails.

use std::sync::Arc;

use store_conformance::faults::{Chances, Lossy};
use store_conformance::storm::{Figures, ride};
use store_core::layers::RecordLayer;
use store_core::{
    Batch, Committed, Error, ErrorKind, ManualClock, Record, RecordRef, RecordStore, Result, Retry,
    Store,
};
use store_memory::MemoryStore;

/// How a store changes the answer of a commit.
type Tongue = fn(Result<Committed>, &Batch) -> Result<Committed>;

/// A store on an unreliable connection, which changes the answer of each commit.
#[derive(Debug)]
struct Speaker {
    line: Arc<dyn RecordStore>,
    /// Sends a commit that may have happened again, until it is answered.
    resends: bool,
    tongue: Tongue,
}

#[async_trait::async_trait]
impl RecordLayer for Speaker {
    fn inner(&self) -> &dyn RecordStore {
        &*self.line
    }

    async fn get(&self, at: RecordRef<'_>) -> Result<Option<Record>> {
        let found = self.line.get(at).await;
        // Other tasks run in between, so that what was read is outdated at the commit.
        tokio::task::yield_now().await;
        found
    }

    async fn commit(&self, batch: &Batch) -> Result<Committed> {
        let mut answer = self.line.commit(batch).await;
        while self.resends && answer.as_ref().is_err_and(is_ambiguous) {
            answer = self.line.commit(batch).await;
        }
        (self.tongue)(answer, batch)
    }
}

fn is_ambiguous(error: &Error) -> bool {
    error.retry() == Retry::Ambiguous
}

/// The result of the storm for a store that changes its answers like this.
async fn verdict(
    chances: Chances,
    resends: bool,
    tongue: Tongue,
) -> std::result::Result<Figures, String> {
    let clock = ManualClock::default();
    let memory = Store::from(MemoryStore::builder().clock(clock).build());
    let speaker = Speaker {
        line: Arc::new(Lossy::new(Arc::clone(memory.records()), 7, chances)),
        resends,
        tongue,
    };
    let store = Store::new(Arc::new(speaker));
    let whole = Store::new(Arc::clone(memory.records()));
    let storm = tokio::spawn(async move { ride(&store, &whole, 6, 40).await });
    match storm.await {
        Ok(figures) => Ok(figures.expect("the connection without a proxy works")),
        Err(ended) => {
            let panic = ended.into_panic().downcast::<String>();
            Err(*panic.expect("it says why"))
        }
    }
}

#[tokio::test]
async fn a_store_with_true_answers_passes() {
    let figures = verdict(Chances::ROUGH, false, |answer, _| answer)
        .await
        .expect("no lie");
    assert!(
        figures.acknowledged > 100 && figures.ambiguous > 10,
        "{figures}"
    );
}

#[tokio::test]
async fn reporting_what_may_have_happened_as_a_failure_fails() {
    let failed = verdict(Chances::ROUGH, false, |answer, _| {
        answer.map_err(|error| error.with_retry(Retry::Safe))
    });
    let said = failed.await.expect_err("some replies were lost");
    assert!(said.contains("and perhaps"), "{said}");
}

#[tokio::test]
async fn acknowledging_what_was_never_answered_fails() {
    let failed = verdict(Chances::ROUGH, false, |answer, _| match answer {
        Err(error) if is_ambiguous(&error) => Ok(Committed::new()),
        answer => answer,
    });
    let said = failed.await.expect_err("some requests were lost");
    assert!(said.contains("and perhaps"), "{said}");
}

#[tokio::test]
async fn sending_again_what_may_have_happened_fails() {
    let said = verdict(Chances::ROUGH, true, |answer, _| answer).await;
    let said = said.expect_err("a conflict with its own write is no refusal");
    assert!(said.contains("and perhaps"), "{said}");
}

#[tokio::test]
async fn accepting_a_nonce_without_reading_it_again_fails() {
    let failed = verdict(Chances::ROUGH, false, |answer, batch| {
        let name = batch.items()[0].key().collection().name();
        match answer {
            Err(error) if error.is(ErrorKind::Conflict) && name == "lti_nonces" => {
                Ok(Committed::new())
            }
            answer => answer,
        }
    });
    let said = failed.await.expect_err("three race for each");
    assert!(said.contains("accepted twice"), "{said}");
}

#[tokio::test]
async fn a_storm_in_which_nothing_arrives_proves_nothing() {
    let nothing_arrives = Chances {
        lost_request: 100,
        ..Chances::default()
    };
    let said = verdict(nothing_arrives, false, |answer, _| answer).await;
    let said = said.expect_err("nothing was written, so nothing is proven");
    assert!(said.contains("nothing was acknowledged"), "{said}");
}
