//! A request for tokens, and the answer.

use std::fmt;
use std::time::Duration;

use crate::backend::gcra::{self, Terms};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::limits::{Bucket, LimitKey, MAX_QUOTAS, Quota, QuotaSet, text};

/// A request for tokens from every quota of a limiter, all or nothing. Checked
/// when it is made, so that a store need not.
#[derive(Clone, Copy, Debug)]
pub struct Take<'a> {
    key: LimitKey<'a>,
    quotas: &'a QuotaSet,
    tokens: u32,
    now: Timestamp,
}

impl<'a> Take<'a> {
    /// A request for `tokens` from each of `quotas` under `key`, as of `now`.
    ///
    /// # Errors
    /// `InvalidInput` if the key is over [`MAX_LIMIT_KEY`](super::MAX_LIMIT_KEY)
    /// bytes, for no tokens, and for more than [`QuotaSet::max_tokens`]: such a
    /// request could never be allowed, however long it waited.
    #[inline]
    pub fn new(key: &'a str, quotas: &'a QuotaSet, tokens: u32, now: Timestamp) -> Result<Self> {
        let key = LimitKey::new(key)?;
        if tokens == 0 {
            return Err(Error::invalid(
                "a take is for at least one token; use peek to look without taking",
            ));
        }
        if tokens > quotas.max_tokens() {
            return Err(Error::invalid(format!(
                "{tokens} tokens can never be taken at once, at most {} can; split the request",
                quotas.max_tokens()
            )));
        }
        Ok(Self {
            key,
            quotas,
            tokens,
            now,
        })
    }

    /// The key.
    #[inline]
    pub fn key(&self) -> LimitKey<'a> {
        self.key
    }

    /// The quotas.
    #[inline]
    pub fn quotas(&self) -> &'a QuotaSet {
        self.quotas
    }

    /// How many tokens, of each quota.
    #[inline]
    pub fn tokens(&self) -> u32 {
        self.tokens
    }

    /// The time of the request.
    #[inline]
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// What the request comes to against one of its quotas.
    #[inline]
    pub fn terms(&self, quota: &Quota) -> Terms {
        Terms::new(quota, self.tokens, self.now)
    }

    /// Takes from `bucket` if every quota allows it, and leaves it as it is
    /// otherwise. What each store does, whatever it does it with.
    pub fn apply(&self, bucket: &mut Bucket) -> Decision {
        let mut decisions = Decisions::new(self);
        let mut next = [None; MAX_QUOTAS];
        for (next, quota) in next.iter_mut().zip(self.quotas.iter()) {
            *next = decisions.add(quota, bucket.tat(quota));
        }
        if decisions.allows() {
            for (next, quota) in next.into_iter().zip(self.quotas.iter()) {
                if let Some(tat) = next {
                    bucket.set_tat(quota, tat, self.now);
                }
            }
        }
        decisions.finish()
    }

    /// Takes from a single quota's bucket, for a request of that one alone: the
    /// answer, and the arrival time to write if it is allowed.
    #[inline]
    pub fn apply_to_one(
        &self,
        quota: &Quota,
        tat: Option<Timestamp>,
    ) -> (Decision, Option<Timestamp>) {
        let terms = self.terms(quota);
        match terms.decide(tat) {
            Some(next) => {
                let decision = Decision::Allowed {
                    remaining: gcra::remaining(quota, Some(next), terms.now),
                    full_at: next,
                };
                (decision, Some(next))
            }
            None => {
                let decision = Decision::Denied {
                    quota: 0,
                    retry_after: terms.retry_after(tat),
                };
                (decision, None)
            }
        }
    }
}

/// Makes one [`Decision`] of each quota's arrival time, for stores that have
/// a form of their own for them.
#[derive(Debug)]
#[doc(alias("429", "too many requests", "retry-after"))]
pub struct Decisions<'a> {
    take: &'a Take<'a>,
    seen: usize,
    remaining: u32,
    full_at: Timestamp,
    denied: Option<(usize, Duration)>,
}

impl<'a> Decisions<'a> {
    /// About this request, no quota seen yet.
    pub fn new(take: &'a Take<'a>) -> Self {
        Self {
            take,
            seen: 0,
            remaining: u32::MAX,
            full_at: take.now,
            denied: None,
        }
    }

