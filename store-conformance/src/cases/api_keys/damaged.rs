//! Keys whose records cannot be decoded: damaged, edited by hand, or written by
//! a newer release. They never work, can be revoked, and hide no other key.

use serde_json::json;
use store_core::api_keys::{
    API_KEY_IDS, ApiKey, ApiKeyStore, ApiKeyStoreExt, ApiKeys, KeyData, KeyEntry, ListKeys, Lookup,
    RecordApiKeys,
};
use store_core::body::Encoded;
use store_core::{Batch, Body, ErrorKind, Record, Result, Scan, Store};

use super::fixtures::{edit_stored, key, ring, stored_key};
use super::records::{Given, count, keys};
use crate::case;
use crate::suite::{Case, CaseResult};

pub(super) fn all() -> Vec<Case<Store>> {
    vec![
        case!(a_key_of_a_later_format_is_an_error_and_never_a_yes, "3"),
        case!(
            a_key_that_cannot_be_decoded_can_be_disabled_and_deleted,
            "3"
        ),
        case!(
            a_key_that_cannot_be_decoded_hides_no_other_from_a_list,
            "14"
        ),
    ]
}

async fn a_key_of_a_later_format_is_an_error_and_never_a_yes(given: Given) -> CaseResult {
    let opened = given.open(()).await?;
    let records = keys(&opened.first, &ring()?);
    let handle = ApiKeys::new(&*opened.second, &ring()?);
    let key = key();
    let data = KeyData::new().permit("orders", ["read"]);
    let entry = records.insert(&key, data).await?;
    assert!(handle.authorize(&key, "orders", "read").await?.is_granted());
    // How a later release might say that a key is off.
    edit_stored(&opened.first, entry.id(), |body| {
        body.insert("format".into(), json!(2));
        body.remove("enabled");
        body.insert("state".into(), json!("disabled"));
    })
    .await?;
    let answers = [
        records.get_key(&key).await.map(drop_lookup),
        records.get_by_id(entry.id()).await.map(drop_lookup),
        records.enable(&key).await.map(drop),
        handle.authorize(&key, "orders", "read").await.map(|_| ()),
    ];
    for answer in answers {
        let error = answer.expect_err("this release does not know what it means");
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    }
    Ok(())
}

fn drop_lookup(_: Lookup) {}

/// Rewrites a record, whatever its content.
async fn put(store: &Store, record: &Record, body: Body) -> Result<()> {
    let mut batch = Batch::new(record.partition().clone(), store.now());
    batch.put_until(record.key().clone(), record, body, record.expires_at())?;
    store.records().commit(&batch).await.map(drop)
}

const DAMAGES: usize = 5;

/// Damages the key's record in one of several ways.
async fn damage(store: &Store, entry: &KeyEntry, how: usize) -> Result<()> {
    let record = stored_key(store, entry.id()).await?;
    let Encoded::Json(json) = record.body().encoded()? else {
        return Err(store_core::Error::corrupt("a key is stored as JSON"));
    };
    match how {
        // Nested more deeply than can be decoded.
        0 => {
            let deep = format!("{{\"deep\":{}{},", "[".repeat(140), "]".repeat(140));
            let json = String::from_utf8_lossy(&json).replacen('{', &deep, 1);
            put(store, &record, Body::from_json(json)).await
        }
        1 => edit(store, entry, "format", json!(2)).await,
        2 => edit(store, entry, "enabled", json!("no")).await,
        3 => edit(store, entry, "id", json!(null)).await,
        _ => put(store, &record, Body::replacement("scribble")?).await,
    }
}

async fn edit(
    store: &Store,
    entry: &KeyEntry,
    field: &str,
    value: serde_json::Value,
) -> Result<()> {
    edit_stored(store, entry.id(), |body| {
        body.insert(field.into(), value);
    })
    .await
}

/// The record that leads from the key's id to the key.
async fn damage_pointer(store: &Store, entry: &KeyEntry) -> Result<()> {
    let scan = Scan::collection(API_KEY_IDS, "").limit(1000)?;
    for record in store.records().scan(&scan).await?.items {
        if record.id() == entry.id().as_str() {
            put(store, &record, Body::replacement("scribble")?).await?;
        }
    }
    Ok(())
}

