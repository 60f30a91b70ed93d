//! One caller after the other.

use super::*;
use store_core::limits::RateLimitStoreExt;

pub(super) async fn a_new_bucket_grants_its_burst_and_no_more(harness: Limits) -> CaseResult {
    let opened = harness.open(()).await?;
    let quotas = QuotaSet::from(quota(5));
    for left in (0..5).rev() {
        let decision = take(&opened.first, "k", &quotas, 1).await?;
        assert_eq!(
            decision,
            Decision::Allowed {
                remaining: left,
                full_at: opened.clock.now() + SECOND * (5 - left),
            }
        );
    }
    assert!(!allows(&opened.second, "k", &quotas, 1).await?);
    opened.clock.advance(SECOND * 2);
    assert_eq!(drain(&opened.second, "k", &quotas, 5).await?, 2);
    opened.clock.advance(SECOND * 1000);
    assert_eq!(drain(&opened.first, "k", &quotas, 50).await?, 5);
    Ok(())
}

pub(super) async fn a_denied_take_consumes_nothing(harness: Limits) -> CaseResult {
    let opened = harness.open(()).await?;
    let quotas = QuotaSet::from(quota(10));
    assert!(allows(&opened.first, "k", &quotas, 7).await?);
    for _ in 0..3 {
        assert!(!allows(&opened.first, "k", &quotas, 4).await?);
    }
    assert!(allows(&opened.first, "k", &quotas, 3).await?);
    Ok(())
}

pub(super) async fn a_denied_take_writes_nothing(harness: Limits) -> CaseResult {
    let opened = harness.open(()).await?;
    let quotas = QuotaSet::from(quota(10));
    assert!(allows(&opened.first, "k", &quotas, 8).await?);
    let before = opened.second.peek(key("k")).await?;
    assert!(before.is_some());
    opened.clock.advance(SECOND / 2);
    assert!(!allows(&opened.first, "k", &quotas, 5).await?);
    assert_eq!(opened.second.peek(key("k")).await?, before);
    Ok(())
}

pub(super) async fn several_quotas_are_taken_from_all_or_nothing(harness: Limits) -> CaseResult {
    let opened = harness.open(()).await?;
    let store = &opened.first;
    let quick = Quota::per_second(5)?.named("quick")?;
    let slow = Quota::new(1, SECOND * 60)?.with_burst(7)?.named("slow")?;
    let (quick_alone, slow_alone) = (QuotaSet::from(quick.clone()), QuotaSet::from(slow.clone()));
    let both = QuotaSet::new([quick.clone(), slow.clone()])?;

    // The first allows and the second denies: the first loses no tokens.
    assert!(allows(store, "k", &slow_alone, 6).await?);
    let denied = take(store, "k", &both, 2).await?;
    assert_eq!(
        denied,
        Decision::Denied {
            quota: 1,
            retry_after: SECOND * 60,
        }
    );
    assert_eq!(drain(store, "k", &quick_alone, 9).await?, 5);

    // The second allows and the first denies: the second loses no tokens.
    let denied = take(store, "k", &both, 1).await?;
    assert!(matches!(denied, Decision::Denied { quota: 0, .. }));
    assert_eq!(drain(store, "k", &slow_alone, 9).await?, 1);

    // Both allow: both pay.
    let Decision::Allowed { remaining, .. } = take(store, "other", &both, 3).await? else {
        panic!("both buckets are full");
    };
    assert_eq!(remaining, 2);
    assert_eq!(drain(store, "other", &quick_alone, 9).await?, 2);
    assert_eq!(drain(store, "other", &slow_alone, 9).await?, 4);
    Ok(())
}

pub(super) async fn a_quota_is_shared_by_key_and_name_alone(harness: Limits) -> CaseResult {
    let opened = harness.open(()).await?;
    let here = QuotaSet::from(quota(10));
    let there = QuotaSet::from(quota(10));
    let other = QuotaSet::from(quota(10).named("other")?);
    assert_eq!(drain(&opened.first, "k", &here, 6).await?, 6);
    assert_eq!(drain(&opened.second, "k", &there, 10).await?, 4);
    assert_eq!(drain(&opened.second, "k", &other, 20).await?, 10);
    assert_eq!(drain(&opened.second, "K", &there, 20).await?, 10);
    Ok(())
}

