//! The store in PostgreSQL beside what one would write by hand with sqlx, on
//! the same server, in turns:
//!
//! `STORE_TEST_POSTGRES_URL=postgres://… cargo bench -p store-postgres --bench server`

#![allow(clippy::unwrap_used)] // A failed measurement may end the program.

use std::time::{Duration, Instant};

use bytes::Bytes;
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, PgPool, Row};
use store_conformance::bench::{Comparison, Goal};
use store_postgres::PostgresStore;
use store_postgres::core::blobs::{BlobRef, OpenOptions, PutOptions};
use store_postgres::core::limits::{Quota, Quotas, Take};
use store_postgres::core::{Batch, Body, Collection, Expect, Partition, RecordKey, Store};
use tokio::runtime::Runtime;

const FEW: Collection = Collection::new("few");
const MANY: Collection = Collection::new("many");
const IN_FEW: usize = 1_000;
const IN_MANY: usize = 1_000_000;
const BLOB: usize = 64 << 20;
const CHUNK: usize = 256 << 10;
const SCHEMA: &str = "store_bench";

struct Bench {
    runtime: Runtime,
    store: Store,
    pool: PgPool,
}

fn main() {
    let runtime = Runtime::new().unwrap();
    let url = std::env::var("STORE_TEST_POSTGRES_URL").expect("STORE_TEST_POSTGRES_URL is set");
    let (store, pool) = runtime.block_on(open(&url)).unwrap();
    let bench = Bench {
        runtime,
        store,
        pool,
    };
    bench.runtime.block_on(fill(&bench.pool)).unwrap();
    bench.get();
    bench.size();
    bench.take();
    bench.commit();
    bench.blobs();
    bench
        .runtime
        .block_on(run(&bench.pool, &format!("DROP SCHEMA {SCHEMA} CASCADE")))
        .unwrap();
}

async fn open(url: &str) -> Result<(Store, PgPool), Box<dyn std::error::Error>> {
    let pool = PgPoolOptions::new()
        .max_connections(10)
        .test_before_acquire(false)
        .connect(url)
        .await?;
    run(&pool, &format!("DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")).await?;
    let store = PostgresStore::builder()
        .url(url)
        .schema(SCHEMA)
        .collections([FEW, MANY])
        .connect()
        .await?;
    store.setup().await?;
    println!(
        "PostgreSQL {}, {:?}",
        store.server_version(),
        Store::from(&store).records().capabilities().durability
    );
    Ok((store.into(), pool))
}

async fn run(pool: &PgPool, text: &str) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(text))
        .execute(pool)
        .await
        .map(drop)
}

async fn fill(pool: &PgPool) -> Result<(), sqlx::Error> {
    for (collection, count) in [(FEW, IN_FEW), (MANY, IN_MANY)] {
        let text = format!(
            "INSERT INTO {SCHEMA}.records_{0} (partition, id, version, body)
             SELECT 'p' || i % 100, 'id' || i, gen_random_uuid(), '{{\"name\": \"user\", \"age\": 7}}'
             FROM generate_series(0, {count} - 1) AS i;
             VACUUM ANALYZE {SCHEMA}.records_{0}",
            collection.name()
        );
        for statement in text.split(';') {
            run(pool, statement).await?;
        }
    }
    run(
        pool,
        &format!(
            "CREATE TABLE {SCHEMA}.raw_buckets (key text PRIMARY KEY, tat bigint NOT NULL) WITH (fillfactor = 70);
             CREATE TABLE {SCHEMA}.raw_chunks (object int, number int, bytes bytea, PRIMARY KEY (object, number));
             ALTER TABLE {SCHEMA}.raw_chunks ALTER COLUMN bytes SET STORAGE EXTERNAL"
        ),
    )
    .await
}

/// The `i`th of `count` names, out of order.
fn name(i: u64, count: usize) -> (Partition, String) {
    let i = i.wrapping_mul(0x9e37_79b9_7f4a_7c15) as usize % count;
    (
        Partition::new(format!("p{}", i % 100)).unwrap(),
        format!("id{i}"),
    )
}

