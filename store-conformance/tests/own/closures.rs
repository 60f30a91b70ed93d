//! Closures that change one hot bucket, on any server behind a proxy.

use store_core::Store;
use store_core::limits::{LimitKey, Quota, RateLimitStoreExt, Tokens};
use tokio::task::JoinSet;

use super::faults::Wired;
use super::{End, Failure};

/// Takes one token from the bucket `hot`, by a closure.
async fn take_by_closure(store: &Store, quota: &Quota) -> store_core::Result<()> {
    let change = |tokens: Option<Tokens>, quota: &Quota, now| {
        let full = Tokens {
            tokens: f64::from(quota.burst()),
            last_refill: now,
        };
        let left = tokens.unwrap_or(full);
        Some(Tokens {
            tokens: left.tokens - 1.0,
            ..left
        })
    };
    let key = LimitKey::new("hot")?;
    store.limits().update_tokens(key, quota, change).await?;
    Ok(())
}

/// Has `tasks` tasks take `each` tokens each.
pub(crate) async fn race(store: &Store, tasks: usize, each: usize) -> End {
    let quota = Quota::per_second(1_000_000)?;
    let mut racers = JoinSet::new();
    for _ in 0..tasks {
        let (store, quota) = (store.clone(), quota.clone());
        racers.spawn(async move {
            for _ in 0..each {
                take_by_closure(&store, &quota).await?;
            }
            Ok::<_, store_core::Error>(())
        });
    }
    while let Some(ended) = racers.join_next().await {
        ended??;
    }
    Ok(())
}

/// How many tokens were taken.
pub(crate) async fn taken(store: &Store) -> Result<f64, Failure> {
    let quota = Quota::per_second(1_000_000)?;
    let bucket = store.limits().peek(LimitKey::new("hot")?).await?;
    let bucket = bucket.ok_or("just written")?;
    let left = bucket.tokens(&quota, store.now()).ok_or("just written")?;
    Ok(f64::from(quota.burst()) - left.tokens)
}

pub(crate) async fn closures_on_one_hot_key_are_coalesced_into_few_writes(
    place: impl Wired,
) -> End {
    let (proxy, store) = place.behind(0).await?;
    race(&store, 64, 20).await?;
    let requests = proxy.requests();
    println!("1280 updates by 64 tasks: {requests} requests");
    assert!(requests < 640, "{requests}");
    assert_eq!(taken(&store).await?, 1280.0);
    Ok(())
}
