//! What memory promises beyond the contract: exact bounds, expired records that never
//! outnumber the live ones, and no lock held across a caller's code.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, mpsc};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use store_core::{
    Batch, Body, Collection, ErrorKind, Expect, ManualClock, Partition, RecordKey, RecordRef,
    Result, Store, Timestamp,
};
use store_memory::MemoryStore;

const THINGS: Collection = Collection::new("things");

fn key(id: &str) -> RecordKey {
    RecordKey::new(THINGS, id).expect("a short id")
}

async fn put(store: &Store, id: &str, body: Body, expires_at: Option<Timestamp>) -> Result<()> {
    let mut batch = Batch::new(Partition::new("p")?, store.now());
    batch.put_until(key(id), Expect::Any, body, expires_at)?;
    store.records().commit(&batch).await.map(drop)
}

async fn delete(store: &Store, id: &str) -> Result<()> {
    let mut batch = Batch::new(Partition::new("p")?, store.now());
    batch.delete(key(id), Expect::Any)?;
    store.records().commit(&batch).await.map(drop)
}

fn bytes(length: usize) -> Body {
    Body::bytes(vec![7; length]).expect("a small body")
}

#[tokio::test]
async fn the_bound_on_records_is_exact() {
    let memory = MemoryStore::builder().max_records(3).build();
    let store = Store::from(&memory);
    for id in ["a", "b", "c"] {
        put(&store, id, bytes(1), None).await.unwrap();
    }
    let refused = put(&store, "d", bytes(1), None).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::LimitExceeded);
    put(&store, "c", bytes(9), None).await.unwrap();

    // One commit that removes one record and adds one fits; one that adds more
    // does not, and changes nothing.
    let before = memory.usage();
    let mut swap = Batch::new(Partition::new("p").unwrap(), store.now());
    swap.put(key("d"), Expect::Absent, bytes(1)).unwrap();
    swap.put(key("e"), Expect::Absent, bytes(1)).unwrap();
    swap.delete(key("a"), Expect::Present).unwrap();
    assert!(store.records().commit(&swap).await.is_err());
    assert_eq!(memory.usage(), before);
    let mut swap = Batch::new(Partition::new("p").unwrap(), store.now());
    swap.put(key("d"), Expect::Absent, bytes(1)).unwrap();
    swap.delete(key("a"), Expect::Present).unwrap();
    store.records().commit(&swap).await.unwrap();
    assert_eq!(memory.usage().records, 3);
}

