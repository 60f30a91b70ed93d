//! How the standard implementation stores keys as records.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use store_core::api_keys::{
    API_KEY_HINTS, API_KEY_IDS, API_KEYS, ApiKey, ApiKeyStore, ApiKeyStoreExt, KeyData, ListKeys,
    Lookup, RecordApiKeys,
};
use store_core::body::Encoded;
use store_core::secret::KeyRing;
use store_core::{Batch, Body, Collection, ErrorKind, Expect, Result, Scan, Store, Timestamp};

use super::fixtures::{edit_stored, key, ring, stored_key};
use super::rotation::{older, rotated};
use crate::case;
use crate::faults::{Fault, Lossy};
use crate::harness::{Harness, Opened};
use crate::suite::{Case, CaseResult};

pub(super) type Given = Arc<dyn Harness<Store>>;

pub(super) fn all() -> Vec<Case<Store>> {
    vec![
        case!(keys_that_share_a_partition_stay_apart, "47"),
        case!(no_secret_is_stored_in_clear, "R9"),
        case!(looking_up_unknown_keys_leaves_nothing_behind, "11"),
        case!(a_hint_without_its_key_lists_nothing, "14"),
        case!(a_hint_is_believed_only_if_the_key_names_it),
        case!(fields_of_a_newer_release_survive_a_change, "5"),
        case!(what_cannot_be_understood_is_no_working_key, "3"),
        case!(an_expired_key_is_collected_in_its_time, "35"),
        case!(a_longer_life_keeps_a_key_in_its_list, "35"),
    ]
}

pub(super) fn keys(store: &Store, ring: &KeyRing) -> RecordApiKeys {
    RecordApiKeys::new(Arc::clone(store.records()), ring)
}

async fn keys_that_share_a_partition_stay_apart(given: Given) -> CaseResult {
    let opened = given.open(()).await?;
    let keys = keys(&opened.first, &ring()?);
    let (one, other) = two_of_one_partition()?;
    let first = keys.insert(&one, KeyData::new().with_label("one")).await?;
    let near = keys.get_key(&other).await?;
    assert_eq!(near, Lookup::Unknown, "a neighbour is not a key");
    let second = keys
        .insert(&other, KeyData::new().with_label("other"))
        .await?;
    let partition = |entry: &store_core::api_keys::KeyEntry| entry.id().as_str()[..4].to_owned();
    assert_eq!(partition(&first), partition(&second), "as the case intends");
    keys.disable(&one).await?;
    assert_eq!(keys.get_key(&other).await?, Lookup::Active(second.clone()));
    keys.delete_key((&one).into()).await?;
    assert_eq!(keys.get_key(&other).await?, Lookup::Active(second.clone()));
    assert_eq!(keys.get_by_id(first.id()).await?, Lookup::Unknown);
    assert_eq!(keys.get_by_id(second.id()).await?, Lookup::Active(second));
    Ok(())
}

/// Two keys whose unkeyed hashes begin alike: of some hundred, two do.
fn two_of_one_partition() -> Result<(ApiKey, ApiKey)> {
    let mut met = std::collections::HashMap::new();
    loop {
        let new = key();
        let bucket = store_core::secret::bucket("api keys", new.expose().as_bytes());
        if let Some(earlier) = met.insert(bucket, new.clone()) {
            return Ok((earlier, new));
        }
    }
}

/// Every record that a handle on API keys may write.
async fn all_records(store: &Store) -> Result<Vec<store_core::Record>> {
    let mut records = Vec::new();
    for collection in [API_KEYS, API_KEY_IDS, API_KEY_HINTS] {
        records.extend(records_of(store, collection).await?);
    }
    Ok(records)
}

async fn records_of(store: &Store, collection: Collection) -> Result<Vec<store_core::Record>> {
    let mut records = Vec::new();
    let mut scan = Scan::collection(collection, "");
    loop {
        let page = store.records().scan(&scan).await?;
        records.extend(page.items);
        let Some(next) = page.next else {
            return Ok(records);
        };
        scan = Scan::collection(collection, "").after(&next)?;
    }
}

/// How many keys, ids and hints are stored.
pub(super) async fn count(store: &Store) -> Result<[usize; 3]> {
    Ok([
        records_of(store, API_KEYS).await?.len(),
        records_of(store, API_KEY_IDS).await?.len(),
        records_of(store, API_KEY_HINTS).await?.len(),
    ])
}

