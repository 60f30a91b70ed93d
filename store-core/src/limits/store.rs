//! The trait, and what follows from it.

use std::fmt;
use std::sync::Mutex;

use async_trait::async_trait;

use crate::clock::{Clock, SystemClock, Timestamp};
use crate::error::Result;
use crate::limits::{Bucket, Decision, LimitKey, Quota, QuotaSet, Take, Tokens};
use crate::record_store::Ping;

/// The change that [`RateLimitStore::update`] makes. It gets the current bucket, `None`
/// if there is none, and returns the bucket to write, or `None` to write nothing. It
/// may run several times.
pub type BucketUpdate<'a> = &'a (dyn Fn(Option<&Bucket>) -> Option<Bucket> + Send + Sync);

/// Stores buckets. Implement [`RateLimitStore::update`] and every limiter works.
///
/// # What an implementer promises
/// - **Atomicity**: of all updates and takes on one key, each sees the bucket
///   as the one before it left it. None is lost, and a bucket that was deleted
///   in between does not return with its old content.
/// - **Expiry**: what has `expires_at <= now` by [`RateLimitStore::clock`] is
///   absent, swept or not, and what has not is still there
///   (see [`Bucket::forget_expired`], [`Bucket::expires_at`]).
/// - **Precision**: what was written is read back to the nanosecond and to the
///   last bit of a float.
/// - **No side effects**: an update whose closure writes nothing, a denied take
///   and a peek write nothing.
/// - **Outages** are errors, never denials, and say whether the tokens may have
///   been taken ([`Retry`](crate::Retry)). A take is never sent twice.
/// - **Keys** that differ never share a bucket, whatever their characters.
///
/// A server that can decide by itself overrides [`RateLimitStore::take`] with
/// one round trip; [`gcra::Terms`](crate::backend::gcra::Terms) has the numbers to send.
///
/// The suite in `store-conformance` proves all of this for any implementation.
#[async_trait]
pub trait RateLimitStore: Send + Sync + fmt::Debug {
    /// Replaces the bucket of `key` by what `change` makes of it, atomically,
    /// by compare-and-swap: `change` runs again when another process was faster,
    /// and no lock is held while it runs. Returns what the last run wrote, or the
    /// current bucket if it wrote nothing. Writing an empty bucket deletes it.
    ///
    /// # Errors
    /// `Contended` if other processes were faster each time; nothing was written.
    async fn update(&self, key: LimitKey<'_>, change: BucketUpdate<'_>) -> Result<Option<Bucket>>;

    /// Takes tokens from every quota of the request, or from none.
    ///
    /// # Errors
    /// As [`RateLimitStore::update`]. A denial is no error.
    async fn take(&self, take: &Take<'_>) -> Result<Decision> {
        take_by_update(self, take).await
    }

    /// Like [`RateLimitStore::take`] for a store that can answer synchronously,
    /// without a future; `None` means "ask `take`".
    fn take_now(&self, take: &Take<'_>) -> Option<Result<Decision>> {
        let _ = take;
        None
    }

    /// The bucket of `key`, changing nothing; `None` if there is none, and
    /// every quota of that key is therefore full.
    ///
    /// # Errors
    /// The store's own.
    async fn peek(&self, key: LimitKey<'_>) -> Result<Option<Bucket>> {
        self.update(key, &|_| None).await
    }

    /// Makes the buckets of these quotas full again; others of the key stay.
    ///
    /// # Errors
    /// As [`RateLimitStore::update`].
    async fn reset(&self, key: LimitKey<'_>, quotas: &QuotaSet) -> Result<()> {
        let without = |bucket: Option<&Bucket>| {
            let mut bucket = bucket?.clone();
            let removed = quotas.iter().filter(|quota| bucket.remove(quota.name()));
            (removed.count() > 0).then_some(bucket)
        };
        self.update(key, &without).await.map(drop)
    }

    /// Deletes everything under `key`; no error if there is nothing.
    ///
    /// # Errors
    /// As [`RateLimitStore::update`].
    async fn delete(&self, key: LimitKey<'_>) -> Result<()> {
        let nothing = |bucket: Option<&Bucket>| bucket.map(|_| Bucket::default());
        self.update(key, &nothing).await.map(drop)
    }

    /// The clock that decides expiry and refill.
    fn clock(&self) -> &dyn Clock {
        &SystemClock
    }

    /// Asks the server whether it is there, reading and writing no bucket.
    ///
    /// # Errors
    /// The store's own: it cannot serve now.
    async fn ping(&self) -> Result<Ping> {
        Ok(Ping::default())
    }

    /// As [`RecordStore::close`](crate::RecordStore::close).
    async fn close(&self) -> Result<()> {
        Ok(())
    }
}

/// A [`take`](RateLimitStore::take) by compare-and-swap, for any store: what it
/// does by default, and where its server cannot decide by itself.
///
/// # Errors
/// As [`RateLimitStore::update`].
pub async fn take_by_update<S: RateLimitStore + ?Sized>(
    store: &S,
    take: &Take<'_>,
) -> Result<Decision> {
    let decided = Mutex::new(None);
    let change = |bucket: Option<&Bucket>| {
        let mut bucket = bucket.cloned().unwrap_or_default();
        let decision = take.apply(&mut bucket);
        *decided.lock().expect("nothing panics with it held") = Some(decision);
        decision.is_allowed().then_some(bucket)
    };
    store.update(take.key(), &change).await?;
    // The last run is the one that counted.
    let decision = decided.lock().expect("nothing panics with it held").take();
    decision.ok_or_else(|| {
        crate::Error::corrupt("the rate-limit store never ran the closure that it was given")
    })
}

/// Conveniences over any [`RateLimitStore`].
#[async_trait]
pub trait RateLimitStoreExt: RateLimitStore {
    /// Changes the tokens of one quota by a closure of the caller's own, which
    /// gets them as they were last written (see [`Tokens::refilled`]) or `None`
    /// for a full bucket, the quota and the time. It may run several times; if
    /// it returns `None`, nothing is written.
    ///
    /// Returns what was written, or the current tokens.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> store_core::Result<()> {
    /// use store_core::limits::{LimitKey, Quota, RateLimitStoreExt, Tokens};
    /// # let store = store_core::Store::from(store_memory::MemoryStore::new());
    /// let quota = Quota::per_second(10)?;
    /// let key = LimitKey::new("a penalty")?;
    /// let left = store.limits().update_tokens(key, &quota, |_, _, now| {
    ///     Some(Tokens { tokens: 1.0, last_refill: now })
    /// }).await?;
    /// assert_eq!(left.expect("just written").tokens, 1.0);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`RateLimitStore::update`].
    async fn update_tokens<F>(
        &self,
        key: LimitKey<'_>,
        quota: &Quota,
        change: F,
    ) -> Result<Option<Tokens>>
    where
        F: Fn(Option<Tokens>, &Quota, Timestamp) -> Option<Tokens> + Send + Sync,
    {
        let now = self.clock().now();
        let after = self
            .update(key, &|bucket| {
                let before = bucket.and_then(|bucket| bucket.tokens(quota, now));
                let after = change(before, quota, now)?;
                let mut bucket = bucket.cloned().unwrap_or_default();
                bucket.set_tokens(quota, after, now);
                Some(bucket)
            })
            .await?;
        Ok(after.and_then(|bucket| bucket.tokens(quota, now)))
    }
}

impl<S: RateLimitStore + ?Sized> RateLimitStoreExt for S {}
