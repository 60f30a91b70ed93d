//! A take in memory beside governor's keyed limiter:
//! `cargo xtask bench --name memory_limits`.
//!
//! Both sides hold `String` keys, decide by GCRA, and allow every call: what is
//! compared is the price of an allowed call. "Time supplied": ours gets a time
//! that was read before, governor runs on its own fake clock, one atomic load.
//! "Own clock": each contender reads its default clock.
//!
//! What is measured is the wall clock of a thread that has a processor to
//! itself. A round in which any thread was taken off its processor is measured
//! again: on a busy machine the threads would else run one after the other, and
//! a key that two threads contend for would cost as little as one that they do
//! not. Rounds are short, so that most come through; the last line says how
//! many did not. `chrt -f 10` before the program spares it that on Linux.

#![allow(clippy::unwrap_used)] // A failed measurement may end the program.

use std::hint::black_box;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use governor::clock::FakeRelativeClock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::keyed::DefaultKeyedStateStore;
use governor::{DefaultKeyedRateLimiter, RateLimiter as Governor};
use rustix::time::{ClockId, clock_gettime};
use store_conformance::bench::{Comparison, Goal};
use store_core::limits::{Quota, RateLimiter};
use store_memory::MemoryStore;

/// So many that nothing is ever denied.
const RATE: u32 = 1_000_000_000;
const KEYS: usize = 100_000;

type GovernorOnFakeClock =
    Governor<String, DefaultKeyedStateStore<String>, FakeRelativeClock, NoOpMiddleware<Nanos>>;

/// The keys in the order in which they are asked for.
struct Keys(Vec<String>);

impl Keys {
    fn hot() -> Self {
        Self(vec!["user:4711".into()])
    }

    fn many() -> Self {
        let mut keys: Vec<String> = (0..KEYS).map(|i| format!("user:{i}")).collect();
        // Out of order, in memory too; the same on both sides.
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        for i in (1..keys.len()).rev() {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            keys.swap(i, (state % (i as u64 + 1)) as usize);
        }
        Self(keys)
    }
}

/// A way of measuring, shared by the contenders of one comparison.
#[derive(Clone, Copy)]
struct Setting<'a> {
    keys: &'a Keys,
    threads: usize,
}

/// How long a thread took, and for how long of that it had a processor.
#[derive(Clone, Copy)]
struct Spent {
    wall: Duration,
    processor: Duration,
}

impl Spent {
    /// Whether no other process used the processor for long.
    fn is_undisturbed(self) -> bool {
        self.wall <= self.processor + self.processor / 20
    }
}

/// How often a round is measured again before a disturbed one is taken.
const ATTEMPTS: usize = 200;
static REPEATED: AtomicU64 = AtomicU64::new(0);
static DISTURBED: AtomicU64 = AtomicU64::new(0);

