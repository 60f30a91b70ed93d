//! Looking keys up, which every store does.

use std::time::Duration;

use serde_json::{Value, json};
use store_core::ErrorKind;
use store_core::api_keys::{
    Access, ApiKey, ApiKeyStore, ApiKeys, DenyReason, KeyData, KeyEntry, Lookup, MAX_API_KEY,
    Verdict, decide,
};

use super::fixtures::{Fixture, Fixtures, Space, key};
use super::{Given, KeyCase, needs_outage};
use crate::case;
use crate::suite::CaseResult;

pub(super) fn all() -> Vec<KeyCase> {
    vec![
        case!(active_disabled_expired_and_unknown_are_four_answers, "1"),
        needs_outage(case!(
            an_outage_is_an_error_and_never_unknown,
            "1",
            "48",
            "R7"
        )),
        case!(a_key_is_enabled_unless_it_says_otherwise, "2"),
        case!(a_key_expires_at_its_very_moment, "1", "35"),
        case!(malformed_permissions_permit_nothing_and_say_so, "3"),
        case!(scopes_and_resources_match_exactly, "4"),
        case!(a_number_is_no_scope, "3", "4"),
        case!(fields_of_the_application_are_returned_unchanged, "5"),
        case!(a_disabled_key_beats_every_rule, "1"),
        case!(a_key_is_found_by_its_exact_text_alone, "47"),
        case!(unknown_keys_of_any_form_are_unknown, "11", "47"),
        case!(two_namespaces_never_see_each_other, "10"),
        case!(no_answer_shows_the_secret, "R9"),
    ]
}

async fn active_disabled_expired_and_unknown_are_four_answers(given: Given) -> CaseResult {
    let second = Duration::from_secs(1);
    let active = Fixture::new(KeyData::new().with_label("active"));
    let disabled = Fixture::new(KeyData::new().with_label("disabled").disabled());
    let expired = Fixture::new(KeyData::new().with_label("expired")).expiring_after(second);
    let both = Fixture::new(KeyData::new().with_label("both").disabled()).expiring_after(second);
    let space = Space::open(&given, [&active, &disabled, &expired, &both]).await?;
    space.clock.advance(second);
    for store in [&space.first, &space.second] {
        let label = |entry: &KeyEntry| entry.data().label.clone().unwrap_or_default();
        match store.get_key(active.key()).await? {
            Lookup::Active(entry) => assert_eq!(label(&entry), "active"),
            other => panic!("an active key was answered as {other:?}"),
        }
        match store.get_key(disabled.key()).await? {
            Lookup::Disabled(entry) => assert_eq!(label(&entry), "disabled"),
            other => panic!("a disabled key was answered as {other:?}"),
        }
        match store.get_key(expired.key()).await? {
            Lookup::Expired(entry) => assert_eq!(label(&entry), "expired"),
            other => panic!("an expired key was answered as {other:?}"),
        }
        match store.get_key(both.key()).await? {
            Lookup::Disabled(entry) => assert_eq!(label(&entry), "both"),
            other => panic!("a disabled and expired key was answered as {other:?}"),
        }
        assert_eq!(store.get_key(&key()).await?, Lookup::Unknown);
    }
    Ok(())
}

async fn an_outage_is_an_error_and_never_unknown(given: Given) -> CaseResult {
    let there = Fixture::new(KeyData::new().permit("orders", ["read"]));
    let fixtures = Fixtures {
        keys: vec![there.clone()],
        outage: true,
    };
    let space = Space::open_with(&given, fixtures).await?;
    for store in [&space.first, &space.second] {
        for key in [there.key(), &key()] {
            let answer = store.get_key(key).await;
            assert!(answer.is_err(), "without its table a store said {answer:?}");
        }
        let keys = ApiKeys::over(std::sync::Arc::clone(store));
        let access = keys.authorize(there.key(), "orders", "read").await;
        assert!(access.is_err(), "without its table a store said {access:?}");
    }
    Ok(())
}

async fn a_key_is_enabled_unless_it_says_otherwise(given: Given) -> CaseResult {
    let silent = Fixture::stored_as(json!({"permissions": []}));
    let bare = Fixture::stored_as(json!({}));
    let yes = Fixture::stored_as(json!({"enabled": true}));
    let no = Fixture::stored_as(json!({"enabled": false}));
    let space = Space::open(&given, [&silent, &bare, &yes, &no]).await?;
    for fixture in [&silent, &bare, &yes] {
        assert!(space.first.get_key(fixture.key()).await?.is_active());
        assert!(space.entry(fixture.key()).await?.data().enabled);
    }
    assert!(!space.entry(no.key()).await?.data().enabled);
    assert!(!space.first.get_key(no.key()).await?.is_active());
    Ok(())
}

