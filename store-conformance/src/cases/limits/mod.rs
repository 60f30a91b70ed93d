//! Rate limits: the promises of every [`RateLimitStore`] and of the limiter over it. The
//! cases need a multi-threaded runtime: some call the store from within a closure, which
//! shows that nothing is locked while the closure runs.

mod histories;
mod life;
mod limiter;
mod model;
mod quotas;
mod races;
mod steps;
mod stored;
mod takes;
mod time;
mod updates;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use store_core::limits::{Decision, LimitKey, Quota, QuotaSet, Take, Tokens};
use store_core::{Clock, RateLimitStore, Result, Store};

use crate::case;
use crate::harness::{Harness, Over};
use crate::suite::{Case, CaseResult, Suite};

pub use histories::calls_have_an_order;
pub(super) use model::compare;
pub use steps::walk;

/// How a case opens what it tests.
type Limits = Arc<dyn Harness<dyn RateLimitStore>>;

/// One handle on a store.
type Handle = Arc<dyn RateLimitStore>;

const SECOND: Duration = Duration::from_secs(1);
const NANO: Duration = Duration::from_nanos(1);

/// The suite over a backend.
pub fn over(backend: &Arc<Over>) -> Vec<Suite> {
    vec![
        Suite::new("limits", Arc::clone(backend) as Limits, cases()),
        Suite::new(
            "limits",
            Arc::clone(backend.backend_harness()),
            record_cases(),
        ),
    ]
}

/// The cases of the standard implementation over a backend's records.
pub(crate) fn record_cases() -> Vec<Case<Store>> {
    stored::cases()
}

/// The cases, for a harness of your own.
pub fn cases() -> Vec<Case<dyn RateLimitStore>> {
    use {histories::*, life::*, limiter::*, model::*, quotas::*, races::*};
    use {steps::*, takes::*, time::*, updates::*};
    vec![
        case!(a_new_bucket_grants_its_burst_and_no_more),
        case!(a_denied_take_consumes_nothing),
        case!(a_denied_take_writes_nothing),
        case!(several_quotas_are_taken_from_all_or_nothing),
        case!(a_quota_is_shared_by_key_and_name_alone),
        case!(retry_after_is_honest_to_the_nanosecond),
        case!(retry_after_is_true_after_limits_were_raised_or_lowered),
        case!(windows_of_weeks_and_months_are_counted, "36"),
        case!(a_reset_of_several_quotas_fills_each_and_spares_others),
        case!(a_limiter_says_when_the_next_token_comes),
        case!(an_immediate_take_is_a_take),
        case!(keys_with_odd_characters_never_collide, "47"),
        case!(concurrent_takes_grant_exactly_the_burst, "30"),
        case!(concurrent_takes_of_several_quotas_stay_whole, "30"),
        case!(concurrent_closures_reach_exactly_zero, "30"),
        case!(closures_and_takes_lose_nothing_of_each_other, "30"),
        case!(a_closure_sees_every_write_that_ended_before_it, "30"),
        case!(
            racing_calls_have_an_order_that_explains_them,
            "30",
            "31",
            "33"
        ),
        case!(a_take_during_an_update_is_not_lost, "30"),
        case!(a_delete_during_an_update_is_not_undone, "31"),
        case!(a_recreation_during_an_update_is_noticed, "32"),
        case!(updates_racing_a_delete_never_resurrect, "31"),
        case!(an_update_that_is_always_beaten_is_contended, "34"),
        case!(an_update_of_nothing_writes_nothing, "33"),
        case!(closures_and_takes_agree_on_one_state),
        case!(what_a_closure_writes_is_stored_to_the_last_bit, "37"),
        case!(tokens_stay_between_none_and_the_burst),
        case!(a_backward_clock_mints_nothing, "38"),
        case!(a_clock_that_ran_ahead_mints_nothing, "38"),
        case!(the_ends_of_time_mint_nothing, "38"),
        case!(an_expired_bucket_is_absent_before_any_sweep, "35", "R2"),
        case!(a_bucket_stays_until_it_is_full, "36"),
        case!(a_bucket_that_a_closure_wrote_stays_until_it_is_full, "36"),
        case!(a_slow_quota_outlives_a_quick_one_of_its_key, "36"),
        case!(peek_and_health_create_nothing, "33"),
        case!(reset_fills_the_limiters_quotas_and_spares_others),
        case!(delete_forgets_everything_and_is_idempotent),
        case!(after_close_everything_is_closed, "58", "R10").needs("close", |given| {
            Box::pin(limits_without_close_stay_usable(given))
        }),
        case!(a_cancelled_take_leaves_a_usable_store, "39", "R8"),
        case!(
            a_bucket_that_was_full_before_its_limit_was_raised_is_full,
            "35"
        ),
        case!(takes_agree_with_an_exact_token_bucket),
        case!(takes_under_a_wandering_clock_agree_with_the_reference, "38"),
        case!(random_calls_are_answered_as_by_a_map_of_buckets, "33", "47"),
        case!(a_limiter_allows_denies_and_reports),
        case!(a_request_that_could_never_be_allowed_is_refused_at_once),
        case!(a_wait_ends_when_there_are_enough_tokens),
        case!(a_wait_that_would_miss_its_deadline_takes_nothing),
        case!(work_runs_only_when_it_is_allowed),
    ]
}

/// A quota of `burst` tokens, one a second.
fn quota(burst: u32) -> Quota {
    Quota::per_second(1)
        .and_then(|quota| quota.with_burst(burst))
        .expect("a good quota")
}

fn key(key: &str) -> LimitKey<'_> {
    LimitKey::new(key).expect("a short key")
}

/// Takes at the store's own time.
async fn take(store: &Handle, key: &str, quotas: &QuotaSet, tokens: u32) -> Result<Decision> {
    let take = Take::new(key, quotas, tokens, store.clock().now())?;
    store.take(&take).await
}

async fn allows(store: &Handle, key: &str, quotas: &QuotaSet, tokens: u32) -> Result<bool> {
    Ok(take(store, key, quotas, tokens).await?.is_allowed())
}

/// How many single tokens can be taken, asking for at most `most`.
async fn drain(store: &Handle, key: &str, quotas: &QuotaSet, most: u32) -> Result<u32> {
    let mut taken = 0;
    while taken < most && allows(store, key, quotas, 1).await? {
        taken += 1;
    }
    Ok(taken)
}

/// The tokens of one quota as they are now; `None` if nothing is stored.
async fn tokens(store: &Handle, key: &str, quota: &Quota) -> Result<Option<Tokens>> {
    let now = store.clock().now();
    let bucket = store.peek(self::key(key)).await?;
    Ok(bucket.and_then(|bucket| bucket.tokens(quota, now)))
}

/// One token less, if there is one; for a closure.
fn one_less(before: Option<Tokens>, quota: &Quota, now: store_core::Timestamp) -> Option<Tokens> {
    let full = Tokens {
        tokens: f64::from(quota.burst()),
        last_refill: now,
    };
    let before = before.unwrap_or(full).refilled(quota, now);
    (before.tokens >= 1.0).then_some(Tokens {
        tokens: before.tokens - 1.0,
        ..before
    })
}

/// Runs `future` to its end inside a synchronous closure.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(future))
}
