//! How much, how fast: quotas, checked when they are made.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, Result};

/// The longest name of a quota, in bytes.
pub const MAX_QUOTA_NAME: usize = 64;

/// The most quotas in one take.
pub const MAX_QUOTAS: usize = 8;

/// The longest time that refilling an empty bucket may take.
pub const MAX_REFILL: Duration = Duration::from_secs(3650 * 24 * 60 * 60);

const MIN_INTERVAL: Duration = Duration::from_millis(1);
const MAX_INTERVAL: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// A bucket's size and how fast it refills.
///
/// As text, in a configuration file for example: `100/min, burst 20, named api`;
/// see its [`FromStr`](#impl-FromStr-for-Quota).
///
/// `rate` tokens flow in evenly over each `interval`; the bucket holds `burst`
/// tokens and begins full. A token's share of the interval is a whole number
/// of nanoseconds, rounded up: the bucket never refills faster than asked, and
/// slower by less than a nanosecond a token.
///
/// Limiters that share a store share a quota where key and quota name are the
/// same, so give quotas that mean different things different names.
///
/// ```
/// use std::time::Duration;
/// use store_core::limits::Quota;
/// # fn main() -> store_core::Result<()> {
/// let steady = Quota::per_second(100)?;
/// let bursty = Quota::new(1_000, Duration::from_secs(3600))?
///     .with_burst(50)?
///     .named("hourly")?;
/// assert_eq!(steady.burst(), 100);
/// assert_eq!(bursty.full_refill(), Duration::from_secs(180));
/// # Ok(()) }
/// ```
#[doc(alias = "rate limit")]
#[doc(alias = "token bucket")]
#[doc(alias = "throttle")]
#[doc(alias = "leaky bucket")]
#[derive(Clone, PartialEq, Eq)]
pub struct Quota {
    name: Arc<str>,
    rate: u32,
    burst: u32,
    max_tokens: Option<u32>,
    interval: Duration,
    period_nanos: u64,
}

impl Quota {
    /// `rate` tokens each `interval`, a bucket of `rate` tokens, named `default`.
    ///
    /// # Errors
    /// `InvalidInput` if the rate is zero, the interval is under 1 ms or over
    /// 366 days, more than one token would flow in each nanosecond, or an empty
    /// bucket would take longer than [`MAX_REFILL`] to fill.
    pub fn new(rate: u32, interval: Duration) -> Result<Self> {
        if rate == 0 {
            return Err(Error::invalid("a quota's rate is at least 1"));
        }
        if !(MIN_INTERVAL..=MAX_INTERVAL).contains(&interval) {
            return Err(Error::invalid("a quota's interval is 1 ms to 366 days"));
        }
        let nanos = u64::try_from(interval.as_nanos()).expect("at most a year");
        if u64::from(rate) > nanos {
            return Err(Error::invalid(
                "a quota's rate is at most one token a nanosecond; count in larger units",
            ));
        }
        Self {
            name: "default".into(),
            rate,
            burst: rate,
            max_tokens: None,
            interval,
            period_nanos: nanos.div_ceil(u64::from(rate)),
        }
        .checked()
    }

    /// `rate` tokens a second.
    ///
    /// # Errors
    /// As [`Quota::new`].
    pub fn per_second(rate: u32) -> Result<Self> {
        Self::new(rate, Duration::from_secs(1))
    }

    /// `rate` tokens a minute.
    ///
    /// # Errors
    /// As [`Quota::new`].
    pub fn per_minute(rate: u32) -> Result<Self> {
        Self::new(rate, Duration::from_secs(60))
    }

    /// `rate` tokens an hour.
    ///
    /// # Errors
    /// As [`Quota::new`].
    pub fn per_hour(rate: u32) -> Result<Self> {
        Self::new(rate, Duration::from_secs(60 * 60))
    }

    /// `rate` tokens each 24 hours. Tokens flow in evenly: nothing is reset at
    /// midnight.
    ///
    /// # Errors
    /// As [`Quota::new`].
    pub fn per_day(rate: u32) -> Result<Self> {
        Self::new(rate, Duration::from_secs(24 * 60 * 60))
    }

