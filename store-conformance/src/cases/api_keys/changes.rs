//! Inserting, changing and deleting keys.

use serde_json::{Map, Value, json};
use store_core::api_keys::{ApiKey, ApiKeyStoreExt, KeyData, KeyId, Lookup};
use store_core::{Error, ErrorKind, Result};

use super::fixtures::{Fixture, Space, key};
use super::{Given, KeyCase, needs_delete, needs_get_by_id, needs_insert, needs_update};
use crate::case;
use crate::suite::CaseResult;

pub(super) fn all() -> Vec<KeyCase> {
    vec![
        needs_insert(case!(a_new_key_is_known_to_every_client_at_once, "R3")),
        needs_insert(case!(inserting_a_held_key_is_refused_and_leaves_it, "12")),
        needs_insert(case!(weak_keys_are_refused)),
        needs_insert(case!(wrong_data_is_refused_and_nothing_inserted)),
        needs_update(case!(
            a_disabled_key_stops_working_for_every_client_at_once,
            "8",
            "1"
        )),
        needs_update(case!(
            a_merge_sets_what_it_names_and_keeps_the_rest,
            "5",
            "6"
        )),
        needs_update(case!(a_merge_never_changes_what_the_key_is, "6")),
        needs_update(case!(a_change_works_on_a_disabled_and_an_expired_key, "6")),
        needs_update(case!(malformed_permissions_survive_other_changes, "3")),
        needs_update(case!(changing_an_unknown_key_is_not_found, "12")),
        needs_update(case!(a_refused_change_writes_nothing)),
        needs_update(case!(a_change_that_changes_nothing_writes_nothing, "33")),
        needs_update(case!(an_update_if_of_another_version_is_a_conflict, "32")),
        needs_delete(case!(a_deleted_key_is_unknown_to_every_client_at_once, "8")),
        needs_insert(needs_delete(case!(
            a_key_inserted_again_inherits_nothing,
            "23"
        ))),
        needs_insert(needs_delete(needs_update(case!(
            an_update_if_notices_that_a_key_was_inserted_again,
            "32"
        )))),
        needs_get_by_id(needs_update(needs_delete(case!(
            a_key_is_managed_by_its_id_without_its_secret
        )))),
        needs_insert(needs_delete(needs_get_by_id(case!(
            the_id_of_a_deleted_key_never_names_another
        )))),
    ]
}

/// The JSON object.
fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        other => panic!("{other} is no object"),
    }
}

/// That the call failed so.
fn assert_kind<T: std::fmt::Debug>(answer: Result<T>, kind: ErrorKind, what: &str) {
    let error = answer.expect_err(what);
    assert_eq!(error.kind(), kind, "{what}: {error}");
}

async fn a_new_key_is_known_to_every_client_at_once(given: Given) -> CaseResult {
    let space = Space::open(&given, []).await?;
    let key = key();
    // Looked up before, in case the store caches misses.
    space.assert_unknown(&key).await?;
    let data = KeyData::new()
        .with_tenant("acme")
        .permit("orders", ["read"])
        .with_extra("plan", "gold");
    let inserted = space.first.insert(&key, data.clone()).await?;
    assert_eq!(*inserted.data(), data);
    assert_eq!(inserted.created_at(), store_core::Clock::now(&space.clock));
    let entry = space.entry(&key).await?;
    assert_eq!(entry, inserted, "what insert returned is what is read");
    assert!(space.second.get_key(&key).await?.is_active());
    Ok(())
}

