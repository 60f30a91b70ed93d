//! Random sequences of takes, compared with an exact reference.

use super::*;
use std::collections::BTreeMap;

use store_core::limits::Bucket;
use store_core::{RateLimitStore, Timestamp};

use crate::harness::Opened;

/// How many steps a sequence has in the suite.
const STEPS: u32 = 400;

pub(super) async fn takes_agree_with_an_exact_token_bucket(harness: Limits) -> CaseResult {
    walk(&harness.open(()).await?, 1, STEPS).await
}

/// Makes random takes over both handles, of keys with one to three quotas, while time
/// moves forward. Every answer must be that of an exact token bucket. The suite makes 400
/// steps; a soak makes more.
///
/// # Errors
/// The store's.
///
/// # Panics
/// If an answer differs.
pub async fn walk(opened: &Opened<dyn RateLimitStore>, seed: u64, steps: u32) -> CaseResult {
    let quotas = [
        Quota::per_second(10)?.named("a")?,
        Quota::new(7, SECOND * 3)?.with_burst(19)?.named("b")?,
        Quota::new(90, SECOND * 60)?.with_burst(25)?.named("c")?,
    ];
    let limiters: Vec<(String, QuotaSet)> = (1..=3)
        .map(|n| Ok((format!("walk {n}"), QuotaSet::new(quotas[..n].to_vec())?)))
        .collect::<Result<_>>()?;
    let mut exact = Exact::default();
    let mut random = Random(seed);
    for step in 0..steps {
        if random.below(3) == 0 {
            let scale = [1_000, 1_000_000, 100_000_000, 5_000_000_000][random.below(4) as usize];
            opened
                .clock
                .advance(Duration::from_nanos(random.below(scale)));
        }
        let (name, quotas) = &limiters[random.below(3) as usize];
        let tokens = u32::try_from(1 + random.below(3) * random.below(4)).expect("small");
        let store = [&opened.first, &opened.second][random.below(2) as usize];
        let decision = take(store, name, quotas, tokens).await?;
        let expected = exact.take(name, quotas, tokens, opened.clock.now());
        assert_eq!(decision, expected, "step {step}: {tokens} from {name}");
    }
    Ok(())
}

/// The simplest token bucket, in whole nanoseconds of refill. It is correct as long as
/// time does not go backwards.
#[derive(Default)]
struct Exact {
    buckets: BTreeMap<(String, String), (u64, Timestamp)>,
}

impl Exact {
    fn take(&mut self, key: &str, quotas: &QuotaSet, tokens: u32, now: Timestamp) -> Decision {
        let nanos = |d: Duration| u64::try_from(d.as_nanos()).expect("short");
        let mut waits = Vec::new();
        for quota in quotas.iter() {
            let full = nanos(quota.full_refill());
            let name = (key.to_owned(), quota.name().to_owned());
            let (level, at) = self.buckets.entry(name).or_insert((full, now));
            *level = full.min(*level + nanos(now.since(*at)));
            *at = now;
            let cost = nanos(quota.period()) * u64::from(tokens);
            waits.push(cost.saturating_sub(*level));
        }
        let longest = *waits.iter().max().expect("some quotas");
        if longest > 0 {
            let quota = waits.iter().position(|&wait| wait == longest);
            return Decision::Denied {
                quota: quota.expect("it is there"),
                retry_after: Duration::from_nanos(longest),
            };
        }
        let (mut remaining, mut full_at) = (u32::MAX, now);
        for quota in quotas.iter() {
            let name = (key.to_owned(), quota.name().to_owned());
            let (level, _) = self.buckets.get_mut(&name).expect("made above");
            *level -= nanos(quota.period()) * u64::from(tokens);
            let left = u32::try_from(*level / nanos(quota.period())).expect("at most the burst");
            remaining = remaining.min(left);
            full_at = full_at.max(now + quota.full_refill() - Duration::from_nanos(*level));
        }
        Decision::Allowed { remaining, full_at }
    }
}

pub(super) async fn takes_under_a_wandering_clock_agree_with_the_reference(
    harness: Limits,
) -> CaseResult {
    let opened = harness.open(()).await?;
    let quotas = QuotaSet::from(Quota::per_second(10)?.with_burst(30)?);
    let mut reference = Bucket::default();
    let mut random = Random(2);
    for step in 0..STEPS {
        let by = Duration::from_nanos(random.below(400_000_000));
        let now = opened.clock.now();
        opened.clock.set(match random.below(4) {
            0 => now - by,
            1 => now + by,
            _ => now,
        });
        let tokens = u32::try_from(1 + random.below(4)).expect("small");
        let store = [&opened.first, &opened.second][random.below(2) as usize];
        let decision = take(store, "wandering", &quotas, tokens).await?;
        let now = opened.clock.now();
        reference.forget_expired(now);
        let expected = Take::new("wandering", &quotas, tokens, now)?.apply(&mut reference);
        assert_eq!(decision, expected, "step {step}: {tokens}");
    }
    Ok(())
}

/// SplitMix64: the same seed gives the same steps on every platform.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}