async fn a_key_expires_at_its_very_moment(given: Given) -> CaseResult {
    let fixture = Fixture::new(KeyData::new()).expiring_after(Duration::from_secs(60));
    let space = Space::open(&given, [&fixture]).await?;
    space.clock.advance(Duration::from_secs(59));
    assert!(space.first.get_key(fixture.key()).await?.is_active());
    assert!(space.second.get_key(fixture.key()).await?.is_active());
    space.clock.advance(Duration::from_secs(1));
    for store in [&space.first, &space.second] {
        let found = store.get_key(fixture.key()).await?;
        assert!(matches!(found, Lookup::Expired(_)), "{found:?}");
    }
    Ok(())
}

async fn malformed_permissions_permit_nothing_and_say_so(given: Given) -> CaseResult {
    let odd = [
        json!("orders:read"),
        json!({"orders": ["read"]}),
        json!({"resource": "orders", "scopes": ["read"]}),
        json!([{"resource": "orders", "scopes": "read"}]),
        json!([{"resource": "orders", "scopes": [["read"]]}]),
        json!([{"resource": "orders", "scopes": null}]),
        json!([{"resource": "orders"}]),
        json!([["orders", "read"]]),
        json!([["orders", ["read"]]]),
        json!(7),
        json!(true),
    ];
    let odd = odd.map(|permissions| Fixture::stored_as(json!({"permissions": permissions})));
    let none = Fixture::stored_as(json!({"permissions": null}));
    let space = Space::open(&given, odd.iter().chain([&none])).await?;
    for fixture in &odd {
        let denial = denial(&*space.first, fixture.key(), "orders", "read").await?;
        // A store may also say that it cannot read its row at all.
        assert!(
            matches!(denial, None | Some(DenyReason::MalformedPermissions)),
            "{:?} gave {denial:?}",
            fixture.stored()
        );
    }
    assert_eq!(
        denial(&*space.first, none.key(), "orders", "read").await?,
        Some(DenyReason::NotPermitted),
        "no permissions are none, not malformed ones"
    );
    Ok(())
}

/// Why the key may not; `None` if the store says that its data is corrupt.
async fn denial(
    store: &dyn ApiKeyStore,
    key: &ApiKey,
    resource: &str,
    action: &str,
) -> store_core::Result<Option<DenyReason>> {
    let found = match store.get_key(key).await {
        Err(error) if error.is(ErrorKind::Corrupt) => return Ok(None),
        found => found?,
    };
    match decide(found, None, resource, action).await? {
        Access::Denied(_, denial) => Ok(Some(denial)),
        other => panic!("{resource} {action} should be denied and was {other:?}"),
    }
}

async fn scopes_and_resources_match_exactly(given: Given) -> CaseResult {
    let data = KeyData::new()
        .permit("orders", ["read", "write:own", "1", "*"])
        .permit("invoices", ["list"])
        .permit("invoices", ["send"]);
    let fixture = Fixture::new(data);
    let space = Space::open(&given, [&fixture]).await?;
    for (resource, action) in [
        ("orders", "read"),
        ("orders", "write:own"),
        ("orders", "1"),
        ("orders", "*"),
        ("invoices", "list"),
        ("invoices", "send"),
    ] {
        let found = space.first.get_key(fixture.key()).await?;
        let access = decide(found, None, resource, action).await?;
        assert!(access.is_granted(), "{resource} {action}: {access:?}");
    }
    for (resource, action) in [
        ("orders", "rea"),
        ("orders", "reader"),
        ("orders", "READ"),
        ("orders", "read "),
        ("orders", ""),
        ("orders", "write"),
        ("orders", "write:any"),
        ("orders", "list"),
        ("order", "read"),
        ("orders/1", "read"),
        ("Orders", "read"),
        ("", "read"),
        ("invoices", "read"),
        ("*", "*"),
    ] {
        let denial = denial(&*space.first, fixture.key(), resource, action).await?;
        assert_eq!(
            denial,
            Some(DenyReason::NotPermitted),
            "{resource} {action}"
        );
    }
    Ok(())
}

async fn a_number_is_no_scope(given: Given) -> CaseResult {
    let numbers = json!([{"resource": "orders", "scopes": [1, 2]}]);
    let text = json!([{"resource": "orders", "scopes": ["1", "true", "null"]}]);
    let numbers = Fixture::stored_as(json!({"permissions": numbers}));
    let text = Fixture::stored_as(json!({"permissions": text}));
    let space = Space::open(&given, [&numbers, &text]).await?;
    let why = denial(&*space.first, numbers.key(), "orders", "1").await?;
    assert!(
        matches!(why, None | Some(DenyReason::MalformedPermissions)),
        "{why:?}"
    );
    for action in ["1", "true", "null"] {
        let found = space.first.get_key(text.key()).await?;
        assert!(decide(found, None, "orders", action).await?.is_granted());
    }
    Ok(())
}

