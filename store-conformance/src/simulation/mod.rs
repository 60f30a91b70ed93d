//! Deterministic simulation: which caller goes next is drawn from a seed.
//!
//! A store in memory never yields, so callers that race over it run one after the
//! other, and a race case proves little. [`Interleaved`] wraps a harness so that
//! every primitive of a store (get, get_many, scan, commit, sweep) is a step
//! before and after which other callers may run. A [`Scheduler`] lets one of the
//! waiting steps continue at a time, chosen by its seed. The same seed gives the
//! same schedule on a runtime of one thread.
//!
//! [`scenarios`] are programs of several clients, with lost requests, lost
//! replies and dropped calls, whose answers and final state are checked.
//! [`mutants`] are stores with a bug that some schedule of a scenario shows.

pub mod mutants;
pub mod scenarios;

mod scheduler;
mod stepped;
mod world;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use store_core::backend::SeededThread;
use store_core::{Result, Store};

use crate::harness::{Harness, Opened};
use crate::history::Dice;
use crate::suite::CaseResult;

pub use scheduler::Scheduler;
pub use stepped::Stepped;
pub use world::{Called, World};

/// A harness whose stores take every step in an order drawn from a seed.
///
/// Objects and rate limits are those over records, so that they consist of the
/// same primitives.
pub struct Interleaved {
    inner: Arc<dyn Harness<Store>>,
    seed: u64,
    opened: AtomicU64,
}

impl Interleaved {
    /// The stores of `inner`, with schedules of this seed.
    pub fn new(inner: Arc<dyn Harness<Store>>, seed: u64) -> Self {
        Self {
            inner,
            seed,
            opened: AtomicU64::new(0),
        }
    }
}

#[async_trait]
impl Harness<Store> for Interleaved {
    fn backend(&self) -> String {
        format!("interleaved({})", self.inner.backend())
    }

    fn server(&self) -> String {
        self.inner.server()
    }

    async fn open(&self, (): ()) -> Result<Opened<Store>> {
        let number = self.opened.fetch_add(1, Ordering::Relaxed);
        let seed = Dice::new(self.seed.wrapping_add(number << 32)).roll();
        let scheduler = Scheduler::start(seed);
        let opened = self.inner.open(()).await?;
        Ok(opened.map(|store: &Arc<Store>| {
            let records = Arc::clone(store.records());
            Arc::new(Store::new(Arc::new(Stepped::new(records, &scheduler))))
        }))
    }

    fn unsupported(&self) -> Vec<&'static str> {
        self.inner.unsupported()
    }

    fn most_tasks(&self) -> usize {
        self.inner.most_tasks()
    }
}

impl fmt::Debug for Interleaved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Interleaved").field(&self.backend()).finish()
    }
}

/// Runs `program` on a runtime of one thread whose time stands still until every
/// task waits for it, and where back-off and versions follow from `seed`, so that a
/// schedule depends on its seed alone.
///
/// # Errors
/// What `program` returns, a panic in it, or that it can no longer continue.
pub fn run<F>(seed: u64, program: F) -> CaseResult
where
    F: Future<Output = CaseResult> + Send + 'static,
{
    let _seeded = SeededThread::new(seed);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()?;
    runtime.block_on(async {
        // The timer also ends a deadlock: paused time jumps to it when nothing
        // else can continue.
        let hour = std::time::Duration::from_secs(3600);
        match tokio::time::timeout(hour, tokio::spawn(program)).await {
            Ok(Ok(result)) => result,
            Ok(Err(panicked)) => match panicked.try_into_panic() {
                Ok(panic) => Err(crate::suite::panic_text(&*panic).into()),
                Err(cancelled) => Err(cancelled.into()),
            },
            Err(_) => Err("the schedule came to a point where no caller can continue".into()),
        }
    })
}
