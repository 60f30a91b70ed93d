//! Every kind of record has a golden file, and this release writes records of the same
//! form. The tests of each contract read the golden files.

// Helpers of tests may fail the test.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;
use store_core::api_keys::{ApiKey, ApiKeyStore, KeyData, RecordApiKeys};
use store_core::body::Encoded;
use store_core::limits::{Quota, RateLimiter, RecordLimits};
use store_core::secret::KeyRing;
use store_core::{Collection, ErrorKind, ManualClock, RecordRef, Store, Timestamp, collections};
use store_memory::MemoryStore;

/// The collection and the body of every golden record.
fn golden_records() -> Vec<(String, Value)> {
    let parse = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    let array = |value: &Value| value.as_array().unwrap().clone();
    let mut records = Vec::new();
    for (collection, text) in [
        ("api_keys", include_str!("golden/api_key.json")),
        ("api_key_ids", include_str!("golden/api_key_id.json")),
        ("api_key_hints", include_str!("golden/api_key_hint.json")),
    ] {
        records.push((collection.to_owned(), parse(text)["body"].clone()));
    }
    for text in [
        include_str!("golden/identity_1.json"),
        include_str!("golden/others_1.json"),
    ] {
        for record in array(&parse(text)) {
            let collection = record["collection"].as_str().unwrap().to_owned();
            records.push((collection, record["body"].clone()));
        }
    }
    let lti = parse(include_str!("golden/lti_1.json"));
    for (name, form) in lti.as_object().unwrap() {
        let collection = name.split(" | ").next().unwrap().to_owned();
        records.push((collection, form["body"].clone()));
    }
    let blobs = parse(include_str!("golden/blobs_1.json"));
    records.push(("blobs".into(), blobs["pointer"].clone()));
    records.push(("blob_reclaim".into(), blobs["note"]["body"].clone()));
    for chunk in array(&blobs["chunks"]) {
        records.push(("blob_chunks".into(), chunk));
    }
    records
}

#[test]
fn every_kind_of_record_has_a_golden_file_and_a_format_number() {
    let records = golden_records();
    let golden: BTreeSet<&str> = records.iter().map(|(name, _)| name.as_str()).collect();
    let all = collections::all();
    let missing: Vec<_> = all
        .iter()
        .filter(|collection| !golden.contains(collection.name()))
        .collect();
    assert!(missing.is_empty(), "no golden record of {missing:?}");
    for (collection, body) in &records {
        // The bytes of an object's content have no format.
        let plain = collection == "blob_chunks";
        assert!(plain || body["format"] == 1, "{collection}: {body}");
    }
}

/// The golden record of a collection in `others_1.json`.
fn golden(collection: &str) -> Value {
    let all: Vec<Value> = serde_json::from_str(include_str!("golden/others_1.json")).unwrap();
    let found = all.into_iter().find(|r| r["collection"] == collection);
    found.unwrap()
}

/// Asserts that the record with the name of the golden record has its form.
async fn has_golden_form(store: &Store, collection: &str) {
    let golden = golden(collection);
    let [partition, id] = ["partition", "id"].map(|name| golden[name].as_str().unwrap());
    let at = RecordRef::new(partition, named(collection), id).unwrap();
    let record = store
        .get(at)
        .await
        .unwrap()
        .expect("a record with the golden name");
    let Encoded::Json(json) = record.body().encoded().unwrap() else {
        panic!("json expected");
    };
    let body: Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(body["format"], golden["body"]["format"]);
    assert_eq!(shape(&body), shape(&golden["body"]), "{body:#}");
    assert_eq!(
        record.expires_at().is_none(),
        golden["expires_at"].is_null()
    );
}

/// The names of the fields and the types of their values.
fn shape(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields.iter();
            fields
                .map(|(name, value)| (name.clone(), shape(value)))
                .collect()
        }
        Value::Array(items) => items.iter().map(shape).collect(),
        Value::String(_) => "text".into(),
        Value::Number(_) => 0.into(),
        Value::Null | Value::Bool(_) => value.clone(),
    }
}

fn named(collection: &str) -> Collection {
    collections::find(collection).unwrap()
}

/// An empty store at the start of 2030.
fn open() -> Store {
    let clock = ManualClock::new(Timestamp::from_seconds(1_893_456_000));
    MemoryStore::builder().clock(clock).build().into()
}

#[tokio::test]
async fn a_bucket_has_the_golden_form() {
    let store = open();
    let quotas = [
        Quota::per_day(24).unwrap().named("daily").unwrap(),
        Quota::per_second(4).unwrap().named("quick").unwrap(),
    ];
    let limits = RecordLimits::new(Arc::clone(store.records()));
    let quotas = store_core::limits::QuotaSet::new(quotas).unwrap();
    let limiter = RateLimiter::over(Arc::new(limits), quotas);
    let long = "k".repeat(300);
    assert!(limiter.allow(&long).await.unwrap());
    has_golden_form(&store, "buckets").await;
}

#[tokio::test]
async fn a_newer_bucket_is_refused_by_its_format() {
    let store = open();
    let golden = golden("buckets");
    let [partition, id] = ["partition", "id"].map(|name| golden[name].as_str().unwrap());
    let mut body = golden["body"].clone();
    body["format"] = 2.into();
    let partition = store_core::Partition::new(partition).unwrap();
    let key = store_core::RecordKey::new(named("buckets"), id).unwrap();
    let mut batch = store.batch(&partition);
    let body = store_core::Body::json(body).unwrap();
    batch.put(key, store_core::Expect::Absent, body).unwrap();
    store.commit(&batch).await.unwrap();
    let limits = RecordLimits::new(Arc::clone(store.records()));
    let limiter = RateLimiter::over(Arc::new(limits), Quota::per_second(4).unwrap());
    let error = limiter.allow(&"k".repeat(300)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.message().contains("format 2"), "{error}");
}

#[tokio::test]
async fn the_flags_of_collections_have_the_golden_form() {
    let store = open();
    let declared = ["buckets", "lti_nonces"].map(named);
    collections::register(&**store.records(), &declared)
        .await
        .unwrap();
    has_golden_form(&store, "collection_flags").await;
}

#[tokio::test]
async fn a_ring_fingerprint_has_the_golden_form() {
    let store = open();
    let ring = KeyRing::new("2026a", *b"thirty-two bytes that never leak").unwrap();
    let keys = RecordApiKeys::new(store.records().clone(), &ring);
    let secret = ApiKey::parse("9f86d081884c7d659a2feaa0c55ad015").unwrap();
    keys.insert(&secret, KeyData::new()).await.unwrap();
    has_golden_form(&store, "key_rings").await;
}
