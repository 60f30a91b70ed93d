//! Many concurrent callers over both handles, and calls at the worst moment, from within
//! a closure.

use super::*;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use store_core::ErrorKind;
use store_core::limits::{Bucket, RateLimitStoreExt};
use tokio::task::JoinSet;

use crate::harness::Opened;

/// Runs `call(store, i)` concurrently for each `i` below `tasks`, with alternating
/// handles.
async fn race<T, F>(
    opened: &Opened<dyn RateLimitStore>,
    tasks: u32,
    call: impl Fn(Handle, u32) -> F,
) -> Result<Vec<T>>
where
    T: Send + 'static,
    F: Future<Output = Result<T>> + Send + 'static,
{
    let barrier = Arc::new(tokio::sync::Barrier::new(tasks as usize));
    let mut running = JoinSet::new();
    for i in 0..tasks {
        let handles = [&opened.first, &opened.second];
        let future = call(Arc::clone(handles[i as usize % 2]), i);
        let barrier = Arc::clone(&barrier);
        running.spawn(async move {
            barrier.wait().await;
            future.await
        });
    }
    running.join_all().await.into_iter().collect()
}

/// Checks that concurrent takes happened one after the other: each left what remained
/// after those before it, and none that still fitted was denied.
fn assert_serial(burst: u32, history: &[(u32, Decision)]) {
    let mut allowed: Vec<(u32, u32)> = Vec::new();
    for &(tokens, decision) in history {
        if let Decision::Allowed { remaining, .. } = decision {
            allowed.push((remaining, tokens));
        }
    }
    allowed.sort_by_key(|&(remaining, _)| std::cmp::Reverse(remaining));
    let mut left = burst;
    for (remaining, tokens) in allowed {
        assert!(
            tokens <= left,
            "more than the burst was granted: {history:?}"
        );
        left -= tokens;
        assert_eq!(remaining, left, "no order explains {history:?}");
    }
    for &(tokens, decision) in history {
        if !decision.is_allowed() {
            assert!(tokens > left, "{tokens} denied, {left} left: {history:?}");
        }
    }
}

pub(super) async fn concurrent_takes_grant_exactly_the_burst(harness: Limits) -> CaseResult {
    let opened = harness.open(()).await?;
    let quotas = QuotaSet::from(quota(25));
    let history = race(&opened, 36, |store, _| {
        let quotas = quotas.clone();
        async move { Ok((1, take(&store, "one each", &quotas, 1).await?)) }
    })
    .await?;
    assert_serial(25, &history);
    let allowed = history.iter().filter(|(_, d)| d.is_allowed()).count();
    assert_eq!(allowed, 25);

    let history = race(&opened, 24, |store, i| {
        let (quotas, tokens) = (quotas.clone(), i % 3 + 1);
        async move { Ok((tokens, take(&store, "some each", &quotas, tokens).await?)) }
    })
    .await?;
    assert_serial(25, &history);
    Ok(())
}

pub(super) async fn concurrent_takes_of_several_quotas_stay_whole(harness: Limits) -> CaseResult {
    let opened = harness.open(()).await?;
    let narrow = quota(8).named("narrow")?;
    let wide = quota(20).named("wide")?;
    let wide_alone = QuotaSet::from(wide.clone());
    let both = QuotaSet::new([wide, narrow.clone()])?;
    let outcomes = race(&opened, 24, |store, i| {
        // A third of the callers know only the wide quota.
        let quotas = if i % 3 == 0 { &wide_alone } else { &both }.clone();
        async move { Ok((quotas.len(), take(&store, "k", &quotas, 1).await?)) }
    })
    .await?;
    let allowed = |quotas: usize| {
        let mine = outcomes.iter().filter(|(n, _)| *n == quotas);
        mine.filter(|(_, d)| d.is_allowed()).count()
    };
    assert_eq!(allowed(2), 8, "sixteen wanted eight: {outcomes:?}");
    assert_eq!(allowed(1), 8, "eight wanted what was left: {outcomes:?}");
    let left = drain(&opened.first, "k", &wide_alone, 20).await?;
    assert_eq!(left, 4, "a denied take paid one of its quotas");
    Ok(())
}

pub(super) async fn concurrent_closures_reach_exactly_zero(harness: Limits) -> CaseResult {
    let opened = harness.open(()).await?;
    let quota = quota(24);
    let after = race(&opened, 24, |store, _| {
        let quota = quota.clone();
        async move { store.update_tokens(key("k"), &quota, one_less).await }
    })
    .await?;
    let mut left: Vec<f64> = after.into_iter().flatten().map(|t| t.tokens).collect();
    left.sort_by(f64::total_cmp);
    let each: Vec<f64> = (0..24).map(f64::from).collect();
    assert_eq!(left, each, "each update sees the one before it");
    let end = tokens(&opened.first, "k", &quota).await?;
    assert_eq!(end.map(|end| end.tokens), Some(0.0));
    Ok(())
}

pub(super) async fn a_closure_sees_every_write_that_ended_before_it(harness: Limits) -> CaseResult {
    let opened = harness.open(()).await?;
    let quotas = QuotaSet::from(quota(40));
    // A store that coalesces closures must not give them a state that was read before.
    let looking = AtomicBool::new(true);
    let look = || async {
        while looking.load(Ordering::Relaxed) {
            opened.first.update(key("k"), &|_| None).await?;
            tokio::task::yield_now().await;
        }
        Ok::<_, store_core::Error>(())
    };
    let write = async {
        for taken in 1..=20 {
            assert!(allows(&opened.second, "k", &quotas, 1).await?);
            let seen = opened.first.update(key("k"), &|_| None).await?;
            let now = opened.clock.now();
            let left = seen.and_then(|bucket| bucket.tokens(&quotas[0], now));
            let left = left.map(|left| left.tokens);
            assert_eq!(left, Some(f64::from(40 - taken)), "after {taken} takes");
        }
        looking.store(false, Ordering::Relaxed);
        Ok(())
    };
    tokio::try_join!(write, look(), look(), look(), look())?;
    Ok(())
}

