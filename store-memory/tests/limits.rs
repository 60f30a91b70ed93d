//! What memory promises of rate limits beyond the contract: a bound that keys
//! of an attacker's choice cannot pass, exact counters, and nothing locked
//! while anybody else's code runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use store_core::limits::{
    Bucket, LimitKey, Quota, QuotaSet, RateLimitStoreExt, RateLimiter, Tokens,
};
use store_core::{ErrorKind, ManualClock, RateLimitStore, Store, Timestamp};
use store_memory::{BucketEviction, MemoryStore};

const HALF_A_SECOND: Duration = Duration::from_millis(500);

fn key(key: &str) -> LimitKey<'_> {
    LimitKey::new(key).expect("a short key")
}

/// A store of at most `max_buckets`, a limiter of two tokens a second over it,
/// and its clock.
fn open(max_buckets: usize) -> (MemoryStore, RateLimiter, ManualClock) {
    let clock = ManualClock::default();
    let memory = MemoryStore::builder()
        .clock(clock.clone())
        .max_buckets(max_buckets)
        .build();
    let limiter = RateLimiter::new(&memory, Quota::per_second(2).expect("a good quota"));
    (memory, limiter, clock)
}

fn limits(memory: &MemoryStore) -> Arc<dyn RateLimitStore> {
    Arc::clone(Store::from(memory).limits())
}

async fn left(limiter: &RateLimiter, key: &str) -> u32 {
    limiter.peek(key).await.expect("it is open")[0].remaining
}

/// Gives `name` an empty bucket, by a closure.
async fn write(limits: &dyn RateLimitStore, name: &str) -> Result<(), ErrorKind> {
    let quota = Quota::per_second(2).expect("a good quota");
    let written = limits.update_tokens(key(name), &quota, |_, _, now| {
        let (tokens, last_refill) = (0.0, now);
        Some(Tokens {
            tokens,
            last_refill,
        })
    });
    written.await.map(drop).map_err(|error| error.kind())
}

#[tokio::test]
async fn a_new_key_is_refused_while_all_buckets_are_in_use() {
    let (memory, limiter, _) = open(3);
    for key in ["a", "b", "c"] {
        assert!(limiter.allow(key).await.unwrap());
    }
    // Failing open is for outages: an attacker could bring this about.
    for limiter in [limiter.clone(), limiter.clone().fail_open(true)] {
        let refused = limiter.take("d", 1).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::LimitExceeded);
    }
    let written = write(&*limits(&memory), "d").await;
    assert_eq!(written, Err(ErrorKind::LimitExceeded));
    assert_eq!(memory.usage().buckets, 3);

    // Those that have a bucket go on, and what is freed can be used.
    assert!(limiter.allow("a").await.unwrap());
    assert!(!limiter.allow("a").await.unwrap());
    limiter.reset("b").await.unwrap();
    assert!(limiter.allow("d").await.unwrap());
    assert_eq!(memory.usage().buckets, 3);
}

#[tokio::test]
async fn a_new_key_takes_the_place_of_the_fullest_bucket_where_that_is_chosen() {
    let clock = ManualClock::default();
    let memory = MemoryStore::builder()
        .clock(clock.clone())
        .max_buckets(3)
        .bucket_eviction(BucketEviction::ForgetFullest)
        .build();
    let limiter = RateLimiter::new(&memory, Quota::per_second(9).expect("a good quota"));
    for (key, tokens) in [("a", 9), ("b", 8), ("c", 1)] {
        assert!(limiter.take(key, tokens).await.unwrap().is_allowed());
    }
    for number in 0..100 {
        let new = format!("new:{number}");
        assert!(limiter.allow(&new).await.unwrap(), "a new key is served");
        assert_eq!(memory.usage().buckets, 3);
    }
    let written = write(&*limits(&memory), "written").await;
    assert_eq!(written, Ok(()));
    assert_eq!(memory.usage().buckets, 3);
}

