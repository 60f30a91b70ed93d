//! A ring of digest keys that rotates under keys in use.

use std::sync::Arc;

use store_core::api_keys::{ApiKeyStore, ApiKeyStoreExt, KeyData, ListKeys, Lookup, RecordApiKeys};
use store_core::secret::KeyRing;
use store_core::{ErrorKind, Result, Store};
use tokio::task::JoinSet;

use super::fixtures::{key, ring};
use super::records::{Given, count, keys};
use crate::case;
use crate::faults::{Fault, Lossy};
use crate::suite::{Case, CaseResult};

pub(super) fn all() -> Vec<Case<Store>> {
    vec![
        case!(a_key_is_found_under_every_key_of_the_ring),
        case!(a_redigested_key_is_found_by_its_new_digest_alone),
        case!(a_key_is_never_unknown_while_it_is_redigested, "7", "R3"),
        case!(a_look_up_may_redigest_and_answers_even_if_it_cannot),
        case!(a_key_under_an_older_digest_is_not_inserted_twice, "12"),
    ]
}

pub(super) fn older() -> Result<KeyRing> {
    KeyRing::new("older", *b"the key that is about to go ....")
}

/// The ring after a rotation: `suite` for what is written, `older` to find.
pub(super) fn rotated() -> Result<KeyRing> {
    ring()?.with_older("older", *b"the key that is about to go ....")
}

async fn a_key_is_found_under_every_key_of_the_ring(given: Given) -> CaseResult {
    let opened = given.open(()).await?;
    let before = keys(&opened.first, &older()?);
    let during = keys(&opened.second, &rotated()?);
    let (old, new) = (key(), key());
    let entry = before
        .insert(&old, KeyData::new().with_tenant("acme"))
        .await?;
    during
        .insert(&new, KeyData::new().with_tenant("acme"))
        .await?;
    assert_eq!(during.get_key(&old).await?, Lookup::Active(entry.clone()));
    assert!(during.get_key(&new).await?.is_active());
    assert_eq!(during.get_key(&key()).await?, Lookup::Unknown);
    assert_eq!(before.get_key(&new).await?, Lookup::Unknown);
    assert_eq!(
        during.get_by_id(entry.id()).await?.entry(),
        Some(&entry),
        "an id needs no ring"
    );
    during.disable(&old).await?;
    assert!(!before.get_key(&old).await?.is_active());
    during.delete_key((&old).into()).await?;
    assert_eq!(before.get_key(&old).await?, Lookup::Unknown);
    Ok(())
}

async fn a_redigested_key_is_found_by_its_new_digest_alone(given: Given) -> CaseResult {
    let opened = given.open(()).await?;
    let (before, during, after) = (
        keys(&opened.first, &older()?),
        keys(&opened.second, &rotated()?),
        keys(&opened.first, &ring()?),
    );
    let data = KeyData::new()
        .with_tenant("acme")
        .with_extra("plan", "gold");
    for data in [data.clone(), data.disabled()] {
        let key = key();
        let entry = before.insert(&key, data).await?;
        during.adopt_ring().await?;
        assert_eq!(after.get_key(&key).await?, Lookup::Unknown);
        assert_eq!(during.count_under("older").await?, 1);
        assert!(during.redigest(&key).await?, "there was something to do");
        assert!(!during.redigest(&key).await?, "and then no more");
        assert_eq!(during.count_under("older").await?, 0);
        assert_eq!(during.count_under("suite").await?, 1);
        assert_eq!(before.get_key(&key).await?, Lookup::Unknown);
        for keys in [&during, &after] {
            let found = keys.get_key(&key).await?;
            let found = found.entry().ok_or("the key was lost")?;
            assert_eq!(found.id(), entry.id());
            assert_eq!(found.created_at(), entry.created_at());
            assert_eq!(found.data(), entry.data());
            let by_id = keys.get_by_id(entry.id()).await?;
            assert_eq!(by_id.entry(), Some(found));
        }
        let page = after.list(&ListKeys::of_tenant("acme")).await?;
        assert!(page.items.iter().any(|listed| listed.id() == entry.id()));
        after
            .update(entry.id(), |data| {
                data.label = Some("managed".into());
                Ok(())
            })
            .await?;
        after.delete_key(entry.id().into()).await?;
        assert_eq!(during.get_key(&key).await?, Lookup::Unknown);
        let late = during.redigest(&key).await.expect_err("it was deleted");
        assert_eq!(late.kind(), ErrorKind::NotFound);
    }
    assert_eq!(count(&opened.first).await?, [0, 0, 0]);
    Ok(())
}