pub(super) async fn retry_after_is_honest_to_the_nanosecond(harness: Limits) -> CaseResult {
    let opened = harness.open(()).await?;
    let (store, clock) = (&opened.first, &opened.clock);
    // A period that does not divide a second.
    let odd = QuotaSet::from(Quota::per_second(7)?.with_burst(9)?);
    assert!(allows(store, "k", &odd, 9).await?);
    for tokens in [1, 4, 9] {
        clock.advance(Duration::from_nanos(12_345));
        let denied = take(store, "k", &odd, tokens).await?;
        let wait = denied.retry_after().expect("the bucket is empty");
        clock.advance(wait - NANO);
        assert!(
            !allows(store, "k", &odd, tokens).await?,
            "a nanosecond early"
        );
        clock.advance(NANO);
        assert!(allows(store, "k", &odd, tokens).await?, "exactly then");
    }
    Ok(())
}

pub(super) async fn an_immediate_take_is_a_take(harness: Limits) -> CaseResult {
    let opened = harness.open(()).await?;
    let quotas = QuotaSet::from(quota(4));
    let request = |store: &Handle| Take::new("k", &quotas, 1, store.clock().now());
    let mut allowed = 0;
    for _ in 0..6 {
        // A store that cannot answer synchronously must not have taken anything.
        let decision = match opened.first.take_now(&request(&opened.first)?) {
            Some(decision) => decision?,
            None => opened.first.take(&request(&opened.first)?).await?,
        };
        allowed += u32::from(decision.is_allowed());
        allowed += u32::from(allows(&opened.second, "k", &quotas, 1).await?);
    }
    assert_eq!(allowed, 4);
    Ok(())
}

pub(super) async fn keys_with_odd_characters_never_collide(harness: Limits) -> CaseResult {
    let opened = harness.open(()).await?;
    let long = "k".repeat(1024);
    let mut keys: Vec<String> = [
        "",
        " ",
        "  ",
        "a",
        "A",
        "a ",
        "a:b",
        "a/b",
        "a%2Fb",
        "a%2fb",
        "a//b",
        "a/../b",
        "..",
        ".",
        "{}",
        "{a}",
        "a{b}",
        "#",
        "##",
        "#a",
        "*",
        "?",
        "[a]",
        "_",
        "%",
        "\\",
        "'",
        "\"",
        "`",
        "$a",
        "a\0",
        "a\0b",
        "a%00b",
        "a%00",
        "\0",
        "\n",
        "\r\n",
        "\t",
        "\u{7f}",
        "é",
        "e\u{301}",
        "日本",
        "👍",
        "\u{feff}",
        "\u{ffff}",
        ".meta.json",
        "default",
        "buckets",
    ]
    .map(String::from)
    .to_vec();
    keys.extend([
        long.clone(),
        long[1..].into(),
        format!("{}l", &long[1..]),
        long[..255].into(),
        long[..256].into(),
        store_core::key::bounded(&long).into_owned(),
    ]);
    let quota = quota(1000);
    let now = opened.clock.now();
    for (i, odd) in keys.iter().enumerate() {
        let own = Tokens {
            tokens: i as f64,
            last_refill: now,
        };
        let write = |before: Option<Tokens>, _: &Quota, _| {
            assert_eq!(before, None, "{odd:?} is another's");
            Some(own)
        };
        opened.first.update_tokens(key(odd), &quota, write).await?;
    }
    for (i, odd) in keys.iter().enumerate() {
        let read = tokens(&opened.second, odd, &quota).await?;
        assert_eq!(read.map(|own| own.tokens), Some(i as f64), "{odd:?}");
    }
    Ok(())
}
