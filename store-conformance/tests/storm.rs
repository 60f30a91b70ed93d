//! The storm finds what it must: a store that tells the truth about its bad line
//! comes through, and each that lies about it is caught.

use std::sync::Arc;

use store_conformance::faults::{Chances, Lossy};
use store_conformance::storm::{Figures, ride};
use store_core::layers::RecordLayer;
use store_core::{
    Batch, Committed, Error, ErrorKind, ManualClock, Record, RecordRef, RecordStore, Result, Retry,
    Store,
};
use store_memory::MemoryStore;

/// What a store answers to a commit, and what came of it.
type Tongue = fn(Result<Committed>, &Batch) -> Result<Committed>;

/// A store on a bad line, which says of each commit what its tongue makes of it.
#[derive(Debug)]
struct Speaker {
    line: Arc<dyn RecordStore>,
    /// Sends what may have happened again, until it is answered.
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
        // Others come between, so that what was read is old by its commit.
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

/// What the storm says of a store with that tongue.
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
        Ok(figures) => Ok(figures.expect("the whole line holds")),
        Err(ended) => {
            let panic = ended.into_panic().downcast::<String>();
            Err(*panic.expect("it says why"))
        }
    }
}

#[tokio::test]
async fn a_store_that_tells_the_truth_comes_through() {
    let figures = verdict(Chances::ROUGH, false, |answer, _| answer)
        .await
        .expect("no lie");
    assert!(
        figures.acknowledged > 100 && figures.ambiguous > 10,
        "{figures}"
    );
}

#[tokio::test]
async fn calling_what_may_have_happened_a_failure_is_caught() {
    let caught = verdict(Chances::ROUGH, false, |answer, _| {
        answer.map_err(|error| error.with_retry(Retry::Safe))
    });
    let said = caught.await.expect_err("some replies were lost");
    assert!(said.contains("and perhaps"), "{said}");
}

#[tokio::test]
async fn acknowledging_what_was_never_answered_is_caught() {
    let caught = verdict(Chances::ROUGH, false, |answer, _| match answer {
        Err(error) if is_ambiguous(&error) => Ok(Committed::new()),
        answer => answer,
    });
    let said = caught.await.expect_err("some requests were lost");
    assert!(said.contains("and perhaps"), "{said}");
}

#[tokio::test]
async fn sending_again_what_may_have_happened_is_caught() {
    let said = verdict(Chances::ROUGH, true, |answer, _| answer).await;
    let said = said.expect_err("a conflict with its own write is no refusal");
    assert!(said.contains("and perhaps"), "{said}");
}

#[tokio::test]
async fn accepting_a_nonce_whatever_it_is_by_now_is_caught() {
    let caught = verdict(Chances::ROUGH, false, |answer, batch| {
        let name = batch.items()[0].key().collection().name();
        match answer {
            Err(error) if error.is(ErrorKind::Conflict) && name == "lti_nonces" => {
                Ok(Committed::new())
            }
            answer => answer,
        }
    });
    let said = caught.await.expect_err("three race for each");
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