impl Bench {
    /// Runs `work` so many times, one after the other.
    fn timed<F: Future<Output = ()>>(&self, times: u64, work: impl Fn(u64) -> F) -> Duration {
        self.runtime.block_on(async {
            let begin = Instant::now();
            for i in 0..times {
                work(i).await;
            }
            begin.elapsed()
        })
    }

    async fn read(&self, collection: Collection, count: usize, i: u64) {
        let (partition, id) = name(i, count);
        let key = RecordKey::new(collection, id).unwrap();
        let found = self.store.records().get(key.at(&partition)).await.unwrap();
        assert!(found.is_some());
    }

    fn get(&self) {
        let text = format!(
            "SELECT version, expires_at, body, bytes FROM {SCHEMA}.records_few \
             WHERE partition = $1 AND id = $2"
        );
        let raw = |i| {
            let text = text.clone();
            async move {
                let (partition, id) = name(i, IN_FEW);
                let row = sqlx::query(AssertSqlSafe(text))
                    .bind(partition.as_str())
                    .bind(id)
                    .fetch_optional(&self.pool)
                    .await
                    .unwrap();
                assert!(row.is_some());
            }
        };
        let measured = Comparison::new("get")
            .contender("the store", |n| {
                self.timed(n, |i| self.read(FEW, IN_FEW, i))
            })
            .contender("sqlx's prepared select", |n| self.timed(n, raw))
            .goal(Goal::AtMost(1.10))
            .slice(Duration::from_millis(100))
            .run();
        println!("{measured}");
    }

    fn size(&self) {
        let measured = Comparison::new("get, by how many records there are")
            .contender("of 1 000 000", |n| {
                self.timed(n, |i| self.read(MANY, IN_MANY, i))
            })
            .contender("of 1 000", |n| self.timed(n, |i| self.read(FEW, IN_FEW, i)))
            .goal(Goal::AtMost(1.3))
            .slice(Duration::from_millis(100))
            .run();
        println!("{measured}");
    }

    fn take(&self) {
        let quotas: Quotas = Quotas::new([Quota::per_second(1_000_000).unwrap()]).unwrap();
        let ours = |i: u64| {
            let quotas = &quotas;
            async move {
                let key = format!("key{}", i % 100);
                let take = Take::new(&key, quotas, 1, self.store.now()).unwrap();
                assert!(self.store.limits().take(&take).await.unwrap().is_allowed());
            }
        };
        let upsert = format!(
            "INSERT INTO {SCHEMA}.raw_buckets AS b (key, tat) VALUES ($1, $2::bigint + $3) \
             ON CONFLICT (key) DO UPDATE SET tat = greatest(b.tat, $2) + $3 \
             WHERE greatest(b.tat, $2) <= $4 RETURNING tat"
        );
        let raw = |i: u64| {
            let upsert = upsert.clone();
            async move {
                let now = self.store.now().as_nanos() as i64;
                sqlx::query(AssertSqlSafe(upsert))
                    .bind(format!("key{}", i % 100))
                    .bind(now)
                    .bind(1_000i64)
                    .bind(now + 1_000_000_000)
                    .fetch_all(&self.pool)
                    .await
                    .unwrap();
            }
        };
        let (lock, write) = (
            format!("SELECT tat FROM {SCHEMA}.raw_buckets WHERE key = $1 FOR UPDATE"),
            format!("UPDATE {SCHEMA}.raw_buckets SET tat = $2 WHERE key = $1"),
        );
        let long = |i: u64| {
            let (lock, write) = (lock.clone(), write.clone());
            async move {
                let mut transaction = self.pool.begin().await.unwrap();
                let key = format!("key{}", i % 100);
                let row = sqlx::query(AssertSqlSafe(lock))
                    .bind(&key)
                    .fetch_one(&mut *transaction)
                    .await
                    .unwrap();
                let tat: i64 = row.get(0);
                sqlx::query(AssertSqlSafe(write))
                    .bind(&key)
                    .bind(tat + 1)
                    .execute(&mut *transaction)
                    .await
                    .unwrap();
                transaction.commit().await.unwrap();
            }
        };
        self.timed(100, raw);
        let measured = Comparison::new("take")
            .contender("the store", |n| self.timed(n, ours))
            .contender("one upsert", |n| self.timed(n, raw))
            .goal(Goal::AtMost(1.10))
            .contender("begin, select for update, update, commit", |n| {
                self.timed(n, long)
            })
            .goal(Goal::AtLeast(1.8))
            .slice(Duration::from_millis(100))
            .run();
        println!("{measured}");
    }

