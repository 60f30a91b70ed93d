//! Histories of concurrent calls, and a check that they are linearizable.
//!
//! A race that only counts totals does not notice a stale read on which no call depends.
//! So races record every call with its beginning, its end and its answer; a call with an
//! unknown outcome has no end. [`check`] then looks for an order of the calls, each at
//! one moment between its beginning and its end, in which a plain sequential [`Model`]
//! gives the same answers. If there is none, the store is not linearizable, and the
//! [`Violation`] shows the few calls that cannot be explained.
//!
//! Checkers such as Knossos and Porcupine do the same in other languages. This one runs
//! within the test, and reduces a violation to the calls that matter.
//!
//! ```
//! use store_conformance::history::{Model, Outcome, Recorder, check};
//!
//! /// A counter whose answer is its new value.
//! struct Counter;
//! impl Model for Counter {
//!     type State = u32;
//!     type Call = &'static str;
//!     type Answer = u32;
//!     fn initial(&self) -> u32 {
//!         0
//!     }
//!     fn step(&self, state: &u32, call: &Self::Call) -> (u32, u32) {
//!         let after = state + u32::from(*call == "add");
//!         (after, after)
//!     }
//! }
//!
//! let recorder = Recorder::new();
//! let add = recorder.begin(0, "hits", "add");
//! let read = recorder.begin(1, "hits", "read");
//! recorder.end(read, Outcome::Answered(0)); // while it was being added
//! recorder.end(add, Outcome::Answered(1));
//! let stale = recorder.begin(1, "hits", "read");
//! recorder.end(stale, Outcome::Answered(0)); // after it was added
//! let violation = check(&Counter, &recorder.finish()).unwrap_err();
//! assert!(violation.to_string().contains("read"));
//! ```

mod dice;
mod registers;
mod search;

use std::collections::BTreeMap;
use std::fmt;
use std::hash::Hash;
use std::sync::Mutex;

pub use dice::Dice;
pub use registers::{Item, Registers, RegistersAnswer, RegistersCall, Write};
pub use search::{Violation, check};

/// The sequential specification, as a function.
pub trait Model {
    /// The state on which answers depend.
    type State: Clone + Eq + Hash + fmt::Debug;
    /// A call with its arguments.
    type Call: Clone + fmt::Debug;
    /// An answer.
    type Answer: Clone + PartialEq + fmt::Debug;

    /// The state before the first call.
    fn initial(&self) -> Self::State;

    /// The state after `call`, and its answer.
    fn step(&self, state: &Self::State, call: &Self::Call) -> (Self::State, Self::Answer);
}

/// How a call ended, as its caller saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome<A> {
    /// It was answered, so it took effect before its end.
    Answered(A),
    /// It certainly had no effect, and its answer does not depend on the state: it is left
    /// out.
    Failed,
    /// Unknown: it may have taken effect, may still do so, or never will.
    Unknown,
}

/// One call of a history. Times are logical: each beginning and each end is later than
/// everything recorded before it.
#[derive(Clone, Debug)]
pub struct Operation<C, A> {
    /// The caller.
    pub process: usize,
    /// The call.
    pub call: C,
    /// When the call began.
    pub began: u64,
    /// When it was answered and how; `None` if that is unknown.
    pub answered: Option<(u64, A)>,
}

/// The calls on each key, in the order in which they began. Keys are independent and are
/// checked separately.
pub type History<K, C, A> = BTreeMap<K, Vec<Operation<C, A>>>;

/// Records a history while it happens. Shared by all callers.
pub struct Recorder<K, C, A> {
    log: Mutex<Log<K, C, A>>,
}

struct Log<K, C, A> {
    time: u64,
    calls: Vec<Option<(K, Operation<C, A>)>>,
}

/// A call that has begun. If this is dropped, for instance with its future, the outcome
/// of the call is unknown.
#[derive(Debug)]
#[must_use = "end it with the outcome of the call"]
pub struct Begun(usize);

impl<K: Ord, C, A> Recorder<K, C, A> {
    /// An empty history.
    pub fn new() -> Self {
        let (time, calls) = (0, Vec::new());
        Self {
            log: Mutex::new(Log { time, calls }),
        }
    }

    fn log(&self) -> std::sync::MutexGuard<'_, Log<K, C, A>> {
        self.log.lock().expect("nothing panics under this lock")
    }

    /// Records that `process` is about to make `call` on `key`.
    pub fn begin(&self, process: usize, key: K, call: C) -> Begun {
        let mut log = self.log();
        log.time += 1;
        let operation = Operation {
            process,
            call,
            began: log.time,
            answered: None,
        };
        log.calls.push(Some((key, operation)));
        Begun(log.calls.len() - 1)
    }

    /// Records the outcome.
    pub fn end(&self, call: Begun, outcome: Outcome<A>) {
        let mut log = self.log();
        log.time += 1;
        let time = log.time;
        let slot = &mut log.calls[call.0];
        match (outcome, slot) {
            (Outcome::Answered(answer), Some((_, operation))) => {
                operation.answered = Some((time, answer));
            }
            (Outcome::Failed, slot) => *slot = None,
            _ => {}
        }
    }

    /// The history so far.
    pub fn finish(self) -> History<K, C, A> {
        let log = self
            .log
            .into_inner()
            .expect("nothing panics under this lock");
        let mut history = History::new();
        for (key, operation) in log.calls.into_iter().flatten() {
            history.entry(key).or_insert_with(Vec::new).push(operation);
        }
        history
    }
}

impl<K: Ord, C, A> Default for Recorder<K, C, A> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K, C, A> fmt::Debug for Recorder<K, C, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").finish_non_exhaustive()
    }
}
