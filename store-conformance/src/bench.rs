//! Measures contenders side by side, on any store.
//!
//! On a shared machine a time means little, but a ratio is reliable if both sides were
//! measured alternately. A [`Comparison`] runs its contenders in rounds, each
//! round in another order, and reports each one's median and, against the
//! first contender, the ratio of medians with the spread of the rounds' own
//! ratios. A target that was missed is printed as missed.
//!
//! ```
//! use store_conformance::bench::{Comparison, Goal, timed};
//!
//! let mut sum = 0u64;
//! let measured = Comparison::new("adding up")
//!     .contender("one by one", |n| timed(|| for i in 0..n { sum = sum.wrapping_add(i) }))
//!     .contender("in one step", |n| timed(|| { std::hint::black_box(n.wrapping_mul(n) / 2); }))
//!     .rounds(5)
//!     .run();
//! println!("{measured}");
//! # let _ = Goal::AtLeast(1.0);
//! ```

use std::fmt;
use std::time::{Duration, Instant};

/// How long `work` takes.
pub fn timed(work: impl FnOnce()) -> Duration {
    let begin = Instant::now();
    work();
    begin.elapsed()
}

/// Does `work` this many times, one after the other, and returns how long that takes
/// without disturbance. Other load on the machine only adds time, so each repetition
/// counts as long as the fastest tenth.
pub async fn undisturbed<F: Future<Output = ()>>(times: u64, work: impl Fn(u64) -> F) -> Duration {
    let mut took = Vec::new();
    for i in 0..times {
        let begin = Instant::now();
        work(i).await;
        took.push(begin.elapsed());
    }
    took.sort_unstable();
    let one = took.get(took.len() / 10).copied().unwrap_or_default();
    one.saturating_mul(u32::try_from(times).unwrap_or(u32::MAX))
}

/// Whether the program's arguments name this part of a benchmark, or no part at all. An
/// argument that begins with `-` is an option.
pub fn is_wanted(part: &str) -> bool {
    let arguments = std::env::args().skip(1);
    let mut names = arguments.filter(|one| !one.starts_with('-')).peekable();
    names.peek().is_none() || names.any(|name| name == part)
}

/// The goal of a ratio.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goal {
    /// The other contender takes at least this many times as long as the first.
    AtLeast(f64),
    /// The first takes at most this many times as long as the other.
    AtMost(f64),
}

type Run<'a> = Box<dyn FnMut(u64) -> Duration + 'a>;

struct Contender<'a> {
    name: String,
    goal: Option<Goal>,
    run: Run<'a>,
}

/// Contenders that are measured alternately. The first is the one under test.
pub struct Comparison<'a> {
    title: String,
    contenders: Vec<Contender<'a>>,
    rounds: usize,
    slice: Duration,
    batch: Option<u64>,
}

impl<'a> Comparison<'a> {
    /// A comparison of this name.
    pub fn new(title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            contenders: Vec::new(),
            rounds: 21,
            slice: Duration::from_millis(20),
            batch: None,
        }
    }

    /// Adds a contender: `run(n)` does its work `n` times and returns how long that took,
    /// without the time for setting up.
    pub fn contender(
        mut self,
        name: impl Into<String>,
        run: impl FnMut(u64) -> Duration + 'a,
    ) -> Self {
        self.contenders.push(Contender {
            name: name.into(),
            goal: None,
            run: Box::new(run),
        });
        self
    }

    /// The goal of the ratio to the contender that was added last.
    pub fn goal(mut self, goal: Goal) -> Self {
        if let Some(last) = self.contenders.last_mut() {
            last.goal = Some(goal);
        }
        self
    }

    /// How many rounds to run; 21 if never called.
    pub fn rounds(mut self, rounds: usize) -> Self {
        self.rounds = rounds.max(1);
        self
    }

    /// About how long a contender runs in each round; 20 ms if never called.
    pub fn slice(mut self, slice: Duration) -> Self {
        self.slice = slice;
        self
    }

    /// Exactly how many times a contender works in each round, for work that
    /// cannot be repeated at will, such as filling a map.
    pub fn batch(mut self, times: u64) -> Self {
        self.batch = Some(times);
        self
    }

    /// Measures.
    pub fn run(mut self) -> Measured {
        let batches: Vec<u64> = (0..self.contenders.len())
            .map(|i| {
                self.batch
                    .unwrap_or_else(|| calibrate(&mut self.contenders[i].run, self.slice))
            })
            .collect();
        let mut nanos = vec![Vec::with_capacity(self.rounds); self.contenders.len()];
        for round in 0..self.rounds {
            for turn in 0..self.contenders.len() {
                let i = (turn + round) % self.contenders.len();
                let took = (self.contenders[i].run)(batches[i]);
                nanos[i].push(took.as_nanos() as f64 / batches[i] as f64);
            }
        }
        let lines = self
            .contenders
            .iter()
            .zip(&nanos)
            .map(|(contender, own)| Line {
                name: contender.name.clone(),
                median: quantile(own, 0.5),
                ratio: Ratio::of(own, &nanos[0]),
                goal: contender.goal,
            })
            .collect();
        Measured {
            title: self.title,
            lines,
        }
    }
}

