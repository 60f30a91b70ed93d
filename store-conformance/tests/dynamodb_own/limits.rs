//! Takes: what they cost, and that they agree with the reference.

use std::sync::Arc;

use store_conformance::Opened;
use store_conformance::cases::limits::walk;
use store_conformance::core::limits::{LimitKey, Quota, Quotas, RateLimitStoreExt, Take, Tokens};
use store_conformance::core::{Clock, ManualClock, RateLimitStore, Result, Store};

use crate::inject::Inject;
use crate::{End, Place, tests};

tests![
    takes_agree_with_the_reference_and_cost_one_call,
    a_take_of_an_unseen_key_costs_two_calls_at_most,
    a_take_that_meets_tokens_converts_them,
    a_wrong_guess_never_revives_a_bucket,
];

/// How many random steps: a sample, or what is asked for.
const STEPS: &str = "STORE_SOAK_STEPS";

/// A store that is watched, and its clock.
pub(crate) async fn watched(place: &Place) -> Result<(Store, Inject, ManualClock)> {
    let clock = ManualClock::default();
    let inject = Inject::default();
    let config = place.config().interceptor(inject.clone()).build();
    let client = store_dynamodb::sdk::Client::from_conf(config);
    let builder = place.builder().client(client).clock(clock.clone());
    let store = builder.connect().await?;
    store.setup().await?;
    inject.requests();
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

/// As another process left it.
async fn a_take_of_an_unseen_key_costs_two_calls_at_most(place: Place) -> End {
    let (first, _, clock) = watched(&place).await?;
    let (quick, slow) = (
        Quota::per_second(10)?,
        Quota::per_second(1)?.with_burst(50)?,
    );
    let both = Quotas::new([quick.named("quick")?, slow.named("slow")?])?;
    let one = Quotas::from(both[0].clone());
    for (key, quotas) in [("one", &one), ("both", &both), ("mixed", &both)] {
        for tokens in [1, 9, 10] {
            let _ = first
                .limits()
                .take(&Take::new(key, quotas, tokens, clock.now())?)
                .await?;
        }
    }
    // The slow one has still to fill where the quick one has.
    clock.advance(std::time::Duration::from_secs(2));
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
    let quotas = Quotas::from(quota);
    inject.requests();
    let take = Take::new("k", &quotas, 1, clock.now())?;
    for (expected, calls) in [(true, 3), (true, 1)] {
        assert_eq!(store.limits().take(&take).await?.is_allowed(), expected);
        assert_eq!(inject.requests(), calls);
    }
    Ok(())
}

/// What one process remembers of a bucket is gone when another deletes it.
async fn a_wrong_guess_never_revives_a_bucket(place: Place) -> End {
    let (first, _, clock) = watched(&place).await?;
    let second = place.builder().connect().await?;
    let second = Store::from(second);
    let quotas = Quotas::from(Quota::per_second(10)?);
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
