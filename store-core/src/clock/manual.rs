//! A clock for tests.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use super::{Clock, Timestamp};

/// A clock that moves only when the program moves it. Clones share one time.
///
/// ```
/// use std::time::Duration;
/// use store_core::{Clock, ManualClock, Timestamp};
///
/// let clock = ManualClock::new(Timestamp::from_seconds(1_000));
/// clock.advance(Duration::from_secs(5));
/// assert_eq!(clock.now(), Timestamp::from_seconds(1_005));
/// ```
#[derive(Clone, Debug)]
pub struct ManualClock {
    time: Arc<watch::Sender<Timestamp>>,
}

impl ManualClock {
    /// A clock at `start`.
    pub fn new(start: Timestamp) -> Self {
        Self {
            time: Arc::new(watch::Sender::new(start)),
        }
    }

    /// Moves the time forward by `by` and wakes the tasks that slept until then.
    pub fn advance(&self, by: Duration) {
        self.time.send_modify(|time| *time = *time + by);
    }

    /// Sets the time, also to an earlier one.
    pub fn set(&self, to: Timestamp) {
        self.time.send_replace(to);
    }
}

impl Default for ManualClock {
    /// A clock at a round moment in 2030.
    fn default() -> Self {
        Self::new(Timestamp::from_seconds(1_893_456_000))
    }
}

#[async_trait]
impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.time.borrow()
    }

    async fn sleep_until(&self, deadline: Timestamp) {
        let mut time = self.time.subscribe();
        // The sender lives as long as `self` is borrowed, so this cannot fail.
        let _ = time.wait_for(|now| *now >= deadline).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_sleeper_wakes_when_the_time_is_moved() {
        let clock = ManualClock::default();
        let deadline = clock.now() + Duration::from_secs(3600);
        let sleeper = tokio::spawn({
            let clock = clock.clone();
            async move { clock.sleep_until(deadline).await }
        });
        clock.advance(Duration::from_secs(3600));
        sleeper.await.unwrap();
    }

    #[tokio::test]
    async fn a_shared_clock_is_a_clock() {
        fn time(clock: impl Clock) -> Timestamp {
            clock.now()
        }
        let shared: Arc<dyn Clock> = Arc::new(ManualClock::default());
        assert_eq!(time(Arc::clone(&shared)), shared.now());
        shared.sleep_until(shared.now()).await;
    }
}
