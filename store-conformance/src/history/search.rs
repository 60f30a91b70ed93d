//! The search for an order that explains a history.
//!
//! This is the algorithm of Wing and Gong with Lowe's memoization. It takes a call that
//! began before every unexplained call ended, applies it to the model, and continues. It
//! never visits the same set of explained calls in the same state twice.

use std::collections::HashSet;
use std::error::Error;
use std::fmt::{self, Debug, Write};

use super::{History, Model, Operation};

/// The number of situations after which a search gives up. A history of a few hundred
/// calls by a few callers needs some thousands.
const MOST_SITUATIONS: usize = 4_000_000;

/// Looks for an order on each key. Returns the number of calls that were checked.
///
/// # Errors
/// The first key, in order, whose calls no order explains.
pub fn check<K: Debug, M: Model>(
    model: &M,
    history: &History<K, M::Call, M::Answer>,
) -> Result<usize, Violation> {
    let mut checked = 0;
    for (key, calls) in history {
        let calls: Vec<&Operation<_, _>> = calls.iter().collect();
        match Search::over(model, &calls).run(&[model.initial()]) {
            Verdict::Explained => checked += calls.len(),
            Verdict::Inexplicable => return Err(explain(model, key, &calls)),
            Verdict::TooMany => {
                return Err(Violation(format!(
                    "the history of {key:?}, {} calls, is too tangled to decide: \
                     record fewer calls at a time or fewer unknown ones",
                    calls.len()
                )));
            }
        }
    }
    Ok(checked)
}

/// No order explains a history. The text shows the calls that matter.
#[derive(Clone, PartialEq, Eq)]
pub struct Violation(String);

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Debug for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Violation {}

type Call<M> = Operation<<M as Model>::Call, <M as Model>::Answer>;

#[derive(PartialEq)]
enum Verdict {
    Explained,
    Inexplicable,
    TooMany,
}

/// Which calls have been explained.
type Set = Box<[u64]>;

fn holds(set: &Set, index: usize) -> bool {
    set[index / 64] & (1 << (index % 64)) != 0
}

struct Search<'a, M: Model> {
    model: &'a M,
    calls: &'a [&'a Call<M>],
    seen: HashSet<(Set, M::State)>,
}

