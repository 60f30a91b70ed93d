//! The task that removes expired records, for a store that was asked to.

use std::time::Duration;

use store_core::RecordStore;

use store_core::backend::Background;

pub(crate) fn start<S>(records: S, interval: Duration, grace: Duration) -> Background
where
    S: RecordStore + 'static,
{
    Background::start(|mut stop| async move {
        while !stop.within(interval).await {
            // Between batches others get the connection, and a stop is seen.
            // A failed sweep is made up for by the next.
            while !stop.is_requested() && records.sweep(grace).await.is_ok_and(|swept| swept.more) {
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use async_trait::async_trait;
    use store_core::{Batch, Committed, Error, Record, RecordRef, Records, Result, Scan, Swept};

    use super::*;

    /// Counts its sweeps: every other one fails, and every third has more to do.
    #[derive(Clone, Debug, Default)]
    struct Counting(Arc<AtomicU64>);

    #[async_trait]
    impl RecordStore for Counting {
        async fn get(&self, _: RecordRef<'_>) -> Result<Option<Record>> {
            Ok(None)
        }
        async fn get_many(&self, at: &[RecordRef<'_>]) -> Result<Vec<Option<Record>>> {
            Ok(vec![None; at.len()])
        }
        async fn scan(&self, _: &Scan) -> Result<Records> {
            Ok(Records::last(Vec::new()))
        }
        async fn commit(&self, _: &Batch) -> Result<Committed> {
            Ok(Committed::new())
        }
        async fn sweep(&self, grace: Duration) -> Result<Swept> {
            assert_eq!(grace, GRACE);
            let number = self.0.fetch_add(1, Ordering::SeqCst);
            if number % 3 == 1 {
                return Err(Error::closed());
            }
            Ok(Swept {
                removed: 1,
                more: number % 3 == 2,
            })
        }
    }

    const INTERVAL: Duration = Duration::from_secs(60);
    const GRACE: Duration = Duration::from_secs(5);

    #[tokio::test(start_paused = true)]
    async fn it_sweeps_each_interval_through_failures_until_it_is_stopped() {
        let store = Counting::default();
        let swept = Arc::clone(&store.0);
        let sweeper = start(store, INTERVAL, GRACE);
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
            "this one is followed by the rest at once"
        );
        sweeper.stop().await;
        assert_eq!(after(100).await, 4, "nobody sweeps after it was stopped");
        sweeper.stop().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_is_dropped_sweeps_no_more() {
        let store = Counting::default();
        let swept = Arc::clone(&store.0);
        drop(start(store, INTERVAL, GRACE));
        let _ = tokio::time::timeout(INTERVAL * 10, std::future::pending::<()>()).await;
        assert_eq!(swept.load(Ordering::SeqCst), 0);
        assert_eq!(Arc::strong_count(&swept), 1, "the task is gone");
    }
}