pub(super) async fn closures_and_takes_lose_nothing_of_each_other(harness: Limits) -> CaseResult {
    let opened = harness.open(()).await?;
    let quotas = QuotaSet::from(quota(24));
    let done = race(&opened, 24, |store, i| {
        let quotas = quotas.clone();
        async move {
            // Takes and closures through both handles.
            if i / 2 % 2 == 0 {
                return allows(&store, "k", &quotas, 1).await;
            }
            let after = store.update_tokens(key("k"), &quotas[0], one_less).await?;
            Ok(after.is_some())
        }
    })
    .await?;
    assert!(done.iter().all(|&done| done));
    assert!(
        !allows(&opened.first, "k", &quotas, 1).await?,
        "one was lost"
    );
    opened.clock.advance(SECOND);
    assert_eq!(drain(&opened.second, "k", &quotas, 5).await?, 1);
    Ok(())
}

/// Takes one token by a closure on the first handle; while it first decides,
/// `interfere` runs to its end. Returns what was left, and how often it decided.
async fn interrupted<F: Future<Output = Result<()>>>(
    opened: &Opened<dyn RateLimitStore>,
    quota: &Quota,
    interfere: impl Fn() -> F + Send + Sync,
) -> Result<(Option<f64>, u32)> {
    let runs = AtomicU32::new(0);
    let after = opened
        .first
        .update_tokens(key("k"), quota, |before, quota, now| {
            if runs.fetch_add(1, Ordering::Relaxed) == 0 {
                block_on(interfere()).expect("the interference succeeds");
            }
            one_less(Some(before?), quota, now)
        })
        .await?;
    Ok((after.map(|after| after.tokens), runs.into_inner()))
}

pub(super) async fn a_take_during_an_update_is_not_lost(harness: Limits) -> CaseResult {
    let opened = harness.open(()).await?;
    let quotas = QuotaSet::from(quota(10));
    assert!(allows(&opened.second, "k", &quotas, 2).await?);
    let (left, _) = interrupted(&opened, &quotas[0], async || {
        assert!(allows(&opened.second, "k", &quotas, 4).await?);
        Ok(())
    })
    .await?;
    assert_eq!(left, Some(3.0));
    assert_eq!(drain(&opened.second, "k", &quotas, 10).await?, 3);
    Ok(())
}

pub(super) async fn a_delete_during_an_update_is_not_undone(harness: Limits) -> CaseResult {
    let opened = harness.open(()).await?;
    let quotas = QuotaSet::from(quota(10));
    assert!(allows(&opened.second, "k", &quotas, 2).await?);
    let (left, runs) = interrupted(&opened, &quotas[0], || opened.second.delete(key("k"))).await?;
    assert_eq!((left, runs), (None, 2), "the second run finds nothing");
    assert_eq!(opened.second.peek(key("k")).await?, None, "resurrected");
    Ok(())
}

pub(super) async fn a_recreation_during_an_update_is_noticed(harness: Limits) -> CaseResult {
    let opened = harness.open(()).await?;
    let quotas = QuotaSet::from(quota(10));
    assert!(allows(&opened.second, "k", &quotas, 1).await?);
    let (left, _) = interrupted(&opened, &quotas[0], async || {
        opened.second.delete(key("k")).await?;
        // As many writes as to the first bucket, so a counter would not notice.
        assert!(allows(&opened.second, "k", &quotas, 6).await?);
        Ok(())
    })
    .await?;
    assert_eq!(left, Some(3.0), "decided on a bucket that was deleted");
    Ok(())
}

pub(super) async fn updates_racing_a_delete_never_resurrect(harness: Limits) -> CaseResult {
    let opened = harness.open(()).await?;
    let quotas = QuotaSet::from(quota(50));
    for round in 0..10 {
        let name = format!("k{round}");
        assert!(allows(&opened.first, &name, &quotas, 1).await?);
        race(&opened, 6, |store, i| {
            let (quotas, name) = (quotas.clone(), name.clone());
            async move {
                if i == 3 {
                    return store.delete(key(&name)).await;
                }
                // Writes only what is there.
                let change = |before: Option<Tokens>, quota: &Quota, now| {
                    one_less(Some(before?), quota, now)
                };
                let after = store.update_tokens(key(&name), &quotas[0], change).await;
                after.map(drop)
            }
        })
        .await?;
        assert_eq!(opened.first.peek(key(&name)).await?, None, "resurrected");
    }
    Ok(())
}

pub(super) async fn an_update_that_is_always_beaten_is_contended(harness: Limits) -> CaseResult {
    let opened = harness.open(()).await?;
    let quotas = QuotaSet::from(quota(1_000_000));
    let runs = AtomicU32::new(0);
    let beaten = opened
        .first
        .update(key("k"), &|_| {
            runs.fetch_add(1, Ordering::Relaxed);
            let taken = block_on(allows(&opened.second, "k", &quotas, 1));
            assert!(taken.expect("the other is not contended"));
            Some(Bucket::default())
        })
        .await;
    let error = beaten.expect_err("someone else was always faster");
    assert_eq!(error.kind(), ErrorKind::Contended, "{error}");
    let left = tokens(&opened.second, "k", &quotas[0]).await?;
    let taken = f64::from(runs.into_inner());
    assert_eq!(left.map(|left| left.tokens), Some(1_000_000.0 - taken));
    Ok(())
}