impl<'a> Setting<'a> {
    /// `call` as a contender: each round continues with the keys where it stopped.
    fn contender(
        self,
        call: impl Fn(&String) -> bool + Sync + 'a,
    ) -> impl FnMut(u64) -> Duration + 'a {
        // Every key is there before anything is measured, and was first seen in
        // another order than the one it is asked for in.
        let mut sorted: Vec<_> = self.keys.0.iter().collect();
        sorted.sort();
        assert!(sorted.into_iter().all(&call));
        let mut begin = 0;
        move |times| {
            for _ in 0..ATTEMPTS {
                begin += times as usize;
                let threads = self.measure(times, begin, &call);
                if threads.iter().all(|spent| spent.is_undisturbed()) {
                    return mean(&threads);
                }
                REPEATED.fetch_add(1, Ordering::Relaxed);
            }
            DISTURBED.fetch_add(1, Ordering::Relaxed);
            mean(&self.measure(times, begin, &call))
        }
    }

    /// What each thread takes for `times` calls, from key `begin` on.
    fn measure(
        self,
        times: u64,
        begin: usize,
        call: impl Fn(&String) -> bool + Sync,
    ) -> Vec<Spent> {
        let keys = &self.keys.0[..];
        let ready = AtomicUsize::new(0);
        let work = |thread: usize| {
            let mut next = (begin + thread * keys.len() / self.threads) % keys.len();
            // Awake when the others are: a barrier would wake them in turn.
            ready.fetch_add(1, Ordering::SeqCst);
            while ready.load(Ordering::SeqCst) < self.threads {
                std::thread::yield_now();
            }
            let begin = (Instant::now(), processor_time());
            for _ in 0..times {
                assert!(call(black_box(&keys[next])));
                next += 1;
                if next == keys.len() {
                    next = 0;
                }
            }
            Spent {
                processor: processor_time() - begin.1,
                wall: begin.0.elapsed(),
            }
        };
        if self.threads == 1 {
            return vec![work(0)];
        }
        std::thread::scope(|scope| {
            let work = &work;
            let running: Vec<_> = (0..self.threads)
                .map(|thread| scope.spawn(move || work(thread)))
                .collect();
            running.into_iter().map(|r| r.join().unwrap()).collect()
        })
    }

    fn title(self, what: &str) -> String {
        let keys = match self.keys.0.len() {
            1 => "a hot key".into(),
            n => format!("{n} keys"),
        };
        format!("take, {what}, {keys}, {} thread(s)", self.threads)
    }
}

fn mean(threads: &[Spent]) -> Duration {
    let total: Duration = threads.iter().map(|spent| spent.wall).sum();
    total / threads.len() as u32
}

/// Of this thread.
fn processor_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

/// Calls in a round: few, so that a busy machine seldom interrupts one, and
/// enough that starting a thread does not count.
const CALLS: u64 = 20_000;
const ROUNDS: usize = 51;

fn ours() -> RateLimiter {
    let store = MemoryStore::builder().max_buckets(2 * KEYS).build();
    RateLimiter::new(store, Quota::per_second(RATE).unwrap())
}

/// Ours gets the time, governor's clock stands still.
fn time_supplied(setting: Setting<'_>) -> Comparison<'_> {
    let (ours, quota) = (ours(), quota());
    let fake: GovernorOnFakeClock =
        Governor::dashmap_with_clock(quota, FakeRelativeClock::default());
    let now = ours.now();
    Comparison::new(setting.title("time supplied"))
        .contender(
            "store-memory, take_now_at",
            setting.contender(move |key| {
                let answer = ours.take_now_at(key, 1, now);
                answer.unwrap().unwrap().is_allowed()
            }),
        )
        .contender(
            "governor 0.10, check_key on a fake clock",
            setting.contender(move |key| fake.check_key(key).is_ok()),
        )
}

/// Each reads its own.
fn own_clock(setting: Setting<'_>) -> Comparison<'_> {
    let ours = ours();
    let governor: DefaultKeyedRateLimiter<String> = Governor::keyed(quota());
    Comparison::new(setting.title("own clock"))
        .contender(
            "store-memory, take_now",
            setting.contender(move |key| ours.take_now(key, 1).unwrap().unwrap().is_allowed()),
        )
        .contender(
            "governor 0.10, check_key",
            setting.contender(move |key| governor.check_key(key).is_ok()),
        )
}

fn quota() -> governor::Quota {
    governor::Quota::per_second(NonZeroU32::new(RATE).unwrap())
}

fn run(comparison: Comparison<'_>) {
    print!("{}", comparison.batch(CALLS).rounds(ROUNDS).run());
}

fn main() {
    for keys in [&Keys::hot(), &Keys::many()] {
        for threads in [1, 2] {
            let setting = Setting { keys, threads };
            run(time_supplied(setting).goal(Goal::AtLeast(1.2)));
            run(own_clock(setting).goal(Goal::AtLeast(1.0)));
        }
    }
    println!(
        "{} rounds were measured again because a thread had lost its processor; {} were taken so",
        REPEATED.load(Ordering::Relaxed),
        DISTURBED.load(Ordering::Relaxed)
    );
}
