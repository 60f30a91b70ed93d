//! Compares the store in DynamoDB with hand-written calls of the SDK, interleaved on the
//! same server. The store uses the client that it builds by default, and the SDK uses a
//! separate client.
//!
//! `cargo xtask bench --backend dynamodb`. A server is found or started as for the tests;
//! see `store_conformance::servers`. Arguments select parts: `get`, `put`, `take`, `far`,
//! `commit`.
//!
//! An emulator in this process has no network latency, so a request costs only the work
//! of the SDK and the emulator. `far` measures takes again over a connection that delays
//! each request by a millisecond.

#![allow(clippy::unwrap_used)] // A failed measurement may end the program.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::{BehaviorVersion, Config, Credentials, Region};
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure};
use store_conformance::bench::{Comparison, Goal, is_wanted, undisturbed};
use store_conformance::proxy::{self, Proxy};
use store_conformance::servers::{Options, dynamodb, or_exit};
use store_core::limits::{Quota, QuotaSet, Take};
use store_core::{Batch, Body, Collection, Expect, Partition, RecordKey, Store};
use store_dynamodb::DynamoDbStore;
use tokio::runtime::{self, Runtime};

const USERS: Collection = Collection::new("users");
const TABLE: &str = "store-bench";
const KEYS: u64 = 200;

/// The minimum latency of the simulated network.
const WAY: Duration = Duration::from_millis(1);

/// The store, and the client with which it is compared.
struct Bench {
    runtime: Runtime,
    store: Store,
    raw: Client,
    users: Partition,
}

fn main() {
    let server = or_exit(dynamodb::find(&Options::from_env()));
    println!("{}, {}\n", dynamodb::name(&server), server.origin());
    let bench = Bench::open(server.url());
    let parts: [(&str, &dyn Fn()); 5] = [
        ("get", &|| bench.gets()),
        ("put", &|| bench.puts()),
        ("take", &|| bench.takes("take of one token")),
        ("far", &|| far(server.url())),
        ("commit", &|| bench.commits()),
    ];
    parts
        .iter()
        .filter(|(name, _)| is_wanted(name))
        .for_each(|(_, part)| part());
}

/// Measures takes over a connection with the latency of a network.
fn far(url: &str) {
    // On a separate thread, so that it does not use the time of the measured thread.
    let network = runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build();
    let network = network.unwrap();
    let server = url.trim_start_matches("http://");
    let line = network.block_on(Proxy::start(server, Some(proxy::http), 0));
    let line = line.unwrap();
    line.set_latency(WAY);
    let bench = Bench::open(&format!("http://{}", line.address()));
    bench.takes("take of one token, 1 ms or more away");
}

fn text(text: impl Into<String>) -> AttributeValue {
    AttributeValue::S(text.into())
}

/// The value of a put, with the fields of a typical user record.
fn body(i: u64) -> String {
    format!(
        r#"{{"name":"user {i}","mail":"{i}@example.org","groups":["a","b"],"note":"{}"}}"#,
        "x".repeat(400)
    )
}

fn value(i: u64) -> serde_json::Value {
    serde_json::from_str(&body(i)).unwrap()
}

fn key(i: u64) -> RecordKey {
    RecordKey::new(USERS, format!("{}", i % KEYS)).unwrap()
}