async fn inserting_a_held_key_is_refused_and_leaves_it(given: Given) -> CaseResult {
    let enabled = Fixture::new(KeyData::new().with_label("first"));
    let disabled = Fixture::new(KeyData::new().with_label("first").disabled());
    let expired = Fixture::new(KeyData::new().with_label("first"))
        .expiring_after(std::time::Duration::from_secs(1));
    let space = Space::open(&given, [&enabled, &disabled, &expired]).await?;
    space.clock.advance(std::time::Duration::from_secs(1));
    for fixture in [&enabled, &disabled, &expired] {
        let before = space.entry(fixture.key()).await?;
        for store in [&space.first, &space.second] {
            let again = store
                .insert(fixture.key(), KeyData::new().with_label("second"))
                .await;
            assert_kind(again, ErrorKind::AlreadyExists, "the key is held");
        }
        assert_eq!(space.entry(fixture.key()).await?, before);
    }
    Ok(())
}

async fn weak_keys_are_refused(given: Given) -> CaseResult {
    let space = Space::open(&given, []).await?;
    for weak in [
        "secret",
        "x",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "01234567890123456789012345678901",
        "passwordpasswordpasswordpassword",
    ] {
        let weak = ApiKey::parse(weak)?;
        let answer = space.first.insert(&weak, KeyData::new()).await;
        assert_kind(answer, ErrorKind::InvalidInput, "anybody guesses this key");
        space.assert_unknown(&weak).await?;
    }
    let strong = ApiKey::parse("9f86d081884c7d659a2feaa0c55ad015")?;
    space.first.insert(&strong, KeyData::new()).await?;
    space.entry(&strong).await?;
    Ok(())
}

async fn wrong_data_is_refused_and_nothing_inserted(given: Given) -> CaseResult {
    let space = Space::open(&given, []).await?;
    let mut malformed = KeyData::new();
    malformed.permissions = json!({"orders": ["read"]}).into();
    for wrong in [
        malformed,
        KeyData::new().with_tenant(""),
        KeyData::new().with_tenant("t".repeat(1025)),
        KeyData::new().with_tenant("nul\0"),
    ] {
        let key = key();
        let answer = space.first.insert(&key, wrong).await;
        assert_kind(answer, ErrorKind::InvalidInput, "the data is wrong");
        space.assert_unknown(&key).await?;
    }
    Ok(())
}

async fn a_disabled_key_stops_working_for_every_client_at_once(given: Given) -> CaseResult {
    let fixture = Fixture::new(KeyData::new().permit("orders", ["read"]));
    let space = Space::open(&given, [&fixture]).await?;
    let key = fixture.key();
    for round in 0..4 {
        let (writer, reader) = (space.handle(round), space.handle(round + 1));
        assert!(reader.get_key(key).await?.is_active());
        assert!(!writer.disable(key).await?.data().enabled);
        for store in [&writer, &reader] {
            let found = store.get_key(key).await?;
            assert!(matches!(found, Lookup::Disabled(_)), "{found:?}");
            assert!(!store.is_enabled(key).await?);
        }
        assert!(reader.enable(key).await?.data().enabled);
        assert!(writer.get_key(key).await?.is_active());
        assert!(reader.get_key(key).await?.is_active());
    }
    let entry = space.entry(key).await?;
    assert!(entry.data().permissions.allow("orders", "read"));
    Ok(())
}

async fn a_merge_sets_what_it_names_and_keeps_the_rest(given: Given) -> CaseResult {
    let data = KeyData::new()
        .with_tenant("acme")
        .with_label("before")
        .permit("orders", ["read"])
        .with_extra("plan", "gold")
        .with_extra("limits", json!({"day": 5, "hour": 1}));
    let fixture = Fixture::new(data);
    let space = Space::open(&given, [&fixture]).await?;
    let partial = object(json!({"label": "after", "seats": 7, "limits": {"day": 6}}));
    let merged = space.second.merge(fixture.key(), &partial).await?;
    let entry = space.entry(fixture.key()).await?;
    assert_eq!(entry, merged, "what merge returned is what is read");
    let data = entry.data();
    assert_eq!(data.label.as_deref(), Some("after"));
    assert_eq!(data.tenant.as_deref(), Some("acme"));
    assert!(data.enabled && data.permissions.allow("orders", "read"));
    // Shallow: `limits` is replaced, not merged in turn.
    let extra = json!({"plan": "gold", "seats": 7, "limits": {"day": 6}});
    assert_eq!(Value::Object(data.extra.clone()), extra);
    Ok(())
}

