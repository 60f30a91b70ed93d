//! What the clients of a scenario share.

use std::fmt;
use std::sync::Arc;

use store_core::{Error, ManualClock, Result, Retry, Store};
use tokio::task::JoinSet;

use super::scheduler::Scheduler;
use super::stepped::Stepped;
use crate::faults::{Chances, Lossy};
use crate::harness::Harness;
use crate::suite::CaseResult;
use store_core::layers::Resolving;

/// How many calls in a hundred are dropped while they run.
const DROPPED: usize = 8;

/// At most so many steps into the call.
const DROPPED_WITHIN: usize = 12;

/// What happened to a call, as far as its caller can know.
#[derive(Debug)]
pub enum Called<T> {
    /// It was answered.
    Answered(T),
    /// It had no effect.
    Failed,
    /// It may have had its effect, or may still have it.
    Unknown,
}

/// A store over a bad network, seen by several clients whose steps a seed orders.
///
/// Calls lose their request or their reply, arrive late, or are dropped.
pub struct World {
    handles: [Store; 2],
    plain: Store,
    clock: ManualClock,
    steps: Arc<Scheduler>,
    network: Vec<Arc<Lossy>>,
}

impl World {
    /// A fresh store of `harness`, scheduled by `seed`.
    ///
    /// # Errors
    /// The harness's own.
    pub async fn open(harness: &dyn Harness<Store>, seed: u64) -> Result<Arc<Self>> {
        let opened = harness.open(()).await?;
        let scheduler = Scheduler::start(seed);
        let mut network = Vec::new();
        let mut handle = |store: &Arc<Store>, seed| {
            let stepped = Stepped::new(Arc::clone(store.records()), &scheduler);
            let lossy = Arc::new(Lossy::new(Arc::new(stepped), seed, Chances::ROUGH));
            network.push(Arc::clone(&lossy));
            Store::new(Arc::new(Resolving::new(lossy)))
        };
        let handles = [
            handle(&opened.first, seed),
            handle(&opened.second, seed.wrapping_add(1)),
        ];
        Ok(Arc::new(Self {
            handles,
            plain: Store::new(Arc::clone(opened.first.records())),
            clock: opened.clock,
            steps: scheduler,
            network,
        }))
    }

    /// The store as client number `client` sees it.
    pub fn store(&self, client: usize) -> &Store {
        &self.handles[client % self.handles.len()]
    }

    /// The store without network and without schedule, to prepare and to check.
    pub fn plain(&self) -> &Store {
        &self.plain
    }

    /// The clock of all clients.
    pub fn clock(&self) -> &ManualClock {
        &self.clock
    }

    /// A number below `bound` that follows from the seed and the schedule.
    pub fn below(&self, bound: usize) -> usize {
        self.steps.below(bound)
    }

    /// A number for all primitives so far: equal for two runs of one schedule.
    pub fn trace(&self) -> u64 {
        self.steps.trace()
    }

    /// A step of a client that is no call, such as moving the clock.
    pub async fn step(&self) {
        self.steps.step().await;
    }

    /// Makes a call, which may be dropped at any of its steps. Errors that say
    /// whether the call had an effect become that answer.
    ///
    /// # Errors
    /// Any other error of the call.
    pub async fn call<T>(&self, call: impl Future<Output = Result<T>>) -> Result<Called<T>> {
        let answer = match self.below(100) < DROPPED {
            false => Some(call.await),
            true => {
                let within = 1 + self.below(DROPPED_WITHIN);
                let cut = async {
                    for _ in 0..within {
                        self.step().await;
                    }
                };
                tokio::select! {
                    biased;
                    answer = call => Some(answer),
                    () = cut => None,
                }
            }
        };
        match answer {
            None => Ok(Called::Unknown),
            Some(Ok(answer)) => Ok(Called::Answered(answer)),
            Some(Err(error)) => known(error),
        }
    }

    /// Runs the clients to their end, and lets what is still on its way arrive.
    ///
    /// # Errors
    /// The first of a client. A client's panic is passed on.
    pub async fn race<F>(&self, clients: impl IntoIterator<Item = F>) -> CaseResult
    where
        F: Future<Output = CaseResult> + Send + 'static,
    {
        let mut running = JoinSet::new();
        for client in clients {
            running.spawn(client);
        }
        for ended in running.join_all().await {
            ended?;
        }
        self.deliver().await;
        Ok(())
    }

    /// Lets the requests that are still on their way arrive.
    pub async fn deliver(&self) {
        for network in &self.network {
            network.deliver().await;
        }
    }
}

fn known<T>(error: Error) -> Result<Called<T>> {
    match error.retry() {
        Retry::Ambiguous => Ok(Called::Unknown),
        Retry::Safe => Ok(Called::Failed),
        Retry::Never => Err(error),
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").finish_non_exhaustive()
    }
}
