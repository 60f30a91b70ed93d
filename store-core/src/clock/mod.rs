//! Time, as the store sees it.
//!
//! One [`Clock`] decides whether a record has expired and how far a bucket has
//! refilled. It is injected when a backend is opened, so that a test can move
//! time by hand with [`ManualClock`] instead of sleeping. Leases, back-off and
//! deadlines measure durations: they use tokio's time.

mod convert;
mod manual;
mod system;
mod timestamp;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

pub use manual::ManualClock;
pub use system::SystemClock;
pub use timestamp::Timestamp;

/// Reads the time and waits for it.
///
/// A shared clock is one too: pass an `Arc<C>` wherever a clock is taken.
#[async_trait]
pub trait Clock: Send + Sync + fmt::Debug {
    /// The time now. A later call may return an earlier time, as a system clock may.
    fn now(&self) -> Timestamp;

    /// Returns once [`Clock::now`] has reached `deadline`; immediately if it has.
    /// Dropping the future costs nothing.
    async fn sleep_until(&self, deadline: Timestamp);
}

#[async_trait]
impl<C: Clock + ?Sized> Clock for Arc<C> {
    fn now(&self) -> Timestamp {
        (**self).now()
    }

    async fn sleep_until(&self, deadline: Timestamp) {
        (**self).sleep_until(deadline).await;
    }
}