    fn commit(&self) {
        let batch = |ids: std::ops::Range<u64>| {
            let mut batch = Batch::new(Partition::new("commits").unwrap(), self.store.now());
            for i in ids {
                let key = RecordKey::new(FEW, format!("k{}", i % 1000)).unwrap();
                batch.put(key, Expect::Any, Body::json(i).unwrap()).unwrap();
            }
            batch
        };
        let commit = |batch: Batch| async move {
            self.store.records().commit(&batch).await.unwrap();
        };
        let measured = Comparison::new("writing ten records")
            .contender("one commit", |n| {
                self.timed(n, |i| commit(batch(i * 10..i * 10 + 10)))
            })
            .contender("ten commits", |n| {
                self.timed(n, |i| async move {
                    for j in i * 10..i * 10 + 10 {
                        commit(batch(j..j + 1)).await;
                    }
                })
            })
            .goal(Goal::AtLeast(3.0))
            .slice(Duration::from_millis(100))
            .run();
        println!("{measured}");
    }

    fn blobs(&self) {
        let chunk = Bytes::from(
            (0..CHUNK)
                .map(|i| ((i * 7919) >> 3) as u8)
                .collect::<Vec<_>>(),
        );
        let at = BlobRef::new("bench", "object").unwrap();
        let write = |_| {
            let chunk = chunk.clone();
            async move {
                let mut sink = self
                    .store
                    .blobs()
                    .begin(at, PutOptions::default())
                    .await
                    .unwrap();
                for _ in 0..BLOB / CHUNK {
                    sink.write(chunk.clone()).await.unwrap();
                }
                let _ = sink.commit().await.unwrap();
            }
        };
        let insert = format!("INSERT INTO {SCHEMA}.raw_chunks VALUES (1, $1, $2)");
        let raw_write = |_| {
            let (chunk, insert) = (chunk.clone(), insert.clone());
            async move {
                run(&self.pool, &format!("DELETE FROM {SCHEMA}.raw_chunks"))
                    .await
                    .unwrap();
                for number in 0..(BLOB / CHUNK) as i32 {
                    sqlx::query(AssertSqlSafe(insert.clone()))
                        .bind(number)
                        .bind(&chunk[..])
                        .execute(&self.pool)
                        .await
                        .unwrap();
                }
            }
        };
        let read = |_| async move {
            let mut blob = self
                .store
                .blobs()
                .open(at, OpenOptions::default())
                .await
                .unwrap()
                .unwrap();
            let mut size = 0;
            while let Some(bytes) = blob.reader.next().await.unwrap() {
                size += bytes.len();
            }
            assert_eq!(size, BLOB);
        };
        let select =
            format!("SELECT bytes FROM {SCHEMA}.raw_chunks WHERE object = 1 AND number = $1");
        let raw_read = |_| {
            let select = select.clone();
            async move {
                for number in 0..(BLOB / CHUNK) as i32 {
                    let row = sqlx::query(AssertSqlSafe(select.clone()))
                        .bind(number)
                        .fetch_one(&self.pool)
                        .await
                        .unwrap();
                    let bytes: Vec<u8> = row.get(0);
                    assert_eq!(bytes.len(), CHUNK);
                }
            }
        };
        let measured = Comparison::new("writing 64 MiB")
            .contender("the store", |n| self.timed(n, write))
            .contender("raw rows", |n| self.timed(n, raw_write))
            .goal(Goal::AtMost(1.0 / 0.9))
            .batch(1)
            .rounds(7)
            .run();
        println!("{measured}");
        let measured = Comparison::new("reading 64 MiB")
            .contender("the store", |n| self.timed(n, read))
            .contender("raw rows", |n| self.timed(n, raw_read))
            .goal(Goal::AtMost(1.0 / 0.9))
            .batch(1)
            .rounds(7)
            .run();
        println!("{measured}");
    }
}
