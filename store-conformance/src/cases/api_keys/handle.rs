//! What the handle makes of texts: prefixes that changed, headers, times.

use serde_json::{Map, json};
use store_core::api_keys::{Access, ApiKeyStoreExt, ApiKeys, KeyData, KeyFormat};
use store_core::{ErrorKind, Store};

use super::fixtures::ring;
use super::records::Given;
use crate::case;
use crate::suite::{Case, CaseResult};

pub(super) fn all() -> Vec<Case<Store>> {
    vec![
        case!(keys_of_a_former_prefix_are_still_found),
        case!(a_key_is_read_from_a_header),
        case!(an_expiry_with_an_offset_is_that_moment, "35"),
    ]
}

async fn keys_of_a_former_prefix_are_still_found(given: Given) -> CaseResult {
    former_prefixes(given, |keys, prefix| {
        Ok(keys.with_format(KeyFormat::new(prefix)?))
    })
    .await
}

/// The case over the handles that `format` makes for a prefix.
pub(crate) async fn former_prefixes(
    given: Given,
    format: fn(ApiKeys, &'static str) -> store_core::Result<ApiKeys>,
) -> CaseResult {
    let opened = given.open(()).await?;
    let handle = |prefix| format(ApiKeys::new(&*opened.first, &ring()?), prefix);
    let data = || KeyData::new().permit("r", ["a"]);
    // One prefix is the beginning of the other, either way round, or neither is.
    for (former, new) in [("sk_live", "sk"), ("sk", "sk_live"), ("old", "new")] {
        let (before, after) = (handle(former)?, handle(new)?);
        let (old, _) = before.issue(data()).await?;
        let both = after.clone().with_older_format(KeyFormat::new(former)?);
        let (current, _) = both.issue(data()).await?;
        assert!(current.expose().starts_with(&format!("{new}_")));
        for keys in [&after, &both] {
            for key in [&old, &current] {
                let access = keys.check(Some(key.expose()), "r", "a").await?;
                assert!(access.is_granted(), "{former} and {new}: {access:?}");
            }
        }
        for key in [&old, &current] {
            let text = key.expose();
            let last = if text.ends_with('0') { '1' } else { '0' };
            let mistyped = format!("{}{last}", &text[..text.len() - 1]);
            let access = both.check(Some(&mistyped), "r", "a").await?;
            assert_eq!(access, Access::BadFormat, "{former} and {new}");
        }
    }
    Ok(())
}

async fn a_key_is_read_from_a_header(given: Given) -> CaseResult {
    let opened = given.open(()).await?;
    let keys = ApiKeys::new(&*opened.first, &ring()?);
    let (key, _) = keys.issue(KeyData::new().permit("r", ["a"])).await?;
    let text = key.expose();
    for header in [
        text.to_owned(),
        format!("Bearer {text}"),
        format!("bearer   {text} "),
        format!("\t{text} "),
    ] {
        let access = keys.check(Some(&header), "r", "a").await?;
        assert!(access.is_granted(), "{access:?}");
    }
    for header in [
        "",
        "Bearer ",
        &format!("Basic {text}"),
        &format!("{text} {text}"),
    ] {
        let access = keys.check(Some(header), "r", "a").await?;
        assert!(matches!(access, Access::BadFormat | Access::Unknown));
    }
    Ok(())
}

async fn an_expiry_with_an_offset_is_that_moment(given: Given) -> CaseResult {
    let opened = given.open(()).await?;
    let keys = ApiKeys::new(&*opened.first, &ring()?);
    let (key, entry) = keys.issue(KeyData::new()).await?;
    let merge = |text: &str| Map::from_iter([("expires_at".to_owned(), json!(text))]);
    let there = keys.store();
    there
        .merge(entry.id(), &merge("2040-01-01T00:00:00+02:00"))
        .await?;
    let read = ApiKeys::new(&*opened.second, &ring()?);
    let found = read.authenticate(&key).await?;
    let expires_at = found.entry().and_then(|entry| entry.data().expires_at);
    assert_eq!(expires_at, Some("2039-12-31T22:00:00Z".parse()?));
    for odd in ["9999-12-31T23:59:59Z", "2040-01-01", "soon"] {
        let error = there.merge(entry.id(), &merge(odd)).await;
        let error = error.expect_err("it is no moment that can be stored");
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{odd}");
    }
    let found = read.authenticate(&key).await?;
    let unchanged = found.entry().and_then(|entry| entry.data().expires_at);
    assert_eq!(unchanged, expires_at);
    Ok(())
}
