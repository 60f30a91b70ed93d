//! Quotas that change, that are long, and that come several at once.

use super::*;
use store_core::limits::RateLimiter;

const DAY: Duration = Duration::from_secs(86_400);

pub(super) async fn retry_after_is_true_after_limits_were_raised_or_lowered(
    harness: Limits,
) -> CaseResult {
    let opened = harness.open(()).await?;
    let (store, clock) = (&opened.first, &opened.clock);
    let slow = QuotaSet::from(Quota::per_hour(100)?);
    let quick = QuotaSet::from(Quota::per_second(1000)?.with_burst(100)?);
    for (name, old, new, tokens) in [
        ("raised", &slow, &quick, 1),
        ("lowered", &quick, &slow, 100),
    ] {
        assert!(allows(&opened.second, name, old, 100).await?);
        let denied = take(store, name, new, tokens).await?;
        let Some(wait) = denied.retry_after() else {
            return Err("the bucket is used up".into());
        };
        // A wait that would miss its deadline is denied without a second take: the clock
        // does not move while it runs.
        let limiter = RateLimiter::over(Arc::clone(store), new.clone());
        let deadline = limiter.now() + wait - NANO;
        let waited = limiter.wait(name, tokens, deadline).await?;
        assert_eq!(waited.retry_after(), Some(wait));
        clock.advance(wait - NANO);
        assert!(
            !allows(store, name, new, tokens).await?,
            "a nanosecond early"
        );
        clock.advance(NANO);
        assert!(allows(store, name, new, tokens).await?, "exactly then");
    }
    Ok(())
}

pub(super) async fn windows_of_weeks_and_months_are_counted(harness: Limits) -> CaseResult {
    let opened = harness.open(()).await?;
    let week = Quota::new(3, DAY * 7)?.named("week")?;
    let month = Quota::new(5, DAY * 30)?.named("month")?;
    let both = QuotaSet::new([week, month])?;
    assert_eq!(drain(&opened.first, "k", &both, 9).await?, 3);
    // An occasional user, every few days.
    let mut granted = 3;
    for _ in 0..10 {
        opened.clock.advance(DAY * 3);
        granted += drain(&opened.second, "k", &both, 9).await?;
    }
    // In 30 days the month's quota adds five tokens to the five that it began with. The
    // week's quota is never the smaller one.
    assert_eq!(granted, 10);
    Ok(())
}

pub(super) async fn a_reset_of_several_quotas_fills_each_and_spares_others(
    harness: Limits,
) -> CaseResult {
    let opened = harness.open(()).await?;
    let named = |name: &str| quota(5).named(name);
    // In an order that is not that of their names.
    let mine = QuotaSet::new([named("c")?, named("a")?, named("d")?])?;
    let theirs = QuotaSet::new([named("b")?, named("e")?])?;
    assert!(allows(&opened.first, "k", &mine, 5).await?);
    assert!(allows(&opened.first, "k", &theirs, 4).await?);
    opened.second.reset(key("k"), &mine).await?;
    for one in mine.iter() {
        let one = QuotaSet::from(one.clone());
        assert_eq!(drain(&opened.first, "k", &one, 9).await?, 5, "{one}");
    }
    for one in theirs.iter() {
        let one = QuotaSet::from(one.clone());
        assert_eq!(drain(&opened.first, "k", &one, 9).await?, 1, "{one}");
    }
    // The same again, after only some of them were used.
    opened.second.reset(key("k"), &mine).await?;
    let last = QuotaSet::from(mine[2].clone());
    assert!(allows(&opened.first, "k", &last, 2).await?);
    opened.second.reset(key("k"), &mine).await?;
    assert_eq!(drain(&opened.first, "k", &mine, 9).await?, 5);
    Ok(())
}

pub(super) async fn a_limiter_says_when_the_next_token_comes(harness: Limits) -> CaseResult {
    let opened = harness.open(()).await?;
    let quotas = QuotaSet::new([
        quota(2).named("quick")?,
        Quota::per_minute(1)?.with_burst(2)?.named("slow")?,
    ])?;
    let limiter = RateLimiter::over(Arc::clone(&opened.first), quotas);
    let next = |levels: &[store_core::limits::Level]| -> Vec<Duration> {
        levels.iter().map(|level| level.next_after).collect()
    };
    assert_eq!(next(&limiter.peek("k").await?), [Duration::ZERO; 2]);
    assert!(limiter.take("k", 1).await?.is_allowed());
    assert_eq!(next(&limiter.peek("k").await?), [Duration::ZERO; 2]);
    assert!(limiter.take("k", 1).await?.is_allowed());
    assert_eq!(next(&limiter.peek("k").await?), [SECOND, SECOND * 60]);
    opened.clock.advance(SECOND / 2);
    let levels = limiter.peek("k").await?;
    assert_eq!(next(&levels), [SECOND / 2, SECOND * 60 - SECOND / 2]);
    let denied = limiter.take("k", 1).await?;
    assert_eq!(denied.retry_after_secs(), Some(60), "rounded up");
    opened.clock.advance(levels[1].next_after);
    assert!(limiter.take("k", 1).await?.is_allowed());
    Ok(())
}
