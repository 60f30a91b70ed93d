//! The tool's own keys.

use std::sync::Arc;
use std::time::Duration;

use store_core::ErrorKind;
use store_core::lti::{Lti, NewToolKey, PublicJwk};
use store_core::secret::Secret;
use tokio::sync::Barrier;

use super::fixtures::{Cases, Given, Platform, Site, Tool, lms};
use super::{needs, refused};
use crate::case;
use crate::suite::CaseResult;

pub(super) fn cases<R: Platform, D: Site>() -> Cases<R, D> {
    [
        case!(rotation_publishes_the_old_key_until_it_is_retired),
        case!(the_newest_active_key_signs),
        case!(racing_keys_of_one_id_add_one, "13"),
        case!(a_retired_key_can_be_activated_again_or_deleted, "12"),
        case!(no_private_half_is_published_or_shown, "R9"),
    ]
    .map(|case| {
        case.needs(needs::KEYS, |harness| {
            Box::pin(storing_keys_is_declined(harness))
        })
    })
    .to_vec()
}

pub(super) fn pem(kid: &str) -> String {
    format!("-----BEGIN PRIVATE KEY-----\nhunter2-{kid}\n-----END PRIVATE KEY-----\n")
}

pub(super) fn key(kid: &str) -> store_core::Result<NewToolKey> {
    let members = [
        ("kty", "OKP"),
        ("crv", "Ed25519"),
        ("x", "AQ"),
        ("use", "sig"),
    ];
    let members = members.map(|(name, value)| (name.to_owned(), value.into()));
    let public = PublicJwk::new(members.into_iter().collect())?;
    NewToolKey::new(kid, Secret::new(pem(kid)), public)
}

pub(super) async fn storing_keys_is_declined<R: Platform, D: Site>(
    harness: Given<R, D>,
) -> CaseResult {
    let tool = Tool::<R, D>::with(&harness, &[]).await?;
    refused(tool.first.add_key(key("a")?).await)?;
    refused(tool.first.list_keys().await)?;
    refused(tool.first.set_key_active("a", false).await)?;
    refused(tool.first.delete_key("a").await)
}

/// The key ids that are published, in order.
async fn published<R: Platform, D: Site>(tool: &Tool<R, D>) -> store_core::Result<Vec<String>> {
    let jwks = Lti::over(Arc::clone(&tool.second)).jwks().await?;
    let keys = jwks["keys"].as_array().expect("a key set has keys");
    let kid = |key: &serde_json::Value| key["kid"].as_str().expect("each has an id").to_owned();
    Ok(keys.iter().map(kid).collect())
}

async fn rotation_publishes_the_old_key_until_it_is_retired<R: Platform, D: Site>(
    harness: Given<R, D>,
) -> CaseResult {
    let tool = Tool::<R, D>::with(&harness, &[]).await?;
    assert!(published(&tool).await?.is_empty());
    tool.first.add_key(key("old")?).await?;
    tool.clock.advance(Duration::from_secs(1));
    tool.first.add_key(key("new")?).await?;
    assert_eq!(published(&tool).await?, ["new", "old"]);
    tool.first.set_key_active("old", false).await?;
    assert_eq!(published(&tool).await?, ["new"]);
    let all = tool.second.list_keys().await?;
    let all: Vec<_> = all
        .items
        .iter()
        .map(|key| (&*key.kid, key.active))
        .collect();
    assert_eq!(all, [("new", true), ("old", false)]);
    Ok(())
}

async fn the_newest_active_key_signs<R: Platform, D: Site>(harness: Given<R, D>) -> CaseResult {
    let tool = Tool::with(&harness, &[lms()?]).await?;
    assert!(tool.second.signing_key(&lms()?).await?.is_none());
    // The order of the ids is not the order of time.
    for kid in ["m", "z", "a"] {
        tool.first.add_key(key(kid)?).await?;
        let signing = tool.second.signing_key(&lms()?).await?.expect("a key");
        assert_eq!(signing.kid, kid);
        assert_eq!(signing.private_key.expose(), pem(kid));
        tool.clock.advance(Duration::from_secs(1));
    }
    for (retired, next) in [("a", Some("z")), ("m", Some("z")), ("z", None)] {
        tool.first.set_key_active(retired, false).await?;
        let signing = tool.second.signing_key(&lms()?).await?;
        assert_eq!(signing.map(|key| key.kid).as_deref(), next);
    }
    Ok(())
}

async fn racing_keys_of_one_id_add_one<R: Platform, D: Site>(harness: Given<R, D>) -> CaseResult {
    const TASKS: usize = 12;
    let tool = Tool::<R, D>::with(&harness, &[]).await?;
    let together = Arc::new(Barrier::new(TASKS));
    let tasks: Vec<_> = (0..TASKS)
        .map(|number| {
            let (handle, together) = (tool.handle(number), Arc::clone(&together));
            tokio::spawn(async move {
                together.wait().await;
                handle.add_key(key("k")?).await
            })
        })
        .collect();
    let mut added = 0;
    for task in tasks {
        match task.await? {
            Ok(()) => added += 1,
            Err(error) => assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error}"),
        }
    }
    assert_eq!(added, 1);
    tool.first.set_key_active("k", false).await?;
    let error = tool.second.add_key(key("k")?).await;
    let error = error.expect_err("the id of a retired key is still taken");
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    Ok(())
}

async fn a_retired_key_can_be_activated_again_or_deleted<R: Platform, D: Site>(
    harness: Given<R, D>,
) -> CaseResult {
    let tool = Tool::<R, D>::with(&harness, &[]).await?;
    tool.first.add_key(key("k")?).await?;
    for active in [false, false, true, true] {
        tool.first.set_key_active("k", active).await?;
        let expected: &[&str] = if active { &["k"] } else { &[] };
        assert_eq!(published(&tool).await?, expected);
    }
    let error = tool.first.set_key_active("K", true).await;
    assert_eq!(
        error.expect_err("there is none").kind(),
        ErrorKind::NotFound
    );
    assert!(!tool.first.delete_key("K").await?);
    assert!(tool.first.delete_key("k").await?);
    assert!(!tool.second.delete_key("k").await?);
    assert!(published(&tool).await?.is_empty());
    Ok(())
}

async fn no_private_half_is_published_or_shown<R: Platform, D: Site>(
    harness: Given<R, D>,
) -> CaseResult {
    let tool = Tool::with(&harness, &[lms()?]).await?;
    let new = key("k")?;
    let mut shown = format!("{new:?}");
    tool.first.add_key(new).await?;
    let jwks = Lti::over(Arc::clone(&tool.first)).jwks().await?;
    let signing = tool.first.signing_key(&lms()?).await?;
    let keys = tool.first.list_keys().await?;
    shown += &format!("{jwks} {signing:?} {keys:?} {:?}", tool.first);
    assert!(!shown.contains("hunter2"), "a private key is shown");
    assert_eq!(
        jwks["keys"][0],
        serde_json::json!({
            "kid": "k", "kty": "OKP", "crv": "Ed25519", "x": "AQ", "use": "sig",
        })
    );
    Ok(())
}