async fn a_merge_never_changes_what_the_key_is(given: Given) -> CaseResult {
    let fixture = Fixture::new(KeyData::new().with_label("before"));
    let space = Space::open(&given, [&fixture]).await?;
    let before = space.entry(fixture.key()).await?;
    for identity in [
        json!({"label": "after", "id": "another"}),
        json!({"label": "after", "created_at": "2000-01-01T00:00:00Z"}),
    ] {
        let answer = space.first.merge(fixture.key(), &object(identity)).await;
        assert_kind(answer, ErrorKind::InvalidInput, "identity never changes");
    }
    assert_eq!(space.entry(fixture.key()).await?, before);
    // A field of the application's own may be called as it likes.
    let partial = object(json!({"key": "another", "stored": {"id": "another"}}));
    space.first.merge(fixture.key(), &partial).await?;
    let after = space.entry(fixture.key()).await?;
    assert_eq!(after.id(), before.id());
    assert_eq!(after.created_at(), before.created_at());
    assert_eq!(after.data().extra, partial);
    Ok(())
}

async fn a_change_works_on_a_disabled_and_an_expired_key(given: Given) -> CaseResult {
    let disabled = Fixture::new(KeyData::new().disabled());
    let expired = Fixture::new(KeyData::new()).expiring_after(std::time::Duration::from_secs(1));
    let space = Space::open(&given, [&disabled, &expired]).await?;
    space.clock.advance(std::time::Duration::from_secs(1));
    for fixture in [&disabled, &expired] {
        let partial = object(json!({"label": "changed"}));
        space.second.merge(fixture.key(), &partial).await?;
        let entry = space.entry(fixture.key()).await?;
        assert_eq!(entry.data().label.as_deref(), Some("changed"));
        assert!(!space.first.get_key(fixture.key()).await?.is_active());
    }
    let later = store_core::Clock::now(&space.clock) + std::time::Duration::from_secs(1);
    space
        .first
        .update(expired.key(), |data| {
            data.expires_at = Some(later);
            Ok(())
        })
        .await?;
    assert!(space.second.get_key(expired.key()).await?.is_active());
    Ok(())
}

async fn malformed_permissions_survive_other_changes(given: Given) -> CaseResult {
    let odd = json!([{"resource": "orders", "scopes": [1]}]);
    let fixture = Fixture::stored_as(json!({"permissions": odd}));
    let space = Space::open(&given, [&fixture]).await?;
    space.first.disable(fixture.key()).await?;
    let entry = space.entry(fixture.key()).await?;
    assert_eq!(serde_json::to_value(&entry.data().permissions)?, odd);
    let granted = space
        .first
        .update(fixture.key(), |data| {
            data.permissions.grant("orders", "read")
        })
        .await;
    assert_kind(granted, ErrorKind::Corrupt, "nothing can be added to them");
    let again = object(json!({"permissions": [{"resource": "orders", "scopes": ["read"]}]}));
    space.first.merge(fixture.key(), &again).await?;
    let entry = space.entry(fixture.key()).await?;
    assert!(entry.data().permissions.allow("orders", "read"));
    Ok(())
}

async fn changing_an_unknown_key_is_not_found(given: Given) -> CaseResult {
    let space = Space::open(&given, []).await?;
    let key = key();
    assert_kind(
        space.first.disable(&key).await,
        ErrorKind::NotFound,
        "unknown",
    );
    assert_kind(
        space.first.merge(&key, &Map::new()).await,
        ErrorKind::NotFound,
        "unknown",
    );
    let enabled = space.first.is_enabled(&key).await;
    assert_kind(enabled, ErrorKind::NotFound, "unknown");
    let id = KeyId::new("0000nobodyhasthisid")?;
    assert_kind(
        space.first.enable(&id).await,
        ErrorKind::NotFound,
        "unknown",
    );
    space.assert_unknown(&key).await?;
    Ok(())
}

