//! Every released format is read, and records are written in the latest released format.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use store_core::body::Encoded;
use store_core::lti::{
    AccessToken, Deployment, LtiStore, NewToolKey, NonceCheck, PublicJwk, RecordLti, Registration,
};
use store_core::secret::Secret;
use store_core::{
    Batch, Body, Collection, Expect, ManualClock, Partition, RecordKey, Scan, Store, Timestamp,
};
use store_memory::MemoryStore;

use super::{ISSUER, PEM, lms, lms_with_key, old_ring};

const RELEASED: &str = include_str!("../golden/lti_1.json");

/// Every collection of the contract.
fn collections() -> Vec<Collection> {
    let mut all = store_core::collections::all();
    all.retain(|collection| collection.name().starts_with("lti_"));
    all
}

fn store() -> (Store, ManualClock) {
    let clock = ManualClock::default();
    let memory = MemoryStore::builder().clock(clock.clone()).build();
    (Store::from(&memory), clock)
}

/// One record of each kind, and a second nonce, used.
async fn write(lti: &RecordLti, clock: &ManualClock) {
    lti.upsert_registration(lms_with_key()).await.unwrap();
    lti.set_default_registration(ISSUER, "42").await.unwrap();
    let site = [("site".to_owned(), json!(7))].into_iter().collect();
    let deployment = Deployment::new("course-7").unwrap();
    let deployment = deployment.with_extra(site).unwrap();
    lti.upsert_deployment(&lms(), deployment).await.unwrap();
    lti.store_nonce("fresh", &lms()).await.unwrap();
    lti.store_nonce("used", &lms()).await.unwrap();
    clock.advance(Duration::from_millis(1500));
    let used = lti.validate_nonce("used", &lms()).await.unwrap();
    assert_eq!(used, NonceCheck::Accepted);
    let public = json!({ "kty": "OKP", "crv": "Ed25519", "x": "AQ" });
    let public = PublicJwk::new(public.as_object().unwrap().clone()).unwrap();
    let key = NewToolKey::new("2026-1", Secret::new(PEM), public).unwrap();
    lti.add_key(key).await.unwrap();
    let hour = Duration::from_secs(3600);
    lti.cache_jwks(&format!("{ISSUER}/jwks"), json!({ "keys": [] }), hour)
        .await
        .unwrap();
    let token = AccessToken {
        token: Secret::new("hunter2"),
        expires_at: Timestamp::from_seconds(1_893_459_600),
    };
    lti.store_token(&lms(), &["b", "a/c"], token).await.unwrap();
}

/// All stored records, by their full names.
async fn stored(store: &Store) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    for collection in collections() {
        let scan = Scan::collection(collection, "");
        for record in store.records().scan(&scan).await.unwrap().items {
            let Encoded::Json(json) = record.body().encoded().unwrap() else {
                panic!("json expected");
            };
            let name = [collection.name(), record.partition().as_str(), record.id()];
            let form = json!({
                "expires_at": record.expires_at(),
                "body": serde_json::from_slice::<Value>(&json).unwrap(),
            });
            found.insert(name.join(" | "), form);
        }
    }
    found
}

/// Replaces random values by placeholders.
fn masked(mut value: Value) -> Value {
    match &mut value {
        Value::Object(members) => {
            for (name, member) in members.iter_mut() {
                let random = matches!(&**name, "incarnation" | "registration" | "sealed");
                *member = match member.take() {
                    Value::String(_) if random => "random".into(),
                    other => masked(other),
                };
            }
        }
        Value::Array(items) => items
            .iter_mut()
            .for_each(|item| *item = masked(item.take())),
        _ => {}
    }
    value
}

#[tokio::test]
async fn what_is_written_has_the_released_form() {
    let (store, clock) = store();
    write(&RecordLti::new(&store, &old_ring()), &clock).await;
    let written = serde_json::to_value(stored(&store).await).unwrap();
    let released: Value = serde_json::from_str(RELEASED).unwrap();
    assert_eq!(
        masked(written.clone()),
        masked(released),
        "a stored format changed: keep reading the old one, and add the new one as a second golden file:\n{written:#}"
    );
}

