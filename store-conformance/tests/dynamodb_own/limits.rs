//! Takes: what they cost, and that they decide as the reference does.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use store_conformance::Opened;
use store_conformance::cases::limits::walk;
use store_core::limits::{Bucket, LimitKey, Quota, QuotaSet, RateLimitStoreExt, Take, Tokens};
use store_core::{Clock, ErrorKind, ManualClock, RateLimitStore, Result, Store};

use tokio::runtime::Handle;
use tokio::task::block_in_place;

use crate::inject::Inject;
use crate::own::closures::closures_on_one_hot_key_are_coalesced_into_few_writes;
use crate::{End, Place, tests};

tests![
    takes_agree_with_the_reference_and_cost_one_call,
    a_take_of_an_unseen_key_costs_two_calls_at_most,
    a_take_that_meets_tokens_converts_them,
    a_wrong_guess_never_revives_a_bucket,
    an_update_notices_each_form_of_take,
    closures_on_one_hot_key_are_coalesced_into_few_writes,
    a_spread_limit_never_grants_more_than_its_quota,
    a_spread_limit_is_peeked_reset_and_deleted_as_one,
];

/// The number of random steps; a sample by default.
const STEPS: &str = "STORE_SOAK_STEPS";

/// A store whose requests are counted, and its clock.
pub(crate) async fn watched(place: &Place) -> Result<(Store, Inject, ManualClock)> {
    let clock = ManualClock::default();
    let inject = Inject::default();
    let config = place.config().interceptor(inject.clone()).build();
    let client = store_dynamodb::sdk::Client::from_conf(config);
    let builder = place.builder().client(client).clock(clock.clone());
    let store = builder.connect().await?;
    store.setup().await?;
    inject.reset();
    Ok((store.into(), inject, clock))
}

async fn takes_agree_with_the_reference_and_cost_one_call(place: Place) -> End {
    let steps: u32 = std::env::var(STEPS).map_or(Ok(5_000), |steps| steps.parse())?;
    let (store, inject, clock) = watched(&place).await?;
    let limits: Arc<dyn RateLimitStore> = Arc::clone(store.limits());
    let opened = Opened::new(Arc::clone(&limits), limits, clock);
    walk(&opened, 7, steps).await?;
    let each = inject.requests() as f64 / f64::from(steps);
    println!("{steps} random takes, {each:.3} calls each");
    assert!(each <= 1.2, "{each}");
    Ok(())
}

/// The bucket was written by another process.
async fn a_take_of_an_unseen_key_costs_two_calls_at_most(place: Place) -> End {
    let (first, _, clock) = watched(&place).await?;
    let (quick, slow) = (
        Quota::per_second(10)?,
        Quota::per_second(1)?.with_burst(50)?,
    );
    let both = QuotaSet::new([quick.named("quick")?, slow.named("slow")?])?;
    let one = QuotaSet::from(both[0].clone());
    for (key, quotas) in [("one", &one), ("both", &both), ("mixed", &both)] {
        for tokens in [1, 9, 10] {
            let _ = first
                .limits()
                .take(&Take::new(key, quotas, tokens, clock.now())?)
                .await?;
        }
    }
    // The quick bucket is full again, and the slow one is not.
    clock.advance(Duration::from_secs(2));
    let take = Take::new("both", &one, 1, clock.now())?;
    let _ = first.limits().take(&take).await?;
    for (key, quotas) in [
        ("one", &one),
        ("both", &both),
        ("mixed", &both),
        ("new", &both),
    ] {
        for tokens in [1, 10] {
            let (unseen, inject, _) = watched(&place).await?;
            let take = Take::new(key, quotas, tokens, clock.now())?;
            let _ = unseen.limits().take(&take).await?;
            let calls = inject.requests();
            assert!(calls <= 2, "{calls} for {tokens} of {key}");
            let _ = unseen.limits().take(&take).await?;
            assert_eq!(inject.requests(), 1, "{tokens} of {key}, once seen");
        }
    }
    Ok(())
}

async fn a_take_that_meets_tokens_converts_them(place: Place) -> End {
    let (store, inject, clock) = watched(&place).await?;
    let quota = Quota::per_second(10)?;
    let half = |_, _: &Quota, now| {
        Some(Tokens {
            tokens: 5.5,
            last_refill: now,
        })
    };
    let key = LimitKey::new("k")?;
    store.limits().update_tokens(key, &quota, half).await?;
    let quotas = QuotaSet::from(quota);
    inject.requests();
    let take = Take::new("k", &quotas, 1, clock.now())?;
    for (expected, calls) in [(true, 3), (true, 1)] {
        assert_eq!(store.limits().take(&take).await?.is_allowed(), expected);
        assert_eq!(inject.requests(), calls);
    }
    Ok(())
}

/// Another process deletes the bucket of which this process has a hint.
async fn a_wrong_guess_never_revives_a_bucket(place: Place) -> End {
    let (first, _, clock) = watched(&place).await?;
    let second = place.builder().connect().await?;
    let second = Store::from(second);
    let quotas = QuotaSet::from(Quota::per_second(10)?);
    let take = |tokens| Take::new("k", &quotas, tokens, clock.now());
    for _ in 0..3 {
        assert!(first.limits().take(&take(7)?).await?.is_allowed());
        second.limits().delete(LimitKey::new("k")?).await?;
        // Full again: ten, not three.
        assert!(first.limits().take(&take(10)?).await?.is_allowed());
        assert!(!second.limits().take(&take(1)?).await?.is_allowed());
        second.limits().delete(LimitKey::new("k")?).await?;
    }
    Ok(())
}