async fn fields_of_the_application_are_returned_unchanged(given: Given) -> CaseResult {
    let fields = json!({
        "company": "Ädam & Söhne \"GmbH\"",
        "nested": {"b": [1, -2, 3.5, true, null, {"": ""}], "a": {}},
        "largest": u64::MAX,
        "smallest": i64::MIN,
        "tiny": 1e-300,
        "text that looks like a number": "007",
        "text that looks like a time": "2030-01-01T00:00:00Z",
        "nothing": null,
        "empty": [],
        "line\nbreak\u{1f}": "tab\t",
    });
    let mut data = KeyData::new().with_tenant("acme").with_label("with fields");
    data.extra = fields.as_object().cloned().unwrap_or_default();
    let fixture = Fixture::new(data);
    let space = Space::open(&given, [&fixture]).await?;
    let entry = space.entry(fixture.key()).await?;
    assert_eq!(Value::Object(entry.data().extra.clone()), fields);
    assert_eq!(entry.data().label.as_deref(), Some("with fields"));
    assert_eq!(entry.data().tenant.as_deref(), Some("acme"));
    Ok(())
}

async fn a_disabled_key_beats_every_rule(given: Given) -> CaseResult {
    let second = Duration::from_secs(1);
    let disabled = Fixture::new(KeyData::new().permit("orders", ["read"]).disabled());
    let expired = Fixture::new(KeyData::new()).expiring_after(second);
    let active = Fixture::new(KeyData::new());
    let space = Space::open(&given, [&disabled, &expired, &active]).await?;
    space.clock.advance(second);
    let keys = ApiKeys::over(space.first.clone())
        .with_rules(|_: &KeyEntry, _: &str, _: &str| Verdict::Allow);
    let access = keys.authorize(disabled.key(), "orders", "read").await?;
    assert!(matches!(access, Access::Disabled(_)), "{access:?}");
    let access = keys.authorize(expired.key(), "orders", "read").await?;
    assert!(matches!(access, Access::Expired(_)), "{access:?}");
    let access = keys.authorize(&key(), "orders", "read").await?;
    assert_eq!(access, Access::Unknown);
    assert!(
        keys.authorize(active.key(), "orders", "read")
            .await?
            .is_granted()
    );
    Ok(())
}

async fn a_key_is_found_by_its_exact_text_alone(given: Given) -> CaseResult {
    let fixture = Fixture::new(KeyData::new());
    let space = Space::open(&given, [&fixture]).await?;
    // The key is looked up first, so that a cache contains it.
    space.entry(fixture.key()).await?;
    let text = fixture.key().expose();
    let shorter = &text[..text.len() - 1];
    let variants = [
        shorter.to_owned(),
        text[1..].to_owned(),
        format!("{text}0"),
        format!("0{text}"),
        text.to_ascii_uppercase(),
        text.to_ascii_lowercase(),
        format!("{shorter}%"),
        format!("{shorter}_"),
        format!("{shorter}*"),
        format!("{shorter}?"),
        format!("{text}'--"),
        text.chars().rev().collect(),
    ];
    for variant in variants {
        space.assert_unknown(&ApiKey::parse(&variant)?).await?;
    }
    space.entry(fixture.key()).await?;
    Ok(())
}

async fn unknown_keys_of_any_form_are_unknown(given: Given) -> CaseResult {
    let fixture = Fixture::new(KeyData::new());
    let space = Space::open(&given, [&fixture]).await?;
    for odd in [
        "x", "%", "_", "*", "[", "\\", "'", "\"", "{}", "{a}", "#", "/", "..", ":", "a:b", "null",
        "$ne", "';DROP", "<script>", "key_", "0",
    ] {
        space.assert_unknown(&ApiKey::parse(odd)?).await?;
    }
    space
        .assert_unknown(&ApiKey::parse("~".repeat(MAX_API_KEY))?)
        .await?;
    for _ in 0..50 {
        assert_eq!(space.first.get_key(&key()).await?, Lookup::Unknown);
    }
    space.entry(fixture.key()).await?;
    Ok(())
}

async fn two_namespaces_never_see_each_other(given: Given) -> CaseResult {
    let (one, other) = (Fixture::new(KeyData::new()), Fixture::new(KeyData::new()));
    let first = Space::open(&given, [&one]).await?;
    let second = Space::open(&given, [&other]).await?;
    first.entry(one.key()).await?;
    second.entry(other.key()).await?;
    first.assert_unknown(other.key()).await?;
    second.assert_unknown(one.key()).await?;
    Ok(())
}

async fn no_answer_shows_the_secret(given: Given) -> CaseResult {
    let active = Fixture::new(KeyData::new().with_label("shown"));
    let disabled = Fixture::new(KeyData::new().disabled());
    let odd = Fixture::stored_as(json!({"permissions": "odd"}));
    let space = Space::open(&given, [&active, &disabled, &odd]).await?;
    let keys = ApiKeys::over(space.first.clone());
    let unknown = key();
    for key in [active.key(), disabled.key(), odd.key(), &unknown] {
        let random = key.expose().trim_start_matches("key_");
        for text in [
            format!("{key:?}"),
            format!("{:?}", space.first.get_key(key).await),
            format!("{:?}", keys.authorize(key, "a", "b").await),
            format!("{:?}", space.first.insert(key, KeyData::new()).await),
            format!("{:?}", space.first.delete_key(key.into()).await),
        ] {
            assert!(!text.contains(random), "a secret is shown in {text}");
        }
    }
    Ok(())
}
