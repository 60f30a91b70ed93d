//! The handle, over any store.

use super::*;
use std::sync::atomic::{AtomicU32, Ordering};

use store_core::ErrorKind;
use store_core::limits::{Outcome, RateLimiter, Refused};

fn limiter(store: &Handle, burst: u32) -> RateLimiter {
    RateLimiter::over(Arc::clone(store), quota(burst))
}

pub(super) async fn a_limiter_allows_denies_and_reports(harness: Limits) -> CaseResult {
    let opened = harness.open(()).await?;
    let counts: Arc<[AtomicU32; 3]> = Arc::default();
    let count = |i: usize| {
        let counts = Arc::clone(&counts);
        move || {
            counts[i].fetch_add(1, Ordering::Relaxed);
        }
    };
    let (allowed, limited, audited) = (count(0), count(1), count(2));
    let limiter = limiter(&opened.first, 3)
        .on_allow(move |_| allowed())
        .on_limit(move |event| {
            assert_eq!(event.key, "k");
            assert!(matches!(event.outcome, Outcome::Denied { quota: 0, .. }));
            limited();
        })
        .audit(move |_| audited());
    for expected in [true, true, true, false, false] {
        assert_eq!(limiter.allow("k").await?, expected);
    }
    limiter.reset("k").await?;
    assert!(limiter.allow("k").await?);
    let counts = counts.each_ref().map(|count| count.load(Ordering::Relaxed));
    assert_eq!(counts, [4, 2, 7]);
    Ok(())
}

pub(super) async fn a_request_that_could_never_be_allowed_is_refused_at_once(
    harness: Limits,
) -> CaseResult {
    let opened = harness.open(()).await?;
    let limiter = limiter(&opened.first, 3);
    let forever = store_core::Timestamp::MAX;
    for open in [false, true] {
        let limiter = limiter.clone().fail_open(open);
        let refused = [
            limiter.take("k", 4).await,
            limiter.take("k", 0).await,
            limiter.wait("k", 4, forever).await,
            limiter.take(&"k".repeat(1025), 1).await,
        ];
        for answer in refused {
            let error = answer.expect_err("it can never be right");
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
        }
    }
    assert_eq!(opened.second.peek(key("k")).await?, None);
    Ok(())
}

pub(super) async fn a_wait_ends_when_there_are_enough_tokens(harness: Limits) -> CaseResult {
    let opened = harness.open(()).await?;
    let limiter = limiter(&opened.first, 3);
    assert!(limiter.take("k", 3).await?.is_allowed());
    let start = limiter.now();
    let waiting = tokio::spawn({
        let limiter = limiter.clone();
        // The deadline is exactly the moment at which there are enough tokens.
        async move { limiter.wait("k", 2, start + SECOND * 2).await }
    });
    // It must not be allowed early, whether it sleeps yet or not.
    for _ in 0..3 {
        tokio::task::yield_now().await;
    }
    assert!(!waiting.is_finished());
    opened.clock.set(start + SECOND * 2);
    assert!(waiting.await??.is_allowed());
    assert!(!limiter.allow("k").await?);
    Ok(())
}

pub(super) async fn a_wait_that_would_miss_its_deadline_takes_nothing(
    harness: Limits,
) -> CaseResult {
    let opened = harness.open(()).await?;
    let limiter = limiter(&opened.first, 3);
    assert!(limiter.take("k", 3).await?.is_allowed());
    let before = opened.second.peek(key("k")).await?;
    // It answers immediately: the clock does not move.
    for deadline in [
        limiter.now() + SECOND * 2 - NANO,
        store_core::Timestamp::EPOCH,
    ] {
        let decision = limiter.wait("k", 2, deadline).await?;
        assert_eq!(decision.retry_after(), Some(SECOND * 2));
    }
    assert_eq!(opened.second.peek(key("k")).await?, before);
    Ok(())
}

pub(super) async fn work_runs_only_when_it_is_allowed(harness: Limits) -> CaseResult {
    let opened = harness.open(()).await?;
    let limiter = limiter(&opened.first, 1);
    let done = limiter.execute("secret-key", async || 7).await;
    assert_eq!(done.expect("the bucket is full"), 7);
    let denied = limiter.execute("secret-key", async || panic!("ran")).await;
    let Err(Refused::Denied(denial)) = denied else {
        panic!("the bucket is empty");
    };
    assert_eq!(denial.key, "secret-key");
    assert_eq!(&*denial.quota, "default");
    assert_eq!(denial.retry_after, SECOND);
    let texts = format!("{denial} {denial:?}");
    assert!(!texts.contains("secret-key"), "{texts}");
    Ok(())
}
