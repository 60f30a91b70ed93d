//! Bugs that break the promises of `limits`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use store_core::backend::Attempts;
use store_core::limits::{
    Bucket, BucketUpdate, Decision, Entry, LimitKey, QuotaSet, State, Take, Tokens,
};
use store_core::{
    Batch, Body, Change, Clock, Error, ManualClock, RateLimitStore, Result, Timestamp,
};
use tokio::sync::Mutex;

use super::Mutant;
use super::altered::{committing, rewritten};
use crate::cases::limits;
use crate::harness::{Harness, Opened};
use crate::suite::Suite;

/// What is wrong with a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    ReadsThenWrites,
    TakesQuotaByQuota,
    ConsumesWhatItDenies,
    ResurrectsTheDeleted,
    RepeatsVersions,
    GivesUpAsDenied,
    WritesOnPeek,
    CreatesOnPing,
    ForgetsEarly,
    ForgetsByTheLastWriter,
    ReadsExpired,
    ReadsExpiredQuotasOfALiveKey,
    RefillsBackwards,
    KeepsMilliseconds,
    KeepsSingles,
    RoundsRetryAfterDown,
    IgnoresQuotaNames,
    FoldsKeys,
    ResetsEverything,
    AnswersAfterClose,
    PromisesTooMuch,
    CapsRetryAfter,
    KeepsADayAtMost,
    ResetsTheFirstQuotaAlone,
    LooksAtItsOwnCopy,
    ChangesNothingByItsOwnCopy,
}

/// A map behind a lock that is taken and left at every step, as a server would
/// be asked: correct if nothing is wrong with it.
#[derive(Debug)]
struct Plain {
    flaw: Option<Flaw>,
    clock: ManualClock,
    shared: Arc<Mutex<Shared>>,
    closed: std::sync::atomic::AtomicBool,
    /// What this handle last left under each key.
    copies: std::sync::Mutex<HashMap<String, Option<Bucket>>>,
}

#[derive(Debug, Default)]
struct Shared {
    held: HashMap<String, (u64, Bucket)>,
    writes: u64,
}

