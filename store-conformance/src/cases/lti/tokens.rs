//! Stored access tokens.

use std::time::Duration;

use store_core::Clock;
use store_core::lti::{AccessToken, Registration};
use store_core::secret::Secret;

use super::fixtures::{Cases, Given, Platform, Site, Tool, lms, platform};
use super::{needs, refused};
use crate::case;
use crate::suite::CaseResult;

pub(super) fn cases<R: Platform, D: Site>() -> Cases<R, D> {
    [
        case!(tokens_of_different_issuers_and_clients_never_mix, "47"),
        case!(a_token_is_for_exactly_its_scopes_in_any_order, "47"),
        case!(an_expired_token_is_never_returned, "35"),
        case!(a_newer_token_replaces_an_older_one),
        case!(a_token_is_never_shown, "R9"),
        case!(tokens_are_deleted_with_their_registration, "23"),
    ]
    .map(|case| {
        case.needs(needs::TOKENS, |harness| {
            Box::pin(storing_tokens_is_declined(harness))
        })
    })
    .to_vec()
}

const SCORE: &str = "https://purl.imsglobal.org/spec/lti-ags/scope/score";
const NAMES: &str = "https://purl.imsglobal.org/spec/lti-nrps/scope/contextmembership.readonly";
const HOUR: Duration = Duration::from_secs(3600);

pub(super) async fn storing_tokens_is_declined<R: Platform, D: Site>(
    harness: Given<R, D>,
) -> CaseResult {
    let tool = Tool::with(&harness, &[lms()?]).await?;
    let token = fresh(&tool, "t");
    refused(tool.first.store_token(&lms()?, &[SCORE], token).await)?;
    refused(tool.first.get_token(&lms()?, &[SCORE]).await)
}

/// A token of this text that lasts for an hour.
fn fresh<R: Platform, D: Site>(tool: &Tool<R, D>, text: &str) -> AccessToken {
    AccessToken {
        token: Secret::new(text),
        expires_at: tool.clock.now() + HOUR,
    }
}

async fn given<R: Platform, D: Site>(
    tool: &Tool<R, D>,
    registration: &Registration,
    scopes: &[&str],
) -> store_core::Result<Option<String>> {
    let token = tool.second.get_token(registration, scopes).await?;
    Ok(token.map(|token| token.token.expose().to_owned()))
}

async fn tokens_of_different_issuers_and_clients_never_mix<R: Platform, D: Site>(
    harness: Given<R, D>,
) -> CaseResult {
    let registrations = [
        platform("https://a.example/x", "1")?,
        platform("https://a.example/x", "2")?,
        platform("https://b.example/x", "1")?,
        platform("https://a.example/x:y", "1")?,
        platform("https://a.example/x", "y:1")?,
        platform("https://a.example/x/y", "1")?,
        platform("https://a.example/x", "y/1")?,
    ];
    let tool = Tool::<R, D>::with(&harness, &registrations).await?;
    for (number, registration) in registrations.iter().enumerate() {
        let before = given(&tool, registration, &[SCORE]).await?;
        assert_eq!(
            before, None,
            "the token of another registration is returned"
        );
        let token = fresh(&tool, &format!("token-{number}"));
        tool.first
            .store_token(registration, &[SCORE], token)
            .await?;
    }
    for (number, registration) in registrations.iter().enumerate() {
        let token = given(&tool, registration, &[SCORE]).await?;
        assert_eq!(token, Some(format!("token-{number}")));
    }
    Ok(())
}

