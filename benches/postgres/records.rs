//! Reading and writing records.

use std::ops::Range;

use sqlx::AssertSqlSafe;
use store_conformance::bench::Goal;
use store_core::{Batch, Body, Collection, Expect, Partition, RecordKey};

use super::{Bench, FEW, MANY, SCHEMA, comparison};

const IN_FEW: u64 = 1_000;
const IN_MANY: u64 = 1_000_000;

/// The `i`th of `count` names, out of order.
fn name(i: u64, count: u64) -> (Partition, String) {
    let i = i.wrapping_mul(0x9e37_79b9_7f4a_7c15) % count;
    (
        Partition::new(format!("p{}", i % 100)).unwrap(),
        format!("id{i}"),
    )
}

impl Bench {
    fn fill(&self, collection: Collection, count: u64) {
        let (table, collection) = (format!("{SCHEMA}.records"), collection.name());
        self.execute(format!(
            "INSERT INTO {table} (collection, partition, id, version, size, body)
             SELECT '{collection}', 'p' || i % 100, 'id' || i, gen_random_uuid(), 27, '{{\"name\": \"user\", \"age\": 7}}'
             FROM generate_series(0, {count} - 1) AS i"
        ));
        self.execute(format!("VACUUM ANALYZE {table}"));
    }

    async fn get(&self, collection: Collection, count: u64, i: u64) {
        let (partition, id) = name(i, count);
        let key = RecordKey::new(collection, id).unwrap();
        let found = self.store.records().get(key.at(&partition)).await.unwrap();
        assert!(found.is_some());
    }

    pub(super) fn gets(&self) {
        self.fill(FEW, IN_FEW);
        self.fill(MANY, IN_MANY);
        let text = format!(
            "SELECT version, expires_at, body, bytes FROM {SCHEMA}.records \
             WHERE collection = 'few' AND partition = $1 AND id = $2"
        );
        let text: std::sync::Arc<str> = text.into();
        let by_hand = |i| {
            let query = sqlx::query(AssertSqlSafe(text.clone()));
            async move {
                let (partition, id) = name(i, IN_FEW);
                let row = query
                    .bind(partition.as_str())
                    .bind(id)
                    .fetch_optional(&self.pool)
                    .await
                    .unwrap();
                assert!(row.is_some());
            }
        };
        let measured = comparison("a get")
            .contender("the store", |n| self.timed(n, |i| self.get(FEW, IN_FEW, i)))
            .contender(format!("prepared select, {}", self.peer), |n| {
                self.timed(n, by_hand)
            })
            .goal(Goal::AtMost(1.10))
            .run();
        println!("{measured}");
        let measured = comparison("a get, by how many records there are")
            .contender("of 1 000 000", |n| {
                self.timed(n, |i| self.get(MANY, IN_MANY, i))
            })
            .contender("of 1 000", |n| self.timed(n, |i| self.get(FEW, IN_FEW, i)))
            .goal(Goal::AtMost(1.30))
            .run();
        println!("{measured}");
    }

    fn batch(&self, ids: Range<u64>) -> Batch {
        let mut batch = Batch::new(Partition::new("commits").unwrap(), self.store.now());
        for i in ids {
            let key = RecordKey::new(FEW, format!("k{}", i % 1000)).unwrap();
            batch.put(key, Expect::Any, Body::json(i).unwrap()).unwrap();
        }
        batch
    }

    async fn commit(&self, ids: Range<u64>) {
        let batch = self.batch(ids);
        self.store.records().commit(&batch).await.unwrap();
    }

    pub(super) fn commits(&self) {
        let measured = comparison("writing ten records")
            .batch(50)
            .contender("one commit", |n| {
                self.timed(n, |i| self.commit(i * 10..i * 10 + 10))
            })
            .contender("ten commits", |n| {
                self.timed(n, |i| async move {
                    for j in i * 10..i * 10 + 10 {
                        self.commit(j..j + 1).await;
                    }
                })
            })
            .goal(Goal::AtLeast(3.0))
            .run();
        println!("{measured}");
        let upsert = format!(
            "INSERT INTO {SCHEMA}.records (collection, partition, id, version, size, body) \
             VALUES ('few', $1, $2, gen_random_uuid(), 8, to_json($3::bigint)) \
             ON CONFLICT (collection, partition, id) DO UPDATE SET version = excluded.version, \
             expires_at = excluded.expires_at, body = excluded.body, bytes = excluded.bytes"
        );
        let upsert: std::sync::Arc<str> = upsert.into();
        let by_hand = |i: u64| {
            let query = sqlx::query(AssertSqlSafe(upsert.clone()));
            async move {
                query
                    .bind("by hand")
                    .bind(format!("k{}", i % 1000))
                    .bind(i as i64)
                    .execute(&self.pool)
                    .await
                    .unwrap();
            }
        };
        let measured = comparison("a commit of one record")
            .contender("the store", |n| self.timed(n, |i| self.commit(i..i + 1)))
            .contender(
                format!("one upsert that checks nothing, {}", self.peer),
                |n| self.timed(n, by_hand),
            )
            .run();
        println!("{measured}");
    }
}