impl Plain {
    fn has(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    fn copy(&self, key: LimitKey<'_>) -> Option<Option<Bucket>> {
        let copies = self.copies.lock().expect("no panic");
        copies.get(&self.name(key)).cloned()
    }

    fn check_open(&self) -> Result<()> {
        let closed = self.closed.load(std::sync::atomic::Ordering::Acquire);
        if closed && !self.has(Flaw::AnswersAfterClose) {
            return Err(Error::closed());
        }
        Ok(())
    }

    fn name(&self, key: LimitKey<'_>) -> String {
        if self.has(Flaw::FoldsKeys) {
            return key.as_str().trim().to_lowercase();
        }
        key.as_str().into()
    }

    async fn read(&self, key: LimitKey<'_>) -> Option<(u64, Bucket)> {
        let now = self.clock.now();
        let (version, mut bucket) = self.shared.lock().await.held.get(&self.name(key))?.clone();
        if self.has(Flaw::ForgetsByTheLastWriter) {
            let last = bucket
                .entries()
                .iter()
                .map(|entry| entry.expires_at)
                .min()?;
            if last <= now {
                return None;
            }
        } else if self.has(Flaw::ReadsExpiredQuotasOfALiveKey) {
            bucket.expires_at().filter(|&at| at > now)?;
        } else if !self.has(Flaw::ReadsExpired) {
            bucket.forget_expired(now);
        }
        (!bucket.is_empty()).then_some((version, bucket))
    }

    /// Writes if the version is still `expected`; with some flaws, anyway.
    async fn write(&self, key: LimitKey<'_>, expected: Option<u64>, next: Bucket) -> bool {
        let now = self.clock.now();
        let next: Bucket = next.entries().iter().map(|e| self.spoil(e, now)).collect();
        let mut shared = self.shared.lock().await;
        let name = self.name(key);
        // What has expired counts as absent.
        let live = |(version, mut bucket): (u64, Bucket)| {
            bucket.forget_expired(now);
            (!bucket.is_empty()).then_some(version)
        };
        let current = shared.held.get(&name).cloned().and_then(live);
        let as_expected = match self.flaw {
            Some(Flaw::ReadsThenWrites) => true,
            // "It does not exist, or it is as I saw it."
            Some(Flaw::ResurrectsTheDeleted) => current.is_none() || current == expected,
            _ => current == expected || self.has(Flaw::ReadsExpired),
        };
        if !as_expected {
            return false;
        }
        shared.writes += 1;
        let version = match self.flaw {
            Some(Flaw::RepeatsVersions) => current.unwrap_or(0) + 1,
            _ => shared.writes,
        };
        match next.is_empty() {
            true => shared.held.remove(&name),
            false => shared.held.insert(name, (version, next)),
        };
        true
    }

    /// The entry as this store stores it.
    fn spoil(&self, entry: &Entry, now: Timestamp) -> Entry {
        let mut entry = entry.clone();
        match (self.flaw, &mut entry.state) {
            (Some(Flaw::KeepsMilliseconds), State::Tat(at)) => {
                *at = Timestamp::from_millis(at.as_millis());
            }
            (Some(Flaw::KeepsMilliseconds), State::Tokens(tokens)) => {
                tokens.last_refill = Timestamp::from_millis(tokens.last_refill.as_millis());
            }
            (Some(Flaw::KeepsSingles), State::Tokens(tokens)) => {
                tokens.tokens = f64::from(tokens.tokens as f32);
            }
            (Some(Flaw::ForgetsEarly), _) => {
                let shorter = entry.expires_at.since(now) / 2;
                entry.expires_at = now + shorter.max(Duration::from_nanos(1));
            }
            (Some(Flaw::KeepsADayAtMost), _) => {
                let day = Duration::from_secs(86_400);
                entry.expires_at = entry.expires_at.min(now + day);
            }
            (Some(Flaw::IgnoresQuotaNames), _) => entry.quota = "default".into(),
            _ => {}
        }
        entry
    }

    /// What a flawed store decides, where a sound one would `take.apply`.
    fn decide(&self, take: &Take<'_>, bucket: &mut Bucket) -> Decision {
        match self.flaw {
            Some(Flaw::RefillsBackwards) => {
                for quota in take.quotas().iter() {
                    // The time between, whichever way it went.
                    let Some(Tokens {
                        tokens,
                        last_refill,
                    }) = bucket.tokens(quota, take.now())
                    else {
                        continue;
                    };
                    let between = last_refill
                        .since(take.now())
                        .max(take.now().since(last_refill));
                    let flowed = between.as_secs_f64() / quota.period().as_secs_f64();
                    let refilled = Tokens {
                        tokens: tokens + flowed,
                        last_refill: take.now(),
                    };
                    bucket.set_tokens(quota, refilled, take.now());
                }
                take.apply(bucket)
            }
            Some(Flaw::IgnoresQuotaNames) => {
                let quotas = take.quotas().iter().map(|quota| {
                    let named = quota.clone().named("default");
                    named.expect("a good name")
                });
                let one = QuotaSet::new(quotas.take(1)).expect("one quota");
                let request = Take::new(take.key().as_str(), &one, take.tokens(), take.now());
                request.expect("it was good").apply(bucket)
            }
            Some(Flaw::TakesQuotaByQuota) => {
                for quota in take.quotas().iter() {
                    let one = QuotaSet::from(quota.clone());
                    let request = Take::new(take.key().as_str(), &one, take.tokens(), take.now());
                    let decision = request.expect("it was good").apply(bucket);
                    if !decision.is_allowed() {
                        return decision;
                    }
                }
                Decision::Allowed {
                    remaining: 0,
                    full_at: take.now(),
                }
            }
            _ => take.apply(bucket),
        }
    }

    async fn swap(&self, key: LimitKey<'_>, change: BucketUpdate<'_>) -> Result<Option<Bucket>> {
        let mut attempts = Attempts::new();
        loop {
            self.check_open()?;
            let (version, seen) = self.read(key).await.unzip();
            // Whoever is faster gets the chance that a network would give him.
            tokio::task::yield_now().await;
            let Some(next) = change(seen.as_ref()) else {
                return Ok(seen);
            };
            if self.write(key, version, next.clone()).await {
                return Ok((!next.is_empty()).then_some(next));
            }
            if self.has(Flaw::GivesUpAsDenied) {
                return Ok(seen);
            }
            attempts.failed().await?;
        }
    }
}

#[async_trait]
impl RateLimitStore for Plain {
    async fn update(&self, key: LimitKey<'_>, change: BucketUpdate<'_>) -> Result<Option<Bucket>> {
        if self.has(Flaw::ChangesNothingByItsOwnCopy) {
            let copy = self.copy(key);
            if let Some(copy) = copy.filter(|copy| change(copy.as_ref()).is_none()) {
                return Ok(copy);
            }
        }
        let left = self.swap(key, change).await?;
        let mut copies = self.copies.lock().expect("no panic");
        copies.insert(self.name(key), left.clone());
        Ok(left)
    }

