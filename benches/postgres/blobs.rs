//! Streaming objects.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use bytes::Bytes;
use sqlx::{AssertSqlSafe, PgPool, Row};
use store_conformance::bench::{Comparison, Goal};
use store_core::Store;
use store_core::blobs::{BlobRef, OpenOptions, PutOptions};
use tokio::task::JoinHandle;

use super::{Bench, SCHEMA};

const SIZE: usize = 64 << 20;
const CHUNK: usize = 256 << 10;
/// As many chunks at a time as the store has in flight.
const IN_FLIGHT: usize = 8;

/// A chunk that does not compress.
fn chunk() -> Bytes {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..CHUNK).map(|_| next()).collect()
}

/// Writes an object of `size` bytes.
pub(super) async fn write(store: &Store, size: usize) {
    let chunk = chunk();
    let at = BlobRef::new("bench", "object").unwrap();
    let mut sink = store
        .blobs()
        .begin(at, PutOptions::default())
        .await
        .unwrap();
    for _ in 0..size / CHUNK {
        sink.write(chunk.clone()).await.unwrap();
    }
    let _ = sink.commit().await.unwrap();
}

/// Reads the object and returns its size.
pub(super) async fn read(store: &Store) -> usize {
    let at = BlobRef::new("bench", "object").unwrap();
    let blob = store.blobs().open(at, OpenOptions::default()).await;
    let mut blob = blob.unwrap().unwrap();
    let mut size = 0;
    while let Some(bytes) = blob.reader.next().await.unwrap() {
        size += bytes.len();
    }
    size
}

/// Hand-written code that stores chunks as rows of a table with the same columns.
struct ByHand {
    pool: PgPool,
    insert: Arc<str>,
    select: Arc<str>,
    /// The last object written.
    object: AtomicI32,
}

impl ByHand {
    fn new(bench: &Bench) -> Self {
        bench.execute(format!(
            "CREATE TABLE {SCHEMA}.chunks (object int, number int, bytes bytea NOT NULL,
                 PRIMARY KEY (object, number));
             ALTER TABLE {SCHEMA}.chunks ALTER COLUMN bytes SET STORAGE EXTERNAL"
        ));
        let insert = format!("INSERT INTO {SCHEMA}.chunks VALUES ($1, $2, $3)");
        let select = format!("SELECT bytes FROM {SCHEMA}.chunks WHERE object = $1 AND number = $2");
        Self {
            pool: bench.pool.clone(),
            insert: insert.into(),
            select: select.into(),
            object: AtomicI32::new(0),
        }
    }

    /// Calls `work` with each chunk's number, several at a time, awaits the results in
    /// order and returns their sum.
    async fn each(&self, work: impl Fn(i32) -> JoinHandle<usize>) -> usize {
        let mut under_way: VecDeque<JoinHandle<usize>> = VecDeque::new();
        let mut sum = 0;
        for number in 0..(SIZE / CHUNK) as i32 {
            if under_way.len() == IN_FLIGHT
                && let Some(first) = under_way.pop_front()
            {
                sum += first.await.unwrap();
            }
            under_way.push_back(work(number));
        }
        for task in under_way {
            sum += task.await.unwrap();
        }
        sum
    }

    async fn write(&self) {
        let chunk = chunk();
        let object = self.object.fetch_add(1, Ordering::Relaxed) + 1;
        self.each(|number| {
            let query = sqlx::query(AssertSqlSafe(Arc::clone(&self.insert)));
            let (pool, chunk) = (self.pool.clone(), chunk.clone());
            tokio::spawn(async move {
                let query = query.bind(object).bind(number).bind(&chunk[..]);
                query.execute(&pool).await.unwrap();
                chunk.len()
            })
        })
        .await;
    }

    async fn read(&self) -> usize {
        let object = self.object.load(Ordering::Relaxed);
        self.each(|number| {
            let query = sqlx::query(AssertSqlSafe(Arc::clone(&self.select)));
            let pool = self.pool.clone();
            tokio::spawn(async move {
                let row = query.bind(object).bind(number).fetch_one(&pool).await;
                row.unwrap().get::<Vec<u8>, _>(0).len()
            })
        })
        .await
    }
}

impl Bench {
    pub(super) fn blobs(&self) {
        let by_hand = &ByHand::new(self);
        let name = format!("rows of chunks, eight at a time, {}", self.peer);
        let measured = Comparison::new("writing 64 MiB in chunks of 256 KiB")
            .contender("the store", |n| self.timed(n, |_| write(&self.store, SIZE)))
            .contender(&name, |n| self.timed(n, |_| by_hand.write()))
            .goal(Goal::AtMost(1.0 / 0.9))
            .batch(1)
            .rounds(11)
            .run();
        println!("{measured}");
        let measured = Comparison::new("reading 64 MiB")
            .contender("the store", |n| {
                self.timed(n, |_| async {
                    assert_eq!(read(&self.store).await, SIZE);
                })
            })
            .contender(&name, |n| {
                self.timed(n, |_| async {
                    assert_eq!(by_hand.read().await, SIZE);
                })
            })
            .goal(Goal::AtMost(1.0 / 0.9))
            .batch(1)
            .rounds(21)
            .run();
        println!("{measured}");
    }
}
