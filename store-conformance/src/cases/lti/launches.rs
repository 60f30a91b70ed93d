//! A login and its launch, through the handle.

use std::collections::HashSet;
use std::sync::Arc;

use store_core::lti::{Launch, LaunchClaims, Lti, NonceCheck, Refusal};

use super::fixtures::{Cases, Fixtures, Given, Platform, Site, Tool, lms, platform};
use crate::case;
use crate::suite::CaseResult;

pub(super) fn cases<R: Platform, D: Site>() -> Cases<R, D> {
    vec![
        case!(a_login_and_its_launch_return_the_applications_records, "5"),
        case!(
            a_launch_of_an_unknown_deployment_does_not_use_the_nonce,
            "51"
        ),
        case!(a_refused_launch_says_what_is_wrong, "52", "53"),
        case!(every_login_makes_a_new_nonce_that_cannot_be_guessed),
        case!(a_login_without_a_client_id_can_launch_under_any, "54", "55"),
        case!(one_call_can_use_another_store, "10"),
    ]
}

fn claims<'a>(deployment_id: &'a str, nonce: &'a str) -> LaunchClaims<'a> {
    LaunchClaims {
        issuer: "https://lms.example.edu",
        client_id: "tool-1",
        deployment_id,
        nonce,
    }
}

fn refusal<R, D>(launch: Launch<R, D>) -> Option<Refusal> {
    match launch {
        Launch::Accepted(_) => None,
        Launch::Refused(refusal) => Some(refusal),
    }
}

async fn open<R: Platform, D: Site>(
    harness: &Given<R, D>,
) -> store_core::Result<(Tool<R, D>, Lti<R, D>)> {
    let fixtures = Fixtures::of(&[lms()?]).deployed(&lms()?, "d")?;
    let tool = Tool::open(harness, fixtures).await?;
    let lti = Lti::over(Arc::clone(&tool.first));
    Ok((tool, lti))
}

async fn a_login_and_its_launch_return_the_applications_records<R: Platform, D: Site>(
    harness: Given<R, D>,
) -> CaseResult {
    let (tool, lti) = open(&harness).await?;
    let login = lti.begin_login("https://lms.example.edu", None).await?;
    let login = login.expect("it is registered");
    let own = serde_json::to_value(R::from(lms()?))?;
    assert_eq!(serde_json::to_value(&*login.record)?, own);
    assert_eq!(login.registration.client_id(), "tool-1");

    // The launch may reach another process.
    let elsewhere = lti.with_store(Arc::clone(&tool.second));
    let launch = elsewhere.accept_launch(claims("d", &login.nonce)).await?;
    let Launch::Accepted(accepted) = launch else {
        panic!("it was refused: {launch:?}");
    };
    assert_eq!(serde_json::to_value(&*accepted.record)?, own);
    assert_eq!(accepted.deployment.to_deployment()?.deployment_id(), "d");
    let unknown = lti.begin_login("https://other.example.edu", None).await?;
    assert!(unknown.is_none());
    Ok(())
}

async fn a_launch_of_an_unknown_deployment_does_not_use_the_nonce<R: Platform, D: Site>(
    harness: Given<R, D>,
) -> CaseResult {
    let (_tool, lti) = open(&harness).await?;
    let login = lti.begin_login("https://lms.example.edu", None).await?;
    let nonce = login.expect("it is registered").nonce;
    for _ in 0..2 {
        let failed = lti.accept_launch(claims("not there", &nonce)).await?;
        assert_eq!(refusal(failed), Some(Refusal::UnknownDeployment));
    }
    let later = lti.accept_launch(claims("d", &nonce)).await?;
    assert_eq!(refusal(later), None, "nothing was accepted before");
    for deployment in ["d", "not there"] {
        let again = lti.accept_launch(claims(deployment, &nonce)).await?;
        assert!(refusal(again).is_some(), "a nonce was accepted twice");
    }
    Ok(())
}

async fn a_refused_launch_says_what_is_wrong<R: Platform, D: Site>(
    harness: Given<R, D>,
) -> CaseResult {
    let (tool, lti) = open(&harness).await?;
    let login = lti.begin_login("https://lms.example.edu", None).await?;
    let nonce = login.expect("it is registered").nonce;

    let foreign = LaunchClaims {
        client_id: "tool-2",
        ..claims("d", &nonce)
    };
    let answer = lti.accept_launch(foreign).await?;
    assert_eq!(refusal(answer), Some(Refusal::UnknownPlatform));
    let answer = lti.accept_launch(claims("d", "made up")).await?;
    assert_eq!(refusal(answer), Some(Refusal::NonceUnknown));

    tool.clock.advance(tool.first.nonce_lifetime().valid);
    let answer = lti.accept_launch(claims("d", &nonce)).await?;
    assert_eq!(refusal(answer), Some(Refusal::NonceExpired));

    let login = lti.begin_login("https://lms.example.edu", None).await?;
    let nonce = login.expect("it is registered").nonce;
    let answer = lti.accept_launch(claims("d", &nonce)).await?;
    assert_eq!(refusal(answer), None);
    let answer = lti.accept_launch(claims("d", &nonce)).await?;
    assert_eq!(refusal(answer), Some(Refusal::NonceUsed));
    Ok(())
}

async fn every_login_makes_a_new_nonce_that_cannot_be_guessed<R: Platform, D: Site>(
    harness: Given<R, D>,
) -> CaseResult {
    const LOGINS: usize = 50;
    let (_tool, lti) = open(&harness).await?;
    let mut nonces = HashSet::new();
    for _ in 0..LOGINS {
        let login = lti.begin_login("https://lms.example.edu", None).await?;
        nonces.insert(login.expect("it is registered").nonce);
    }
    assert_eq!(nonces.len(), LOGINS);
    // In base64url, 128 bits need at least 22 characters.
    assert!(nonces.iter().all(|nonce| nonce.len() >= 22));
    // No position is constant, as it would be with a counter or a clock.
    for position in 0..22 {
        let seen: HashSet<u8> = nonces.iter().map(|n| n.as_bytes()[position]).collect();
        assert!(seen.len() > 5, "position {position} hardly varies");
    }
    Ok(())
}

async fn a_login_without_a_client_id_can_launch_under_any<R: Platform, D: Site>(
    harness: Given<R, D>,
) -> CaseResult {
    let other = platform("https://lms.example.edu", "tool-0")?;
    let fixtures = Fixtures::of(&[lms()?, other]).deployed(&lms()?, "d")?;
    let tool = Tool::<R, D>::open(&harness, fixtures).await?;
    let lti = Lti::over(Arc::clone(&tool.first));
    let login = lti.begin_login("https://lms.example.edu", None).await?;
    let login = login.expect("it is registered");
    assert_eq!(login.registration.client_id(), "tool-0");
    let launch = lti.accept_launch(claims("d", &login.nonce)).await?;
    assert_eq!(refusal(launch), None);
    Ok(())
}

async fn one_call_can_use_another_store<R: Platform, D: Site>(harness: Given<R, D>) -> CaseResult {
    let (tool, lti) = open(&harness).await?;
    let other = Tool::<R, D>::with(&harness, &[lms()?]).await?;
    let login = lti
        .with_store(Arc::clone(&other.first))
        .begin_login("https://lms.example.edu", None)
        .await?
        .expect("it is registered there");
    let here = tool.first.validate_nonce(&login.nonce, &lms()?).await?;
    assert_eq!(here, NonceCheck::Unknown);
    let there = other.second.validate_nonce(&login.nonce, &lms()?).await?;
    assert_eq!(there, NonceCheck::Accepted);
    Ok(())
}