async fn a_refused_change_writes_nothing(given: Given) -> CaseResult {
    let fixture = Fixture::new(KeyData::new().with_label("before"));
    let space = Space::open(&given, [&fixture]).await?;
    let before = space.entry(fixture.key()).await?;
    let refused = space
        .first
        .update(fixture.key(), |data| {
            data.enabled = false;
            Err(Error::new(ErrorKind::PermissionDenied, "not you"))
        })
        .await;
    assert_kind(refused, ErrorKind::PermissionDenied, "the closure refused");
    let wrong = space
        .first
        .update(fixture.key(), |data| {
            data.enabled = false;
            data.permissions = json!("all").into();
            Ok(())
        })
        .await;
    assert_kind(wrong, ErrorKind::InvalidInput, "malformed permissions");
    let wrong = object(json!({"enabled": false, "tenant": ""}));
    let wrong = space.first.merge(fixture.key(), &wrong).await;
    assert_kind(wrong, ErrorKind::InvalidInput, "an empty tenant");
    assert_eq!(space.entry(fixture.key()).await?, before);
    Ok(())
}

async fn a_change_that_changes_nothing_writes_nothing(given: Given) -> CaseResult {
    let fixture = Fixture::new(KeyData::new().permit("orders", ["read"]));
    let space = Space::open(&given, [&fixture]).await?;
    let before = space.entry(fixture.key()).await?;
    let answered = space.second.enable(fixture.key()).await?;
    assert_eq!(answered, before, "enabling an enabled key answers with it");
    assert_eq!(
        space.entry(fixture.key()).await?.version(),
        before.version()
    );
    Ok(())
}

async fn an_update_if_of_another_version_is_a_conflict(given: Given) -> CaseResult {
    let fixture = Fixture::new(KeyData::new().with_label("0"));
    let space = Space::open(&given, [&fixture]).await?;
    let version = |entry: &store_core::api_keys::KeyEntry| {
        let version = entry.version();
        version.expect("a store that updates keys returns their versions")
    };
    let label = |label: &'static str| {
        move |data: &mut KeyData| {
            data.label = Some(label.into());
            Ok(())
        }
    };
    let read = version(&space.entry(fixture.key()).await?);
    let first = space
        .first
        .update_if(fixture.key(), read, label("1"))
        .await?;
    let late = space
        .second
        .update_if(fixture.key(), read, label("2"))
        .await;
    assert_kind(late, ErrorKind::Conflict, "someone was faster");
    let entry = space.entry(fixture.key()).await?;
    assert_eq!(entry, first);
    space
        .second
        .update_if(fixture.key(), version(&entry), label("3"))
        .await?;
    // The same data as at first is still another version.
    let back = space.first.update(fixture.key(), label("0")).await?;
    assert_ne!(version(&back), read);
    let late = space.first.update_if(fixture.key(), read, label("4")).await;
    assert_kind(late, ErrorKind::Conflict, "an old version never returns");
    Ok(())
}

async fn a_deleted_key_is_unknown_to_every_client_at_once(given: Given) -> CaseResult {
    let enabled = Fixture::new(KeyData::new().with_tenant("acme"));
    let disabled = Fixture::new(KeyData::new().disabled());
    let space = Space::open(&given, [&enabled, &disabled]).await?;
    for fixture in [&enabled, &disabled] {
        space.entry(fixture.key()).await?;
        space.first.delete_key(fixture.key().into()).await?;
        space.assert_unknown(fixture.key()).await?;
        space.second.delete_key(fixture.key().into()).await?;
        space.first.delete_key(fixture.key().into()).await?;
        space.assert_unknown(fixture.key()).await?;
    }
    space.first.delete_key((&key()).into()).await?;
    Ok(())
}