async fn a_key_is_never_unknown_while_it_is_redigested(given: Given) -> CaseResult {
    const KEYS: usize = 12;
    let opened = given.open(()).await?;
    let before = keys(&opened.first, &older()?);
    let mut there = Vec::new();
    for _ in 0..KEYS {
        let key = key();
        let entry = before.insert(&key, KeyData::new()).await?;
        there.push((key, entry.id().clone()));
    }
    let there = Arc::new(there);
    let mut tasks = JoinSet::new();
    for worker in 0..4 {
        let store = if worker % 2 == 0 {
            &opened.first
        } else {
            &opened.second
        };
        let (keys, there) = (keys(store, &rotated()?), Arc::clone(&there));
        tasks.spawn(async move {
            for (key, id) in there.iter() {
                match worker {
                    0 => drop(keys.redigest(key).await?),
                    1 => drop(
                        keys.update(key, |data| data.permissions.grant("a", "b"))
                            .await?,
                    ),
                    2 => drop(
                        keys.update(id, |data| data.permissions.grant("c", "d"))
                            .await?,
                    ),
                    _ => {
                        for _ in 0..3 {
                            assert!(keys.get_key(key).await?.is_active());
                            assert!(keys.get_by_id(id).await?.is_active());
                        }
                    }
                }
            }
            Ok::<_, store_core::Error>(())
        });
    }
    for outcome in tasks.join_all().await {
        outcome?;
    }
    let after = keys(&opened.first, &ring()?);
    for (key, _) in there.iter() {
        let found = after.get_key(key).await?;
        let permissions = &found.entry().ok_or("the key was lost")?.data().permissions;
        assert!(permissions.allow("a", "b") && permissions.allow("c", "d"));
    }
    Ok(())
}

async fn a_look_up_may_redigest_and_answers_even_if_it_cannot(given: Given) -> CaseResult {
    let opened = given.open(()).await?;
    let before = keys(&opened.first, &older()?);
    let after = keys(&opened.first, &ring()?);
    let (old, other) = (key(), key());
    before.insert(&old, KeyData::new()).await?;
    keys(&opened.second, &rotated()?).adopt_ring().await?;
    before.insert(&other, KeyData::new()).await?;
    assert!(
        keys(&opened.second, &rotated()?)
            .get_key(&other)
            .await?
            .is_active()
    );
    assert_eq!(
        after.get_key(&other).await?,
        Lookup::Unknown,
        "unasked, a look-up writes nothing"
    );
    let records = Arc::clone(opened.second.records());
    let lossy = Arc::new(Lossy::scripted(records, [Fault::LoseRequest]));
    let during = RecordApiKeys::new(lossy, &rotated()?).redigest_on_use(true);
    assert!(
        during.get_key(&old).await?.is_active(),
        "its write was lost"
    );
    assert_eq!(after.get_key(&old).await?, Lookup::Unknown);
    assert!(during.get_key(&old).await?.is_active());
    assert!(after.get_key(&old).await?.is_active(), "and now it moved");
    Ok(())
}

async fn a_key_under_an_older_digest_is_not_inserted_twice(given: Given) -> CaseResult {
    let opened = given.open(()).await?;
    let before = keys(&opened.first, &older()?);
    let during = keys(&opened.second, &rotated()?);
    let key = key();
    let entry = before
        .insert(&key, KeyData::new().with_tenant("acme"))
        .await?;
    let again = during
        .insert(&key, KeyData::new().with_tenant("acme"))
        .await;
    let error = again.expect_err("the key is held under its older digest");
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert_eq!(during.get_key(&key).await?, Lookup::Active(entry));
    assert_eq!(count(&opened.first).await?, [1, 1, 1], "no hint is left");
    Ok(())
}