impl fmt::Debug for Comparison<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Comparison")
            .field("title", &self.title)
            .field("contenders", &self.contenders.len())
            .finish_non_exhaustive()
    }
}

/// How often `run` must work to fill `slice`.
fn calibrate(run: &mut Run<'_>, slice: Duration) -> u64 {
    let mut times = 1;
    loop {
        let took = run(times);
        if took >= slice / 4 || times >= 1 << 40 {
            let each = took.as_nanos().max(1) as f64 / times as f64;
            return ((slice.as_nanos() as f64 / each) as u64).max(1);
        }
        times *= 4;
    }
}

fn quantile(values: &[f64], q: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1);
    sorted
        .get((last as f64 * q).round() as usize)
        .copied()
        .unwrap_or(f64::NAN)
}

/// One contender's time over the first one's.
#[derive(Clone, Copy, Debug)]
pub struct Ratio {
    /// Of the medians.
    pub median: f64,
    /// Nine in ten of the rounds' own ratios are above this.
    pub low: f64,
    /// Nine in ten are below this.
    pub high: f64,
}

impl Ratio {
    fn of(own: &[f64], first: &[f64]) -> Self {
        let rounds: Vec<f64> = own
            .iter()
            .zip(first)
            .map(|(own, first)| own / first)
            .collect();
        Self {
            median: quantile(own, 0.5) / quantile(first, 0.5),
            low: quantile(&rounds, 0.1),
            high: quantile(&rounds, 0.9),
        }
    }
}

/// One contender's result.
#[derive(Clone, Debug)]
pub struct Line {
    /// The contender.
    pub name: String,
    /// Nanoseconds for one piece of work, in the median round.
    pub median: f64,
    /// Against the first contender.
    pub ratio: Ratio,
    goal: Option<Goal>,
}

impl Line {
    /// Whether the goal was reached; `None` without one.
    pub fn reached(&self) -> Option<bool> {
        self.goal.map(|goal| match goal {
            Goal::AtLeast(ratio) => self.ratio.median >= ratio,
            Goal::AtMost(ratio) => 1.0 / self.ratio.median <= ratio,
        })
    }
}

/// What a [`Comparison`] found. Its `Display` is a small table.
#[derive(Clone, Debug)]
pub struct Measured {
    /// The comparison's name.
    pub title: String,
    /// The contenders, in the order they were added.
    pub lines: Vec<Line>,
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.title)?;
        for (i, line) in self.lines.iter().enumerate() {
            write!(
                f,
                "  {:<44} {:>10}",
                line.name,
                Nanos(line.median).to_string()
            )?;
            if i > 0 {
                let Ratio { median, low, high } = line.ratio;
                write!(f, "  {median:5.2} x the first ({low:.2} to {high:.2})")?;
            }
            match (line.goal, line.reached()) {
                (Some(Goal::AtLeast(goal)), Some(true)) => {
                    write!(f, "  goal >= {goal:.2}: reached")?
                }
                (Some(Goal::AtLeast(goal)), _) => write!(f, "  goal >= {goal:.2}: MISSED")?,
                (Some(Goal::AtMost(goal)), Some(true)) => {
                    write!(f, "  goal: first <= {goal:.2} x this: reached")?
                }
                (Some(Goal::AtMost(goal)), _) => {
                    write!(f, "  goal: first <= {goal:.2} x this: MISSED")?
                }
                (None, _) => {}
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

/// A duration in nanoseconds, for people.
struct Nanos(f64);

impl fmt::Display for Nanos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ns if ns < 1e3 => write!(f, "{ns:.1} ns"),
            ns if ns < 1e6 => write!(f, "{:.2} µs", ns / 1e3),
            ns if ns < 1e9 => write!(f, "{:.2} ms", ns / 1e6),
            ns => write!(f, "{:.2} s", ns / 1e9),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_against_the_first_and_a_missed_goal_is_printed_as_missed() {
        let fixed = |each: u64| move |n: u64| Duration::from_micros(each * n);
        let measured = Comparison::new("fixed")
            .contender("tested", fixed(10))
            .contender("twice as slow", fixed(20))
            .goal(Goal::AtLeast(1.5))
            .contender("faster", fixed(5))
            .goal(Goal::AtMost(1.5))
            .rounds(3)
            .run();
        assert!((measured.lines[1].ratio.median - 2.0).abs() < 1e-9);
        assert_eq!(measured.lines[1].reached(), Some(true));
        assert_eq!(measured.lines[2].reached(), Some(false));
        assert!(measured.to_string().contains("MISSED"));
    }
}