async fn no_secret_is_stored_in_clear(given: Given) -> CaseResult {
    let opened = given.open(()).await?;
    let keys = keys(&opened.first, &ring()?);
    let secrets = [key(), ApiKey::parse("9f86d081884c7d659a2feaa0c55ad015")?];
    for secret in &secrets {
        let data = KeyData::new().with_tenant("acme").with_label("mine");
        keys.insert(secret, data).await?;
        keys.update(secret, |data| data.permissions.grant("orders", "read"))
            .await?;
    }
    let records = all_records(&opened.second).await?;
    assert_eq!(records.len(), 6);
    for record in records {
        let body = match record.body().encoded()? {
            Encoded::Json(body) | Encoded::Bytes(body) => body,
        };
        let stored = format!(
            "{} {} {}",
            record.partition().as_str(),
            record.id(),
            String::from_utf8_lossy(&body)
        );
        for secret in &secrets {
            // Not even a part that would make the rest easier to guess.
            let text = secret.expose();
            for start in 0..text.len() - 8 {
                assert!(!stored.contains(&text[start..start + 8]), "{stored}");
            }
        }
    }
    Ok(())
}

async fn looking_up_unknown_keys_leaves_nothing_behind(given: Given) -> CaseResult {
    let opened = given.open(()).await?;
    let plain = keys(&opened.first, &ring()?);
    plain
        .insert(&key(), KeyData::new().with_tenant("acme"))
        .await?;
    let before = count(&opened.second).await?;
    let eager = keys(&opened.second, &rotated()?).redigest_on_use(true);
    for number in 0..60 {
        let unknown = key();
        assert_eq!(plain.get_key(&unknown).await?, Lookup::Unknown);
        assert_eq!(eager.get_key(&unknown).await?, Lookup::Unknown);
        let odd = ApiKey::parse(format!("{number}"))?;
        assert_eq!(plain.get_key(&odd).await?, Lookup::Unknown);
        assert!(plain.disable(&unknown).await.is_err());
        plain.delete_key((&unknown).into()).await?;
        let tenant = format!("tenant {number}");
        let page = plain.list(&ListKeys::of_tenant(tenant)).await?;
        assert!(page.items.is_empty());
    }
    assert_eq!(count(&opened.second).await?, before);
    Ok(())
}

async fn a_hint_without_its_key_lists_nothing(given: Given) -> CaseResult {
    let opened = given.open(()).await?;
    let plain = keys(&opened.second, &ring()?);
    plain.adopt_ring().await?;
    let data = || KeyData::new().with_tenant("acme");
    let behind = |faults: &[Fault]| -> Result<RecordApiKeys> {
        let records = Arc::clone(opened.first.records());
        let lossy = Lossy::scripted(records, faults.iter().copied());
        Ok(RecordApiKeys::new(Arc::new(lossy), &ring()?))
    };
    let secrets: Vec<_> = (0..4).map(|_| key()).collect();
    for secret in &secrets {
        // The hint is written, and the key is lost.
        let lossy = behind(&[Fault::None, Fault::LoseRequest])?;
        let lost = lossy.insert(secret, data()).await;
        assert!(lost.is_err(), "there was no answer");
        assert_eq!(plain.get_key(secret).await?, Lookup::Unknown);
    }
    assert_eq!(count(&opened.first).await?, [0, 0, 4]);
    let page = plain.list(&ListKeys::of_tenant("acme").limit(1)?).await?;
    assert!(page.items.is_empty() && page.next.is_none());

    plain.insert(&secrets[0], data()).await?;
    plain.insert(&secrets[1], data()).await?;
    // The key is deleted, and its hint stays.
    let lossy = behind(&[Fault::None, Fault::LoseRequest])?;
    lossy.delete_key((&secrets[1]).into()).await?;
    assert_eq!(count(&opened.first).await?, [1, 1, 6]);
    // The key gets another hint, and its old one stays.
    let later = opened.first.now() + Duration::from_secs(60);
    let lossy = behind(&[Fault::None, Fault::None, Fault::LoseRequest])?;
    lossy
        .update(&secrets[0], |data| {
            data.expires_at = Some(later);
            Ok(())
        })
        .await?;
    assert_eq!(count(&opened.first).await?, [1, 1, 7]);
    let mut query = ListKeys::of_tenant("acme").limit(1)?;
    let mut listed = 0;
    loop {
        let page = plain.list(&query).await?;
        assert!(page.next.is_none() || !page.items.is_empty());
        listed += page.items.len();
        let Some(next) = page.next else { break };
        query = query.after(next);
    }
    assert_eq!(listed, 1);
    Ok(())
}

async fn a_hint_is_believed_only_if_the_key_names_it(given: Given) -> CaseResult {
    let opened = given.open(()).await?;
    let keys = keys(&opened.first, &ring()?);
    let (mine, theirs) = (key(), key());
    keys.insert(&mine, KeyData::new().with_tenant("mine"))
        .await?;
    keys.insert(&theirs, KeyData::new().with_tenant("theirs"))
        .await?;
    let hints = records_of(&opened.second, API_KEY_HINTS).await?;
    // Each one's hint in the other's list, as if a move had died half-way.
    for (hint, place) in [(&hints[0], &hints[1]), (&hints[1], &hints[0])] {
        let store = &opened.second;
        let mut batch = Batch::new(place.partition().clone(), store.now());
        batch.put(hint.key().clone(), Expect::Absent, hint.body().clone())?;
        store.records().commit(&batch).await?;
    }
    for tenant in ["mine", "theirs"] {
        let page = keys.list(&ListKeys::of_tenant(tenant)).await?;
        assert_eq!(page.items.len(), 1);
        assert_eq!(page.items[0].data().tenant.as_deref(), Some(tenant));
    }
    Ok(())
}