async fn assert_corrupt(keys: &RecordApiKeys, key: &ApiKey, entry: &KeyEntry) -> CaseResult {
    for found in [keys.get_key(key).await, keys.get_by_id(entry.id()).await] {
        let error = found.expect_err("it cannot be decoded");
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    }
    Ok(())
}

async fn a_key_that_cannot_be_decoded_can_be_disabled_and_deleted(given: Given) -> CaseResult {
    let opened = given.open(()).await?;
    let keys = keys(&opened.first, &ring()?);
    for how in 0..DAMAGES {
        for by_id in [false, true] {
            let key = key();
            let entry = keys.insert(&key, KeyData::new().permit("a", ["b"])).await?;
            damage(&opened.second, &entry, how).await?;
            assert_corrupt(&keys, &key, &entry).await?;
            let disabled = match by_id {
                true => keys.disable(entry.id()).await?,
                false => keys.disable(&key).await?,
            };
            assert!(!disabled.data().enabled);
            assert_eq!(disabled.id(), entry.id());
            let found = keys.get_key(&key).await?;
            assert_eq!(found, Lookup::Disabled(disabled.clone()), "damage {how}");
            assert_eq!(keys.get_by_id(entry.id()).await?, found);
            assert!(!disabled.data().permissions.allow("a", "b") || how == 2);

            damage(&opened.second, &entry, how).await?;
            match by_id {
                true => keys.delete_key(entry.id().into()).await?,
                false => keys.delete_key((&key).into()).await?,
            }
            assert_eq!(keys.get_key(&key).await?, Lookup::Unknown);
            assert_eq!(keys.get_by_id(entry.id()).await?, Lookup::Unknown);
            assert_eq!(count(&opened.second).await?, [0, 0, 0], "damage {how}");
        }
    }
    // Nor does revoking depend on the record that leads from the id to the key.
    let key = key();
    let entry = keys.insert(&key, KeyData::new()).await?;
    damage_pointer(&opened.second, &entry).await?;
    keys.disable(entry.id()).await?;
    assert!(matches!(keys.get_key(&key).await?, Lookup::Disabled(_)));
    damage_pointer(&opened.second, &entry).await?;
    keys.delete_key(entry.id().into()).await?;
    assert_eq!(count(&opened.second).await?, [0, 0, 0]);
    Ok(())
}

async fn a_key_that_cannot_be_decoded_hides_no_other_from_a_list(given: Given) -> CaseResult {
    let opened = given.open(()).await?;
    let keys = keys(&opened.first, &ring()?);
    let data = || KeyData::new().with_tenant("acme");
    keys.insert(&key(), data()).await?;
    keys.insert(&key(), KeyData::new().with_tenant("other"))
        .await?;
    for how in 0..=DAMAGES {
        let secret = key();
        let bad = keys.insert(&secret, data()).await?;
        if how < DAMAGES {
            damage(&opened.second, &bad, how).await?;
        } else {
            damage_pointer(&opened.second, &bad).await?;
        }
        let all = [
            (ListKeys::of_tenant("acme"), 1),
            (ListKeys::of_tenant("other"), 1),
            (ListKeys::all(), 2),
        ];
        for (query, readable) in all {
            let acme = query.tenant() != Some("other");
            let (mut items, mut unreadable) = (Vec::new(), Vec::new());
            let mut query = query.limit(1)?;
            loop {
                let page = keys.list(&query).await?;
                assert!(page.next.is_none() || !page.is_empty());
                items.extend(page.items);
                unreadable.extend(page.unreadable);
                let Some(next) = page.next else { break };
                query = query.after(next);
            }
            if how == DAMAGES && acme {
                // The key itself is sound.
                assert_eq!((items.len(), unreadable.len()), (readable + 1, 0));
                continue;
            }
            assert_eq!(items.len(), readable, "damage {how}");
            let names: Vec<_> = unreadable.iter().map(|u| u.name()).collect();
            let expected: &[&str] = if acme { &[bad.id().as_str()] } else { &[] };
            assert_eq!(names, expected, "damage {how}");
        }
        keys.delete_key(bad.id().into()).await?;
    }
    Ok(())
}