    async fn take(&self, take: &Take<'_>) -> Result<Decision> {
        let decided = std::sync::Mutex::new(None);
        let change = |bucket: Option<&Bucket>| {
            let mut bucket = bucket.cloned().unwrap_or_default();
            let decision = self.decide(take, &mut bucket);
            *decided.lock().expect("no panic") = Some(decision);
            if !decision.is_allowed() && self.has(Flaw::ConsumesWhatItDenies) {
                for quota in take.quotas().iter() {
                    let tat = bucket.tat(quota).unwrap_or(take.now());
                    bucket.set_tat(quota, tat + quota.period(), take.now());
                }
                return Some(bucket);
            }
            let partly = self.has(Flaw::TakesQuotaByQuota);
            (decision.is_allowed() || partly).then_some(bucket)
        };
        self.update(take.key(), &change).await?;
        let decision = decided.lock().expect("no panic").take();
        Ok(match (self.flaw, decision.expect("the closure ran")) {
            (Some(Flaw::RoundsRetryAfterDown), Decision::Denied { quota, retry_after }) => {
                let retry_after = Duration::from_millis(retry_after.as_millis() as u64);
                Decision::Denied { quota, retry_after }
            }
            (Some(Flaw::CapsRetryAfter), Decision::Denied { quota, retry_after }) => {
                let retry_after = retry_after.min(take.quotas()[quota].full_refill());
                Decision::Denied { quota, retry_after }
            }
            (Some(Flaw::PromisesTooMuch), Decision::Allowed { remaining, full_at }) => {
                Decision::Allowed {
                    remaining: remaining + 1,
                    full_at,
                }
            }
            (_, decision) => decision,
        })
    }

    async fn peek(&self, key: LimitKey<'_>) -> Result<Option<Bucket>> {
        if self.has(Flaw::WritesOnPeek) {
            let full = |bucket: Option<&Bucket>| match bucket {
                Some(_) => None,
                None => Some(Bucket::from_iter([Entry {
                    quota: "default".into(),
                    state: State::Tat(self.clock.now()),
                    expires_at: Timestamp::MAX,
                }])),
            };
            return self.update(key, &full).await;
        }
        match self.copy(key) {
            Some(copy) if self.has(Flaw::LooksAtItsOwnCopy) => Ok(copy),
            _ => self.update(key, &|_| None).await,
        }
    }

    async fn reset(&self, key: LimitKey<'_>, quotas: &QuotaSet) -> Result<()> {
        let without = |bucket: Option<&Bucket>| {
            let mut bucket = bucket?.clone();
            if self.has(Flaw::ResetsEverything) {
                return Some(Bucket::default());
            }
            if self.has(Flaw::ResetsTheFirstQuotaAlone) {
                return bucket.remove(quotas[0].name()).then_some(bucket);
            }
            let removed = quotas.iter().filter(|quota| bucket.remove(quota.name()));
            (removed.count() > 0).then_some(bucket)
        };
        self.update(key, &without).await.map(drop)
    }

    fn clock(&self) -> &dyn Clock {
        &self.clock
    }

    async fn ping(&self) -> Result<store_core::Ping> {
        self.check_open()?;
        if self.has(Flaw::CreatesOnPing) {
            let probe = Entry {
                quota: "default".into(),
                state: State::Tat(self.clock.now()),
                expires_at: Timestamp::MAX,
            };
            let probe = Bucket::from_iter([probe]);
            let key = LimitKey::new("_health")?;
            self.update(key, &|_| Some(probe.clone())).await?;
        }
        Ok(store_core::Ping::default())
    }

    async fn close(&self) -> Result<()> {
        self.closed
            .store(true, std::sync::atomic::Ordering::Release);
        Ok(())
    }
}

struct Flawed(Option<Flaw>);

#[async_trait]
impl Harness<dyn RateLimitStore> for Flawed {
    fn backend(&self) -> String {
        self.0.map_or("sound".into(), |flaw| format!("{flaw:?}"))
    }