#[test]
fn evicting_from_several_threads_never_passes_the_bound() {
    const BOUND: usize = 50;
    let memory = MemoryStore::builder()
        .max_buckets(BOUND)
        .bucket_eviction(BucketEviction::ForgetFullest)
        .build();
    let limiter = RateLimiter::new(&memory, Quota::per_day(2).expect("a good quota"));
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (memory, limiter) = (&memory, &limiter);
            scope.spawn(move || {
                for i in 0..2_000 {
                    let key = format!("{thread}:{i}");
                    let answer = limiter.take_now(&key, 1).expect("at once");
                    assert!(answer.expect("it is served").is_allowed());
                    assert!(memory.usage().buckets <= BOUND);
                }
            });
        }
    });
    assert_eq!(memory.usage().buckets, BOUND);
}

#[tokio::test]
async fn room_is_made_from_full_buckets_and_never_from_others() {
    // So many that busy and idle ones are neighbours, however they are spread.
    const EACH: usize = 200;
    let (memory, limiter, clock) = open(2 * EACH);
    let key = |name: &str, i: usize| format!("{name}:{i}");
    for i in 0..EACH {
        let busy = limiter.take(&key("busy", i), 2).await;
        assert!(busy.unwrap().is_allowed());
        assert!(limiter.allow(&key("idle", i)).await.unwrap());
    }
    clock.advance(HALF_A_SECOND - Duration::from_nanos(1));
    assert!(limiter.allow("new").await.is_err());
    // Now what is idle is full again, and what is busy is not.
    clock.advance(Duration::from_nanos(1));
    for i in 0..EACH {
        let new = limiter.take(&key("new", i), 2).await;
        assert!(new.unwrap().is_allowed());
    }
    assert!(limiter.allow("one too many").await.is_err());
    assert_eq!(memory.usage().buckets, 2 * EACH);
    for i in 0..EACH {
        assert_eq!(left(&limiter, &key("busy", i)).await, 1);
        assert_eq!(left(&limiter, &key("new", i)).await, 0);
    }
}

#[test]
fn keys_of_an_attackers_choice_never_pass_the_bound() {
    const BOUND: usize = 100;
    let (memory, limiter, clock) = open(BOUND);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (memory, limiter, clock) = (&memory, &limiter, &clock);
            scope.spawn(move || {
                for i in 0..2_000 {
                    let key = format!("{thread}:{i}");
                    let answer = limiter.take_now(&key, 1).expect("at once");
                    if let Err(error) = answer {
                        assert_eq!(error.kind(), ErrorKind::LimitExceeded);
                        clock.advance(Duration::from_millis(50));
                    }
                    assert!(memory.usage().buckets <= BOUND);
                }
            });
        }
    });
    // Nothing is counted that is not there, or new keys would have no room.
    clock.advance(HALF_A_SECOND);
    for i in 0..BOUND {
        let answer = limiter.take_now(&format!("new:{i}"), 1).expect("at once");
        assert!(answer.expect("there is room").is_allowed());
    }
    assert_eq!(memory.usage().buckets, BOUND);
    let answer = limiter.take_now("one too many", 1).expect("at once");
    assert!(answer.is_err());
}

#[tokio::test]
async fn a_caller_whose_clock_is_far_ahead_refills_nobody_else() {
    let (_, limiter, _) = open(10_000);
    let keys: Vec<_> = (0..500).map(|i| format!("drained:{i}")).collect();
    for key in &keys {
        while limiter.allow(key).await.unwrap() {}
    }
    for i in 0..500 {
        let ahead = limiter.now() + Duration::from_secs(86_400);
        let taken = limiter.take_now_at(&format!("ahead:{i}"), 1, ahead);
        assert!(taken.expect("at once").unwrap().is_allowed());
    }
    for key in &keys {
        assert!(!limiter.allow(key).await.unwrap());
    }
}