async fn a_key_inserted_again_inherits_nothing(given: Given) -> CaseResult {
    let data = KeyData::new()
        .with_tenant("acme")
        .permit("orders", ["read"])
        .with_extra("plan", "gold")
        .disabled();
    let fixture = Fixture::new(data);
    let space = Space::open(&given, [&fixture]).await?;
    let before = space.entry(fixture.key()).await?;
    space.first.delete_key(fixture.key().into()).await?;
    let again = space.second.insert(fixture.key(), KeyData::new()).await?;
    let entry = space.entry(fixture.key()).await?;
    assert_eq!(entry, again);
    assert_eq!(*entry.data(), KeyData::new());
    assert_ne!(entry.id(), before.id(), "another key has another id");
    Ok(())
}

async fn an_update_if_notices_that_a_key_was_inserted_again(given: Given) -> CaseResult {
    let fixture = Fixture::new(KeyData::new());
    let space = Space::open(&given, [&fixture]).await?;
    let before = space.entry(fixture.key()).await?;
    let version = before
        .version()
        .expect("a store that updates keys returns their versions");
    space.first.delete_key(fixture.key().into()).await?;
    let again = space
        .first
        .insert(fixture.key(), before.data().clone())
        .await?;
    let late = space
        .second
        .update_if(fixture.key(), version, |data| {
            data.enabled = false;
            Ok(())
        })
        .await;
    assert_kind(late, ErrorKind::Conflict, "it is another key");
    assert_eq!(space.entry(fixture.key()).await?, again);
    Ok(())
}

async fn a_key_is_managed_by_its_id_without_its_secret(given: Given) -> CaseResult {
    let fixture = Fixture::new(KeyData::new().with_tenant("acme"));
    let other = Fixture::new(KeyData::new().with_tenant("acme"));
    let space = Space::open(&given, [&fixture, &other]).await?;
    let entry = space.entry(fixture.key()).await?;
    let id = entry.id();
    let found = space.second.get_by_id(id).await?;
    assert_eq!(found, Lookup::Active(entry.clone()));
    space.second.disable(id).await?;
    assert!(!space.entry(fixture.key()).await?.data().enabled);
    let found = space.first.get_by_id(id).await?;
    assert!(matches!(found, Lookup::Disabled(_)), "{found:?}");
    let enabled = space.entry(fixture.key()).await?.data().enabled;
    assert_eq!(space.first.is_enabled(id).await?, enabled);
    space.first.delete_key(id.into()).await?;
    space.first.delete_key(id.into()).await?;
    space.assert_unknown(fixture.key()).await?;
    assert_eq!(space.second.get_by_id(id).await?, Lookup::Unknown);
    assert_kind(
        space.first.enable(id).await,
        ErrorKind::NotFound,
        "it was deleted",
    );
    space.entry(other.key()).await?;
    for odd in ["", "\0"] {
        assert_kind(KeyId::new(odd), ErrorKind::InvalidInput, "this is no id");
    }
    for odd in ["0", "%", "ffff", "ürgh", &"x".repeat(255)] {
        let found = space.first.get_by_id(&KeyId::new(odd)?).await?;
        assert_eq!(found, Lookup::Unknown);
    }
    Ok(())
}

async fn the_id_of_a_deleted_key_never_names_another(given: Given) -> CaseResult {
    let fixture = Fixture::new(KeyData::new());
    let space = Space::open(&given, [&fixture]).await?;
    let id = space.entry(fixture.key()).await?.id().clone();
    space.first.delete_key(fixture.key().into()).await?;
    space.first.insert(fixture.key(), KeyData::new()).await?;
    assert_eq!(space.second.get_by_id(&id).await?, Lookup::Unknown);
    space.second.delete_key((&id).into()).await?;
    space.entry(fixture.key()).await?;
    Ok(())
}