    async fn open(&self, (): ()) -> Result<Opened<dyn RateLimitStore>> {
        let clock = ManualClock::default();
        let shared: Arc<Mutex<Shared>> = Arc::default();
        let handle = || -> Arc<dyn RateLimitStore> {
            Arc::new(Plain {
                flaw: self.0,
                clock: clock.clone(),
                shared: Arc::clone(&shared),
                closed: false.into(),
                copies: std::sync::Mutex::default(),
            })
        };
        Ok(Opened::new(handle(), handle(), clock))
    }
}

fn suite(flaw: Option<Flaw>) -> Suite {
    Suite::new("limits", Arc::new(Flawed(flaw)), limits::cases())
}

/// The same store with nothing wrong: every case must pass on it.
pub fn sound() -> Suite {
    suite(None)
}

/// All of them.
pub fn all() -> Vec<Mutant> {
    let drops_fields = Mutant {
        name: "drops fields of a newer release from a bucket",
        contract: "limits",
        killed_by: "fields_of_a_newer_release_survive_a_change_of_a_bucket",
        suite: || {
            let below = committing(without_fields_of_a_newer_release);
            Suite::new("limits", below, limits::record_cases())
        },
    };
    [plain(), vec![drops_fields]].concat()
}

/// As if the standard implementation wrote only the fields that it knows.
fn without_fields_of_a_newer_release(batch: &Batch) -> Result<Batch> {
    rewritten(batch, |item| {
        let Change::Put { body, expires_at } = item.change() else {
            return Some(item.change().clone());
        };
        let mut fields = (*body.decode::<serde_json::Value>().ok()?).clone();
        fields.as_object_mut()?.remove("later");
        Some(Change::Put {
            body: Body::replacement(fields).ok()?,
            expires_at: *expires_at,
        })
    })
}

macro_rules! mutants {
    ($($flaw:ident killed by $case:literal),* $(,)?) => {
        /// Those of a plain store.
        fn plain() -> Vec<Mutant> {
            vec![$(Mutant {
                name: stringify!($flaw),
                contract: "limits",
                killed_by: $case,
                suite: || suite(Some(Flaw::$flaw)),
            }),*]
        }
    };
}

mutants! {
    ReadsThenWrites killed by "concurrent_takes_grant_exactly_the_burst",
    TakesQuotaByQuota killed by "several_quotas_are_taken_from_all_or_nothing",
    ConsumesWhatItDenies killed by "a_denied_take_writes_nothing",
    ResurrectsTheDeleted killed by "a_delete_during_an_update_is_not_undone",
    RepeatsVersions killed by "a_recreation_during_an_update_is_noticed",
    GivesUpAsDenied killed by "an_update_that_is_always_beaten_is_contended",
    WritesOnPeek killed by "peek_and_health_create_nothing",
    CreatesOnPing killed by "peek_and_health_create_nothing",
    ForgetsEarly killed by "a_bucket_stays_until_it_is_full",
    ForgetsByTheLastWriter killed by "a_slow_quota_outlives_a_quick_one_of_its_key",
    ReadsExpired killed by "an_expired_bucket_is_absent_before_any_sweep",
    ReadsExpiredQuotasOfALiveKey killed by "a_bucket_that_was_full_before_its_limit_was_raised_is_full",
    RefillsBackwards killed by "a_backward_clock_mints_nothing",
    KeepsMilliseconds killed by "what_a_closure_writes_is_stored_to_the_last_bit",
    KeepsSingles killed by "what_a_closure_writes_is_stored_to_the_last_bit",
    RoundsRetryAfterDown killed by "retry_after_is_honest_to_the_nanosecond",
    IgnoresQuotaNames killed by "a_quota_is_shared_by_key_and_name_alone",
    FoldsKeys killed by "keys_with_odd_characters_never_collide",
    ResetsEverything killed by "reset_fills_the_limiters_quotas_and_spares_others",
    AnswersAfterClose killed by "after_close_everything_is_closed",
    PromisesTooMuch killed by "takes_agree_with_an_exact_token_bucket",
    CapsRetryAfter killed by "retry_after_is_true_after_limits_were_raised_or_lowered",
    KeepsADayAtMost killed by "windows_of_weeks_and_months_are_counted",
    ResetsTheFirstQuotaAlone killed by "a_reset_of_several_quotas_fills_each_and_spares_others",
    LooksAtItsOwnCopy killed by "racing_calls_have_an_order_that_explains_them",
    ChangesNothingByItsOwnCopy killed by "a_closure_sees_every_write_that_ended_before_it",
}