async fn fields_of_a_newer_release_survive_a_change(given: Given) -> CaseResult {
    let opened = given.open(()).await?;
    let plain = keys(&opened.first, &older()?);
    let key = key();
    let entry = plain.insert(&key, KeyData::new()).await?;
    edit_stored(&opened.second, entry.id(), |body| {
        body.insert("owner".into(), json!({"name": "from tomorrow"}));
    })
    .await?;
    plain.disable(&key).await?;
    keys(&opened.second, &rotated()?).redigest(&key).await?;
    let record = stored_key(&opened.second, entry.id()).await?;
    let body = record.decode::<Value>()?;
    assert_eq!(body["owner"], json!({"name": "from tomorrow"}));
    assert_eq!(body["format"], 1);
    assert_eq!(body["enabled"], false);
    Ok(())
}

async fn what_cannot_be_understood_is_no_working_key(given: Given) -> CaseResult {
    let opened = given.open(()).await?;
    let keys = keys(&opened.first, &ring()?);
    for (field, odd) in [
        ("enabled", json!("no")),
        ("enabled", json!(0)),
        ("enabled", json!(null)),
        ("expires_at", json!("yesterday")),
        ("extra", json!([])),
        ("id", json!(null)),
    ] {
        let key = key();
        let entry = keys.insert(&key, KeyData::new()).await?;
        edit_stored(&opened.second, entry.id(), |body| {
            body.insert(field.into(), odd);
        })
        .await?;
        let found = keys.get_key(&key).await;
        let error = found.expect_err("its meaning is unknown");
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{field}");
        assert!(!format!("{error:?} {error}").contains(key.expose()));
        assert!(keys.enable(&key).await.is_err(), "{field}");
    }
    let key = key();
    let entry = keys.insert(&key, KeyData::new()).await?;
    let record = stored_key(&opened.second, entry.id()).await?;
    let mut batch = Batch::new(record.partition().clone(), opened.second.now());
    batch.put(
        record.key().clone(),
        &record,
        Body::replacement("scribble")?,
    )?;
    opened.second.records().commit(&batch).await?;
    let error = keys.get_key(&key).await.expect_err("this is no key");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    Ok(())
}

/// A key that expires after 10 s and is collected 10 s later.
async fn brief(opened: &Opened<Store>) -> Result<(RecordApiKeys, ApiKey, Timestamp)> {
    let keys = keys(&opened.first, &ring()?).keep_expired(Some(Duration::from_secs(10)));
    let key = key();
    let expiry = opened.first.now() + Duration::from_secs(10);
    let data = KeyData::new().with_tenant("acme").expiring_at(expiry);
    keys.insert(&key, data).await?;
    Ok((keys, key, expiry))
}

async fn an_expired_key_is_collected_in_its_time(given: Given) -> CaseResult {
    let opened = given.open(()).await?;
    let (keys, key, _) = brief(&opened).await?;
    opened.clock.advance(Duration::from_secs(19));
    let found = keys.get_key(&key).await?;
    assert!(matches!(found, Lookup::Expired(_)), "{found:?}");
    assert_eq!(count(&opened.second).await?, [1, 1, 1]);
    opened.clock.advance(Duration::from_secs(1));
    assert_eq!(keys.get_key(&key).await?, Lookup::Unknown);
    assert_eq!(count(&opened.second).await?, [0, 0, 0]);
    let page = keys.list(&ListKeys::of_tenant("acme")).await?;
    assert!(page.items.is_empty());
    keys.insert(&key, KeyData::new()).await?;
    assert!(keys.get_key(&key).await?.is_active());
    Ok(())
}

async fn a_longer_life_keeps_a_key_in_its_list(given: Given) -> CaseResult {
    let opened = given.open(()).await?;
    let (keys, key, expiry) = brief(&opened).await?;
    for longer in [Some(expiry + Duration::from_secs(100)), None] {
        keys.update(&key, |data| {
            data.expires_at = longer;
            Ok(())
        })
        .await?;
        opened.clock.advance(Duration::from_secs(60));
        let found = keys.get_key(&key).await?;
        let entry = found.entry().ok_or("the key was collected")?;
        assert!(found.is_active());
        assert!(keys.get_by_id(entry.id()).await?.is_active());
        let page = keys.list(&ListKeys::of_tenant("acme")).await?;
        assert_eq!(page.items.len(), 1);
        assert_eq!(count(&opened.second).await?, [1, 1, 1], "one hint, not two");
    }
    Ok(())
}
