//! A take in memory beside governor's keyed limiter:
//! `cargo bench -p store-memory --bench limits`.
//!
//! Both sides hold `String` keys, decide by GCRA, and allow every call: what is
//! compared is the price of an allowed call. "Time supplied": ours gets a time
//! that was read before, governor runs on its own fake clock, one atomic load.
//! "Own clock": each reads the clock that it reads unless told otherwise.
//!
//! Goals are set on the processor time of a call, averaged over the threads,
//! which others on a busy machine disturb little. What a thread spends asleep,
//! waiting for another, is not in it; so two threads are measured by the wall
//! clock as well, which means something on a quiet machine.

#![allow(clippy::unwrap_used)] // A failed measurement may end the program.

use std::hint::black_box;
use std::num::NonZeroU32;
use std::sync::Barrier;
use std::time::Duration;

use governor::clock::FakeRelativeClock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::keyed::DefaultKeyedStateStore;
use governor::{DefaultKeyedRateLimiter, RateLimiter as Governor};
use rustix::time::{ClockId, clock_gettime};
use store_conformance::bench::{Comparison, Goal};
use store_memory::MemoryStore;
use store_memory::core::limits::{Quota, RateLimiter};

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

/// How a thread's time is measured.
#[derive(Clone, Copy)]
enum Time {
    Processor,
    Wall,
}

impl Time {
    fn now(self) -> Duration {
        let clock = match self {
            Self::Processor => ClockId::ThreadCPUTime,
            Self::Wall => ClockId::Monotonic,
        };
        let now = clock_gettime(clock);
        Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
    }
}

/// A way of measuring, shared by the contenders of one comparison.
#[derive(Clone, Copy)]
struct Setting<'a> {
    keys: &'a Keys,
    threads: usize,
    time: Time,
}

impl<'a> Setting<'a> {
    /// `call` as a contender: each round goes on with the keys where it stopped.
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
            begin += times as usize;
            self.measure(times, begin, &call)
        }
    }

    /// How long a thread takes for `times` calls, from key `begin` on.
    fn measure(self, times: u64, begin: usize, call: impl Fn(&String) -> bool + Sync) -> Duration {
        let keys = &self.keys.0[..];
        let barrier = Barrier::new(self.threads);
        let work = |thread: usize| {
            let mut next = (begin + thread * keys.len() / self.threads) % keys.len();
            barrier.wait();
            let begin = self.time.now();
            for _ in 0..times {
                assert!(call(black_box(&keys[next])));
                next += 1;
                if next == keys.len() {
                    next = 0;
                }
            }
            self.time.now() - begin
        };
        if self.threads == 1 {
            return work(0);
        }
        let total: Duration = std::thread::scope(|scope| {
            let work = &work;
            let running: Vec<_> = (0..self.threads)
                .map(|thread| scope.spawn(move || work(thread)))
                .collect();
            running.into_iter().map(|r| r.join().unwrap()).sum()
        });
        total / self.threads as u32
    }

    fn title(self, what: &str) -> String {
        let keys = match self.keys.0.len() {
            1 => "a hot key".into(),
            n => format!("{n} keys"),
        };
        let time = match self.time {
            Time::Processor => "processor time",
            Time::Wall => "wall clock",
        };
        format!("take, {what}, {keys}, {} thread(s), {time}", self.threads)
    }
}

/// Calls in a round: few, so that a busy machine seldom interrupts one.
const CALLS: u64 = 10_000;
const ROUNDS: usize = 151;

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
            let time = Time::Processor;
            let setting = Setting {
                keys,
                threads,
                time,
            };
            run(time_supplied(setting).goal(Goal::AtLeast(1.2)));
            run(own_clock(setting).goal(Goal::AtLeast(1.0)));
        }
        let (threads, time) = (2, Time::Wall);
        let setting = Setting {
            keys,
            threads,
            time,
        };
        run(time_supplied(setting));
        run(own_clock(setting));
    }
}
