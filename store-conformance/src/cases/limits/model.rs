//! Random calls, compared with a map of buckets.

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;
use store_core::Timestamp;
use store_core::limits::{Bucket, RateLimitStoreExt, State};

use super::*;
use crate::cases::model::{Model, Random, for_each_seed, run};
use crate::harness::Opened;

pub(super) async fn random_calls_are_answered_as_by_a_map_of_buckets(given: Limits) -> CaseResult {
    for_each_seed(|seed, calls| compare(&given, seed, calls)).await
}

/// Makes `calls` random calls that follow from `seed`.
pub(crate) async fn compare(given: &Limits, seed: u64, calls: usize) -> CaseResult {
    let a = Quota::per_second(10)?;
    let quotas = [
        vec![a.clone().named("a")?],
        // The same bucket under another rate and burst.
        vec![Quota::per_second(5)?.with_burst(20)?.named("a")?],
        vec![
            a.clone().named("a")?,
            Quota::new(7, SECOND * 3)?.named("b")?,
        ],
        vec![
            Quota::new(90, SECOND * 60)?.with_burst(25)?.named("c")?,
            a.clone().named("a")?,
            Quota::new(3, SECOND * 3600)?.named("a.b")?,
        ],
        vec![Quota::new(2, SECOND)?.named("A")?],
    ];
    let model = Buckets {
        opened: given.open(()).await?,
        quotas: quotas
            .map(QuotaSet::new)
            .into_iter()
            .collect::<Result<_>>()?,
        buckets: BTreeMap::new(),
    };
    run(model, seed, calls).await
}

/// Keys that a store which folds, cuts or escapes names would mix up.
const KEYS: [&str; 4] = ["k", "K", "k/", "k%2F"];

struct Buckets {
    opened: Opened<dyn RateLimitStore>,
    quotas: Vec<QuotaSet>,
    buckets: BTreeMap<&'static str, Bucket>,
}

/// The states of a bucket's quotas, by name. A bucket that a take wrote and that is full
/// again is the same as none, even if a store removes it later.
fn states(bucket: Option<&Bucket>, now: Timestamp) -> Vec<(String, State)> {
    let entries = bucket.map_or(&[][..], Bucket::entries).iter();
    let is_full = |state| matches!(state, State::Tat(full_at) if full_at <= now);
    let entries = entries.filter(|entry| !is_full(entry.state));
    let state = |entry: &store_core::limits::Entry| (entry.quota.to_string(), entry.state);
    entries.map(state).collect()
}

#[async_trait]
impl Model for Buckets {
    async fn call(&mut self, random: &mut Random) -> CaseResult {
        match random.below(20) {
            0..8 => self.take(random).await,
            8..10 => self.peek(random).await,
            10..12 => self.reset(random).await,
            12 => self.delete(random).await,
            13..16 => self.update_tokens(random).await,
            16 => self.update(random).await,
            _ => {
                let most = random.pick(&[NANO * 1000, SECOND / 10, SECOND * 2, SECOND * 20]);
                random.advance(&self.opened.clock, most);
                Ok(())
            }
        }
    }
}

impl Buckets {
    fn now(&self) -> Timestamp {
        self.opened.clock.now()
    }

    /// The bucket as it is now.
    fn bucket(&mut self, key: &'static str) -> &mut Bucket {
        let now = self.now();
        let bucket = self.buckets.entry(key).or_default();
        bucket.forget_expired(now);
        bucket
    }

    async fn take(&mut self, random: &mut Random) -> CaseResult {
        let (key, quotas) = (random.pick(&KEYS), random.pick(&self.quotas));
        let most = quotas.max_tokens().min(4) as usize;
        let tokens = u32::try_from(1 + random.below(most))?;
        random.note(format!("take {tokens} of {quotas:?} from {key:?}"));
        let take = Take::new(key, &quotas, tokens, self.now())?;
        let store = random.handle(&self.opened);
        let immediate = random.chance(30).then(|| store.take_now(&take)).flatten();
        let decision = match immediate {
            Some(decision) => decision?,
            None => store.take(&take).await?,
        };
        assert_eq!(decision, take.apply(self.bucket(key)));
        Ok(())
    }

    async fn peek(&mut self, random: &mut Random) -> CaseResult {
        let key = random.pick(&KEYS);
        random.note(format!("peek at {key:?}"));
        let found = random.handle(&self.opened).peek(super::key(key)).await?;
        let now = self.now();
        assert_eq!(
            states(found.as_ref(), now),
            states(Some(self.bucket(key)), now)
        );
        Ok(())
    }

    async fn reset(&mut self, random: &mut Random) -> CaseResult {
        let (key, quotas) = (random.pick(&KEYS), random.pick(&self.quotas));
        random.note(format!("reset {quotas:?} of {key:?}"));
        let store = random.handle(&self.opened);
        store.reset(super::key(key), &quotas).await?;
        for quota in quotas.iter() {
            self.bucket(key).remove(quota.name());
        }
        Ok(())
    }

    async fn delete(&mut self, random: &mut Random) -> CaseResult {
        let key = random.pick(&KEYS);
        random.note(format!("delete {key:?}"));
        random.handle(&self.opened).delete(super::key(key)).await?;
        self.buckets.remove(key);
        Ok(())
    }

    async fn update_tokens(&mut self, random: &mut Random) -> CaseResult {
        let (key, quotas) = (random.pick(&KEYS), random.pick(&self.quotas));
        let (quota, now) = (&quotas[random.below(quotas.len())], self.now());
        let written = random.chance(70).then(|| Tokens {
            tokens: random.below(5000) as f64 / 300.0 - 2.0,
            last_refill: now - NANO * random.below(1_000_000_000) as u32,
        });
        random.note(format!("write {written:?} as {quota:?} of {key:?}"));
        let store = random.handle(&self.opened);
        let seen = Mutex::new(None);
        let change = |before: Option<Tokens>, _: &Quota, _: Timestamp| {
            *seen.lock().expect("nothing panics with it held") = before;
            written
        };
        let after = store.update_tokens(super::key(key), quota, change).await?;
        let bucket = self.bucket(key);
        let seen = seen.into_inner().expect("nothing panics with it held");
        let expected = bucket.tokens(quota, now);
        // Full and absent are the same.
        let full = |tokens: Option<Tokens>| {
            tokens.filter(|tokens| tokens.refilled(quota, now).tokens < f64::from(quota.burst()))
        };
        assert_eq!(full(seen), full(expected), "what the closure is given");
        if let Some(tokens) = written {
            bucket.set_tokens(quota, tokens, now);
        }
        let expected = bucket.tokens(quota, now);
        assert_eq!(full(after), full(expected), "what the call returns");
        Ok(())
    }

    /// Removes one quota by a closure, or all of them, or nothing.
    async fn update(&mut self, random: &mut Random) -> CaseResult {
        let (key, name) = (random.pick(&KEYS), random.pick(&["a", "b", "", "*"]));
        random.note(format!("remove {name:?} of {key:?} by a closure"));
        let change = |bucket: Option<&Bucket>| match name {
            "*" => Some(Bucket::default()),
            name => {
                let mut bucket = bucket?.clone();
                bucket.remove(name).then_some(bucket)
            }
        };
        let store = random.handle(&self.opened);
        let (now, found) = (self.now(), store.update(super::key(key), &change).await?);
        let bucket = self.bucket(key);
        if let Some(after) = change(Some(bucket)) {
            *bucket = after;
        }
        assert_eq!(states(found.as_ref(), now), states(Some(bucket), now));
        Ok(())
    }
}
