//! Expiry, and clocks that do not behave.

use super::*;
use store_core::Timestamp;
use store_core::limits::RateLimitStoreExt;

const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

pub(super) async fn a_backward_clock_mints_nothing(harness: Limits) -> CaseResult {
    let opened = harness.open(()).await?;
    let (store, clock) = (&opened.first, &opened.clock);
    let quotas = QuotaSet::from(quota(10));
    let start = clock.now();
    assert_eq!(drain(store, "k", &quotas, 20).await?, 10);
    for back in [NANO, SECOND, SECOND * 9, SECOND * 11, SECOND * 3600, YEAR] {
        clock.set(start - back);
        let denied = take(store, "k", &quotas, 1).await?;
        let wait = denied.retry_after().expect("the bucket is empty");
        assert_eq!(wait, SECOND + back, "the moment at which it fits stays");
        clock.set(start);
        assert!(!allows(&opened.second, "k", &quotas, 1).await?, "{back:?}");
    }
    clock.set(start + SECOND * 3);
    assert_eq!(drain(store, "k", &quotas, 20).await?, 3);
    Ok(())
}

pub(super) async fn a_clock_that_ran_ahead_mints_nothing(harness: Limits) -> CaseResult {
    let opened = harness.open(()).await?;
    let (store, clock) = (&opened.first, &opened.clock);
    let quotas = QuotaSet::from(quota(10));
    let start = clock.now();
    assert_eq!(drain(store, "k", &quotas, 20).await?, 10);
    clock.set(start + YEAR);
    assert_eq!(drain(store, "k", &quotas, 20).await?, 10);
    clock.set(start);
    let denied = take(store, "k", &quotas, 1).await?;
    let wait = denied.retry_after().expect("the bucket is empty");
    assert_eq!(wait, SECOND + YEAR, "the moment at which it fits stays");
    clock.set(start + YEAR);
    assert!(!allows(&opened.second, "k", &quotas, 1).await?);
    // The owner can make it full again.
    clock.set(start);
    store.reset(key("k"), &quotas).await?;
    assert_eq!(drain(store, "k", &quotas, 20).await?, 10);
    Ok(())
}

pub(super) async fn the_ends_of_time_mint_nothing(harness: Limits) -> CaseResult {
    let opened = harness.open(()).await?;
    let (store, clock) = (&opened.first, &opened.clock);
    let quotas = QuotaSet::from(quota(10));
    clock.set(Timestamp::EPOCH);
    assert_eq!(drain(store, "ancient", &quotas, 20).await?, 10);
    clock.set(Timestamp::EPOCH + SECOND);
    assert_eq!(drain(store, "ancient", &quotas, 20).await?, 1);
    clock.set(Timestamp::MAX - SECOND * 4);
    assert!(drain(store, "future", &quotas, 20).await? <= 10);
    clock.set(Timestamp::MAX);
    assert!(drain(store, "never", &quotas, 20).await? <= 10);
    Ok(())
}

pub(super) async fn an_expired_bucket_is_absent_before_any_sweep(harness: Limits) -> CaseResult {
    let opened = harness.open(()).await?;
    let quotas = QuotaSet::from(quota(10));
    for (name, by_closure) in [("taken", false), ("written", true)] {
        if by_closure {
            let write = |before: Option<Tokens>, quota: &Quota, now| one_less(before, quota, now);
            let store = &opened.first;
            store.update_tokens(key(name), &quotas[0], write).await?;
        } else {
            assert!(allows(&opened.first, name, &quotas, 10).await?);
        }
        let bucket = opened.first.peek(key(name)).await?.expect("just written");
        let expires_at = bucket.expires_at().expect("it holds something");
        opened.clock.set(expires_at);
        assert_eq!(opened.second.peek(key(name)).await?, None);
        let seen = opened.second.update(key(name), &|bucket| bucket.cloned());
        assert_eq!(seen.await?, None, "a closure saw an expired bucket");
        assert_eq!(drain(&opened.second, name, &quotas, 20).await?, 10);
        // A closure writes over an expired bucket too.
        let bucket = opened.first.peek(key(name)).await?.expect("just written");
        opened
            .clock
            .set(bucket.expires_at().expect("it holds something"));
        let after = opened.second.update_tokens(key(name), &quotas[0], one_less);
        assert_eq!(after.await?.map(|after| after.tokens), Some(9.0));
    }
    Ok(())
}

pub(super) async fn a_bucket_stays_until_it_is_full(harness: Limits) -> CaseResult {
    let opened = harness.open(()).await?;
    let slow = QuotaSet::from(Quota::new(1, SECOND * 3600)?.with_burst(50)?);
    assert!(allows(&opened.first, "k", &slow, 50).await?);
    opened.clock.advance(slow[0].full_refill() - NANO);
    assert_eq!(drain(&opened.second, "k", &slow, 60).await?, 49);
    Ok(())
}

pub(super) async fn a_bucket_that_a_closure_wrote_stays_until_it_is_full(
    harness: Limits,
) -> CaseResult {
    let opened = harness.open(()).await?;
    let slow = QuotaSet::from(Quota::new(1, SECOND * 3600)?.with_burst(50)?);
    let empty = |_, _: &Quota, now| {
        Some(Tokens {
            tokens: 0.0,
            last_refill: now,
        })
    };
    let store = &opened.first;
    store.update_tokens(key("k"), &slow[0], empty).await?;
    opened.clock.advance(slow[0].full_refill() - NANO);
    assert_eq!(drain(&opened.second, "k", &slow, 60).await?, 49);
    Ok(())
}

pub(super) async fn a_slow_quota_outlives_a_quick_one_of_its_key(harness: Limits) -> CaseResult {
    let opened = harness.open(()).await?;
    let slow = Quota::new(1, SECOND * 3600)?.with_burst(3)?.named("slow")?;
    let quick = QuotaSet::from(quota(5).named("quick")?);
    let slow = QuotaSet::from(slow);
    assert!(allows(&opened.first, "k", &slow, 3).await?);
    // The last writer does not know the slow quota.
    assert!(allows(&opened.second, "k", &quick, 1).await?);
    opened.clock.advance(SECOND * 600);
    assert!(!allows(&opened.first, "k", &slow, 1).await?, "free burst");
    assert_eq!(drain(&opened.second, "k", &quick, 20).await?, 5);
    Ok(())
}
