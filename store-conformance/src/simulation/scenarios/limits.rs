//! Rate limits over records: takes and closures.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use store_core::Clock;
use store_core::limits::{LimitKey, Quota, RateLimitStoreExt, RateLimiter, Tokens};

use crate::simulation::world::{Called, World};
use crate::suite::CaseResult;

/// Takes from one bucket while clocks jump: what was surely granted fits into the
/// burst and what refilled, and what was surely not taken is still there.
pub(super) async fn no_schedule_grants_more_than_the_burst(world: Arc<World>) -> CaseResult {
    const CLIENTS: usize = 4;
    const EACH: usize = 5;
    const BURST: u64 = 9;
    let quota = Quota::per_second(1)?.with_burst(BURST as u32)?;
    let begin = world.clock().now();
    let (sure, unsure) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let clients = (0..CLIENTS).map(|client| {
        let (world, quota) = (Arc::clone(&world), quota.clone());
        let (sure, unsure) = (Arc::clone(&sure), Arc::clone(&unsure));
        async move {
            let limiter = RateLimiter::new(world.store(client), quota);
            for _ in 0..EACH {
                if world.below(6) == 0 {
                    world.step().await;
                    world.clock().advance(Duration::from_millis(200));
                }
                let tokens = 1 + world.below(2) as u32;
                match world.call(limiter.take("key", tokens)).await? {
                    Called::Answered(decision) if decision.is_allowed() => {
                        sure.fetch_add(tokens.into(), Ordering::Relaxed);
                    }
                    Called::Unknown => drop(unsure.fetch_add(tokens.into(), Ordering::Relaxed)),
                    Called::Answered(_) | Called::Failed => {}
                }
            }
            Ok(())
        }
    });
    world.race(clients).await?;
    let refilled = world.clock().now().since(begin).as_secs();
    let (sure, unsure) = (sure.load(Ordering::Relaxed), unsure.load(Ordering::Relaxed));
    assert!(
        sure <= BURST + refilled,
        "{sure} granted of a burst of {BURST} and {refilled} refilled"
    );
    let left = RateLimiter::new(world.plain(), quota).peek("key").await?;
    let left = u64::from(left[0].remaining);
    assert!(
        left + sure + unsure >= BURST.min(left + sure + unsure + refilled),
        "{left} left, {sure} granted, {unsure} unknown"
    );
    Ok(())
}

/// Closures that take one token each, coalesced in each handle.
pub(super) async fn closures_of_one_bucket_lose_nothing(world: Arc<World>) -> CaseResult {
    const CLIENTS: usize = 6;
    const EACH: usize = 3;
    let quota = Quota::per_second(1)?.with_burst(1000)?;
    let (sure, unsure) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let key = || LimitKey::new("key");
    let clients = (0..CLIENTS).map(|client| {
        let (world, quota) = (Arc::clone(&world), quota.clone());
        let (sure, unsure) = (Arc::clone(&sure), Arc::clone(&unsure));
        async move {
            let limits = world.store(client).limits();
            for _ in 0..EACH {
                let spend = |before: Option<Tokens>, quota: &Quota, now| {
                    let tokens = before.map_or(f64::from(quota.burst()), |held| held.tokens);
                    Some(Tokens {
                        tokens: tokens - 1.0,
                        last_refill: now,
                    })
                };
                let update = limits.update_tokens(key()?, &quota, spend);
                match world.call(update).await? {
                    Called::Answered(_) => sure.fetch_add(1, Ordering::Relaxed),
                    Called::Unknown => unsure.fetch_add(1, Ordering::Relaxed),
                    Called::Failed => 0,
                };
            }
            Ok(())
        }
    });
    world.race(clients).await?;
    let bucket = world.plain().limits().peek(key()?).await?;
    let left = bucket.and_then(|bucket| bucket.tokens(&quota, world.clock().now()));
    let spent = 1000 - left.map_or(1000, |left| left.tokens.round() as u64);
    let (sure, unsure) = (sure.load(Ordering::Relaxed), unsure.load(Ordering::Relaxed));
    assert!(
        (sure..=sure + unsure).contains(&spent),
        "{spent} spent, {sure} acknowledged, {unsure} unknown"
    );
    Ok(())
}
