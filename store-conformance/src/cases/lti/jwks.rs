//! Cached keys of platforms.

use std::time::Duration;

use serde_json::json;
use store_core::lti::MAX_JWKS_AGE;

use super::fixtures::{Cases, Given, Platform, Site, Tool};
use super::{needs, refused};
use crate::case;
use crate::suite::CaseResult;

pub(super) fn cases<R: Platform, D: Site>() -> Cases<R, D> {
    [
        case!(a_platforms_keys_are_cached_for_their_max_age, "35"),
        case!(a_max_age_of_zero_caches_nothing),
        case!(a_platforms_keys_are_cached_for_a_day_at_most, "8"),
        case!(each_platforms_keys_are_its_own, "47"),
    ]
    .map(|case| {
        case.needs(needs::JWKS, |harness| {
            Box::pin(caching_keys_is_declined(harness))
        })
    })
    .to_vec()
}

const URI: &str = "https://lms.example.edu/jwks";

pub(super) async fn caching_keys_is_declined<R: Platform, D: Site>(
    harness: Given<R, D>,
) -> CaseResult {
    let tool = Tool::<R, D>::with(&harness, &[]).await?;
    let minute = Duration::from_secs(60);
    refused(tool.first.cache_jwks(URI, json!({}), minute).await)?;
    refused(tool.first.cached_jwks(URI).await)
}

async fn a_platforms_keys_are_cached_for_their_max_age<R: Platform, D: Site>(
    harness: Given<R, D>,
) -> CaseResult {
    let tool = Tool::<R, D>::with(&harness, &[]).await?;
    assert!(tool.second.cached_jwks(URI).await?.is_none());
    let keys = json!({ "keys": [{ "kid": "1", "kty": "RSA", "n": "AQ", "e": "AQAB" }] });
    let (age, moment) = (Duration::from_secs(60), Duration::from_millis(1));
    tool.first.cache_jwks(URI, keys.clone(), age).await?;
    tool.clock.advance(age - moment);
    let cached = tool.second.cached_jwks(URI).await?.expect("still fresh");
    assert_eq!(cached.jwks, keys);
    assert_eq!(cached.fresh_until.since(cached.cached_at), age);
    // Keys that are fetched again are cached from then on.
    let newer = json!({ "keys": [] });
    tool.second.cache_jwks(URI, newer.clone(), age).await?;
    tool.clock.advance(age - moment);
    let cached = tool.first.cached_jwks(URI).await?.expect("still fresh");
    assert_eq!(cached.jwks, newer);
    tool.clock.advance(moment);
    assert!(tool.first.cached_jwks(URI).await?.is_none());
    Ok(())
}

async fn a_max_age_of_zero_caches_nothing<R: Platform, D: Site>(
    harness: Given<R, D>,
) -> CaseResult {
    let tool = Tool::<R, D>::with(&harness, &[]).await?;
    let none = Duration::ZERO;
    tool.first
        .cache_jwks(URI, json!({ "keys": [1] }), none)
        .await?;
    assert!(tool.first.cached_jwks(URI).await?.is_none());
    let hour = Duration::from_secs(3600);
    tool.first
        .cache_jwks(URI, json!({ "keys": [2] }), hour)
        .await?;
    assert!(tool.second.cached_jwks(URI).await?.is_some());
    tool.first
        .cache_jwks(URI, json!({ "keys": [3] }), none)
        .await?;
    for handle in [&tool.first, &tool.second] {
        assert!(
            handle.cached_jwks(URI).await?.is_none(),
            "older keys are returned"
        );
    }
    Ok(())
}

async fn a_platforms_keys_are_cached_for_a_day_at_most<R: Platform, D: Site>(
    harness: Given<R, D>,
) -> CaseResult {
    let tool = Tool::<R, D>::with(&harness, &[]).await?;
    tool.first.cache_jwks(URI, json!({}), Duration::MAX).await?;
    assert!(tool.second.cached_jwks(URI).await?.is_some());
    tool.clock.advance(MAX_JWKS_AGE);
    assert!(tool.second.cached_jwks(URI).await?.is_none());
    Ok(())
}

async fn each_platforms_keys_are_its_own<R: Platform, D: Site>(harness: Given<R, D>) -> CaseResult {
    let tool = Tool::<R, D>::with(&harness, &[]).await?;
    let long = |last: &str| format!("{URI}/{}{last}", "x".repeat(1000));
    let uris = [
        URI.to_owned(),
        format!("{URI}/"),
        format!("{URI}?a"),
        "https://lms.example.edu/JWKS".to_owned(),
        long("a"),
        long("b"),
    ];
    let hour = Duration::from_secs(3600);
    for (number, uri) in uris.iter().enumerate() {
        assert!(tool.second.cached_jwks(uri).await?.is_none(), "{uri}");
        tool.first
            .cache_jwks(uri, json!({ "n": number }), hour)
            .await?;
    }
    for (number, uri) in uris.iter().enumerate() {
        let cached = tool.second.cached_jwks(uri).await?.expect("still fresh");
        assert_eq!(cached.jwks, json!({ "n": number }));
    }
    Ok(())
}