    /// This quota with a bucket of `burst` tokens.
    ///
    /// # Errors
    /// `InvalidInput` if it is zero, less than the most tokens a request may
    /// take, or would take longer than [`MAX_REFILL`] to fill.
    pub fn with_burst(mut self, burst: u32) -> Result<Self> {
        self.burst = burst;
        self.checked()
    }

    /// This quota with a bound on what one request may take; `burst` otherwise.
    ///
    /// # Errors
    /// `InvalidInput` if it is zero or more than the bucket holds.
    pub fn with_max_tokens(mut self, tokens: u32) -> Result<Self> {
        self.max_tokens = Some(tokens);
        self.checked()
    }

    /// This quota under another name: 1 to [`MAX_QUOTA_NAME`] letters, digits,
    /// `-`, `_` and `.`. Part of what is stored: buckets stored under another
    /// name are other buckets.
    ///
    /// # Errors
    /// `InvalidInput` for another name.
    pub fn named(mut self, name: impl Into<Arc<str>>) -> Result<Self> {
        self.name = name.into();
        self.checked()
    }

    fn checked(self) -> Result<Self> {
        let name = self.name.as_bytes();
        let good = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if name.is_empty() || name.len() > MAX_QUOTA_NAME || !name.iter().all(good) {
            return Err(Error::invalid(format!(
                "a quota's name is 1 to {MAX_QUOTA_NAME} letters, digits, dashes, underscores and dots"
            )));
        }
        if self.burst == 0 {
            return Err(Error::invalid("a quota's burst is at least 1"));
        }
        if self
            .max_tokens
            .is_some_and(|max| max == 0 || max > self.burst)
        {
            return Err(Error::invalid(
                "the most tokens of one request are at least 1 and at most the burst",
            ));
        }
        let full = u128::from(self.period_nanos) * u128::from(self.burst);
        if full > MAX_REFILL.as_nanos() {
            return Err(Error::invalid(
                "an empty bucket would take more than ten years to fill; raise the rate or lower the burst",
            ));
        }
        Ok(self)
    }

    /// The bound that [`Quota::with_max_tokens`] set.
    pub(super) fn stated_max_tokens(&self) -> Option<u32> {
        self.max_tokens
    }

    /// The name. `default` unless another was given.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name, shared.
    #[inline]
    pub fn shared_name(&self) -> &Arc<str> {
        &self.name
    }

    /// Tokens that flow in each [`Quota::interval`].
    pub fn rate(&self) -> u32 {
        self.rate
    }

    /// How many tokens the bucket holds.
    #[inline]
    pub fn burst(&self) -> u32 {
        self.burst
    }

    /// The most tokens that one request may take.
    pub fn max_tokens(&self) -> u32 {
        self.max_tokens.unwrap_or(self.burst)
    }

    /// The time over which [`Quota::rate`] tokens flow in.
    pub fn interval(&self) -> Duration {
        self.interval
    }

    /// The time in which one token flows in, rounded up to a nanosecond.
    pub fn period(&self) -> Duration {
        Duration::from_nanos(self.period_nanos)
    }

    /// The time in which an empty bucket fills.
    pub fn full_refill(&self) -> Duration {
        Duration::from_nanos(self.full_nanos())
    }

    #[inline]
    pub(crate) fn period_nanos(&self) -> u64 {
        self.period_nanos
    }

    /// Cannot overflow: it was bounded by [`MAX_REFILL`] when the quota was made.
    #[inline]
    pub(crate) fn full_nanos(&self) -> u64 {
        self.period_nanos * u64::from(self.burst)
    }
}

impl fmt::Debug for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} each {:?}, burst {}",
            self.name, self.rate, self.interval, self.burst
        )
    }
}

