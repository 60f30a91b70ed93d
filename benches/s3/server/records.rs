//! Records: a read, and commits in partitions with few and with many records.

use futures_util::{StreamExt, stream};
use store_conformance::bench::Goal;
use store_core::{Batch, Body, Expect, Partition};
use store_s3::object_store::path::Path;
use store_s3::object_store::{ObjectStoreExt, PutPayload};

use crate::{Bench, comparison, key};

const KEYS: u64 = 100;

/// The number of records in a small partition.
const FEW: u64 = 100;
/// The number of records in a large partition.
const MANY: u64 = 100_000;

/// The value of a put, with the fields of a typical user record.
fn value(i: u64) -> serde_json::Value {
    serde_json::json!({
        "name": format!("user {i}"),
        "mail": format!("{i}@example.org"),
        "groups": ["a", "b"],
        "note": "x".repeat(400),
    })
}

impl Bench {
    /// Puts ten records without expectations.
    async fn commit_ten(&self, partition: &Partition) {
        let mut batch = Batch::new(partition.clone(), self.store.now());
        for i in 0..10 {
            let body = Body::json(value(i)).unwrap();
            batch.put(key(format!("{i}")), Expect::Any, body).unwrap();
        }
        self.store.records().commit(&batch).await.unwrap();
    }

    /// The path of a record's object.
    fn object(&self, partition: &str, id: &str) -> Path {
        let prefix = &self.prefix;
        Path::parse(format!("{prefix}/records/users/={partition}/={id}")).unwrap()
    }

    pub(crate) fn get(&self) {
        self.runtime.block_on(async {
            for i in 0..KEYS {
                let mut batch = Batch::new(self.users.clone(), self.store.now());
                let body = Body::json(value(i)).unwrap();
                batch.put(key(format!("{i}")), Expect::Any, body).unwrap();
                self.store.records().commit(&batch).await.unwrap();
            }
        });
        let measured = comparison("get of a record of 500 bytes, decoded")
            .contender("store", |n| {
                self.timed(n, |i| async move {
                    let key = key(format!("{}", i % KEYS));
                    let found = self.store.records().get(key.at(&self.users)).await.unwrap();
                    std::hint::black_box(found.unwrap().decode::<serde_json::Value>().unwrap());
                })
            })
            .contender("object_store: get of the same object", |n| {
                self.timed(n, |i| async move {
                    let at = self.object("acme", &(i % KEYS).to_string());
                    let bytes = self.raw.get(&at).await.unwrap().bytes().await.unwrap();
                    let body = bytes.iter().position(|byte| *byte == b'\n').unwrap() + 1;
                    let body = serde_json::from_slice::<serde_json::Value>(&bytes[body..]);
                    std::hint::black_box(body.unwrap());
                })
            })
            .goal(Goal::AtMost(1.10))
            .run();
        println!("{measured}");
    }

    /// Fills a partition with `records` equal records.
    async fn fill(&self, partition: &Partition, records: u64) {
        self.commit_ten(partition).await;
        let name = partition.as_str();
        let like = self.raw.get(&self.object(name, "0")).await.unwrap();
        let like = like.bytes().await.unwrap();
        let puts = (0..records).map(|i| {
            let like = String::from_utf8_lossy(&like);
            let own = like.replacen("\"id\":\"0\"", &format!("\"id\":\"other{i}\""), 1);
            let (at, raw) = (self.object(name, &format!("other{i}")), &self.raw);
            async move { raw.put(&at, PutPayload::from(own)).await.map(drop) }
        });
        let mut puts = stream::iter(puts).buffer_unordered(32);
        while let Some(put) = puts.next().await {
            put.unwrap();
        }
    }

    pub(crate) fn commit(&self) {
        let few = &Partition::new("few").unwrap();
        let many = &Partition::new("many").unwrap();
        println!("filling partitions of {FEW} and {MANY} records");
        self.runtime.block_on(async {
            self.fill(few, FEW).await;
            self.fill(many, MANY).await;
        });
        let measured = comparison("commit of ten records among others")
            .batch(5)
            .contender(format!("among {MANY}"), |n| {
                self.timed(n, |_| self.commit_ten(many))
            })
            .contender(format!("among {FEW}"), |n| {
                self.timed(n, |_| self.commit_ten(few))
            })
            .goal(Goal::AtMost(1.10))
            .run();
        println!("{measured}");
    }
}
