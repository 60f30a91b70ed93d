//! How often a warm call asks the allocator for memory. The same in debug and
//! release builds; strict mode, which encodes each body once, is off.

use std::future::Future;
use std::hint::black_box;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use allocation_counter::measure;
use serde::{Deserialize, Serialize};
use store_core::limits::{Quota, QuotaSet, RateLimiter, Take};
use store_core::{
    Batch, Body, Collection, Expect, Partition, RateLimitStore, RecordKey, RecordStore, Result,
    Store,
};
use store_memory::MemoryStore;

const THINGS: Collection = Collection::new("things");

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Thing {
    name: String,
}

/// How many allocations `call` makes, once it has run before.
fn allocations<T>(mut call: impl FnMut() -> T) -> u64 {
    for _ in 0..3 {
        black_box(call());
    }
    let counted = measure(|| {
        black_box(call());
    });
    counted.count_total
}

/// What a future answers that never waits. No runtime is in the count.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    let mut context = Context::from_waker(Waker::noop());
    match pin!(future).poll(&mut context) {
        Poll::Ready(answer) => answer,
        Poll::Pending => panic!("memory never waits"),
    }
}

fn open() -> Store {
    MemoryStore::builder().strict(false).build().into()
}

fn quotas() -> QuotaSet {
    let quota = Quota::per_second(1_000_000).expect("a good quota");
    quota.into()
}

/// A store with one record, where that is, and what was put there.
fn with_one_record() -> Result<(Store, Partition, RecordKey, Arc<Thing>)> {
    let store = open();
    let partition = Partition::new("a partition")?;
    let key = RecordKey::new(THINGS, "one")?;
    let name = "long enough to need memory of its own".into();
    let thing = Arc::new(Thing { name });
    let mut batch = Batch::new(partition.clone(), store.now());
    let body = Body::shared(Arc::clone(&thing))?;
    batch.put(key.clone(), Expect::Absent, body)?;
    at_once(store.records().commit(&batch))?;
    Ok((store, partition, key, thing))
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|| Box::new(7)), 1);
    assert_eq!(allocations(|| vec![String::from("a"), "b".into()]), 3);
}

#[test]
fn a_take_at_once_allocates_nothing() {
    let limiter = RateLimiter::new(open(), quotas());
    let long = "a key that does not fit into the table itself".repeat(4);
    for key in ["user:7", &long] {
        let take = || {
            let answer = limiter.take_now(key, 1).expect("memory answers at once");
            assert!(answer.expect("it is open").is_allowed());
        };
        assert_eq!(allocations(take), 0);
    }
}

#[test]
fn a_denied_take_allocates_nothing() {
    let limiter = RateLimiter::new(open(), Quota::per_second(1).unwrap());
    let now = limiter.now();
    let take = || limiter.take_now_at("user:7", 1, now).expect("at once");
    assert!(take().expect("it is open").is_allowed());
    let denied = || assert!(!take().expect("it is open").is_allowed());
    assert_eq!(allocations(denied), 0);
}

#[test]
fn a_limiters_take_allocates_nothing() {
    let limiter = RateLimiter::new(open(), quotas());
    let take = || assert!(at_once(limiter.take("user:7", 1)).unwrap().is_allowed());
    assert_eq!(allocations(take), 0);
}

#[test]
fn a_take_through_the_trait_allocates_its_future_at_most() {
    let store = open();
    let limits: &dyn RateLimitStore = &**store.limits();
    let quotas = quotas();
    let take = || {
        let take = Take::new("user:7", &quotas, 1, limits.clock().now()).unwrap();
        assert!(at_once(limits.take(&take)).unwrap().is_allowed());
    };
    assert!(allocations(take) <= 1);
}

#[test]
fn a_read_at_once_allocates_nothing() {
    let (store, partition, key, thing) = with_one_record().unwrap();
    let read = || {
        let answer = store.records().get_now(key.at(&partition));
        let record = answer.expect("memory answers at once").unwrap();
        assert_eq!(record.unwrap().decode::<Thing>().unwrap(), thing);
    };
    assert_eq!(allocations(read), 0);
}

#[test]
fn a_read_through_the_trait_allocates_its_future_at_most() {
    let (store, partition, key, thing) = with_one_record().unwrap();
    let records: &dyn RecordStore = &**store.records();
    let read = || {
        let record = at_once(records.get(key.at(&partition))).unwrap();
        assert_eq!(record.unwrap().decode::<Thing>().unwrap(), thing);
    };
    assert!(allocations(read) <= 1);
}

#[test]
fn a_read_copies_no_body() {
    let (store, partition, key, thing) = with_one_record().unwrap();
    for _ in 0..2 {
        let record = at_once(store.records().get(key.at(&partition))).unwrap();
        let read = record.unwrap().decode::<Thing>().unwrap();
        assert!(Arc::ptr_eq(&read, &thing));
    }
}