    /// Decides for the next quota, whose bucket had this arrival time; `None`
    /// if none was written. Returns the arrival time to write if all allow.
    pub fn add(&mut self, quota: &Quota, tat: Option<Timestamp>) -> Option<Timestamp> {
        let (decision, next) = self.take.apply_to_one(quota, tat);
        match decision {
            Decision::Allowed { remaining, full_at } => {
                self.remaining = self.remaining.min(remaining);
                self.full_at = self.full_at.max(full_at);
            }
            Decision::Denied { retry_after, .. } => {
                if self.denied.is_none_or(|(_, longest)| retry_after > longest) {
                    self.denied = Some((self.seen, retry_after));
                }
            }
        }
        self.seen += 1;
        next
    }

    /// Whether every quota seen so far allows the request.
    pub fn allows(&self) -> bool {
        self.denied.is_none()
    }

    /// The answer.
    pub fn finish(self) -> Decision {
        match self.denied {
            None => Decision::Allowed {
                remaining: self.remaining,
                full_at: self.full_at,
            },
            Some((quota, retry_after)) => Decision::Denied { quota, retry_after },
        }
    }
}

/// The answer to a [`Take`]. An `Err` beside it means that there is no answer.
///
/// ```
/// # use std::time::Duration;
/// # use store_core::limits::Decision;
/// let retry_after = Duration::from_micros(99_300);
/// let denied = Decision::Denied { quota: 0, retry_after };
/// assert!(!denied.is_allowed());
/// assert_eq!(denied.to_string(), "denied, fits in 100 ms");
/// ```
#[must_use = "a denied request must not be served"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The tokens were taken, from every quota.
    Allowed {
        /// How many could be taken now, of the quota that has the least.
        remaining: u32,
        /// When every quota's bucket will be full, if no more are taken.
        full_at: Timestamp,
    },
    /// Nothing was taken.
    Denied {
        /// Which of the limiter's quotas made the request wait longest, by its
        /// place among them.
        quota: usize,
        /// How long until the same request fits, if no other tokens are taken
        /// before. See [`Decision::retry_after_secs`] for a header.
        retry_after: Duration,
    },
}

impl Decision {
    /// True if the tokens were taken.
    pub fn is_allowed(self) -> bool {
        matches!(self, Self::Allowed { .. })
    }

    /// How long until the same request fits; `None` if it was allowed.
    pub fn retry_after(self) -> Option<Duration> {
        match self {
            Self::Allowed { .. } => None,
            Self::Denied { retry_after, .. } => Some(retry_after),
        }
    }

    /// [`Decision::retry_after`] in whole seconds, rounded up: the value of a
    /// `Retry-After` header. A client that waits that long is never too early.
    pub fn retry_after_secs(self) -> Option<u64> {
        self.retry_after().map(text::whole_seconds)
    }

    /// The status of the HTTP response: 200, or 429 for a denied request.
    pub fn http_status(self) -> u16 {
        if self.is_allowed() { 200 } else { 429 }
    }

    /// The headers for the HTTP response, names in lower case: how many tokens
    /// are left, and for a denied request when to try again.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use store_core::limits::Decision;
    /// let retry_after = Duration::from_millis(1_500);
    /// let denied = Decision::Denied { quota: 0, retry_after };
    /// assert_eq!(denied.http_status(), 429);
    /// assert_eq!(
    ///     denied.http_headers(),
    ///     [("x-ratelimit-remaining", "0".to_owned()), ("retry-after", "2".to_owned())]
    /// );
    /// ```
    pub fn http_headers(self) -> Vec<(&'static str, String)> {
        let left = match self {
            Self::Allowed { remaining, .. } => remaining,
            Self::Denied { .. } => 0,
        };
        let mut headers = vec![("x-ratelimit-remaining", left.to_string())];
        if let Some(seconds) = self.retry_after_secs() {
            headers.push(("retry-after", seconds.to_string()));
        }
        headers
    }
}

/// For people: `allowed, 3 left`, or `denied, fits in 34 min 40 s`.
impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Allowed { remaining, .. } => write!(f, "allowed, {remaining} left"),
            Self::Denied { retry_after, .. } => {
                write!(f, "denied, fits in {}", text::ForPeople(*retry_after))
            }
        }
    }
}
