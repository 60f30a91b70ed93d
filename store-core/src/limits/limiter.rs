//! The handle that applications hold.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::events::{Event, Hooks, Outcome};
use crate::limits::{
    Bucket, Decision, Denial, KeyedLimiter, LimitKey, QuotaSet, RateLimitStore, Refused, Take, gcra,
};
use crate::record_store::Ping;
use crate::store::Store;

/// Limits how often something happens, by key. Cheap to clone; clones are one
/// limiter, and so are limiters of one store where key and quota name agree.
///
/// ```
/// use store_core::limits::{Decision, Quota, RateLimiter};
///
/// # #[tokio::main] async fn main() -> store_core::Result<()> {
/// # let store = store_memory::MemoryStore::new();
/// let limiter = RateLimiter::new(store, Quota::per_second(10)?.with_burst(20)?);
/// match limiter.take("user:7", 1).await? {
///     Decision::Allowed { remaining, .. } => println!("{remaining} left"),
///     Decision::Denied { retry_after, .. } => println!("come back in {retry_after:?}"),
/// }
/// # Ok(()) }
/// ```
#[doc(alias = "throttle")]
#[doc(alias = "rate limit")]
#[doc(alias = "token bucket")]
#[doc(alias = "middleware")]
#[derive(Clone)]
pub struct RateLimiter {
    limits: Arc<dyn RateLimitStore>,
    quotas: QuotaSet,
    fail_open: bool,
    hooks: Hooks,
}

/// How full one quota's bucket is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Level {
    /// The quota's name.
    pub quota: Arc<str>,
    /// How many tokens could be taken now.
    pub remaining: u32,
    /// How many the bucket holds.
    pub burst: u32,
    /// How long until one token can be taken, if no other is taken before; zero
    /// if one can be taken now.
    pub next_after: Duration,
    /// How long until it is full, if no token is taken.
    pub full_after: Duration,
}

impl RateLimiter {
    /// A limiter of these quotas whose buckets are in `store`. Fails
    /// closed: without an answer from the store, a call is an error.
    pub fn new(store: impl Into<Store>, quotas: impl Into<QuotaSet>) -> Self {
        Self::over(Arc::clone(store.into().limits()), quotas)
    }

    /// A limiter over a rate-limit store, such as one of your own.
    pub fn over(limits: Arc<dyn RateLimitStore>, quotas: impl Into<QuotaSet>) -> Self {
        Self {
            limits,
            quotas: quotas.into(),
            fail_open: false,
            hooks: Hooks::default(),
        }
    }

    /// Whether to allow calls while the store cannot be reached
    /// (`Unavailable`, `Timeout`). Off by default.
    ///
    /// Only an outage opens. A request that could never be allowed is refused
    /// all the same, and neither a contended key nor a full store opens:
    /// a client could cause those.
    pub fn fail_open(mut self, open: bool) -> Self {
        self.fail_open = open;
        self
    }