#[tokio::test]
async fn usage_is_exact_after_reset_and_delete() {
    let (memory, one, _) = open(100);
    let both = QuotaSet::new(["default", "other"].map(|name| {
        let quota = Quota::per_second(2).expect("a good quota");
        quota.named(name).expect("a good name")
    }));
    let both = RateLimiter::new(&memory, both.unwrap());
    let limits = limits(&memory);
    let buckets = || memory.usage().buckets;

    for key in ["a", "b", "c", "d"] {
        assert!(both.allow(key).await.unwrap());
    }
    assert_eq!(buckets(), 4);
    // One of two quotas is left, so the key still has a bucket.
    one.reset("a").await.unwrap();
    assert_eq!(buckets(), 4);
    both.reset("a").await.unwrap();
    assert_eq!(buckets(), 3);
    for _ in 0..2 {
        limits.delete(key("b")).await.unwrap();
        assert_eq!(buckets(), 2);
    }
    // What writes nothing counts nothing, a take that is denied at the end of
    // time included.
    let late = one.take_now_at("late", 1, Timestamp::MAX).expect("at once");
    assert!(!late.unwrap().is_allowed());
    one.reset("never used").await.unwrap();
    limits.delete(key("never used")).await.unwrap();
    assert_eq!(limits.peek(key("never used")).await.unwrap(), None);
    limits.update(key("e"), &|_| None).await.unwrap();
    let empty = |_: Option<&Bucket>| Some(Bucket::default());
    limits.update(key("e"), &empty).await.unwrap();
    assert_eq!(buckets(), 2);
    limits.update(key("c"), &empty).await.unwrap();
    assert_eq!(buckets(), 1);
    // Used again, it counts again, once.
    for _ in 0..2 {
        assert!(both.allow("b").await.unwrap());
        assert_eq!(buckets(), 2);
    }
}

#[tokio::test]
async fn a_closure_that_others_overtake_ends_and_loses_nothing() {
    const OVERTAKEN: u32 = 20;
    let (memory, _, _) = open(100);
    let quota = Quota::per_second(100).unwrap();
    let limiter = RateLimiter::new(&memory, quota.clone());
    assert!(limiter.allow("k").await.unwrap());
    let runs = AtomicU32::new(0);
    // Each of the first runs takes from the very bucket that it changes, from
    // this thread and from another: with anything locked it would hang.
    let change = |tokens: Option<Tokens>, _: &Quota, _| {
        let take = |key| limiter.take_now(key, 1).expect("at once");
        if runs.fetch_add(1, Ordering::Relaxed) < OVERTAKEN {
            assert!(take("k").expect("it is open").is_allowed());
            let other = std::thread::scope(|scope| scope.spawn(|| take("k")).join());
            let other = other.expect("it did not panic");
            assert!(other.expect("it is open").is_allowed());
        }
        assert!(take("another key").expect("it is open").is_allowed());
        let tokens = tokens.expect("there is a bucket");
        Some(Tokens {
            tokens: tokens.tokens - 10.0,
            ..tokens
        })
    };
    let limits = limits(&memory);
    limits
        .update_tokens(key("k"), &quota, change)
        .await
        .unwrap();
    assert_eq!(runs.load(Ordering::Relaxed), OVERTAKEN + 1);
    assert_eq!(left(&limiter, "k").await, 100 - 1 - 2 * OVERTAKEN - 10);
    assert_eq!(left(&limiter, "another key").await, 100 - (OVERTAKEN + 1));
    assert_eq!(memory.usage().buckets, 2);
}

#[tokio::test]
async fn a_closure_that_panics_changes_nothing() {
    let (memory, limiter, _) = open(1);
    let limits = limits(&memory);
    for name in ["used", "used", "never used"] {
        let before = limits.peek(key("used")).await.unwrap();
        let usage = memory.usage();
        let limits = Arc::clone(&limits);
        let update = async move {
            let panic = |_: Option<&Bucket>| panic!("a bug in the closure");
            limits.update(key(name), &panic).await.map(drop)
        };
        assert!(tokio::spawn(update).await.unwrap_err().is_panic());
        assert_eq!(memory.usage(), usage);
        let after = limiter.store().peek(key("used")).await.unwrap();
        assert_eq!(after, before);
        // Usable still: a token is there the first two times, none the third.
        let allowed = limiter.allow("used").await.unwrap();
        assert_eq!(allowed, name == "used");
    }
}

#[tokio::test]
async fn a_callback_that_panics_leaves_a_usable_limiter() {
    let (memory, limiter, _) = open(100);
    let loud = limiter.clone().audit(|_| panic!("a bug in the callback"));
    let call = tokio::spawn(async move { loud.allow("k").await });
    assert!(call.await.unwrap_err().is_panic());
    // The callback ran after the decision, so the token stays taken.
    assert_eq!(left(&limiter, "k").await, 1);
    assert!(limiter.allow("k").await.unwrap());
    assert!(!limiter.allow("k").await.unwrap());
    assert_eq!(memory.usage().buckets, 1);
}
