//! Chooses which waiting step continues.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

use crate::history::Dice;

/// How often the other tasks may run before the next step is chosen. On a runtime
/// of one thread each time lets every task that can continue do so.
const ROUNDS: usize = 4;

/// How many steps in a hundred are preceded by a moment of virtual time, so that
/// sleepers continue between steps too.
const TIME: u8 = 10;

/// Lets one of the waiting steps continue at a time, drawn from a seed.
pub struct Scheduler {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    state: Mutex<State>,
    arrived: Notify,
}

struct State {
    dice: Dice,
    waiting: Vec<oneshot::Sender<()>>,
    steps: u64,
    trace: DefaultHasher,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics under this lock")
    }
}

impl Scheduler {
    /// Starts one in the background of the current runtime.
    pub fn start(seed: u64) -> Arc<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                dice: Dice::new(seed),
                waiting: Vec::new(),
                steps: 0,
                trace: DefaultHasher::new(),
            }),
            arrived: Notify::new(),
        });
        let task = tokio::spawn(schedule(Arc::clone(&shared)));
        Arc::new(Self { shared, task })
    }

    /// Waits until this step is chosen.
    pub async fn step(&self) {
        let (sender, chosen) = oneshot::channel();
        self.shared.state().waiting.push(sender);
        self.shared.arrived.notify_one();
        chosen
            .await
            .expect("the scheduler lives as long as a step waits");
    }

    /// A number below `bound`, drawn from the seed.
    pub fn below(&self, bound: usize) -> usize {
        self.shared.state().dice.below(bound)
    }

    /// How many steps were taken.
    pub fn taken(&self) -> u64 {
        self.shared.state().steps
    }

    /// Adds a primitive and its outcome to the trace.
    pub(super) fn note(&self, what: impl Hash) {
        what.hash(&mut self.shared.state().trace);
    }

    /// A number for all primitives so far, in their order and with their outcomes:
    /// equal for two runs of one schedule.
    pub fn trace(&self) -> u64 {
        self.shared.state().trace.finish()
    }
}

async fn schedule(shared: Arc<Shared>) {
    loop {
        for _ in 0..ROUNDS {
            tokio::task::yield_now().await;
        }
        let pause = {
            let mut state = shared.state();
            let pause = state.dice.chance(TIME);
            pause.then(|| Duration::from_micros(state.dice.below(20_000) as u64))
        };
        if let Some(pause) = pause {
            tokio::time::sleep(pause).await;
        }
        let chosen = {
            let mut state = shared.state();
            // Dropped calls wait no longer.
            state.waiting.retain(|step| !step.is_closed());
            let count = state.waiting.len();
            let place = state.dice.below(count);
            (count > 0).then(|| {
                state.steps += 1;
                state.waiting.swap_remove(place)
            })
        };
        match chosen {
            // A receiver dropped since then is the same as one dropped later.
            Some(step) => drop(step.send(())),
            None => shared.arrived.notified().await,
        }
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for Scheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scheduler").finish_non_exhaustive()
    }
}
