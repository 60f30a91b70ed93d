//! The arithmetic of rate limits as pure functions, which every store follows, whether
//! it computes in Rust or on its server.
//!
//! A bucket that [`take`](crate::RateLimitStore::take) writes is one moment,
//! its *theoretical arrival time* (TAT): the moment at which it will be full.
//! This is the generic cell rate algorithm, a token bucket in one integer.
//! While time does not go backwards it decides exactly as a token bucket that gains one
//! token each [`Quota::period`]. When time does go backwards, the arrival time does not
//! change, so no tokens are created.
//!
//! A server only adds and compares. [`Terms`] holds the four numbers that it
//! needs, computed in Rust:
//!
//! ```text
//! base = max(tat if there is one, now)
//! allow if base <= latest, and then write tat = base + increment until expires_at
//! ```
//!
//! Several quotas: allow if all allow, and write none otherwise.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::limits::{Quota, Tokens};

/// One request against one quota, as the numbers that a server needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The time of the request.
    pub now: Timestamp,
    /// The number of nanoseconds by which the request moves the arrival time.
    pub increment: u64,
    /// The latest arrival time at which the request still fits. Before
    /// [`Terms::now`] only at the end of time, where nothing fits.
    pub latest: Timestamp,
    /// When the bucket that the request writes may be removed: a full refill after the
    /// request, so that its removal never grants tokens.
    pub expires_at: Timestamp,
}

impl Terms {
    /// A request for `tokens`, at most the quota's burst.
    #[inline]
    pub fn new(quota: &Quota, tokens: u32, now: Timestamp) -> Self {
        // At most ten years: see MAX_REFILL.
        let increment = quota.period_nanos() * u64::from(tokens.min(quota.burst()));
        let full = now.as_nanos() + quota.full_nanos();
        let end = full.min(Timestamp::MAX.as_nanos());
        Self {
            now,
            increment,
            latest: Timestamp::from_nanos(end - increment),
            expires_at: Timestamp::from_nanos(end),
        }
    }

    /// Decides for a bucket of this arrival time, `None` if there is no bucket: returns
    /// the new arrival time, or `None` if the request does not fit.
    #[inline]
    pub fn decide(self, tat: Option<Timestamp>) -> Option<Timestamp> {
        let base = self.base(tat);
        (base <= self.latest).then(|| Timestamp::from_nanos(base.as_nanos() + self.increment))
    }

    /// How long after [`Terms::now`] a refused request fits, if no other tokens
    /// are taken before.
    ///
    /// More than a full refill for a bucket that was used up under a slower
    /// quota, or written by a clock that is ahead. Its arrival time stays the same, so
    /// the request cannot fit earlier.
    pub fn retry_after(self, tat: Option<Timestamp>) -> Duration {
        self.base(tat).since(self.latest)
    }

    #[inline]
    fn base(self, tat: Option<Timestamp>) -> Timestamp {
        tat.map_or(self.now, |tat| tat.max(self.now))
    }
}

/// How many tokens a bucket of this arrival time holds, rounded down.
#[inline]
pub fn remaining(quota: &Quota, tat: Option<Timestamp>, now: Timestamp) -> u32 {
    let missing = tat.map_or(0, |tat| tat.as_nanos().saturating_sub(now.as_nanos()));
    let left = quota.full_nanos().saturating_sub(missing);
    u32::try_from(left / quota.period_nanos()).expect("at most the burst")
}

/// The moment at which a bucket of `tokens` will be full.
///
/// Rounded up, so that a conversion never creates tokens.
pub fn tat_of(quota: &Quota, tokens: Tokens) -> Timestamp {
    let missing = f64::from(quota.burst()) - tokens.within(quota).tokens;
    let nanos = (missing * quota.period_nanos() as f64).ceil();
    // A float's conversion saturates, and the product is at most ten years.
    tokens.last_refill + Duration::from_nanos(nanos as u64)
}

/// The tokens of a bucket of this arrival time, as of `now`; as of the moment
/// at which it begins to refill, if a clock ahead of `now` wrote it.
pub fn tokens_of(quota: &Quota, tat: Timestamp, now: Timestamp) -> Tokens {
    let empty_until = tat - quota.full_refill();
    let as_of = empty_until.max(now);
    let missing = tat.since(as_of).as_nanos() as f64 / quota.period_nanos() as f64;
    Tokens {
        tokens: f64::from(quota.burst()) - missing,
        last_refill: as_of,
    }
    .within(quota)
}

/// When a bucket of this arrival time, written at `now`, may be removed: not before it is
/// full, nor before a full refill has passed.
pub fn expires_at(quota: &Quota, tat: Timestamp, now: Timestamp) -> Timestamp {
    tat.max(now + quota.full_refill())
}
