//! How the standard implementation stores LTI data as records: damaged records, secrets
//! in clear text, and rotation of the key ring.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use store_core::lti::{
    AccessToken, Deployment, LtiStore, NewToolKey, PublicJwk, RecordLti, Registration,
    RegistrationParts, ToolJwk,
};
use store_core::secret::{KeyRing, Secret, SecretField};
use store_core::{Batch, Body, Collection, ErrorKind, PageRequest, Record, Result, Scan, Store};

use super::fixtures::{lms, parts, platform};
use super::interference::Interfering;
use crate::case;
use crate::harness::Harness;
use crate::suite::{Case, CaseResult};

type Given = Arc<dyn Harness<Store>>;

pub(crate) fn cases() -> Vec<Case<Store>> {
    vec![
        case!(a_stored_secret_in_clear_text_is_never_used, "R9"),
        case!(a_damaged_registration_hides_no_other_and_can_be_replaced),
        case!(a_damaged_deployment_hides_no_other_and_can_be_replaced),
        case!(a_damaged_key_stops_no_other_from_signing),
        case!(damaged_platform_keys_are_fetched_again),
        case!(a_resealed_secret_expires_as_it_did_before, "35"),
        case!(a_registration_of_more_than_a_hundred_deployments_is_deleted_whole),
        case!(a_default_that_moves_during_a_deletion_is_right, "55"),
    ]
}

const ISSUER: &str = "https://lms.example.edu";
const REGISTRATIONS: Collection = Collection::new("lti_registrations").cacheable();
const DEPLOYMENTS: Collection = Collection::new("lti_deployments").cacheable();
const KEYS: Collection = Collection::new("lti_keys").cacheable();
const TOKENS: Collection = Collection::new("lti_tokens");
const JWKS: Collection = Collection::new("lti_jwks").cacheable();

fn pem(of: &str) -> String {
    format!("-----BEGIN PRIVATE KEY-----\n{of}\n-----END PRIVATE KEY-----\n")
}

/// The ring under which each case first seals.
pub(crate) fn old_ring() -> Result<KeyRing> {
    KeyRing::new("old", *b"0123456789abcdef0123456789abcdef")
}

fn new_ring() -> Result<KeyRing> {
    KeyRing::new("new", *b"fedcba9876543210fedcba9876543210")?
        .with_older("old", *b"0123456789abcdef0123456789abcdef")
}

fn lti(store: &Store, ring: &KeyRing) -> RecordLti {
    RecordLti::new(store, ring)
}

fn tool_key(kid: &str) -> Result<NewToolKey> {
    let public = Map::from_iter([("kty".into(), "OKP".into())]);
    NewToolKey::new(kid, Secret::new(pem(kid)), PublicJwk::new(public)?)
}

/// The record of a collection whose JSON satisfies this condition.
async fn find(
    store: &Store,
    collection: Collection,
    wanted: impl Fn(&Value) -> bool,
) -> Result<Record> {
    let scan = Scan::collection(collection, "").limit(1000)?;
    for record in store.records().scan(&scan).await?.items {
        if record.decode::<Value>().is_ok_and(|body| wanted(&body)) {
            return Ok(record);
        }
    }
    Err(store_core::Error::not_found("no record of this content"))
}

/// Rewrites a record as an operator with the database's tools might.
async fn put(store: &Store, record: &Record, body: Body) -> Result<()> {
    let mut batch = Batch::new(record.partition().clone(), store.now());
    batch.put_until(record.key().clone(), record, body, record.expires_at())?;
    store.records().commit(&batch).await.map(drop)
}

async fn edit(store: &Store, record: &Record, change: impl FnOnce(&mut Value)) -> Result<()> {
    let mut body = (*record.decode::<Value>()?).clone();
    change(&mut body);
    put(store, record, Body::json(body)?).await
}