    /// Calls `hook` for each call that was allowed, failed open or not. See [`RateLimiter::audit`].
    pub fn on_allow(mut self, hook: impl Fn(&Event<'_>) + Send + Sync + 'static) -> Self {
        self.hooks.set().on_allow = Some(Arc::new(hook));
        self
    }

    /// Calls `hook` for each call that was denied. See [`RateLimiter::audit`].
    pub fn on_limit(mut self, hook: impl Fn(&Event<'_>) + Send + Sync + 'static) -> Self {
        self.hooks.set().on_limit = Some(Arc::new(hook));
        self
    }

    /// Calls `hook` for everything that happens: allowed, denied, failed,
    /// failed open, reset. One audit trail for all of a limiter's decisions.
    ///
    /// Hooks run in the caller's task, after the decision is final and with
    /// nothing locked: keep them short. If one panics, the caller panics; the
    /// tokens stay taken and the limiter stays usable.
    pub fn audit(mut self, hook: impl Fn(&Event<'_>) + Send + Sync + 'static) -> Self {
        self.hooks.set().audit = Some(Arc::new(hook));
        self
    }

    /// This limiter for requests of a type of the caller's own, with the
    /// function that finds a request's key.
    ///
    /// ```
    /// # use store_core::limits::{Quota, RateLimiter};
    /// # #[tokio::main] async fn main() -> store_core::Result<()> {
    /// # let store = store_memory::MemoryStore::new();
    /// struct Request { user: u64, cost: u32 }
    /// let limiter = RateLimiter::new(store, Quota::per_second(10)?)
    ///     .keyed(|request: &Request| format!("user:{}", request.user));
    /// let request = Request { user: 7, cost: 3 };
    /// assert!(limiter.take(&request, request.cost).await?.is_allowed());
    /// # Ok(()) }
    /// ```
    pub fn keyed<R: ?Sized>(
        self,
        key: impl Fn(&R) -> String + Send + Sync + 'static,
    ) -> KeyedLimiter<R> {
        KeyedLimiter::new(self, key)
    }

    /// The quotas.
    pub fn quotas(&self) -> &QuotaSet {
        &self.quotas
    }

    /// The store of the buckets.
    pub fn store(&self) -> &Arc<dyn RateLimitStore> {
        &self.limits
    }

    /// Takes one token; true if the call is allowed.
    ///
    /// # Errors
    /// As [`RateLimiter::take`].
    pub async fn allow(&self, key: &str) -> Result<bool> {
        Ok(self.take(key, 1).await?.is_allowed())
    }

    /// Takes `tokens` from each quota, or nothing at all.
    ///
    /// # Errors
    /// `InvalidInput` for a key over [`MAX_LIMIT_KEY`](super::MAX_LIMIT_KEY)
    /// bytes, no tokens, or more than could ever be taken at once. The store's
    /// own, unless the limiter [fails open](RateLimiter::fail_open); after one
    /// that is [`Ambiguous`](crate::Retry) the tokens may have been taken.
    #[doc(alias("check", "acquire", "consume", "hit"))]
    pub async fn take(&self, key: &str, tokens: u32) -> Result<Decision> {
        self.take_at(key, tokens, self.now()).await
    }

    /// Like [`RateLimiter::take`], at a time that the caller read already from
    /// the store's clock.
    ///
    /// # Errors
    /// As [`RateLimiter::take`].
    pub async fn take_at(&self, key: &str, tokens: u32, now: Timestamp) -> Result<Decision> {
        let take = Take::new(key, &self.quotas, tokens, now)?;
        let answer = match self.limits.take_now(&take) {
            Some(answer) => answer,
            None => self.limits.take(&take).await,
        };
        self.conclude(&take, answer)
    }

    /// Like [`RateLimiter::take`], without a future, where the store can answer
    /// synchronously; `None` where it cannot.
    pub fn take_now(&self, key: &str, tokens: u32) -> Option<Result<Decision>> {
        self.take_now_at(key, tokens, self.now())
    }

    /// Like [`RateLimiter::take_now`], at a time that the caller read already.
    pub fn take_now_at(&self, key: &str, tokens: u32, now: Timestamp) -> Option<Result<Decision>> {
        let take = match Take::new(key, &self.quotas, tokens, now) {
            Ok(take) => take,
            Err(error) => return Some(Err(error)),
        };
        if !self.fail_open && !self.hooks.any() {
            // The store's answer is final, so it is returned without a copy.
            return self.limits.take_now(&take);
        }
        let answer = self.limits.take_now(&take)?;
        Some(self.conclude(&take, answer))
    }

    /// Takes `tokens` as soon as there are enough, but not after `deadline` by
    /// the store's clock: answers as soon as it is known that the tokens will
    /// not be there in time, and never sleeps past the deadline. A denied wait
    /// has taken nothing.
    ///
    /// It asks the store once, and once more at each moment at which the tokens
    /// would be there if no other caller had taken them. Waiters on one key are
    /// served in no particular order: several processes share a key about
    /// evenly only if they reach the store about as fast.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use store_core::limits::{Quota, RateLimiter};
    /// # #[tokio::main] async fn main() -> store_core::Result<()> {
    /// # let store = store_memory::MemoryStore::new();
    /// let limiter = RateLimiter::new(store, Quota::per_second(1_000)?.with_burst(1)?);
    /// for _ in 0..3 {
    ///     let deadline = limiter.now() + Duration::from_secs(10);
    ///     assert!(limiter.wait("batch job", 1, deadline).await?.is_allowed());
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`RateLimiter::take`].
    #[doc(alias("until_ready"))]
    pub async fn wait(&self, key: &str, tokens: u32, deadline: Timestamp) -> Result<Decision> {
        loop {
            let now = self.now();
            let take = Take::new(key, &self.quotas, tokens, now)?;
            let answer = self.limits.take(&take).await;
            match answer {
                Ok(Decision::Denied { retry_after, .. })
                    if now + retry_after <= deadline && now + retry_after > now =>
                {
                    self.limits.clock().sleep_until(now + retry_after).await;
                }
                answer => return self.conclude(&take, answer),
            }
        }
    }

    /// Takes one token and, if the call is allowed, runs `work`.
    ///
    /// ```
    /// # use store_core::limits::{Quota, RateLimiter, Refused};
    /// # #[tokio::main] async fn main() -> store_core::Result<()> {
    /// # let store = store_memory::MemoryStore::new();
    /// let limiter = RateLimiter::new(store, Quota::per_second(1)?);
    /// let send = || async { "sent" };
    /// assert_eq!(limiter.execute("mail", send).await.unwrap(), "sent");
    /// match limiter.execute("mail", send).await {
    ///     Err(Refused::Denied(denial)) => println!("in {:?}", denial.retry_after),
    ///     other => panic!("{other:?}"),
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Refused::Denied`] with key and retry-after, or [`Refused::Failed`]
    /// where there is no answer. `work` did not run.
    pub async fn execute<T, F, W>(&self, key: &str, work: W) -> Result<T, Refused>
    where
        W: FnOnce() -> F,
        F: Future<Output = T>,
    {
        match self.take(key, 1).await? {
            Decision::Allowed { .. } => Ok(work().await),
            Decision::Denied { quota, retry_after } => Err(Refused::Denied(Denial {
                key: key.into(),
                quota: Arc::clone(self.quotas[quota].shared_name()),
                retry_after,
            })),
        }
    }

    /// How full each quota's bucket is, in the limiter's order. Changes nothing
    /// and creates no bucket.
    ///
    /// # Errors
    /// `InvalidInput` for a key that is too long; the store's own.
    pub async fn peek(&self, key: &str) -> Result<Vec<Level>> {
        let bucket = self.limits.peek(LimitKey::new(key)?).await?;
        Ok(self.levels(&bucket.unwrap_or_default(), self.now()))
    }

    fn levels(&self, bucket: &Bucket, now: Timestamp) -> Vec<Level> {
        let level = |quota: &super::Quota| {
            let tat = bucket.tat(quota);
            Level {
                quota: Arc::clone(quota.shared_name()),
                remaining: gcra::remaining(quota, tat, now),
                burst: quota.burst(),
                next_after: gcra::Terms::new(quota, 1, now).retry_after(tat),
                full_after: tat.map_or(Duration::ZERO, |tat| tat.since(now)),
            }
        };
        self.quotas.iter().map(level).collect()
    }

    /// Makes this limiter's buckets of `key` full again.
    ///
    /// # Errors
    /// `InvalidInput` for a key that is too long; the store's own.
    pub async fn reset(&self, key: &str) -> Result<()> {
        let answer = self.limits.reset(LimitKey::new(key)?, &self.quotas).await;
        self.hooks.notify(&Event {
            key,
            tokens: 0,
            at: self.now(),
            quotas: &self.quotas,
            outcome: match &answer {
                Ok(()) => Outcome::Reset,
                Err(error) => Outcome::Failed(error),
            },
        });
        answer
    }

    /// Whether the store can serve now. Creates no bucket and touches none.
    ///
    /// # Errors
    /// The store's own, also when the limiter fails open.
    pub async fn health(&self) -> Result<Ping> {
        self.limits.ping().await
    }

    /// The time by the store's clock.
    pub fn now(&self) -> Timestamp {
        self.limits.clock().now()
    }

    /// Fails open or closed, and notifies the hooks.
    fn conclude(&self, take: &Take<'_>, answer: Result<Decision>) -> Result<Decision> {
        // If the store could not be asked, how many tokens remain is unknown, and
        // none is promised.
        let opened = match &answer {
            Err(error) if self.fail_open && is_outage(error) => Some(Decision::Allowed {
                remaining: 0,
                full_at: take.now(),
            }),
            _ => None,
        };
        self.hooks.notify(&Event {
            key: take.key().as_str(),
            tokens: take.tokens(),
            at: take.now(),
            quotas: &self.quotas,
            outcome: match &answer {
                Ok(decision) => Outcome::of(*decision),
                Err(error) if opened.is_some() => Outcome::FailedOpen(error),
                Err(error) => Outcome::Failed(error),
            },
        });
        opened.map_or(answer, Ok)
    }
}

/// Whether the store could not be asked, as opposed to having refused.
fn is_outage(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout)
}

impl fmt::Debug for RateLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimiter")
            .field("quotas", &self.quotas)
            .field("fail_open", &self.fail_open)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}
