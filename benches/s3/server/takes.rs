//! Measures how many tokens a second can be taken from one key, without a comparison.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use store_core::ErrorKind;
use store_core::limits::{Quota, QuotaSet, Take};

use crate::Bench;

const LONG: Duration = Duration::from_secs(3);

impl Bench {
    pub(crate) fn take(&self) {
        println!("takes of one key, within one process");
        for tasks in [1, 16, 128] {
            let (granted, refused) = self.runtime.block_on(self.rate(tasks));
            println!("  {tasks:>3} tasks: {granted:>8.0} a second, {refused} gave up");
        }
        println!();
    }

    /// The number of tokens a second, and of calls that failed with `Contended`.
    async fn rate(&self, tasks: u64) -> (f64, u64) {
        let quotas = QuotaSet::from(Quota::per_second(1_000_000).unwrap());
        let (granted, refused) = (AtomicU64::new(0), AtomicU64::new(0));
        let begin = Instant::now();
        let all = (0..tasks).map(|_| async {
            while begin.elapsed() < LONG {
                let take = Take::new("hot", &quotas, 1, self.store.now()).unwrap();
                match self.store.limits().take(&take).await {
                    Ok(decision) => {
                        assert!(decision.is_allowed());
                        granted.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(error) if error.is(ErrorKind::Contended) => {
                        refused.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(error) => panic!("{error:?}"),
                }
            }
        });
        join_all(all).await;
        let granted = granted.into_inner() as f64 / begin.elapsed().as_secs_f64();
        (granted, refused.into_inner())
    }
}