/// The ways in which a record is damaged: its JSON nested too deeply to be
/// decoded, of a later format, or of another form altogether.
async fn damage(store: &Store, record: &Record, how: usize) -> Result<()> {
    match how {
        0 => {
            let json = record.decode::<Value>()?.to_string();
            let deep = format!("{{\"deep\":{}{},", "[".repeat(140), "]".repeat(140));
            let body = Body::from_json(json.replacen('{', &deep, 1));
            put(store, record, body).await
        }
        1 => edit(store, record, |body| body["format"] = json!(2)).await,
        _ => put(store, record, Body::replacement("scribble")?).await,
    }
}

const DAMAGES: usize = 3;

fn with_key(client_id: &str) -> Result<Registration> {
    Registration::new(RegistrationParts {
        tool_jwk: Some(ToolJwk {
            kid: "kid-1".into(),
            private_key: SecretField::Clear(Secret::new(pem("own"))),
        }),
        ..parts(ISSUER, client_id)
    })
}

async fn a_stored_secret_in_clear_text_is_never_used(given: Given) -> CaseResult {
    let opened = given.open(()).await?;
    let (store, old) = (&opened.first, lti(&opened.first, &old_ring()?));
    old.add_key(tool_key("k")?).await?;
    let registration = old.register(with_key("tool-1")?).await?;
    let theirs = || json!(pem("theirs"));

    let key = find(store, KEYS, |body| body["kid"] == "k").await?;
    edit(store, &key, |body| body["private_key"] = theirs()).await?;
    let record = find(store, REGISTRATIONS, |_| true).await?;
    edit(store, &record, |body| {
        body["record"]["tool_jwk"]["private_key"] = theirs();
    })
    .await?;

    let rotating = lti(&opened.second, &new_ring()?);
    let error = rotating.signing_key(&lms()?).await;
    let error = error.expect_err("clear text was written without the ring");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    let found = rotating.get_registration(ISSUER, Some("tool-1")).await;
    let error = found.expect_err("clear text was written without the ring");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(!format!("{error} {error:?}").contains("theirs"));

    let done = rotating.reseal().await?;
    assert_eq!((done.count, done.unreadable.len()), (0, 2));
    assert!(!format!("{done:?}").contains("theirs"));
    let record = find(store, KEYS, |body| body["kid"] == "k").await?;
    let body = record.decode::<Value>()?;
    assert_eq!(
        body["private_key"],
        theirs(),
        "the other key was sealed again"
    );
    // A key that was read before still works.
    let signing = old.signing_key(&registration).await?.ok_or("a key")?;
    assert_eq!(signing.private_key.expose(), pem("own"));
    Ok(())
}

async fn a_damaged_registration_hides_no_other_and_can_be_replaced(given: Given) -> CaseResult {
    let opened = given.open(()).await?;
    let store = &opened.first;
    let lti = lti(store, &old_ring()?);
    lti.register(platform(ISSUER, "good")?).await?;
    for how in 0..DAMAGES {
        for deletes in [false, true] {
            let row = platform(ISSUER, "bad")?;
            lti.upsert_registration(row.clone()).await?;
            lti.upsert_deployment(&row, Deployment::new("d")?).await?;
            let record = find(store, REGISTRATIONS, |body| body["client_id"] == "bad").await?;
            damage(store, &record, how).await?;
            let found = lti.get_registration(ISSUER, Some("bad")).await;
            let error = found.expect_err("it cannot be decoded");
            assert_eq!(error.kind(), ErrorKind::Corrupt);
            for issuer in [Some(ISSUER), None] {
                let page = lti.list_registrations(issuer, &PageRequest::new()).await?;
                let names: Vec<_> = page.items.iter().map(|row| row.client_id()).collect();
                assert_eq!(names, ["good"]);
                let [unreadable] = &page.unreadable[..] else {
                    return Err("one record is unreadable".into());
                };
                assert_eq!(unreadable.name(), format!("{ISSUER} bad"));
                assert_eq!(unreadable.error().kind(), ErrorKind::Corrupt);
            }
            if deletes {
                assert!(lti.delete_registration(ISSUER, "bad").await?);
                assert!(!lti.delete_registration(ISSUER, "bad").await?);
            } else {
                lti.upsert_registration(row).await?;
                let found = lti.get_registration(ISSUER, Some("bad")).await?;
                assert!(found.is_some());
            }
        }
        let scan = Scan::collection(DEPLOYMENTS, "");
        let left = store.records().scan(&scan).await?;
        assert!(left.items.is_empty(), "its deployments were left");
    }
    Ok(())
}