impl Bench {
    fn open(endpoint: &str) -> Self {
        // One thread, so that the results include no switches between threads.
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.unwrap();
        let config = Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(dynamodb::REGION))
            .endpoint_url(endpoint)
            .credentials_provider(Credentials::new(dynamodb::KEY_ID, "x", None, None, "bench"))
            .retry_config(RetryConfig::standard())
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .build();
        let users = Partition::new("acme").unwrap();
        let store = runtime.block_on(async {
            let store = DynamoDbStore::builder()
                .table(TABLE)
                .endpoint(endpoint)
                .region(dynamodb::REGION)
                .credentials(dynamodb::KEY_ID, "x")
                .connect()
                .await
                .unwrap();
            store.setup().await.unwrap();
            let store = Store::from(&store);
            for i in 0..KEYS {
                let mut batch = Batch::new(users.clone(), store.now());
                let body = Body::json(value(i)).unwrap();
                batch.put(key(i), Expect::Any, body).unwrap();
                store.records().commit(&batch).await.unwrap();
            }
            store
        });
        Self {
            runtime,
            store,
            raw: Client::from_conf(config),
            users,
        }
    }

    /// The time of `times` runs of `work`; see [`undisturbed`].
    fn timed<F: Future<Output = ()>>(&self, times: u64, work: impl Fn(u64) -> F) -> Duration {
        self.runtime.block_on(undisturbed(times, work))
    }

    async fn raw_get(&self, pk: &str, sk: String) -> HashMap<String, AttributeValue> {
        let asked = self.raw.get_item().table_name(TABLE).consistent_read(true);
        let answer = asked.key("pk", text(pk)).key("sk", text(sk)).send().await;
        answer.unwrap().item.unwrap_or_default()
    }

    fn gets(&self) {
        let measured = comparison("get of a record of 500 bytes, decoded")
            .contender("store", |n| {
                self.timed(n, |i| async move {
                    let at = key(i);
                    let found = self.store.records().get(at.at(&self.users)).await.unwrap();
                    std::hint::black_box(found.unwrap().decode::<serde_json::Value>().unwrap());
                })
            })
            .contender("SDK: GetItem", |n| {
                self.timed(n, |i| async move {
                    let item = self.raw_get("r:acme", format!("users:{}", i % KEYS)).await;
                    let json = item["json"].as_s().unwrap();
                    std::hint::black_box(serde_json::from_str::<serde_json::Value>(json).unwrap());
                })
            })
            .goal(Goal::AtMost(1.10))
            .run();
        println!("{measured}");
    }

    fn puts(&self) {
        let measured = comparison("put of such a record, if it is there")
            .contender("store", |n| {
                self.timed(n, |i| async move {
                    let mut batch = Batch::new(self.users.clone(), self.store.now());
                    let body = Body::json(value(i)).unwrap();
                    batch.put(key(i), Expect::Present, body).unwrap();
                    self.store.records().commit(&batch).await.unwrap();
                })
            })
            .contender("SDK: PutItem with a condition", |n| {
                self.timed(n, |i| async move {
                    let sent = self
                        .raw
                        .put_item()
                        .table_name(TABLE)
                        .item("pk", text("raw"))
                        .item("sk", text(format!("users:{}", i % KEYS)))
                        .item("version", text(format!("{i:032}")))
                        .item("json", text(serde_json::to_string(&value(i)).unwrap()))
                        .condition_expression("attribute_not_exists(pk) OR attribute_exists(pk)")
                        .send()
                        .await;
                    sent.unwrap();
                })
            })
            .goal(Goal::AtMost(1.10))
            .run();
        println!("{measured}");
    }

    /// A take by hand: read, decide, and put if the item has not changed.
    async fn raw_take(&self, i: u64) {
        let own = format!("{}", i % KEYS);
        let item = self.raw_get("raw-limit", own.clone()).await;
        let held = item.get("tat").map(|tat| tat.as_n().unwrap().clone());
        let tat: u64 = held.as_ref().map_or(0, |tat| tat.parse().unwrap());
        let next = tat.max(self.store.now().as_nanos()) + 1_000;
        let put = self
            .raw
            .put_item()
            .table_name(TABLE)
            .item("pk", text("raw-limit"))
            .item("sk", text(own))
            .item("tat", AttributeValue::N(next.to_string()));
        let put = match held {
            Some(held) => put
                .condition_expression("tat = :held")
                .expression_attribute_values(":held", AttributeValue::N(held)),
            None => put.condition_expression("attribute_not_exists(pk)"),
        };
        put.send().await.unwrap();
    }

    /// The minimal update that can decide a take: sets a number on condition that it is
    /// not greater than another, and returns the item for a denial.
    async fn raw_update(&self, i: u64) {
        let now = self.store.now().as_nanos();
        let sent = self
            .raw
            .update_item()
            .table_name(TABLE)
            .key("pk", text("raw-least"))
            .key("sk", text(format!("{}", i % KEYS)))
            .update_expression("SET tat = :next")
            .condition_expression("tat <= :now")
            .expression_attribute_values(":next", AttributeValue::N((now + 1_000).to_string()))
            .expression_attribute_values(":now", AttributeValue::N(now.to_string()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        sent.unwrap();
    }

    fn takes(&self, title: &str) {
        let quotas = QuotaSet::from(Quota::per_second(1_000_000).unwrap());
        let quotas = &quotas;
        self.runtime.block_on(async {
            for i in 0..KEYS {
                let put = self.raw.put_item().table_name(TABLE);
                let put = put.item("pk", text("raw-least"));
                let put = put.item("sk", text(format!("{i}")));
                let put = put.item("tat", AttributeValue::N("0".into()));
                put.send().await.unwrap();
            }
        });
        let measured = comparison(title)
            .contender("store", |n| {
                self.timed(n, |i| async move {
                    let own = (i % KEYS).to_string();
                    let take = Take::new(&own, quotas, 1, self.store.now()).unwrap();
                    assert!(self.store.limits().take(&take).await.unwrap().is_allowed());
                })
            })
            .contender("SDK: UpdateItem of a number on a condition", |n| {
                self.timed(n, |i| self.raw_update(i))
            })
            .contender("SDK: GetItem, PutItem with a condition", |n| {
                self.timed(n, |i| self.raw_take(i))
            })
            .goal(Goal::AtLeast(1.6))
            .run();
        println!("{measured}");
    }

    fn commits(&self) {
        let measured = comparison("commit of 10 records")
            .contender("store", |n| {
                self.timed(n, |_| async move {
                    let mut batch = Batch::new(self.users.clone(), self.store.now());
                    for i in 0..10 {
                        let body = Body::json(value(i)).unwrap();
                        batch.put(key(i), Expect::Present, body).unwrap();
                    }
                    self.store.records().commit(&batch).await.unwrap();
                })
            })
            .contender("store: ten commits of one", |n| {
                self.timed(n, |_| async move {
                    for i in 0..10 {
                        let mut batch = Batch::new(self.users.clone(), self.store.now());
                        let body = Body::json(value(i)).unwrap();
                        batch.put(key(i), Expect::Present, body).unwrap();
                        self.store.records().commit(&batch).await.unwrap();
                    }
                })
            })
            .goal(Goal::AtLeast(3.0))
            .run();
        println!("{measured}");
    }
}

/// Many short interleaved rounds, so that other load on the machine affects all
/// contenders equally.
fn comparison(title: &str) -> Comparison<'_> {
    Comparison::new(title).batch(60).rounds(41)
}
