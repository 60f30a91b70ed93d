//! Looking, resetting, deleting, closing.

use super::*;
use store_core::limits::{Bucket, RateLimiter};
use store_core::{ErrorKind, Ping};

pub(super) async fn peek_and_health_create_nothing(harness: Limits) -> CaseResult {
    let opened = harness.open(()).await?;
    let limiter = RateLimiter::over(Arc::clone(&opened.first), quota(10));
    opened.first.ping().await?;
    limiter.health().await?;
    let levels = limiter.peek("k").await?;
    assert_eq!((levels[0].remaining, levels[0].burst), (10, 10));
    for name in ["k", "", "health", "_health", "ping"] {
        assert_eq!(opened.second.peek(key(name)).await?, None);
        let seen = opened.second.update(key(name), &|bucket| bucket.cloned());
        assert_eq!(seen.await?, None, "something was created at {name:?}");
    }
    assert!(limiter.allow("k").await?);
    assert_eq!(limiter.peek("k").await?[0].remaining, 9);
    assert_eq!(limiter.peek("k").await?[0].remaining, 9);
    Ok(())
}

pub(super) async fn reset_fills_the_limiters_quotas_and_spares_others(
    harness: Limits,
) -> CaseResult {
    let opened = harness.open(()).await?;
    let mine = QuotaSet::from(quota(5).named("mine")?);
    let theirs = QuotaSet::from(quota(5).named("theirs")?);
    opened.first.reset(key("k"), &mine).await?;
    assert_eq!(opened.second.peek(key("k")).await?, None);
    assert!(allows(&opened.first, "k", &mine, 5).await?);
    assert!(allows(&opened.first, "k", &theirs, 4).await?);
    opened.first.reset(key("k"), &mine).await?;
    assert_eq!(drain(&opened.second, "k", &mine, 20).await?, 5);
    assert_eq!(drain(&opened.second, "k", &theirs, 20).await?, 1);
    Ok(())
}

pub(super) async fn delete_forgets_everything_and_is_idempotent(harness: Limits) -> CaseResult {
    let opened = harness.open(()).await?;
    let quotas = QuotaSet::new([quota(5).named("a")?, quota(5).named("b")?])?;
    opened.first.delete(key("k")).await?;
    assert!(allows(&opened.first, "k", &quotas, 5).await?);
    assert!(allows(&opened.first, "other", &quotas, 5).await?);
    opened.second.delete(key("k")).await?;
    assert_eq!(opened.first.peek(key("k")).await?, None);
    opened.second.delete(key("k")).await?;
    assert_eq!(drain(&opened.first, "k", &quotas, 20).await?, 5);
    assert!(!allows(&opened.first, "other", &quotas, 1).await?);
    Ok(())
}

/// What is left of the promise where there is nothing to close.
pub(super) async fn limits_without_close_stay_usable(harness: Limits) -> CaseResult {
    let opened = harness.open(()).await?;
    opened.first.close().await?;
    assert!(allows(&opened.first, "k", &QuotaSet::from(quota(5)), 1).await?);
    Ok(())
}

pub(super) async fn after_close_everything_is_closed(harness: Limits) -> CaseResult {
    let opened = harness.open(()).await?;
    let store = &opened.first;
    let quotas = QuotaSet::from(quota(5));
    assert!(allows(store, "k", &quotas, 1).await?);
    store.close().await?;
    store.close().await?;
    let request = Take::new("k", &quotas, 1, store.clock().now())?;
    let now = store.take_now(&request).map(|answer| answer.map(drop));
    let answers = [
        ("take", store.take(&request).await.map(drop)),
        (
            "take_now",
            now.unwrap_or_else(|| Err(store_core::Error::closed())),
        ),
        (
            "update",
            store
                .update(key("k"), &|_| Some(Bucket::default()))
                .await
                .map(drop),
        ),
        ("peek", store.peek(key("k")).await.map(drop)),
        ("reset", store.reset(key("k"), &quotas).await),
        ("delete", store.delete(key("k")).await),
    ];
    // A store may leave this to its default, which asks no server.
    match store.ping().await {
        Ok(ping) => assert_eq!(ping, Ping::default(), "a closed server answered"),
        Err(error) => assert_eq!(error.kind(), ErrorKind::Closed, "ping: {error}"),
    }
    for (call, answer) in answers {
        let error = answer.expect_err(call);
        assert_eq!(error.kind(), ErrorKind::Closed, "{call}");
    }
    Ok(())
}

pub(super) async fn a_cancelled_take_leaves_a_usable_store(harness: Limits) -> CaseResult {
    let opened = harness.open(()).await?;
    let quotas = QuotaSet::from(quota(20));
    for polls in 0..10 {
        let store = Arc::clone(&opened.first);
        let request = Take::new("k", &quotas, 1, store.clock().now())?;
        let mut running = store.take(&request);
        // Dropped after some polls, wherever it then is.
        for _ in 0..polls {
            let once = std::future::poll_fn(|context| {
                std::task::Poll::Ready(running.as_mut().poll(context).is_ready())
            });
            if once.await {
                break;
            }
            tokio::task::yield_now().await;
        }
    }
    let left = drain(&opened.second, "k", &quotas, 30).await?;
    assert!((10..=20).contains(&left), "ten were begun, {left} are left");
    assert!(!allows(&opened.first, "k", &quotas, 1).await?);
    Ok(())
}