async fn a_damaged_deployment_hides_no_other_and_can_be_replaced(given: Given) -> CaseResult {
    let opened = given.open(()).await?;
    let store = &opened.first;
    let lti = lti(store, &old_ring()?);
    let owner = lti.register(lms()?).await?;
    lti.upsert_deployment(&owner, Deployment::new("good")?)
        .await?;
    for how in 0..DAMAGES {
        for deletes in [false, true] {
            let row = Deployment::new("bad")?;
            lti.upsert_deployment(&owner, row.clone()).await?;
            let record = find(store, DEPLOYMENTS, |body| body["deployment_id"] == "bad").await?;
            damage(store, &record, how).await?;
            let page = lti.list_deployments(&owner, &PageRequest::new()).await?;
            assert_eq!(page.items.len(), 1);
            let [unreadable] = &page.unreadable[..] else {
                return Err("one record is unreadable".into());
            };
            assert_eq!(unreadable.name(), "bad");
            if deletes {
                assert!(lti.delete_deployment(&owner, "bad").await?);
                assert!(lti.get_deployment(&owner, "bad").await?.is_none());
            } else {
                lti.upsert_deployment(&owner, row).await?;
                assert!(lti.get_deployment(&owner, "bad").await?.is_some());
            }
        }
    }
    Ok(())
}

async fn a_damaged_key_stops_no_other_from_signing(given: Given) -> CaseResult {
    let opened = given.open(()).await?;
    let lti = lti(&opened.first, &old_ring()?);
    lti.add_key(tool_key("old")?).await?;
    opened.clock.advance(Duration::from_secs(1));
    lti.add_key(tool_key("new")?).await?;
    for (damaged, signs) in [("new", Some("old")), ("old", None)] {
        let record = find(&opened.first, KEYS, |body| body["kid"] == damaged).await?;
        damage(&opened.first, &record, 0).await?;
        match (lti.signing_key(&lms()?).await, signs) {
            (Ok(Some(key)), Some(kid)) => assert_eq!(key.kid, kid),
            (Err(error), None) => assert_eq!(error.kind(), ErrorKind::Corrupt),
            (other, _) => return Err(format!("{other:?}").into()),
        }
    }
    let page = lti.list_keys().await?;
    assert_eq!((page.items.len(), page.unreadable.len()), (0, 2));
    for unreadable in &page.unreadable {
        assert!(lti.delete_key(unreadable.name()).await?);
    }
    assert!(lti.list_keys().await?.is_empty());
    Ok(())
}

async fn damaged_platform_keys_are_fetched_again(given: Given) -> CaseResult {
    let opened = given.open(()).await?;
    let (lti, url) = (
        lti(&opened.first, &old_ring()?),
        "https://lms.example.edu/jwks",
    );
    let hour = Duration::from_secs(3600);
    for how in 0..DAMAGES {
        lti.cache_jwks(url, json!({ "keys": [] }), hour).await?;
        assert!(lti.cached_jwks(url).await?.is_some());
        let record = find(&opened.first, JWKS, |_| true).await?;
        damage(&opened.first, &record, how).await?;
        assert!(lti.cached_jwks(url).await?.is_none());
    }
    Ok(())
}

/// Every record that holds something sealed.
async fn sealed_records(store: &Store) -> Result<Vec<Record>> {
    let mut all = Vec::new();
    for collection in [REGISTRATIONS, KEYS, TOKENS] {
        let scan = Scan::collection(collection, "");
        all.extend(store.records().scan(&scan).await?.items);
    }
    Ok(all)
}