#[tokio::test]
async fn every_released_form_is_read() {
    let (store, clock) = store();
    let released: BTreeMap<String, Value> = serde_json::from_str(RELEASED).unwrap();
    for (name, form) in released {
        let name: Vec<&str> = name.split(" | ").collect();
        let collection = store_core::collections::find(name[0]);
        let key = RecordKey::new(collection.unwrap(), name[2]).unwrap();
        let body = Body::from_json(serde_json::to_vec(&form["body"]).unwrap());
        let expires_at = serde_json::from_value(form["expires_at"].clone()).unwrap();
        let mut batch = Batch::new(Partition::new(name[1]).unwrap(), store.now());
        batch
            .put_until(key, Expect::Absent, body, expires_at)
            .unwrap();
        store.records().commit(&batch).await.unwrap();
    }

    let lti: RecordLti = RecordLti::new(&store, &old_ring());
    let found = lti.get_registration(ISSUER, None).await.unwrap().unwrap();
    let registration: &Registration = &found;
    assert_eq!(
        registration.token_endpoint(),
        Some("https://lms.example.edu/token")
    );
    assert_eq!(registration.extra()["campus"], "north");
    let key = lti.signing_key(registration).await.unwrap().unwrap();
    assert_eq!((&*key.kid, key.private_key.expose()), ("kid-1", PEM));

    let deployment = lti.get_deployment(registration, "course-7").await.unwrap();
    assert_eq!(deployment.unwrap().extra()["site"], 7);

    let used = lti.validate_nonce("used", registration).await.unwrap();
    assert_eq!(used, NonceCheck::AlreadyUsed);
    let fresh = lti.validate_nonce("fresh", registration).await.unwrap();
    assert_eq!(fresh, NonceCheck::Accepted);

    let keys = lti.list_keys().await.unwrap();
    let keys = keys.items;
    assert!(keys[0].active && keys[0].kid == "2026-1");
    let signing = lti.signing_key(&lms()).await.unwrap().unwrap();
    assert_eq!(signing.private_key.expose(), PEM);

    let jwks = lti.cached_jwks(registration.jwks_uri()).await.unwrap();
    assert_eq!(jwks.unwrap().jwks, json!({ "keys": [] }));
    let token = lti.get_token(registration, &["a/c", "b"]).await.unwrap();
    assert_eq!(token.unwrap().token.expose(), "hunter2");

    // The expiry of the nonce, not of its record.
    clock.advance(Duration::from_secs(11 * 60));
    let used = lti.validate_nonce("used", registration).await.unwrap();
    assert_eq!(used, NonceCheck::AlreadyUsed);
}

#[tokio::test]
async fn a_form_of_a_later_version_is_corrupt_and_not_guessed_at() {
    let (store, _) = store();
    let nonces = store_core::collections::find("lti_nonces").unwrap();
    let body = json!({
        "format": 2, "issuer": ISSUER, "nonce": "n", "expires_at": "2031-01-01T00:00:00Z",
    });
    let partition = Partition::new(store_core::key::join(&[ISSUER, "n"])).unwrap();
    let mut batch = Batch::new(partition, store.now());
    let key = RecordKey::new(nonces, "nonce").unwrap();
    batch
        .put(key, Expect::Absent, Body::json(body).unwrap())
        .unwrap();
    store.records().commit(&batch).await.unwrap();
    let lti: RecordLti = RecordLti::new(&store, &old_ring());
    let error = lti.validate_nonce("n", &lms()).await.unwrap_err();
    assert_eq!(error.kind(), store_core::ErrorKind::Corrupt);
}

#[tokio::test]
async fn fields_of_a_later_version_survive_a_rewrite() {
    let (store, _) = store();
    let lti: RecordLti = RecordLti::new(&store, &old_ring());
    lti.upsert_registration(lms()).await.unwrap();
    let registrations = store_core::collections::find("lti_registrations").unwrap();
    let partition = Partition::new(ISSUER).unwrap();
    let key = RecordKey::new(registrations, "42").unwrap();
    let record = store
        .records()
        .get(key.at(&partition))
        .await
        .unwrap()
        .unwrap();
    let mut body = (*record.decode::<Value>().unwrap()).clone();
    body["added_later"] = json!({ "by": "a newer process" });
    let mut batch = Batch::new(partition.clone(), store.now());
    batch
        .put(key.clone(), &record, Body::json(body).unwrap())
        .unwrap();
    store.records().commit(&batch).await.unwrap();

    lti.upsert_registration(lms_with_key()).await.unwrap();
    let record = store
        .records()
        .get(key.at(&partition))
        .await
        .unwrap()
        .unwrap();
    let body = record.decode::<Value>().unwrap();
    assert_eq!(body["added_later"]["by"], "a newer process");
}