impl<'a, M: Model> Search<'a, M> {
    /// `calls` in the order they began.
    fn over(model: &'a M, calls: &'a [&'a Call<M>]) -> Self {
        Self {
            model,
            calls,
            seen: HashSet::new(),
        }
    }

    /// Whether some order explains the calls from any of these states.
    fn run(&mut self, from: &[M::State]) -> Verdict {
        let none: Set = vec![0; self.calls.len().div_ceil(64)].into();
        let mut open: Vec<(Set, M::State)> = from
            .iter()
            .map(|state| (none.clone(), state.clone()))
            .collect();
        while let Some((explained, state)) = open.pop() {
            let unexplained = |i: &usize| !holds(&explained, *i);
            // A call that began after this one was answered comes after it.
            let first_end = (0..self.calls.len())
                .filter(unexplained)
                .filter_map(|i| self.calls[i].answered.as_ref().map(|(end, _)| *end))
                .min();
            let Some(first_end) = first_end else {
                return Verdict::Explained;
            };
            let begun = self.calls.partition_point(|call| call.began < first_end);
            // The last one pushed is visited first: the order of beginning.
            for i in (0..begun).rev().filter(unexplained) {
                let call = self.calls[i];
                let (after, answer) = self.model.step(&state, &call.call);
                let fits = match &call.answered {
                    Some((_, given)) => *given == answer,
                    // An unknown call that changes nothing explains nothing.
                    None => after != state,
                };
                if !fits {
                    continue;
                }
                let mut with = explained.clone();
                with[i / 64] |= 1 << (i % 64);
                if self.seen.insert((with.clone(), after.clone())) {
                    open.push((with, after));
                }
            }
            if self.seen.len() > MOST_SITUATIONS {
                return Verdict::TooMany;
            }
        }
        Verdict::Inexplicable
    }

    /// All states that the search visited.
    fn states(self, initial: M::State) -> Vec<M::State> {
        let states: HashSet<_> = self.seen.into_iter().map(|(_, state)| state).collect();
        std::iter::once(initial).chain(states).collect()
    }
}

fn inexplicable<M: Model>(model: &M, calls: &[Call<M>], from: &[M::State]) -> bool {
    let calls: Vec<_> = calls.iter().collect();
    Search::over(model, &calls).run(from) == Verdict::Inexplicable
}

/// The history at `time`: calls that were not answered by then are open.
fn until<M: Model>(calls: &[&Call<M>], time: u64) -> Vec<Call<M>> {
    let began = calls.iter().filter(|call| call.began <= time);
    began
        .map(|call| Operation {
            process: call.process,
            call: call.call.clone(),
            began: call.began,
            answered: call.answered.clone().filter(|(end, _)| *end <= time),
        })
        .collect()
}

/// Reduces an inexplicable history to the calls that matter.
fn explain<K: Debug, M: Model>(model: &M, key: &K, calls: &[&Call<M>]) -> Violation {
    let initial = model.initial();

    // The earliest answer with which it cannot be explained.
    let mut ends: Vec<u64> = calls
        .iter()
        .filter_map(|call| call.answered.as_ref().map(|(end, _)| *end))
        .collect();
    ends.sort_unstable();
    let fine = ends.partition_point(|end| {
        !inexplicable(
            model,
            &until::<M>(calls, *end),
            std::slice::from_ref(&initial),
        )
    });
    let last = ends[fine.min(ends.len() - 1)];
    let mut window = until::<M>(calls, last);

    // The latest beginning from which it cannot be explained from any state.
    let states = {
        let calls: Vec<_> = window.iter().collect();
        let mut search = Search::over(model, &calls);
        search.run(std::slice::from_ref(&initial));
        search.states(initial)
    };
    let later = |window: &[Call<M>], cut: u64| -> Vec<Call<M>> {
        let ends_later = |call: &&Call<M>| call.answered.as_ref().is_none_or(|(end, _)| *end > cut);
        window.iter().filter(ends_later).cloned().collect()
    };
    let cuts: Vec<u64> = window.iter().map(|call| call.began).collect();
    if let Some(rest) = cuts
        .iter()
        .rev()
        .map(|cut| later(&window, *cut))
        .find(|rest| inexplicable(model, rest, &states))
    {
        window = rest;
    }

    // Leave out calls that change nothing and do not matter, and unknown ones.
    let mut i = 0;
    while i < window.len() {
        let changes = |state: &M::State| model.step(state, &window[i].call).0 != *state;
        let dispensable = window[i].answered.is_none() || !states.iter().any(changes);
        let mut without = window.clone();
        without.remove(i);
        if dispensable && inexplicable(model, &without, &states) {
            window = without;
        } else {
            i += 1;
        }
    }
    Violation(render::<K, M>(key, &window, &states, last))
}

fn render<K: Debug, M: Model>(
    key: &K,
    window: &[Call<M>],
    states: &[M::State],
    last: u64,
) -> String {
    let mut text = format!(
        "the history of {key:?} is not linearizable: no order explains these calls,\n\
         in any of the {} states possible before them\n\
         {:>12}  {:>7}  call and answer\n",
        states.len(),
        "time",
        "process"
    );
    for call in window {
        let (end, answer) = match &call.answered {
            Some((end, answer)) => (end.to_string(), format!("{answer:?}")),
            None => (String::new(), "unknown".into()),
        };
        let mark = match &call.answered {
            Some((end, _)) if *end == last => " <- here it became inexplicable",
            _ => "",
        };
        let time = format!("{}..{end}", call.began);
        let _ = writeln!(
            text,
            "{time:>12}  {:>7}  {:?} -> {answer}{mark}",
            call.process, call.call
        );
    }
    text
}
