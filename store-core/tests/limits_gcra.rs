//! Compares the arithmetic of limits with a simple token bucket, and checks properties
//! that hold even if time goes back.

use std::time::Duration;

use proptest::prelude::*;
use store_core::Timestamp;
use store_core::backend::gcra::{self, Terms};
use store_core::limits::{Quota, Tokens};

/// A time from which time can go back.
const START: u64 = 1_000_000_000_000_000_000;

/// A bucket that counts its content in nanoseconds of refill, which is an integer at
/// every rate.
struct Counted {
    period: u128,
    full: u128,
    held: u128,
    at: u64,
}

impl Counted {
    fn new(quota: &Quota, at: u64) -> Self {
        let (period, full) = (quota.period().as_nanos(), quota.full_refill().as_nanos());
        Self {
            period,
            full,
            held: full,
            at,
        }
    }

    /// Takes tokens. Time must not go back.
    fn take(&mut self, tokens: u32, now: u64) -> bool {
        self.held = self.full.min(self.held + u128::from(now - self.at));
        self.at = now;
        let cost = self.period * u128::from(tokens);
        let fits = cost <= self.held;
        self.held -= if fits { cost } else { 0 };
        fits
    }
}

fn quotas() -> impl Strategy<Value = Quota> {
    let rates = prop_oneof![1u32..20, 1u32..2_000_000_000];
    let intervals = prop_oneof![Just(1_000_000), Just(1_000_000_000), 1_000_000u64..1 << 46];
    (rates, intervals, 1u32..50).prop_map(|(rate, interval, burst)| {
        let rate = u64::from(rate).min(interval) as u32;
        Quota::new(rate, Duration::from_nanos(interval))
            .and_then(|quota| quota.with_burst(burst))
            .expect("within the bounds")
    })
}

/// A request: the number of tokens, and the time since the previous request, in halves of
/// a period and in nanoseconds, so that it often reaches a boundary.
type Step = (u32, i64, i64);

fn steps(back: i64) -> impl Strategy<Value = Vec<Step>> {
    let nanos = prop_oneof![3 => Just(0), 1 => -2i64..=2];
    let step = (1u32..6, back..6i64, nanos);
    prop::collection::vec(step, 1..200)
}

fn moved(quota: &Quota, now: u64, (_, halves, nanos): Step) -> u64 {
    let period = quota.period().as_nanos() as i128;
    let by = period * i128::from(halves) / 2 + i128::from(nanos);
    u64::try_from(i128::from(now) + by).expect("far from either end of time")
}

proptest! {
    #[test]
    fn a_take_decides_as_a_counted_bucket_would(quota in quotas(), steps in steps(0)) {
        let mut counted = Counted::new(&quota, START);
        let (mut tat, mut now) = (None, START);
        for step in steps {
            now = moved(&quota, now, step).max(now);
            let tokens = step.0.min(quota.burst());
            let at = Timestamp::from_nanos(now);
            let terms = Terms::new(&quota, tokens, at);
            let next = terms.decide(tat);
            let wait = terms.retry_after(tat);
            prop_assert_eq!(next.is_some(), counted.take(tokens, now));
            if next.is_none() {
                // The wait is exact to the nanosecond: the take is allowed then, and not
                // before.
                let decide = |at| Terms::new(&quota, tokens, at).decide(tat);
                prop_assert!(decide(at + wait).is_some());
                prop_assert!(decide(at + wait - Duration::from_nanos(1)).is_none());
            }
            tat = next.or(tat);
            let left = gcra::remaining(&quota, tat, at);
            prop_assert_eq!(u128::from(left), counted.held / counted.period);
        }
    }

    #[test]
    fn time_that_goes_back_grants_nothing_extra(quota in quotas(), steps in steps(-6)) {
        let (mut tat, mut now) = (None, START);
        // Each nanosecond between the earliest and the latest time refills the bucket
        // once.
        let (mut earliest, mut latest, mut granted) = (START, START, 0u128);
        for step in steps {
            now = moved(&quota, now, step);
            let tokens = step.0.min(quota.burst());
            let at = Timestamp::from_nanos(now);
            let before = gcra::remaining(&quota, tat, at);
            let next = Terms::new(&quota, tokens, at).decide(tat);
            prop_assert_eq!(next.is_some(), before >= tokens);
            if let Some(next) = next {
                prop_assert!(tat.is_none_or(|tat| next > tat), "an arrival time went back");
                (earliest, latest) = (earliest.min(now), latest.max(now));
                granted += u128::from(tokens) * quota.period().as_nanos();
                tat = Some(next);
            }
            let most = quota.full_refill().as_nanos() + u128::from(latest - earliest);
            prop_assert!(granted <= most, "{granted} of {most}");
            // At an earlier time the same bucket is never fuller.
            let earlier = at - quota.period();
            prop_assert!(gcra::remaining(&quota, tat, earlier) <= gcra::remaining(&quota, tat, at));
        }
    }

    #[test]
    fn a_bucket_holds_at_most_its_burst(
        quota in quotas(),
        tat in prop::option::of(any::<u64>()),
        now in any::<u64>(),
        tokens in any::<f64>(),
    ) {
        let (tat, now) = (tat.map(Timestamp::from_nanos), Timestamp::from_nanos(now));
        let burst = f64::from(quota.burst());
        prop_assert!(gcra::remaining(&quota, tat, now) <= quota.burst());
        if let Some(tat) = tat {
            let held = gcra::tokens_of(&quota, tat, now).tokens;
            prop_assert!((0.0..=burst).contains(&held), "{held}");
        }
        let refilled = Tokens { tokens, last_refill: now }.refilled(&quota, Timestamp::MAX);
        prop_assert!((0.0..=burst).contains(&refilled.tokens), "{refilled:?}");
    }

    #[test]
    fn nothing_expires_before_it_is_full(
        quota in quotas(),
        tat in prop::option::of(any::<u64>()),
        now in any::<u64>(),
        tokens in 1u32..6,
    ) {
        let (tat, now) = (tat.map(Timestamp::from_nanos), Timestamp::from_nanos(now));
        let terms = Terms::new(&quota, tokens, now);
        let Some(next) = terms.decide(tat) else { return Ok(()) };
        prop_assert!(next <= terms.expires_at);
        prop_assert_eq!(terms.expires_at, gcra::expires_at(&quota, next, now));
        prop_assert_eq!(gcra::remaining(&quota, Some(next), terms.expires_at), quota.burst());
    }

    #[test]
    fn one_form_of_a_bucket_never_holds_more_than_the_other(
        quota in quotas(),
        held in 0.0f64..50.0,
        later in 0u64..1 << 40,
    ) {
        let written = Timestamp::from_nanos(START);
        let tokens = Tokens { tokens: held.min(f64::from(quota.burst())), last_refill: written };
        let now = written + Duration::from_nanos(later);
        let whole = gcra::remaining(&quota, Some(gcra::tat_of(&quota, tokens)), now);
        // Within the precision of a float of this size.
        prop_assert!(f64::from(whole) <= tokens.refilled(&quota, now).tokens * (1.0 + 1e-12));
    }
}
