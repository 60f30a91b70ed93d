//! A limiter for requests of an application's own type.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use crate::clock::Timestamp;
use crate::error::Result;
use crate::limits::{Decision, RateLimiter, Refused};

/// A [`RateLimiter`] that finds the key in the request.
/// See [`RateLimiter::keyed`].
pub struct KeyedLimiter<R: ?Sized> {
    limiter: RateLimiter,
    key: Arc<dyn Fn(&R) -> String + Send + Sync>,
}

impl<R: ?Sized> KeyedLimiter<R> {
    pub(super) fn new(
        limiter: RateLimiter,
        key: impl Fn(&R) -> String + Send + Sync + 'static,
    ) -> Self {
        Self {
            limiter,
            key: Arc::new(key),
        }
    }

    /// The limiter, for everything that takes a key.
    pub fn limiter(&self) -> &RateLimiter {
        &self.limiter
    }

    /// The key of `request`.
    pub fn key(&self, request: &R) -> String {
        (self.key)(request)
    }

    /// As [`RateLimiter::allow`].
    ///
    /// # Errors
    /// As [`RateLimiter::take`].
    pub async fn allow(&self, request: &R) -> Result<bool> {
        let key = self.key(request);
        self.limiter.allow(&key).await
    }

    /// As [`RateLimiter::take`].
    ///
    /// # Errors
    /// As [`RateLimiter::take`].
    pub async fn take(&self, request: &R, tokens: u32) -> Result<Decision> {
        let key = self.key(request);
        self.limiter.take(&key, tokens).await
    }

    /// As [`RateLimiter::wait`].
    ///
    /// # Errors
    /// As [`RateLimiter::take`].
    pub async fn wait(&self, request: &R, tokens: u32, deadline: Timestamp) -> Result<Decision> {
        let key = self.key(request);
        self.limiter.wait(&key, tokens, deadline).await
    }

    /// As [`RateLimiter::execute`].
    ///
    /// # Errors
    /// As [`RateLimiter::execute`].
    pub async fn execute<T, F, W>(&self, request: &R, work: W) -> Result<T, Refused>
    where
        W: FnOnce() -> F,
        F: Future<Output = T>,
    {
        let key = self.key(request);
        self.limiter.execute(&key, work).await
    }
}

impl<R: ?Sized> Clone for KeyedLimiter<R> {
    fn clone(&self) -> Self {
        Self {
            limiter: self.limiter.clone(),
            key: Arc::clone(&self.key),
        }
    }
}

impl<R: ?Sized> fmt::Debug for KeyedLimiter<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.limiter, f)
    }
}