async fn a_token_is_for_exactly_its_scopes_in_any_order<R: Platform, D: Site>(
    harness: Given<R, D>,
) -> CaseResult {
    let tool = Tool::with(&harness, &[lms()?]).await?;
    let both = fresh(&tool, "both");
    tool.first
        .store_token(&lms()?, &[SCORE, NAMES], both)
        .await?;
    for scopes in [&[SCORE, NAMES][..], &[NAMES, SCORE], &[SCORE, NAMES, SCORE]] {
        let token = given(&tool, &lms()?, scopes).await?;
        assert_eq!(token.as_deref(), Some("both"));
    }
    let joined = format!("{SCORE} {NAMES}");
    for scopes in [
        &[SCORE][..],
        &[NAMES],
        &[],
        &[&joined],
        &[SCORE, NAMES, "more"],
    ] {
        assert_eq!(given(&tool, &lms()?, scopes).await?, None, "{scopes:?}");
    }
    let one = fresh(&tool, "one");
    tool.first.store_token(&lms()?, &[SCORE], one).await?;
    assert_eq!(
        given(&tool, &lms()?, &[SCORE]).await?.as_deref(),
        Some("one")
    );
    let token = given(&tool, &lms()?, &[SCORE, NAMES]).await?;
    assert_eq!(token.as_deref(), Some("both"));
    Ok(())
}

async fn an_expired_token_is_never_returned<R: Platform, D: Site>(
    harness: Given<R, D>,
) -> CaseResult {
    let tool = Tool::with(&harness, &[lms()?]).await?;
    let token = fresh(&tool, "t");
    let expires_at = token.expires_at;
    tool.first.store_token(&lms()?, &[SCORE], token).await?;
    tool.clock.advance(HOUR - Duration::from_millis(1));
    let found = tool.second.get_token(&lms()?, &[SCORE]).await?;
    assert_eq!(found.expect("still good").expires_at, expires_at);
    tool.clock.advance(Duration::from_millis(1));
    assert_eq!(given(&tool, &lms()?, &[SCORE]).await?, None);
    // Stored after it had expired.
    let late = AccessToken {
        token: Secret::new("late"),
        expires_at: tool.clock.now(),
    };
    tool.first.store_token(&lms()?, &[SCORE], late).await?;
    assert_eq!(given(&tool, &lms()?, &[SCORE]).await?, None);
    Ok(())
}

async fn a_newer_token_replaces_an_older_one<R: Platform, D: Site>(
    harness: Given<R, D>,
) -> CaseResult {
    let tool = Tool::with(&harness, &[lms()?]).await?;
    for text in ["first", "second"] {
        let token = fresh(&tool, text);
        tool.first.store_token(&lms()?, &[SCORE], token).await?;
        let found = given(&tool, &lms()?, &[SCORE]).await?;
        assert_eq!(found.as_deref(), Some(text));
        tool.clock.advance(HOUR / 2);
    }
    // The first would have expired by now.
    let found = given(&tool, &lms()?, &[SCORE]).await?;
    assert_eq!(found.as_deref(), Some("second"));
    Ok(())
}

async fn a_token_is_never_shown<R: Platform, D: Site>(harness: Given<R, D>) -> CaseResult {
    let tool = Tool::with(&harness, &[lms()?]).await?;
    let token = fresh(&tool, "hunter2");
    let mut shown = format!("{token:?}");
    tool.first.store_token(&lms()?, &[SCORE], token).await?;
    let found = tool.first.get_token(&lms()?, &[SCORE]).await?;
    shown += &format!("{found:?} {:?}", tool.first);
    assert!(found.is_some() && !shown.contains("hunter2"), "{shown}");
    Ok(())
}

async fn tokens_are_deleted_with_their_registration<R: Platform, D: Site>(
    harness: Given<R, D>,
) -> CaseResult {
    let sibling = platform("https://lms.example.edu", "tool-2")?;
    let tool = Tool::<R, D>::with(&harness, &[lms()?, sibling.clone()]).await?;
    for registration in [&lms()?, &sibling] {
        let token = fresh(&tool, "t");
        tool.first
            .store_token(registration, &[SCORE], token)
            .await?;
    }
    let deleted = tool
        .first
        .delete_registration("https://lms.example.edu", "tool-1")
        .await;
    if harness.unsupported().contains(&needs::MANAGE) {
        return refused(deleted);
    }
    deleted?;
    tool.first.upsert_registration(R::from(lms()?)).await?;
    assert_eq!(given(&tool, &lms()?, &[SCORE]).await?, None);
    assert!(given(&tool, &sibling, &[SCORE]).await?.is_some());
    Ok(())
}