#[tokio::test]
async fn the_bound_on_bytes_is_exact() {
    // "p", a one-letter id, and the body.
    let memory = MemoryStore::builder().max_bytes(100).build();
    let store = Store::from(&memory);
    put(&store, "a", bytes(48), None).await.unwrap();
    assert_eq!(memory.usage().bytes, 50);
    let refused = put(&store, "b", bytes(49), None).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::LimitExceeded);
    assert_eq!((memory.usage().records, memory.usage().bytes), (1, 50));
    put(&store, "b", bytes(48), None).await.unwrap();
    assert_eq!(memory.usage().bytes, 100);
    put(&store, "b", bytes(8), None).await.unwrap();
    assert_eq!(memory.usage().bytes, 60);
    delete(&store, "a").await.unwrap();
    delete(&store, "b").await.unwrap();
    delete(&store, "b").await.unwrap();
    assert_eq!((memory.usage().records, memory.usage().bytes), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn racing_writers_fill_a_bound_and_never_pass_it() {
    const BOUND: usize = 50;
    let memory = MemoryStore::builder().max_records(BOUND).build();
    let store = Store::from(&memory);
    let done = Arc::new(AtomicUsize::new(0));
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let (store, memory, done) = (store.clone(), memory.clone(), Arc::clone(&done));
            tokio::spawn(async move {
                for i in 0..40 {
                    // A partition each, so that they share only the bound.
                    let partition = Partition::new(format!("{writer} {i}")).unwrap();
                    let mut batch = Batch::new(partition, store.now());
                    batch.put(key("a"), Expect::Absent, bytes(1)).unwrap();
                    match store.records().commit(&batch).await {
                        Ok(_) => drop(done.fetch_add(1, Ordering::Relaxed)),
                        Err(error) => assert_eq!(error.kind(), ErrorKind::LimitExceeded),
                    }
                    assert!(memory.usage().records <= BOUND);
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(done.load(Ordering::Relaxed), BOUND);
    assert_eq!(memory.usage().records, BOUND);
}

#[tokio::test]
async fn expired_records_make_room_before_anything_is_refused() {
    let clock = ManualClock::default();
    let memory = MemoryStore::builder()
        .clock(clock.clone())
        .max_records(10)
        .build();
    let store = Store::from(&memory);
    let soon = store.now() + Duration::from_secs(1);
    for i in 0..10 {
        put(&store, &i.to_string(), bytes(1), Some(soon))
            .await
            .unwrap();
    }
    assert!(put(&store, "new", bytes(1), None).await.is_err());
    clock.advance(Duration::from_secs(1));
    for i in 0..10 {
        put(&store, &format!("new {i}"), bytes(1), None)
            .await
            .unwrap();
    }
    assert_eq!(memory.usage().records, 10);
}

#[tokio::test]
async fn expired_records_never_outnumber_live_ones() {
    const LIVE: usize = 100;
    let clock = ManualClock::default();
    let memory = MemoryStore::builder().clock(clock.clone()).build();
    let store = Store::from(&memory);
    // One record a millisecond, each alive for a hundred milliseconds; `sweep` is not
    // called.
    for i in 0..20 * LIVE {
        let expires_at = Some(store.now() + Duration::from_millis(LIVE as u64));
        put(&store, &i.to_string(), bytes(10), expires_at)
            .await
            .unwrap();
        clock.advance(Duration::from_millis(1));
        let held = memory.usage().records;
        assert!(held <= LIVE + 2, "after {i} writes {held} are held");
    }
    clock.advance(Duration::from_secs(1));
    let swept = store.records().sweep(Duration::ZERO).await.unwrap();
    assert!(!swept.more && swept.removed > 0);
    assert_eq!((memory.usage().records, memory.usage().bytes), (0, 0));
}

/// The store that a [`Nosy`] value reads when it is dropped.
static NOSY_STORE: OnceLock<Store> = OnceLock::new();
static NOSY_DROPS: AtomicUsize = AtomicUsize::new(0);

/// A value whose `Drop` uses the very store that held it.
#[derive(Serialize, Deserialize)]
struct Nosy(u32);

impl Drop for Nosy {
    fn drop(&mut self) {
        let store = NOSY_STORE.get().expect("set before any value is made");
        let at = RecordRef::new("p", THINGS, "bystander").expect("short names");
        let seen = store.records().get_now(at).expect("memory answers at once");
        assert!(seen.expect("it is open").is_some());
        NOSY_DROPS.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn no_lock_is_held_while_a_value_is_dropped() {
    let clock = ManualClock::default();
    let memory = MemoryStore::builder()
        .clock(clock.clone())
        .strict(false)
        .build();
    let store = NOSY_STORE.get_or_init(|| Store::from(&memory));
    let (done, finished) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(async {
            let nosy = || Body::json(Nosy(1)).unwrap();
            let soon = Some(store.now() + Duration::from_secs(1));
            put(store, "bystander", bytes(1), None).await.unwrap();
            put(store, "overwritten", nosy(), None).await.unwrap();
            put(store, "overwritten", bytes(1), None).await.unwrap();
            put(store, "deleted", nosy(), None).await.unwrap();
            delete(store, "deleted").await.unwrap();
            put(store, "swept in passing", nosy(), soon).await.unwrap();
            clock.advance(Duration::from_secs(1));
            put(store, "passing", bytes(1), None).await.unwrap();
            let soon = Some(store.now() + Duration::from_secs(1));
            put(store, "swept", nosy(), soon).await.unwrap();
            clock.advance(Duration::from_secs(1));
            store.records().sweep(Duration::ZERO).await.unwrap();
            // Refused: never stored at all.
            let mut batch = Batch::new(Partition::new("p").unwrap(), store.now());
            batch.put(key("bystander"), Expect::Absent, nosy()).unwrap();
            assert!(store.records().commit(&batch).await.is_err());
        });
        done.send(()).unwrap();
    });
    // A deadlock is a failure, not a test that never ends.
    let ended = finished.recv_timeout(Duration::from_secs(60));
    assert!(ended.is_ok(), "a lock was held, or a value's drop failed");
    assert_eq!(NOSY_DROPS.load(Ordering::Relaxed), 5);
}

#[tokio::test]
async fn a_read_hands_out_the_very_value_that_was_written() {
    let store = Store::from(MemoryStore::builder().strict(false).build());
    let value = Arc::new(vec![String::from("a")]);
    let body = Body::shared(Arc::clone(&value)).unwrap();
    put(&store, "a", body, None).await.unwrap();
    let at = RecordRef::new("p", THINGS, "a").unwrap();
    let read = store.records().get_now(at).unwrap().unwrap().unwrap();
    assert!(Arc::ptr_eq(&read.decode::<Vec<String>>().unwrap(), &value));
}

#[tokio::test]
async fn closing_one_clone_closes_them_all() {
    let memory = MemoryStore::new();
    let (one, other) = (Store::from(&memory), Store::from(memory.clone()));
    put(&one, "a", bytes(1), None).await.unwrap();
    one.close().await.unwrap();
    one.close().await.unwrap();
    let refused = put(&other, "b", bytes(1), None).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Closed);
    let at = RecordRef::new("p", THINGS, "a").unwrap();
    let answer = other.records().get_now(at).unwrap();
    assert_eq!(answer.unwrap_err().kind(), ErrorKind::Closed);
}
