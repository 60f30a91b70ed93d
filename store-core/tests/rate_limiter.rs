//! The behaviour of a limiter during an outage of its store: what fails open, what does
//! not, and which handler is notified.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use store_conformance::faults::Outage;
use store_core::limits::{
    Bucket, BucketUpdate, Decision, LimitKey, Outcome, Quota, RateLimitStore, RateLimiter,
    RecordLimits, Refused, Take,
};
use store_core::{Error, ErrorKind, ManualClock, Result, Store, Timestamp};
use store_memory::MemoryStore;

/// A limiter of three tokens over a server that can fail.
fn limiter() -> (RateLimiter, Arc<Outage>) {
    let memory = MemoryStore::builder().clock(ManualClock::default()).build();
    let records = Arc::clone(Store::from(memory).records());
    let server = Arc::new(Outage::new(records));
    let limits = RecordLimits::new(Arc::clone(&server) as _);
    let quota = Quota::per_second(3).expect("a valid quota");
    (RateLimiter::over(Arc::new(limits), quota), server)
}

fn kind<T: std::fmt::Debug>(answer: Result<T>) -> ErrorKind {
    answer.expect_err("the store returns an error").kind()
}

#[tokio::test]
async fn a_limiter_that_fails_closed_returns_the_error() {
    let (limiter, server) = limiter();
    let failed = Arc::new(AtomicU32::new(0));
    let limiter = limiter.audit({
        let failed = Arc::clone(&failed);
        move |event| {
            assert!(matches!(event.outcome, Outcome::Failed(_)));
            failed.fetch_add(1, Ordering::Relaxed);
        }
    });
    server.set_down(true);
    assert_eq!(kind(limiter.take("k", 1).await), ErrorKind::Unavailable);
    assert_eq!(kind(limiter.allow("k").await), ErrorKind::Unavailable);
    // An error is not a denial, so there is no time to wait.
    let waited = limiter.wait("k", 1, Timestamp::MAX).await;
    assert_eq!(kind(waited), ErrorKind::Unavailable);
    let ran = limiter.execute("k", async || panic!("ran")).await;
    assert!(matches!(ran, Err(Refused::Failed(_))));
    assert_eq!(failed.load(Ordering::Relaxed), 4);
}

#[tokio::test]
async fn a_limiter_that_fails_open_allows_only_during_an_outage() {
    let (limiter, server) = limiter();
    let outcomes = Arc::new(Mutex::new(Vec::new()));
    let limiter = limiter.fail_open(true).audit({
        let outcomes = Arc::clone(&outcomes);
        move |event| {
            let outcome = match event.outcome {
                Outcome::Allowed { .. } => "allowed",
                Outcome::Denied { .. } => "denied",
                Outcome::FailedOpen(_) => "failed open",
                _ => "something else",
            };
            outcomes.lock().expect("no panics").push(outcome);
        }
    });
    assert!(limiter.take("k", 2).await.unwrap().is_allowed());
    server.set_down(true);
    for _ in 0..3 {
        let decision = limiter.take("k", 2).await.unwrap();
        assert!(matches!(decision, Decision::Allowed { remaining: 0, .. }));
    }
    server.set_down(false);
    // Nothing was taken during the outage, and the limit is enforced again.
    assert!(limiter.take("k", 1).await.unwrap().is_allowed());
    assert!(!limiter.take("k", 1).await.unwrap().is_allowed());
    let expected = [
        "allowed",
        "failed open",
        "failed open",
        "failed open",
        "allowed",
        "denied",
    ];
    assert_eq!(*outcomes.lock().unwrap(), expected);
}

#[tokio::test]
async fn while_failing_open_work_runs_and_waits_end_immediately() {
    let (limiter, server) = limiter();
    let limiter = limiter.fail_open(true);
    server.set_down(true);
    assert_eq!(limiter.execute("k", async || 7).await.unwrap(), 7);
    let waited = limiter.wait("k", 3, limiter.now()).await.unwrap();
    assert!(waited.is_allowed());
}

#[tokio::test]
async fn while_failing_open_a_take_that_can_never_be_allowed_is_refused() {
    let (limiter, server) = limiter();
    let limiter = limiter.fail_open(true);
    server.set_down(true);
    assert_eq!(kind(limiter.take("k", 4).await), ErrorKind::InvalidInput);
    assert_eq!(kind(limiter.take("k", 0).await), ErrorKind::InvalidInput);
    let long = "k".repeat(1025);
    assert_eq!(kind(limiter.take(&long, 1).await), ErrorKind::InvalidInput);
}

#[tokio::test]
async fn while_failing_open_only_takes_succeed() {
    let (limiter, server) = limiter();
    let limiter = limiter.fail_open(true);
    server.set_down(true);
    assert_eq!(kind(limiter.health().await), ErrorKind::Unavailable);
    assert_eq!(kind(limiter.peek("k").await), ErrorKind::Unavailable);
    assert_eq!(kind(limiter.reset("k").await), ErrorKind::Unavailable);
}

/// Returns an error of one kind for every call, synchronously or not.
#[derive(Debug)]
struct Failing {
    kind: ErrorKind,
    at_once: bool,
}

#[async_trait]
impl RateLimitStore for Failing {
    async fn update(&self, _: LimitKey<'_>, _: BucketUpdate<'_>) -> Result<Option<Bucket>> {
        Err(Error::new(self.kind, "as planned"))
    }

    fn take_now(&self, _: &Take<'_>) -> Option<Result<Decision>> {
        self.at_once
            .then(|| Err(Error::new(self.kind, "as planned")))
    }
}

#[tokio::test]
async fn only_an_outage_fails_open() {
    let quota = Quota::per_second(3).unwrap();
    for (kind, opens) in [
        (ErrorKind::Unavailable, true),
        (ErrorKind::Timeout, true),
        // A client that sends requests could cause these errors.
        (ErrorKind::Contended, false),
        (ErrorKind::LimitExceeded, false),
        // These errors need an operator.
        (ErrorKind::Closed, false),
        (ErrorKind::Config, false),
        (ErrorKind::Corrupt, false),
        (ErrorKind::PermissionDenied, false),
        (ErrorKind::Unauthenticated, false),
    ] {
        for at_once in [false, true] {
            let store = Arc::new(Failing { kind, at_once });
            let limiter = RateLimiter::over(store, quota.clone()).fail_open(true);
            let answer = limiter.take("k", 1).await;
            assert_eq!(answer.is_ok(), opens, "{kind:?}");
            if let Some(answer) = limiter.take_now("k", 1) {
                assert_eq!(answer.is_ok(), opens, "{kind:?}");
            }
        }
    }
}
