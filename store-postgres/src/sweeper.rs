//! The task that removes expired records.

use std::future::Future;
use std::time::Duration;

use store_core::backend::{Background, event};
use store_core::{Result, Swept};

/// Starts the task. Every `interval` it calls `sweep` until nothing expired is left.
pub(crate) fn start<S, F>(interval: Duration, sweep: S) -> Background
where
    S: Fn() -> F + Send + 'static,
    F: Future<Output = Result<Swept>> + Send,
{
    Background::start(|mut stop| async move {
        while !stop.within(interval).await {
            // Between batches other calls can use the connection, and a request to
            // stop is noticed. A failed sweep is repeated at the next interval.
            while !stop.is_requested() {
                match sweep().await {
                    Ok(swept) => {
                        event::swept("expired records were removed", &swept);
                        if !swept.more {
                            break;
                        }
                    }
                    Err(error) => {
                        event::failure("a sweep of expired records failed", &error);
                        break;
                    }
                }
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use store_core::Error;

    use super::*;

    /// Counts its sweeps: every other one fails, and every third has more to do.
    fn counting(sweeps: &Arc<AtomicU64>) -> Background {
        let sweeps = Arc::clone(sweeps);
        start(INTERVAL, move || {
            let number = sweeps.fetch_add(1, Ordering::SeqCst);
            let swept = match number % 3 {
                1 => Err(Error::closed()),
                _ => Ok(Swept {
                    removed: 1,
                    more: number % 3 == 2,
                    ..Swept::default()
                }),
            };
            async { swept }
        })
    }

    const INTERVAL: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn the_sweeper_runs_at_each_interval_despite_failures_until_stopped() {
        let swept = Arc::default();
        let sweeper = counting(&swept);
        let after = |intervals: u32| {
            let swept = Arc::clone(&swept);
            async move {
                let pause = INTERVAL * intervals + Duration::from_secs(1);
                let _ = tokio::time::timeout(pause, std::future::pending::<()>()).await;
                swept.load(Ordering::SeqCst)
            }
        };
        assert_eq!(after(0).await, 0, "before the first interval");
        assert_eq!(after(1).await, 1);
        assert_eq!(after(1).await, 2, "this one fails");
        assert_eq!(
            after(1).await,
            4,
            "this one is followed by the rest immediately"
        );
        sweeper.stop().await;
        assert_eq!(
            after(100).await,
            4,
            "it does not sweep after it was stopped"
        );
        sweeper.stop().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_store_stops_sweeping() {
        let swept = Arc::default();
        drop(counting(&swept));
        let _ = tokio::time::timeout(INTERVAL * 10, std::future::pending::<()>()).await;
        assert_eq!(swept.load(Ordering::SeqCst), 0);
        assert_eq!(Arc::strong_count(&swept), 1, "the task has ended");
    }
}
