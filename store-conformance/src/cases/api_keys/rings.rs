//! Key rings: the wrong one, and one of more than two keys.

use std::time::Duration;

use store_core::api_keys::{API_KEYS, ApiKeyStore, KeyData, Lookup};
use store_core::secret::KeyRing;
use store_core::{ErrorKind, Result, Scan, Store};

use super::fixtures::key;
use super::records::{Given, count, keys};
use crate::case;
use crate::suite::{Case, CaseResult};

pub(super) fn all() -> Vec<Case<Store>> {
    vec![
        case!(a_wrong_key_ring_is_a_configuration_error),
        case!(a_ring_of_several_keys_finds_counts_and_moves_keys_of_each),
        case!(a_redigested_key_expires_in_its_time, "35"),
    ]
}

const NAMES: [&str; 4] = ["one", "two", "three", "four"];

/// A ring of these keys, the current one first.
pub(crate) fn ring(names: &[&str]) -> Result<KeyRing> {
    let key = |name: &str| {
        let mut key = *b"................................";
        key[..name.len()].copy_from_slice(name.as_bytes());
        key
    };
    let (first, older) = names.split_first().expect("a ring has a key");
    let ring = KeyRing::new(*first, key(first));
    older
        .iter()
        .fold(ring, |ring, name| ring?.with_older(*name, key(name)))
}

async fn a_wrong_key_ring_is_a_configuration_error(given: Given) -> CaseResult {
    let opened = given.open(()).await?;
    let right = keys(&opened.first, &ring(&["one"])?);
    // A store in which no key was inserted accepts any ring.
    let unused = keys(&opened.second, &ring(&["two"])?);
    assert_eq!(unused.get_key(&key()).await?, Lookup::Unknown);
    let secret = key();
    right
        .insert(&secret, KeyData::new().with_tenant("acme"))
        .await?;
    let before = count(&opened.first).await?;

    let another_name = ring(&["two"])?;
    let another_key = KeyRing::new("one", *b"another key of the same name ...")?;
    let mixed = ring(&["two"])?.with_older("one", *b"another key of the same name ...")?;
    for wrong in [another_name, another_key, mixed] {
        let wrong = keys(&opened.second, &wrong);
        for _ in 0..2 {
            let answers = [
                wrong.get_key(&secret).await.map(|_| ()),
                wrong.insert(&key(), KeyData::new()).await.map(drop),
            ];
            for answer in answers {
                let error = answer.expect_err("the ring is wrong");
                assert_eq!(error.kind(), ErrorKind::Config, "{error}");
                assert!(!error.to_string().contains(secret.expose()));
            }
        }
    }
    assert_eq!(
        count(&opened.first).await?,
        before,
        "a refusal wrote something"
    );
    // One key in common is enough, wherever it is on the ring.
    for names in [&["one", "two"], &["two", "one"]] {
        let rotating = keys(&opened.second, &ring(names)?);
        assert!(rotating.get_key(&secret).await?.is_active());
        assert_eq!(rotating.get_key(&key()).await?, Lookup::Unknown);
    }
    // Beginning again with another ring is asked for by name.
    let again = keys(&opened.second, &ring(&["three"])?);
    assert!(again.get_key(&secret).await.is_err());
    again.adopt_ring().await?;
    assert_eq!(again.get_key(&secret).await?, Lookup::Unknown);
    let new = key();
    again.insert(&new, KeyData::new()).await?;
    assert!(again.get_key(&new).await?.is_active());
    assert!(right.get_key(&secret).await?.is_active());
    Ok(())
}

async fn a_ring_of_several_keys_finds_counts_and_moves_keys_of_each(given: Given) -> CaseResult {
    finds_counts_and_moves(given, ring).await
}

/// The case over the rings that `ring` makes of names.
pub(crate) async fn finds_counts_and_moves(
    given: Given,
    ring: fn(&[&str]) -> Result<KeyRing>,
) -> CaseResult {
    let opened = given.open(()).await?;
    let rotating = keys(&opened.second, &ring(&NAMES)?);
    rotating.adopt_ring().await?;
    let mut inserted = Vec::new();
    for (index, name) in NAMES.iter().enumerate() {
        // Each key of the ring was the current one at some time.
        let then = keys(&opened.first, &ring(&NAMES[index..])?);
        then.adopt_ring().await?;
        for _ in 0..=index {
            let secret = key();
            let data = KeyData::new().with_label(*name).with_tenant("acme");
            let entry = then.insert(&secret, data).await?;
            inserted.push((secret, entry));
        }
    }
    for (index, name) in NAMES.iter().enumerate() {
        assert_eq!(
            rotating.count_under(name).await?,
            index as u64 + 1,
            "{name}"
        );
    }
    for (secret, entry) in &inserted {
        assert_eq!(
            rotating.get_key(secret).await?,
            Lookup::Active(entry.clone())
        );
        let again = rotating.insert(secret, KeyData::new()).await;
        let error = again.expect_err("it is stored under one key of the ring");
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    }
    let total = inserted.len();
    assert_eq!(count(&opened.first).await?, [total; 3]);
    for (secret, entry) in &inserted {
        let older = entry.data().label.as_deref() != Some(NAMES[0]);
        assert_eq!(rotating.redigest(secret).await?, older);
    }
    assert_eq!(rotating.count_under(NAMES[0]).await?, total as u64);
    for name in &NAMES[1..] {
        assert_eq!(rotating.count_under(name).await?, 0, "{name}");
    }
    let after = keys(&opened.first, &ring(&NAMES[..1])?);
    for (secret, entry) in &inserted {
        let found = after.get_key(secret).await?;
        let found = found.entry().ok_or("a key was lost")?;
        assert_eq!((found.id(), found.data()), (entry.id(), entry.data()));
    }
    assert_eq!(count(&opened.first).await?, [total; 3]);
    Ok(())
}

async fn a_redigested_key_expires_in_its_time(given: Given) -> CaseResult {
    let opened = given.open(()).await?;
    let keep = Some(Duration::from_secs(10));
    let before = keys(&opened.second, &ring(&["three"])?).keep_expired(keep);
    let during = keys(&opened.first, &ring(&NAMES[..3])?).keep_expired(keep);
    let secret = key();
    let expiry = opened.first.now() + Duration::from_secs(10);
    let data = KeyData::new().with_tenant("acme").expiring_at(expiry);
    let entry = before.insert(&secret, data).await?;
    assert!(during.redigest(&secret).await?);
    opened.clock.advance(Duration::from_secs(10));
    for found in [
        during.get_key(&secret).await?,
        during.get_by_id(entry.id()).await?,
    ] {
        assert!(matches!(found, Lookup::Expired(_)), "{found:?}");
    }
    opened.clock.advance(Duration::from_secs(9));
    let scan = Scan::collection(API_KEYS, "");
    assert_eq!(opened.first.records().scan(&scan).await?.items.len(), 1);
    opened.clock.advance(Duration::from_secs(1));
    assert_eq!(during.get_key(&secret).await?, Lookup::Unknown);
    assert_eq!(count(&opened.first).await?, [0, 0, 0]);
    Ok(())
}
