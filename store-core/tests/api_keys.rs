//! API keys: records that earlier releases stored, and the promises of the handle.

// This file contains only tests.
#![allow(clippy::unwrap_used)]
use serde_json::Value;
use store_core::api_keys::{
    API_KEY_HINTS, API_KEY_IDS, API_KEYS, Access, ApiKey, ApiKeyStore, ApiKeys, DenyReason,
    KeyData, KeyEntry, KeyFormat, ListKeys, Lookup, RecordApiKeys, Verdict, http_answer,
};
use store_core::secret::KeyRing;
use store_core::{
    Batch, Body, Collection, ErrorKind, Expect, Partition, RecordKey, Scan, Store, Timestamp,
};
use store_memory::MemoryStore;

const SECRET: &str = "9f86d081884c7d659a2feaa0c55ad015";

const GOLDEN: [(Collection, &str); 3] = [
    (API_KEYS, include_str!("golden/api_key.json")),
    (API_KEY_IDS, include_str!("golden/api_key_id.json")),
    (API_KEY_HINTS, include_str!("golden/api_key_hint.json")),
];

fn ring() -> KeyRing {
    KeyRing::new("2026a", *b"thirty-two bytes that never leak").unwrap()
}

fn memory() -> Store {
    MemoryStore::new().into()
}

/// A store with the records that release 0.1 writes.
async fn golden() -> Store {
    let store = memory();
    for (collection, text) in GOLDEN {
        let golden: Value = serde_json::from_str(text).unwrap();
        let partition = Partition::new(golden["partition"].as_str().unwrap()).unwrap();
        let key = RecordKey::new(collection, golden["id"].as_str().unwrap()).unwrap();
        let mut batch = Batch::new(partition, store.now());
        let body = Body::json(golden["body"].clone()).unwrap();
        batch.put(key, Expect::Absent, body).unwrap();
        store.records().commit(&batch).await.unwrap();
    }
    store
}

#[tokio::test]
async fn a_key_that_an_earlier_release_stored_is_found_and_read_whole() {
    let store = golden().await;
    let keys = ApiKeys::new(&store, &ring());
    let secret = ApiKey::parse(SECRET).unwrap();
    let Lookup::Disabled(entry) = keys.authenticate(&secret).await.unwrap() else {
        panic!("it was stored as disabled");
    };
    let data = KeyData::new()
        .with_tenant("acme")
        .with_label("nightly build")
        .permit("orders", ["read", "cancel"])
        .with_extra("plan", "gold")
        .with_extra("seats", 7)
        .expiring_at(Timestamp::from_seconds(2_208_988_800))
        .disabled();
    assert_eq!(*entry.data(), data);
    assert_eq!(
        entry.created_at().to_string(),
        "2026-11-20T10:30:00.123456789Z"
    );
    let by_id = keys.store().get_by_id(entry.id()).await.unwrap();
    assert_eq!(by_id, Lookup::Disabled(entry.clone()));
    let page = keys.list(&ListKeys::of_tenant("acme")).await.unwrap();
    assert_eq!(page.items, [entry]);
    assert!(keys.enable(&secret).await.unwrap().data().enabled);
    keys.delete(&secret).await.unwrap();
    for collection in [API_KEYS, API_KEY_IDS, API_KEY_HINTS] {
        let scan = Scan::collection(collection, "");
        assert!(store.records().scan(&scan).await.unwrap().items.is_empty());
    }
}

/// The names of the fields of a body.
fn fields(body: &Value) -> Vec<String> {
    let mut names: Vec<_> = body.as_object().unwrap().keys().cloned().collect();
    names.sort();
    names
}