/// The quotas of one limiter: a call must fit into all of them. Cheap to clone.
///
/// ```
/// use std::time::Duration;
/// use store_core::limits::{Quota, QuotaSet};
/// # fn main() -> store_core::Result<()> {
/// let one = QuotaSet::from(Quota::per_second(10)?);
/// let two = QuotaSet::new([
///     Quota::per_second(10)?.named("second")?,
///     Quota::new(1_000, Duration::from_secs(86_400))?.named("day")?,
/// ])?;
/// assert_eq!((one.len(), two.len()), (1, 2));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuotaSet {
    quotas: Arc<[Quota]>,
    max_tokens: u32,
}

impl QuotaSet {
    /// These quotas, in this order.
    ///
    /// # Errors
    /// `InvalidInput` for none, for more than [`MAX_QUOTAS`], and for two of one name.
    pub fn new(quotas: impl IntoIterator<Item = Quota>) -> Result<Self> {
        let quotas: Arc<[Quota]> = quotas.into_iter().collect();
        if !(1..=MAX_QUOTAS).contains(&quotas.len()) {
            return Err(Error::invalid(format!(
                "a limiter has 1 to {MAX_QUOTAS} quotas"
            )));
        }
        let repeated = |(i, quota): (usize, &Quota)| {
            quotas[..i].iter().any(|other| other.name() == quota.name())
        };
        if quotas.iter().enumerate().any(repeated) {
            return Err(Error::invalid(
                "two quotas of one limiter have the same name; name each with Quota::named",
            ));
        }
        Ok(Self::of(quotas))
    }

    fn of(quotas: Arc<[Quota]>) -> Self {
        let max_tokens = quotas.iter().map(Quota::max_tokens).min().unwrap_or(0);
        Self { quotas, max_tokens }
    }

    /// The most tokens that one request may take: the least of the quotas' bounds.
    #[inline]
    pub fn max_tokens(&self) -> u32 {
        self.max_tokens
    }
}

impl From<Quota> for QuotaSet {
    fn from(quota: Quota) -> Self {
        Self::of(Arc::new([quota]))
    }
}

impl From<&QuotaSet> for QuotaSet {
    fn from(quotas: &QuotaSet) -> Self {
        quotas.clone()
    }
}

impl std::ops::Deref for QuotaSet {
    type Target = [Quota];
    #[inline]
    fn deref(&self) -> &[Quota] {
        &self.quotas
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_that_makes_no_sense_is_refused_when_it_is_made() {
        let second = Duration::from_secs(1);
        assert!(Quota::new(0, second).is_err());
        assert!(Quota::new(1, Duration::from_micros(999)).is_err());
        assert!(Quota::new(1, MAX_INTERVAL + Duration::from_nanos(1)).is_err());
        assert!(Quota::new(1_000_001, MIN_INTERVAL).is_err());
        assert!(Quota::new(u32::MAX, MAX_INTERVAL).is_ok());
        assert!(Quota::new(3, Duration::from_secs(7 * 86_400)).is_ok());
        let quota = || Quota::per_second(10).unwrap();
        assert!(quota().with_burst(0).is_err());
        assert!(quota().with_max_tokens(0).is_err());
        assert!(quota().with_max_tokens(11).is_err());
        assert!(quota().with_max_tokens(9).unwrap().with_burst(8).is_err());
        assert!(quota().named("").is_err());
        assert!(quota().named("a b").is_err());
        assert!(quota().named("x".repeat(65)).is_err());
        let slow = Quota::per_day(1).unwrap();
        assert!(slow.clone().with_burst(3650).is_ok());
        assert!(slow.with_burst(3651).is_err());
    }

    #[test]
    fn a_limiter_has_some_quotas_of_different_names() {
        let quota = || Quota::per_second(10).unwrap();
        assert!(QuotaSet::new([]).is_err());
        assert!(QuotaSet::new([quota(), quota()]).is_err());
        let many = (0..9).map(|i| quota().named(i.to_string()).unwrap());
        assert!(QuotaSet::new(many).is_err());
        let two = [quota(), quota().named("b").unwrap().with_burst(4).unwrap()];
        assert_eq!(QuotaSet::new(two).unwrap().max_tokens(), 4);
    }
}
