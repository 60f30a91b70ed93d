//! Buckets as records: fields of a newer release survive, records that were changed by
//! hand cause no panic, and a wait makes no unnecessary calls.

// Helpers of tests may fail the test.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use store_core::limits::{
    Bucket, BucketUpdate, Decision, LimitKey, Quota, QuotaSet, RateLimitStore, RateLimiter,
    RecordLimits, Take,
};
use store_core::{
    Batch, Body, Clock, Collection, ErrorKind, ManualClock, Partition, RecordKey, Result, Store,
};
use store_memory::MemoryStore;

const BUCKETS: Collection = Collection::new("buckets");

fn open() -> (Store, ManualClock) {
    let clock = ManualClock::default();
    let memory = MemoryStore::builder().clock(clock.clone()).build();
    (Store::from(&memory), clock)
}

/// Changes the stored JSON of the bucket of `key`.
async fn edit(store: &Store, key: &str, change: impl FnOnce(&mut Value)) {
    let partition = Partition::new(key).unwrap();
    let at = RecordKey::new(BUCKETS, "").unwrap();
    let record = store.records().get(at.at(&partition)).await.unwrap();
    let record = record.unwrap();
    let mut body = (*record.decode::<Value>().unwrap()).clone();
    change(&mut body);
    let mut batch = Batch::new(partition, store.now());
    let body = Body::json(body).unwrap();
    batch
        .put_until(at, &record, body, record.expires_at())
        .unwrap();
    store.records().commit(&batch).await.unwrap();
}

async fn stored(store: &Store, key: &str) -> Value {
    let partition = Partition::new(key).unwrap();
    let at = RecordKey::new(BUCKETS, "").unwrap();
    let record = store.records().get(at.at(&partition)).await.unwrap();
    (*record.unwrap().decode::<Value>().unwrap()).clone()
}

#[tokio::test]
async fn fields_of_a_newer_release_survive_coalesced_changes() {
    let (store, _) = open();
    for coalesces in [false, true] {
        let key = format!("key {coalesces}");
        let mut limits = RecordLimits::new(Arc::clone(store.records()));
        if coalesces {
            limits = limits.coalescing();
        }
        let limiter = RateLimiter::over(Arc::new(limits), Quota::per_second(50).unwrap());
        assert!(limiter.allow(&key).await.unwrap());
        edit(&store, &key, |body| body["added_later"] = json!({"by": 2})).await;
        for _ in 0..3 {
            // Several concurrent takes, so that some of them share a commit.
            let (a, b, c, d) = tokio::join!(
                limiter.allow(&key),
                limiter.allow(&key),
                limiter.allow(&key),
                limiter.allow(&key)
            );
            for allowed in [a, b, c, d] {
                assert!(allowed.unwrap());
            }
            assert_eq!(stored(&store, &key).await["added_later"]["by"], 2);
        }
        assert_eq!(limiter.peek(&key).await.unwrap()[0].remaining, 37);
    }
}

#[tokio::test]
async fn a_bucket_altered_by_hand_is_read_or_corrupt_and_never_a_panic() {
    let (store, _) = open();
    let names = ["a", "b", "c", "m", "x", "y", "z"];
    let quotas = names.map(|name| Quota::per_day(2).unwrap().named(name).unwrap());
    let quotas = QuotaSet::new(quotas).unwrap();
    let limits: Arc<dyn RateLimitStore> = Arc::new(RecordLimits::new(Arc::clone(store.records())));
    let limiter = RateLimiter::over(limits, quotas);
    assert!(limiter.allow("k").await.unwrap());
    edit(&store, "k", |body| {
        body["quotas"].as_array_mut().unwrap().reverse();
    })
    .await;
    assert!(
        limiter.allow("k").await.unwrap(),
        "each bucket has one token left"
    );
    assert!(!limiter.allow("k").await.unwrap());
    for odd in [
        json!("quotas"),
        json!([{"quota": "a"}]),
        json!([{"quota": 1, "tat": "2030-01-01T00:00:00Z", "expires_at": "2031-01-01T00:00:00Z"}]),
        json!([
            {"quota": "a", "tat": "2031-01-01T00:00:00Z", "expires_at": "2031-01-01T00:00:00Z"},
            {"quota": "a", "tat": "2030-01-01T00:00:00Z", "expires_at": "2031-01-01T00:00:00Z"},
        ]),
    ] {
        edit(&store, "k", |body| body["quotas"] = odd).await;
        let error = limiter.take("k", 1).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    }
}

/// Counts the takes that reach a store.
#[derive(Debug)]
struct Counting {
    store: Arc<dyn RateLimitStore>,
    takes: AtomicU32,
}

#[async_trait]
impl RateLimitStore for Counting {
    async fn update(&self, key: LimitKey<'_>, change: BucketUpdate<'_>) -> Result<Option<Bucket>> {
        self.store.update(key, change).await
    }

    async fn take(&self, take: &Take<'_>) -> Result<Decision> {
        self.takes.fetch_add(1, Ordering::Relaxed);
        self.store.take(take).await
    }

    fn clock(&self) -> &dyn Clock {
        self.store.clock()
    }
}

#[tokio::test]
async fn a_wait_takes_once_and_again_when_the_tokens_are_available() {
    let (store, clock) = open();
    let counting = Arc::new(Counting {
        store: Arc::clone(store.limits()),
        takes: AtomicU32::new(0),
    });
    let slow = RateLimiter::new(&store, Quota::per_hour(100).unwrap());
    assert!(slow.take("k", 100).await.unwrap().is_allowed());
    // The limit was raised: the arrival time is unchanged, and the wait is computed from
    // it.
    let quota = Quota::per_second(1000).unwrap().with_burst(100).unwrap();
    let quick = RateLimiter::over(Arc::clone(&counting) as Arc<dyn RateLimitStore>, quota);
    let soon = quick.now() + Duration::from_secs(60);
    assert!(!quick.wait("k", 1, soon).await.unwrap().is_allowed());
    assert_eq!(counting.takes.swap(0, Ordering::Relaxed), 1);

    let waiting = tokio::spawn({
        let quick = quick.clone();
        let deadline = quick.now() + Duration::from_secs(7200);
        async move { quick.wait("k", 1, deadline).await }
    });
    while counting.takes.load(Ordering::Relaxed) == 0 {
        tokio::task::yield_now().await;
    }
    for _ in 0..30 {
        clock.advance(Duration::from_secs(60));
        tokio::task::yield_now().await;
    }
    assert_eq!(counting.takes.load(Ordering::Relaxed), 1);
    clock.advance(Duration::from_secs(3600));
    assert!(waiting.await.unwrap().unwrap().is_allowed());
    assert_eq!(counting.takes.load(Ordering::Relaxed), 2);
}
