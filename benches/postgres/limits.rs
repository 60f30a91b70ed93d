//! Takes from rate limits.

use std::sync::Arc;
use std::time::Duration;

use sqlx::{AssertSqlSafe, Row};
use store_conformance::bench::Goal;
use store_core::limits::{Quota, QuotaSet, Take};

use super::{Bench, SCHEMA, comparison};

const KEYS: u64 = 100;
const DAY: Duration = Duration::from_secs(86_400);

/// A hand-written statement with the same arithmetic over an equal table. It returns no
/// row if the take is denied, and no time to wait.
const UPSERT: &str = "INSERT INTO {schema}.by_hand AS b (key, quota, tat, expires_at) \
    VALUES ($1, $2, $3 + $4, $6) \
    ON CONFLICT (key, quota) DO UPDATE SET expires_at = $6, tat = $4 \
        + CASE WHEN b.expires_at > $3 THEN greatest(b.tat, $3) ELSE $3 END \
    WHERE b.expires_at <= $3 OR greatest(b.tat, $3) <= $5 \
    RETURNING tat";

const TABLE: &str = "DROP TABLE IF EXISTS {schema}.by_hand; \
    CREATE TABLE {schema}.by_hand (LIKE {schema}.buckets INCLUDING INDEXES) WITH (fillfactor = 70)";

fn text(text: &str) -> Arc<str> {
    text.replace("{schema}", SCHEMA).into()
}

fn key(i: u64) -> String {
    format!("key{}", i % KEYS)
}

impl Bench {
    async fn take(&self, quotas: &QuotaSet, key: String, allowed: bool) {
        let take = Take::new(&key, quotas, 1, self.store.now()).unwrap();
        let decision = self.store.limits().take(&take).await.unwrap();
        assert_eq!(decision.is_allowed(), allowed);
    }

    /// A take by the hand-written statement. Returns the arrival time that it wrote.
    async fn upsert(&self, text: &Arc<str>, key: String, room: i64) -> Option<i64> {
        let now = self.store.now().as_nanos() as i64;
        let row = sqlx::query(AssertSqlSafe(text.clone()))
            .bind(key.as_bytes())
            .bind("1000000/1s")
            .bind(now)
            .bind(1_000i64)
            .bind(now + room)
            .bind(now + DAY.as_nanos() as i64)
            .fetch_optional(&self.pool)
            .await
            .unwrap();
        row.map(|row| row.get(0))
    }

    async fn locked(&self, lock: &Arc<str>, write: &Arc<str>, key: String) {
        let mut transaction = self.pool.begin().await.unwrap();
        let row = sqlx::query(AssertSqlSafe(lock.clone()))
            .bind(key.as_bytes())
            .fetch_one(&mut *transaction)
            .await
            .unwrap();
        let tat: i64 = row.get(0);
        sqlx::query(AssertSqlSafe(write.clone()))
            .bind(key.as_bytes())
            .bind(tat + 1)
            .execute(&mut *transaction)
            .await
            .unwrap();
        transaction.commit().await.unwrap();
    }

    pub(super) fn takes(&self) {
        self.execute(text(TABLE).to_string());
        let upsert = &text(UPSERT);
        let lock = &text("SELECT tat FROM {schema}.by_hand WHERE key = $1 FOR UPDATE");
        let write = &text("UPDATE {schema}.by_hand SET tat = $2 WHERE key = $1");
        let quotas = &QuotaSet::new([Quota::per_second(1_000_000).unwrap()]).unwrap();
        const ROOM: i64 = 1_000_000_000;
        let by_hand = |i| async move {
            assert!(self.upsert(upsert, key(i), ROOM).await.is_some());
        };
        self.timed(KEYS, by_hand);
        let measured = comparison("a take")
            .contender("the store", |n| {
                self.timed(n, |i| self.take(quotas, key(i), true))
            })
            .contender(format!("one upsert, {}", self.peer), |n| {
                self.timed(n, by_hand)
            })
            .goal(Goal::AtMost(1.10))
            .contender("begin, select for update, update, commit", |n| {
                self.timed(n, |i| self.locked(lock, write, key(i)))
            })
            .goal(Goal::AtLeast(1.8))
            .run();
        println!("{measured}");
        self.refusals(upsert);
    }

    fn refusals(&self, upsert: &Arc<str>) {
        let one = &QuotaSet::new([Quota::new(1, DAY).unwrap()]).unwrap();
        let refusing = |i| format!("refusing{}", i % KEYS);
        self.timed(KEYS, |i| self.take(one, refusing(i), true));
        let measured = comparison("a denied take")
            .contender("the store, which returns the time to wait", |n| {
                self.timed(n, |i| self.take(one, refusing(i), false))
            })
            .contender("one upsert, which does not", |n| {
                self.timed(n, |i| async move {
                    assert_eq!(self.upsert(upsert, key(i), -1).await, None);
                })
            })
            .run();
        println!("{measured}");
    }
}
