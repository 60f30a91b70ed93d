//! Compares a take in memory with governor's keyed limiter: `cargo xtask bench --name
//! memory_limits`.
//!
//! Both use `String` keys, decide by GCRA, and allow every call, so the cost of an
//! allowed call is compared. "Time supplied": the store gets a time that was read before,
//! and governor uses its fake clock, which is one atomic load. "Own clock": each
//! contender reads its default clock.
//!
//! The benchmark measures the wall-clock time of threads that run without interruption. A
//! round in which a thread was descheduled is measured again, because on a busy machine
//! the threads would otherwise run one after the other, and a contended key would seem as
//! cheap as an uncontended one. Rounds are short, so that most are not interrupted; the
//! last line says how many were. On Linux, `chrt -f 10` before the program prevents
//! interruptions.

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

/// So high that no take is ever denied.
const RATE: u32 = 1_000_000_000;
const KEYS: usize = 100_000;

type GovernorOnFakeClock =
    Governor<String, DefaultKeyedStateStore<String>, FakeRelativeClock, NoOpMiddleware<Nanos>>;

/// The keys, in the order in which they are used.
struct Keys(Vec<String>);

impl Keys {
    fn hot() -> Self {
        Self(vec!["user:4711".into()])
    }

    fn many() -> Self {
        let mut keys: Vec<String> = (0..KEYS).map(|i| format!("user:{i}")).collect();
        // In random order, also in memory; the same for both contenders.
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

/// The settings of one comparison, which its contenders share.
#[derive(Clone, Copy)]
struct Setting<'a> {
    keys: &'a Keys,
    threads: usize,
}

/// The wall-clock time of a thread, and its processor time.
#[derive(Clone, Copy)]
struct Spent {
    wall: Duration,
    processor: Duration,
}

impl Spent {
    /// Whether the thread was running nearly all of the time.
    fn is_undisturbed(self) -> bool {
        self.wall <= self.processor + self.processor / 20
    }
}

/// How often a round is measured again before an interrupted one is accepted.
const ATTEMPTS: usize = 200;
static REPEATED: AtomicU64 = AtomicU64::new(0);
static DISTURBED: AtomicU64 = AtomicU64::new(0);

impl<'a> Setting<'a> {
    /// `call` as a contender: each round continues with the keys where it stopped.
    fn contender(
        self,
        call: impl Fn(&String) -> bool + Sync + 'a,
    ) -> impl FnMut(u64) -> Duration + 'a {
        // Every key exists before the measurement, and was inserted in another order than
        // that in which it is used.
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

    /// The time that each thread needs for `times` calls, starting with key `begin`.
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
            // Busy waiting starts all threads at the same time; a barrier would wake them
            // one after the other.
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

/// The processor time of this thread.
fn processor_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

/// The number of calls in a round. It is low, so that rounds are seldom interrupted, and
/// high enough that starting a thread does not matter.
const CALLS: u64 = 20_000;
const ROUNDS: usize = 51;

fn ours() -> RateLimiter {
    let store = MemoryStore::builder().max_buckets(2 * KEYS).build();
    RateLimiter::new(store, Quota::per_second(RATE).unwrap())
}

/// The store gets the time as an argument, and governor's clock does not advance.
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

/// Each contender reads its own clock.
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
        "{} rounds were measured again because a thread was descheduled; {} were accepted nevertheless",
        REPEATED.load(Ordering::Relaxed),
        DISTURBED.load(Ordering::Relaxed)
    );
}
