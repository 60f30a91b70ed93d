//! Closures, and the state that they share with takes.

use super::*;
use store_core::Timestamp;
use store_core::limits::{Bucket, RateLimitStoreExt, State};

pub(super) async fn an_update_of_nothing_writes_nothing(harness: Limits) -> CaseResult {
    let opened = harness.open(()).await?;
    let quotas = QuotaSet::from(quota(10));
    let keep = |_: Option<&Bucket>| None;
    assert_eq!(opened.first.update(key("k"), &keep).await?, None);
    assert_eq!(opened.second.peek(key("k")).await?, None);

    assert!(allows(&opened.first, "k", &quotas, 3).await?);
    let before = opened.second.peek(key("k")).await?;
    // A store may round the expiry by its own view of the server's clock.
    let states = |bucket: Option<Bucket>| -> Vec<State> {
        let entries = bucket.iter().flat_map(Bucket::entries);
        entries.map(|entry| entry.state).collect()
    };
    let answer = opened.first.update(key("k"), &keep).await?;
    assert_eq!(states(answer), states(before.clone()));
    assert!(before.is_some());
    assert_eq!(opened.second.peek(key("k")).await?, before);
    Ok(())
}

pub(super) async fn closures_and_takes_agree_on_one_state(harness: Limits) -> CaseResult {
    let opened = harness.open(()).await?;
    let (first, second) = (&opened.first, &opened.second);
    let quotas = QuotaSet::from(quota(10));

    // A closure sees what a take left.
    assert!(allows(first, "k", &quotas, 4).await?);
    let after = second
        .update_tokens(key("k"), &quotas[0], |before, _, now| {
            let before = before.expect("a take wrote it");
            assert_eq!(before.tokens, 6.0);
            Some(Tokens {
                tokens: 2.5,
                last_refill: now,
            })
        })
        .await?;
    assert_eq!(after.map(|after| after.tokens), Some(2.5));

    // A take sees what a closure left, fractions included, and what flowed in.
    let denied = take(first, "k", &quotas, 3).await?;
    assert_eq!(denied.retry_after(), Some(SECOND / 2));
    assert!(allows(first, "k", &quotas, 2).await?);
    opened.clock.advance(SECOND / 2);
    assert!(allows(first, "k", &quotas, 1).await?);

    // An empty bucket is none.
    let emptied = first.update(key("k"), &|_| Some(Bucket::default())).await?;
    assert!(emptied.is_none_or(|bucket| bucket.is_empty()));
    assert_eq!(second.peek(key("k")).await?, None);
    assert_eq!(drain(second, "k", &quotas, 20).await?, 10);
    Ok(())
}

pub(super) async fn what_a_closure_writes_is_stored_to_the_last_bit(harness: Limits) -> CaseResult {
    let opened = harness.open(()).await?;
    let quota = quota(1_000_000);
    let floats = [
        0.0,
        0.1 + 0.2,
        1.0 / 3.0,
        2.0f64.sqrt(),
        999_999.999_999_999_9,
        f64::MIN_POSITIVE,
        f64::from_bits(1),
        1.0f64.next_down(),
        123_456.789_012_345_67,
    ];
    let now = opened.clock.now();
    for (i, tokens) in floats.into_iter().enumerate() {
        let last_refill = now - Duration::from_nanos(123_456_789 + i as u64);
        let written = Tokens {
            tokens,
            last_refill,
        };
        let write = |_, _: &Quota, _| Some(written);
        opened.first.update_tokens(key("k"), &quota, write).await?;
        let bucket = opened.second.peek(key("k")).await?;
        let state = bucket.and_then(|bucket| bucket.state(quota.name()));
        let Some(State::Tokens(read)) = state else {
            panic!("not stored as it was written: {state:?}");
        };
        assert_eq!(read.tokens.to_bits(), tokens.to_bits(), "{tokens:e}");
        assert_eq!(read.last_refill, last_refill);
    }
    // An arrival time, too.
    let odd = Timestamp::from_nanos(now.as_nanos() + 987_654_321);
    let set = |_: Option<&Bucket>| {
        let mut bucket = Bucket::default();
        bucket.set_tat(&quota, odd, now);
        Some(bucket)
    };
    opened.first.update(key("k"), &set).await?;
    let bucket = opened.second.peek(key("k")).await?.expect("just written");
    assert_eq!(bucket.state(quota.name()), Some(State::Tat(odd)));
    Ok(())
}

pub(super) async fn tokens_stay_between_none_and_the_burst(harness: Limits) -> CaseResult {
    let opened = harness.open(()).await?;
    let quotas = QuotaSet::from(quota(10));
    let bad = [
        (1e18, 10),
        (f64::INFINITY, 10),
        (10.000_001, 10),
        (-3.0, 0),
        (f64::NEG_INFINITY, 0),
        (f64::NAN, 0),
    ];
    for (tokens, granted) in bad {
        let write = |_, _: &Quota, now| {
            Some(Tokens {
                tokens,
                last_refill: now,
            })
        };
        let written = opened
            .first
            .update_tokens(key("k"), &quotas[0], write)
            .await?
            .expect("just written");
        assert!((0.0..=10.0).contains(&written.tokens), "{tokens}");
        assert_eq!(drain(&opened.second, "k", &quotas, 20).await?, granted);
    }
    Ok(())
}

pub(super) async fn a_bucket_that_was_full_before_its_limit_was_raised_is_full(
    harness: Limits,
) -> CaseResult {
    let opened = harness.open(()).await?;
    let small = Quota::per_second(10)?.named("a")?;
    let large = Quota::per_second(5)?.with_burst(20)?.named("a")?;
    // So that the key does not expire.
    let slow = Quota::new(1, SECOND * 3600)?.named("slow")?;
    assert!(allows(&opened.first, "k", &QuotaSet::from(slow), 1).await?);
    let now = opened.clock.now();
    let none = Tokens {
        tokens: 0.0,
        last_refill: now,
    };
    let emptied = opened
        .first
        .update_tokens(key("k"), &small, |_, _, _| Some(none));
    assert_eq!(emptied.await?, Some(none));
    opened.clock.advance(SECOND * 2);
    let decision = take(&opened.second, "k", &QuotaSet::from(large), 1).await?;
    assert!(
        matches!(decision, Decision::Allowed { remaining: 19, .. }),
        "{decision:?}"
    );
    Ok(())
}