/// A take that adds a quota, one from a full bucket and one from a partly used bucket.
async fn an_update_notices_each_form_of_take(place: Place) -> End {
    let (store, _, clock) = watched(&place).await?;
    let named = |name| Quota::per_second(10)?.named(name);
    let (known, added) = (named("known")?, named("added")?);
    let key = LimitKey::new("k")?;
    let both = QuotaSet::new([known.clone(), added.clone()])?;
    let known = QuotaSet::from(known);
    for (quotas, later) in [
        (&known, Duration::ZERO),
        (&both, Duration::ZERO),
        (&known, Duration::from_secs(9)),
        (&both, Duration::from_secs(9)),
    ] {
        let take = Take::new("k", &known, 1, clock.now())?;
        assert!(store.limits().take(&take).await?.is_allowed());
        clock.advance(later);
        let seen = Mutex::new(Vec::new());
        let change = |bucket: Option<&Bucket>| {
            let seen = &mut *seen.lock().expect("no test panics under the lock");
            seen.push(bucket.cloned().unwrap_or_default());
            if seen.len() == 1 {
                let take = Take::new("k", quotas, 1, clock.now()).expect("it may fit");
                let taken =
                    block_in_place(|| Handle::current().block_on(store.limits().take(&take)));
                assert!(taken.expect("the server answers").is_allowed());
            }
            Some(Bucket::default())
        };
        assert_eq!(store.limits().update(key, &change).await?, None);
        let seen = seen.into_inner()?;
        assert_eq!(seen.len(), 2, "the take was not noticed");
        for quota in quotas.iter() {
            let tat = |i: usize| seen[i].tat(quota);
            assert!(tat(0) < tat(1), "{seen:?}");
        }
    }
    Ok(())
}

/// Opens the store with `hot` spread over eight.
async fn spread(place: &Place, clock: &ManualClock) -> Result<Store> {
    let builder = place.builder().clock(clock.clone()).spread_limit("hot", 8);
    let store = builder.connect().await?;
    store.setup().await?;
    Ok(store.into())
}

async fn a_spread_limit_never_grants_more_than_its_quota(place: Place) -> End {
    let clock = ManualClock::default();
    let stores = [spread(&place, &clock).await?, spread(&place, &clock).await?];
    let (second, hour) = (
        Quota::per_second(80)?,
        Quota::new(300, Duration::from_secs(3600))?,
    );
    let quotas = QuotaSet::new([second.named("second")?, hour.named("hour")?])?;
    let mut granted = 0;
    // All of the first quota, and then what it refills until the second is used up.
    for (most, least) in [(80, 64), (160, 128), (240, 192), (300, 240), (300, 240)] {
        for i in 0..160 {
            let take = Take::new("hot", &quotas, 1, clock.now())?;
            let decision = stores[i % 2].limits().take(&take).await?;
            granted += u32::from(decision.is_allowed());
        }
        assert!((least..=most).contains(&granted), "{granted} of {most}");
        clock.advance(Duration::from_secs(1));
    }
    // One request may take as much as one shard holds.
    let quotas = QuotaSet::from(Quota::per_second(80)?.with_max_tokens(20)?.named("other")?);
    let take = |tokens| Take::new("hot", &quotas, tokens, clock.now());
    assert!(stores[0].limits().take(&take(10)?).await?.is_allowed());
    let refused = stores[0].limits().take(&take(11)?).await;
    let error = refused.expect_err("it never fits");
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    Ok(())
}

async fn a_spread_limit_is_peeked_reset_and_deleted_as_one(place: Place) -> End {
    let clock = ManualClock::default();
    let store = spread(&place, &clock).await?;
    let limits = store.limits();
    let quota = Quota::per_second(80)?;
    let quotas = QuotaSet::from(quota.clone());
    let hot = LimitKey::new("hot")?;
    for forget in ["reset", "delete"] {
        assert_eq!(limits.peek(hot).await?, None);
        for _ in 0..40 {
            let take = Take::new("hot", &quotas, 1, clock.now())?;
            assert!(limits.take(&take).await?.is_allowed());
        }
        let bucket = limits.peek(hot).await?.ok_or("just taken from")?;
        let left = bucket.tokens(&quota, clock.now()).ok_or("as said")?;
        assert_eq!(left.tokens, 40.0);
        match forget {
            "reset" => limits.reset(hot, &quotas).await?,
            _ => limits.delete(hot).await?,
        }
    }
    assert_eq!(limits.peek(hot).await?, None);
    let changed = limits.update(hot, &|_| None).await;
    assert_eq!(
        changed.expect_err("a closure changes one bucket").kind(),
        ErrorKind::Unsupported
    );
    // Another key is one bucket.
    limits.update(LimitKey::new("cold")?, &|_| None).await?;
    Ok(())
}