async fn a_resealed_secret_expires_as_it_did_before(given: Given) -> CaseResult {
    let opened = given.open(()).await?;
    let (old, new) = (
        lti(&opened.second, &old_ring()?),
        lti(&opened.first, &new_ring()?),
    );
    let token = AccessToken {
        token: Secret::new("hunter2"),
        expires_at: opened.first.now() + Duration::from_secs(60),
    };
    old.register(with_key("tool-1")?).await?;
    old.add_key(tool_key("k")?).await?;
    old.store_token(&lms()?, &["scope"], token).await?;
    let before = sealed_records(&opened.first).await?;
    assert_eq!(new.reseal().await?.count, 3);
    let after = sealed_records(&opened.first).await?;
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(before.key(), after.key());
        assert_ne!(before.version(), after.version(), "it was sealed again");
        assert_eq!(before.expires_at(), after.expires_at());
    }
    assert_eq!(new.reseal().await?.count, 0);
    opened.clock.advance(Duration::from_secs(59));
    let held = new
        .get_token(&lms()?, &["scope"])
        .await?
        .ok_or("it is valid")?;
    assert_eq!(held.token.expose(), "hunter2");
    opened.clock.advance(Duration::from_secs(1));
    assert!(new.get_token(&lms()?, &["scope"]).await?.is_none());
    let left = sealed_records(&opened.first).await?;
    assert_eq!(left.len(), 2, "the token's record does not expire");
    let signing = new.signing_key(&platform(ISSUER, "tool-2")?).await?;
    assert_eq!(signing.ok_or("a key")?.kid, "k");
    Ok(())
}

async fn a_registration_of_more_than_a_hundred_deployments_is_deleted_whole(
    given: Given,
) -> CaseResult {
    const EACH: usize = 120;
    let opened = given.open(()).await?;
    let filling = lti(&opened.second, &old_ring()?);
    let owner = filling.register(lms()?).await?;
    let expires_at = opened.first.now() + Duration::from_secs(60);
    for i in 0..EACH {
        let deployment = Deployment::new(format!("d{i}"))?;
        filling.upsert_deployment(&owner, deployment).await?;
        let token = AccessToken {
            token: Secret::new("hunter2"),
            expires_at,
        };
        let scope = format!("scope {i}");
        filling.store_token(&owner, &[&scope], token).await?;
    }
    let deleting = lti(&opened.first, &old_ring()?);
    assert!(deleting.delete_registration(ISSUER, "tool-1").await?);
    for collection in [REGISTRATIONS, DEPLOYMENTS, TOKENS] {
        let scan = Scan::collection(collection, "");
        let left = opened.first.records().scan(&scan).await?.items.len();
        assert_eq!(left, 0, "records of {} were left", collection.name());
    }
    Ok(())
}

async fn a_default_that_moves_during_a_deletion_is_right(given: Given) -> CaseResult {
    for (before, after, found) in [("1", "2", "2"), ("2", "1", "2")] {
        let opened = given.open(()).await?;
        let other = lti(&opened.second, &old_ring()?);
        for client in ["1", "2", "3"] {
            other.register(platform(ISSUER, client)?).await?;
        }
        other.set_default_registration(ISSUER, before).await?;
        // The default moves after the deletion read it and before it commits.
        let records = Arc::clone(opened.first.records());
        let moves = Box::pin(async move { other.set_default_registration(ISSUER, after).await });
        let interfering = Arc::new(Interfering::before_commit(records, moves));
        let deleting: RecordLti = RecordLti::new(
            Arc::clone(&interfering) as Arc<dyn store_core::RecordStore>,
            &old_ring()?,
        );
        assert!(deleting.delete_registration(ISSUER, "1").await?);
        assert!(interfering.happened(), "nothing interfered");
        let other = lti(&opened.second, &old_ring()?);
        let default = other
            .get_registration(ISSUER, None)
            .await?
            .ok_or("a default")?;
        assert_eq!(default.client_id(), found);
        // A new registration with the names of the deleted one is not the default.
        other.register(platform(ISSUER, "1")?).await?;
        let default = other
            .get_registration(ISSUER, None)
            .await?
            .ok_or("a default")?;
        let expected = if after == "2" { "2" } else { "1" };
        assert_eq!(default.client_id(), expected);
    }
    Ok(())
}
