//! Spreads one hot key over several items, each in a separate partition.
//!
//! Every shard has the whole quota, and a take of `t` tokens takes `n·t` from
//! one of the `n` shards. So a shard holds an n-th of the burst and refills at an n-th of
//! the rate, computed with the same integers, and all shards together never grant more
//! than the quota. They may grant less: tokens in one shard are of no use to a take from
//! another.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use store_core::limits::{
    Bucket, Decision, Entry, LimitKey, Quota, QuotaSet, RateLimitStore, State, Take,
};
use store_core::{Error, Result, Timestamp, Version};

use crate::error::BACKEND;
use crate::limits::DynamoDbLimits;
use crate::wire::LIMITS;

/// The partition key of a limit that is not spread.
pub(crate) fn whole(key: LimitKey<'_>) -> String {
    [LIMITS, key.as_str()].concat()
}

/// The partition key of one shard. No other kind of key has this prefix.
fn shard(key: LimitKey<'_>, number: u32) -> String {
    format!("l{number}:{}", key.as_str())
}

fn all(key: LimitKey<'_>, shards: u32) -> impl Iterator<Item = String> {
    (0..shards).map(move |number| shard(key, number))
}

/// Takes from one shard, chosen at random, or if that denies from the next.
pub(crate) async fn take(
    limits: &DynamoDbLimits,
    take: &Take<'_>,
    shards: u32,
) -> Result<Decision> {
    let (key, quotas) = (take.key(), unbounded(take.quotas())?);
    let tokens = take.tokens().saturating_mul(shards);
    if tokens > quotas.max_tokens() {
        return Err(Error::invalid(format!(
            "{} tokens are more than one of this key's {shards} shards holds; \
             split the request, or spread the key less",
            take.tokens()
        ))
        .with_backend(BACKEND));
    }
    let scaled = Take::new(key.as_str(), &quotas, tokens, take.now())?;
    let first = random() % shards;
    let decision = limits.take_from(&shard(key, first), &scaled).await?;
    if decision.is_allowed() {
        return Ok(decision);
    }
    limits
        .take_from(&shard(key, (first + 1) % shards), &scaled)
        .await
}

/// The quotas without a bound on the tokens of one request.
fn unbounded(quotas: &QuotaSet) -> Result<QuotaSet> {
    let lifted = |quota: &Quota| quota.clone().with_max_tokens(quota.burst());
    QuotaSet::new(quotas.iter().map(lifted).collect::<Result<Vec<_>>>()?)
}

/// A number whose remainders are evenly distributed across calls and processes.
fn random() -> u32 {
    // The low bits of a version count up from a random start.
    let [.., a, b, c, d] = Version::unique().to_bytes();
    u32::from_be_bytes([a, b, c, d]).wrapping_mul(0x9e37_79b9) >> 8
}

/// Merges all shards into one bucket, which is full after the average time of the shards.
pub(crate) async fn peek(
    limits: &DynamoDbLimits,
    key: LimitKey<'_>,
    shards: u32,
) -> Result<Option<Bucket>> {
    let reads = all(key, shards).map(|own| async move { limits.peek_at(&own).await });
    let found: Vec<Bucket> = try_join_all(reads).await?.into_iter().flatten().collect();
    Ok(merged(&found, shards, limits.clock().now()))
}

/// `None` if all shards are full.
fn merged(found: &[Bucket], shards: u32, now: Timestamp) -> Option<Bucket> {
    let mut names: Vec<_> = found
        .iter()
        .flat_map(|bucket| bucket.entries().iter().map(|entry| entry.quota.clone()))
        .collect();
    names.sort();
    names.dedup();
    let merge = |name: Arc<str>| {
        let of = found
            .iter()
            .flat_map(|bucket| bucket.entries().iter().filter(|entry| entry.quota == name));
        let lag = |entry: &Entry| match entry.state {
            State::Tat(tat) => tat.since(now),
            // Closures cannot change a shard.
            State::Tokens(_) => Duration::ZERO,
        };
        let behind: Duration = of.clone().map(lag).sum();
        let expires_at = of.map(|entry| entry.expires_at).max().unwrap_or(now);
        Entry {
            quota: name,
            state: State::Tat(now + behind / shards),
            expires_at,
        }
    };
    (!names.is_empty()).then(|| names.into_iter().map(merge).collect())
}

pub(crate) async fn delete(limits: &DynamoDbLimits, key: LimitKey<'_>, shards: u32) -> Result<()> {
    let deletes = all(key, shards).map(|own| async move { limits.delete_at(&own).await });
    try_join_all(deletes).await.map(drop)
}

pub(crate) async fn reset(
    limits: &DynamoDbLimits,
    key: LimitKey<'_>,
    quotas: &QuotaSet,
    shards: Option<u32>,
) -> Result<()> {
    let without = |bucket: Option<&Bucket>| {
        let mut bucket = bucket?.clone();
        let removed = quotas.iter().filter(|quota| bucket.remove(quota.name()));
        (removed.count() > 0).then_some(bucket)
    };
    let Some(shards) = shards else {
        return limits.update_at(&whole(key), &without).await.map(drop);
    };
    for own in all(key, shards) {
        limits.update_at(&own, &without).await?;
    }
    Ok(())
}

/// The error for an update of a spread key by a closure.
pub(crate) fn no_closures() -> Error {
    Error::unsupported(
        "this key is spread over shards, but a closure changes one bucket; do not spread it",
    )
    .with_backend(BACKEND)
    .with_operation("update")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(quota: &str, seconds: u64) -> Bucket {
        let full = Timestamp::from_seconds(seconds);
        let entry = Entry {
            quota: quota.into(),
            state: State::Tat(full),
            expires_at: full,
        };
        [entry].into_iter().collect()
    }

    #[test]
    fn shards_together_are_as_full_as_they_are_on_average() {
        let now = Timestamp::from_seconds(100);
        let found = [bucket("a", 108), bucket("a", 90), bucket("b", 104)];
        let merged = merged(&found, 4, now).unwrap();
        let tat = |seconds| Some(State::Tat(Timestamp::from_seconds(seconds)));
        assert_eq!((merged.state("a"), merged.state("b")), (tat(102), tat(101)));
        assert_eq!(super::merged(&[], 4, now), None);
    }

    #[test]
    fn calls_are_spread_evenly() {
        let mut counts = [0; 8];
        (0..8000).for_each(|_| counts[random() as usize % 8] += 1);
        assert!(
            counts.iter().all(|count| (800..1200).contains(count)),
            "{counts:?}"
        );
    }
}