#[tokio::test]
async fn what_is_stored_today_has_the_form_of_the_golden_files() {
    let store = memory();
    let keys = RecordApiKeys::new(store.records().clone(), &ring());
    let data = KeyData::new()
        .with_tenant("acme")
        .with_label("nightly build")
        .permit("orders", ["read"])
        .with_extra("plan", "gold")
        .expiring_at(store.now());
    let secret = ApiKey::parse(SECRET).unwrap();
    keys.insert(&secret, data).await.unwrap();
    for (collection, text) in GOLDEN {
        let golden: Value = serde_json::from_str(text).unwrap();
        let page = store
            .records()
            .scan(&Scan::collection(collection, ""))
            .await;
        let [record] = &page.unwrap().items[..] else {
            panic!("one record of each");
        };
        assert_eq!(record.partition().as_str(), golden["partition"]);
        let body = record.decode::<Value>().unwrap();
        assert_eq!(fields(&body), fields(&golden["body"]));
        assert_eq!(body["format"], golden["body"]["format"]);
        if collection == API_KEYS {
            assert_eq!(record.id(), golden["id"], "the digest never changes");
        }
    }
}

#[tokio::test]
async fn rules_come_before_the_keys_own_permissions() {
    let keys = ApiKeys::new(memory(), &ring()).with_rules(
        |key: &KeyEntry, resource: &str, _: &str| match (resource, key.data().extra.get("role")) {
            ("reports", Some(role)) if role == "auditor" => Verdict::Allow,
            ("archive", _) => Verdict::Forbid,
            _ => Verdict::Abstain,
        },
    );
    let data = KeyData::new()
        .with_extra("role", "auditor")
        .permit("archive", ["read"])
        .permit("orders", ["read"]);
    let (key, _) = keys.issue(data).await.unwrap();
    let access = keys.authorize(&key, "reports", "read").await.unwrap();
    assert!(access.is_granted(), "the company's rule allows it");
    let access = keys.authorize(&key, "archive", "read").await.unwrap();
    assert!(matches!(access, Access::Denied(_, DenyReason::Rule)));
    let access = keys.authorize(&key, "orders", "read").await.unwrap();
    assert!(
        access.is_granted(),
        "no rule applies, so the key's permissions do"
    );
    let access = keys.authorize(&key, "orders", "write").await.unwrap();
    assert!(matches!(
        access,
        Access::Denied(_, DenyReason::NotPermitted)
    ));
}

#[tokio::test]
async fn a_malformed_key_is_refused_before_any_store_is_called() {
    let store = memory();
    let keys = ApiKeys::new(&store, &ring()).with_format(KeyFormat::new("acme").unwrap());
    let (key, _) = keys.issue(KeyData::new()).await.unwrap();
    let mistyped = format!("{}!", &key.expose()[..key.expose().len() - 1]);
    store.close().await.unwrap();
    let check = async |presented| keys.check(presented, "orders", "read").await;
    assert_eq!(check(None).await.unwrap(), Access::Missing);
    for wrong in ["", "two words", "acme_short", &mistyped] {
        assert_eq!(check(Some(wrong)).await.unwrap(), Access::BadFormat);
    }
    let asked = check(Some(key.expose())).await;
    assert_eq!(asked.as_ref().unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(http_answer(&asked).status, 503);
}

#[tokio::test]
async fn a_handle_over_another_store_keeps_its_format_and_rules() {
    let format = KeyFormat::new("acme").unwrap();
    let allow = |_: &KeyEntry, _: &str, _: &str| Verdict::Allow;
    let keys = ApiKeys::new(memory(), &ring())
        .with_format(format)
        .with_rules(allow);
    let partners = memory();
    let partners = RecordApiKeys::new(partners.records().clone(), &ring());
    let there = keys.with_store(std::sync::Arc::new(partners));
    let (key, _) = there.issue(KeyData::new()).await.unwrap();
    assert!(key.expose().starts_with("acme_"));
    let access = there.authorize(&key, "orders", "read").await.unwrap();
    assert!(access.is_granted());
    let here = keys.authenticate(&key).await.unwrap();
    assert_eq!(here, Lookup::Unknown);
}
