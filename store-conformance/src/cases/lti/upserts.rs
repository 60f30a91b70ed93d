//! Managing registrations and deployments.

use std::collections::BTreeSet;
use std::sync::Arc;

use store_core::body::Unknown;
use store_core::lti::{Deployment, Registration, RegistrationParts, ToolJwk};
use store_core::secret::{Secret, SecretField};
use store_core::{Collection, ErrorKind, PageRequest, Scan};
use tokio::sync::Barrier;

use super::fixtures::{Cases, Fixtures, Given, Platform, Site, Tool, lms, parts, platform};
use super::{needs, refused};
use crate::case;
use crate::suite::CaseResult;

pub(super) fn cases<R: Platform, D: Site>() -> Cases<R, D> {
    let manage = [
        case!(concurrent_upserts_of_a_registration_leave_one_row, "57"),
        case!(concurrent_upserts_of_a_deployment_leave_one_row, "57"),
        case!(an_upsert_replaces_the_record_whole),
        case!(a_second_platform_never_replaces_the_first),
        case!(deployments_are_deleted_with_their_registration, "23"),
        case!(a_default_can_move_and_falls_back_when_deleted, "55"),
        case!(a_deployment_needs_a_registration_and_can_be_deleted, "12"),
        case!(lists_return_every_row_once, "14", "16"),
    ]
    .map(|case| {
        case.needs(needs::MANAGE, |harness| {
            Box::pin(managing_is_declined(harness))
        })
    });
    let sealed = [
        case!(a_private_key_is_never_shown_and_can_sign, "R9"),
        case!(a_sealed_key_does_not_open_elsewhere, "R9"),
    ]
    .map(|case| {
        case.needs(needs::SEALED_KEYS, |harness| {
            Box::pin(sealing_is_declined(harness))
        })
    });
    [&manage[..], &sealed[..]].concat()
}

const ISSUER: &str = "https://lms.example.edu";
const PEM: &str = "-----BEGIN PRIVATE KEY-----\nTUM0Q0FRQXdCUVlESzJW\n-----END PRIVATE KEY-----\n";

pub(super) async fn managing_is_declined<R: Platform, D: Site>(harness: Given<R, D>) -> CaseResult {
    let tool = Tool::with(&harness, &[lms()?]).await?;
    let deployment = D::from(Deployment::new("d")?);
    refused(tool.first.upsert_registration(R::from(lms()?)).await)?;
    refused(tool.first.register(R::from(lms()?)).await)?;
    refused(tool.first.change_endpoints(R::from(lms()?)).await)?;
    refused(tool.first.delete_registration(ISSUER, "tool-1").await)?;
    refused(tool.first.set_default_registration(ISSUER, "tool-1").await)?;
    refused(
        tool.first
            .list_registrations(None, &PageRequest::new())
            .await,
    )?;
    refused(tool.first.upsert_deployment(&lms()?, deployment).await)?;
    refused(tool.first.delete_deployment(&lms()?, "d").await)?;
    refused(
        tool.first
            .list_deployments(&lms()?, &PageRequest::new())
            .await,
    )
}

async fn sealing_is_declined<R: Platform, D: Site>(harness: Given<R, D>) -> CaseResult {
    let tool = Tool::<R, D>::with(&harness, &[]).await?;
    refused(
        tool.first
            .signing_key(&with_key(sealed_elsewhere()?)?)
            .await,
    )
}

fn marked(client_id: &str, mark: usize) -> store_core::Result<Registration> {
    Registration::new(RegistrationParts {
        extra: Unknown::from_iter([("mark".into(), mark.into())]),
        ..parts(ISSUER, client_id)
    })
}

const TASKS: usize = 12;

/// Runs `TASKS` concurrent upserts of one registration, marked with the numbers from
/// `from` on, and asserts that the stored row is one of them.
async fn race_upserts<R: Platform, D: Site>(
    tool: &Tool<R, D>,
    client_id: &str,
    from: usize,
) -> CaseResult {
    let together = Arc::new(Barrier::new(TASKS));
    let tasks: Vec<_> = (0..TASKS)
        .map(|number| {
            let (handle, together) = (tool.handle(number), Arc::clone(&together));
            let record = marked(client_id, from + number);
            tokio::spawn(async move {
                together.wait().await;
                handle.upsert_registration(R::from(record?)).await
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    let mut held = Vec::new();
    for handle in [&tool.first, &tool.second] {
        let row = handle.get_registration(ISSUER, Some(client_id)).await?;
        let row = row.expect("it was stored").to_registration()?;
        held.push(row.extra()["mark"].as_u64().expect("a number") as usize);
    }
    assert_eq!(held[0], held[1], "the handles disagree");
    assert!(
        (from..from + TASKS).contains(&held[0]),
        "an older row is stored"
    );
    Ok(())
}

async fn concurrent_upserts_of_a_registration_leave_one_row<R: Platform, D: Site>(
    harness: Given<R, D>,
) -> CaseResult {
    let tool = Tool::<R, D>::with(&harness, &[platform(ISSUER, "other")?]).await?;
    for round in 0..6 {
        let client_id = format!("tool-{round}");
        // The first round creates it, later rounds replace it.
        race_upserts(&tool, &client_id, 0).await?;
        race_upserts(&tool, &client_id, TASKS).await?;
        let request = PageRequest::new();
        let page = tool.second.list_registrations(Some(ISSUER), &request);
        let rows = page.await?.items;
        assert_eq!(rows.len(), round + 2, "{rows:?}");
    }
    Ok(())
}

async fn concurrent_upserts_of_a_deployment_leave_one_row<R: Platform, D: Site>(
    harness: Given<R, D>,
) -> CaseResult {
    let tool = Tool::<R, D>::with(&harness, &[lms()?]).await?;
    for round in 0..6 {
        // Each is created, then replaced.
        let id = format!("d-{}", round / 2);
        let together = Arc::new(Barrier::new(TASKS));
        let tasks: Vec<_> = (0..TASKS)
            .map(|number| {
                let (handle, together) = (tool.handle(number), Arc::clone(&together));
                let id = id.clone();
                tokio::spawn(async move {
                    let mark =
                        Unknown::from_iter([("mark".into(), (round * TASKS + number).into())]);
                    let record = Deployment::new(id)?.with_extra(mark)?;
                    together.wait().await;
                    handle.upsert_deployment(&lms()?, D::from(record)).await
                })
            })
            .collect();
        for task in tasks {
            task.await??;
        }
        let page = tool
            .second
            .list_deployments(&lms()?, &PageRequest::new())
            .await?;
        assert_eq!(page.items.len(), round / 2 + 1, "{:?}", page.items);
        let mut held = Vec::new();
        for handle in [&tool.first, &tool.second] {
            let row = handle.get_deployment(&lms()?, &id).await?;
            held.push(row.expect("it is there").to_deployment()?);
        }
        assert_eq!(held[0], held[1]);
        let mark = held[0].extra()["mark"].as_u64().expect("a number") as usize;
        assert_eq!(mark / TASKS, round, "an older row is stored");
    }
    Ok(())
}

async fn an_upsert_replaces_the_record_whole<R: Platform, D: Site>(
    harness: Given<R, D>,
) -> CaseResult {
    let tool = Tool::<R, D>::with(&harness, &[marked("tool-1", 1)?]).await?;
    for handle in [&tool.first, &tool.second] {
        let before = handle.get_registration(ISSUER, Some("tool-1")).await?;
        assert!(before.is_some());
    }
    let moved = Registration::new(RegistrationParts {
        token_endpoint: Some("https://new.example.edu/token".into()),
        ..parts(ISSUER, "tool-1")
    })?;
    let expected = serde_json::to_value(R::from(moved.clone()))?;
    let stored = tool.first.upsert_registration(R::from(moved)).await?;
    assert_eq!(serde_json::to_value(&*stored)?, expected);
    let found = tool.second.get_registration(ISSUER, Some("tool-1")).await?;
    assert_eq!(
        serde_json::to_value(&*found.expect("it is there"))?,
        expected
    );
    Ok(())
}

async fn a_second_platform_never_replaces_the_first<R: Platform, D: Site>(
    harness: Given<R, D>,
) -> CaseResult {
    let at = |host: &str, jwks: &str| {
        Registration::new(RegistrationParts {
            auth_endpoint: format!("https://{host}/auth"),
            jwks_uri: format!("https://{jwks}/jwks"),
            ..parts(ISSUER, "tool-1")
        })
    };
    let (one, two) = ("one.example.edu", "two.example.edu");
    let tool = Tool::<R, D>::with(&harness, &[]).await?;
    let unregistered = tool.first.change_endpoints(R::from(at(one, one)?)).await;
    let error = unregistered.expect_err("there is nothing to change");
    assert_eq!(error.kind(), ErrorKind::NotFound);

    let first = tool.first.register(R::from(at(one, one)?)).await?;
    let first = serde_json::to_value(&*first)?;
    let deployment = D::from(Deployment::new("d")?);
    tool.first
        .upsert_deployment(&at(one, one)?, deployment)
        .await?;
    for other in [at(two, two)?, at(one, one)?] {
        let again = tool.second.register(R::from(other)).await;
        let error = again.expect_err("these names are registered");
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    }
    for other in [at(two, two)?, at(one, two)?, at(two, one)?] {
        let replaced = tool.second.upsert_registration(R::from(other)).await;
        let error = replaced.expect_err("it may be another platform");
        assert_eq!(error.kind(), ErrorKind::Conflict);
    }
    let held = tool.first.get_registration(ISSUER, Some("tool-1")).await?;
    let held = serde_json::to_value(&*held.expect("it is registered"))?;
    assert_eq!(held, first, "a refused write changed it");

    tool.second.change_endpoints(R::from(at(two, one)?)).await?;
    tool.second.change_endpoints(R::from(at(two, two)?)).await?;
    let moved = tool.first.get_registration(ISSUER, Some("tool-1")).await?;
    let moved = moved.expect("it is registered").to_registration()?;
    assert_eq!(moved.jwks_uri(), at(two, two)?.jwks_uri());
    assert_eq!(moved.auth_endpoint(), at(two, two)?.auth_endpoint());
    let deployment = tool.first.get_deployment(&moved, "d").await?;
    assert!(
        deployment.is_some(),
        "a platform that moved lost a deployment"
    );
    Ok(())
}

async fn deployments_are_deleted_with_their_registration<R: Platform, D: Site>(
    harness: Given<R, D>,
) -> CaseResult {
    let sibling = platform(ISSUER, "tool-2")?;
    let fixtures = Fixtures::of(&[lms()?, sibling.clone()])
        .deployed(&lms()?, "d")?
        .deployed(&sibling, "d")?;
    let tool = Tool::<R, D>::open(&harness, fixtures).await?;
    let before = tool.client(ISSUER, Some("tool-1")).await?;
    assert_eq!(before.as_deref(), Some("tool-1"));
    assert!(tool.first.delete_registration(ISSUER, "tool-1").await?);
    assert!(!tool.second.delete_registration(ISSUER, "tool-1").await?);
    assert_eq!(tool.client(ISSUER, Some("tool-1")).await?, None);
    assert!(tool.second.get_deployment(&lms()?, "d").await?.is_none());
    let deployment = tool.second.get_deployment(&sibling, "d").await?;
    assert!(deployment.is_some(), "a sibling lost its deployment");

    tool.first.upsert_registration(R::from(lms()?)).await?;
    let inherited = tool.second.get_deployment(&lms()?, "d").await?;
    assert!(
        inherited.is_none(),
        "a new registration of this name inherits"
    );
    let deployment = D::from(Deployment::new("d")?);
    tool.first.upsert_deployment(&lms()?, deployment).await?;
    assert!(tool.second.get_deployment(&lms()?, "d").await?.is_some());
    // An update is not a new registration.
    tool.first
        .upsert_registration(R::from(marked("tool-1", 1)?))
        .await?;
    assert!(tool.second.get_deployment(&lms()?, "d").await?.is_some());
    Ok(())
}

async fn a_default_can_move_and_falls_back_when_deleted<R: Platform, D: Site>(
    harness: Given<R, D>,
) -> CaseResult {
    let rows = [
        platform(ISSUER, "1")?,
        platform(ISSUER, "2")?,
        platform(ISSUER, "3")?,
    ];
    let tool = Tool::<R, D>::with(&harness, &rows).await?;
    for client in ["3", "2", "3"] {
        tool.first.set_default_registration(ISSUER, client).await?;
        assert_eq!(tool.client(ISSUER, None).await?.as_deref(), Some(client));
    }
    let missing = tool.first.set_default_registration(ISSUER, "4").await;
    let missing = missing.expect_err("there is none");
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    assert!(tool.first.delete_registration(ISSUER, "3").await?);
    assert_eq!(tool.client(ISSUER, None).await?.as_deref(), Some("1"));
    // The deleted registration was the default; a new one of its name is not.
    tool.first
        .upsert_registration(R::from(platform(ISSUER, "3")?))
        .await?;
    assert_eq!(tool.client(ISSUER, None).await?.as_deref(), Some("1"));
    assert!(tool.first.delete_registration(ISSUER, "1").await?);
    assert_eq!(tool.client(ISSUER, None).await?.as_deref(), Some("2"));
    Ok(())
}

async fn a_deployment_needs_a_registration_and_can_be_deleted<R: Platform, D: Site>(
    harness: Given<R, D>,
) -> CaseResult {
    let fixtures = Fixtures::of(&[lms()?]).deployed(&lms()?, "d")?;
    let tool = Tool::<R, D>::open(&harness, fixtures).await?;
    let orphan = D::from(Deployment::new("d")?);
    let unknown = platform(ISSUER, "unknown")?;
    let error = tool.first.upsert_deployment(&unknown, orphan).await;
    let error = error.expect_err("it has no registration");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(!tool.first.delete_deployment(&unknown, "d").await?);
    assert!(!tool.first.delete_deployment(&lms()?, "D").await?);
    assert!(tool.first.delete_deployment(&lms()?, "d").await?);
    assert!(!tool.second.delete_deployment(&lms()?, "d").await?);
    assert!(tool.second.get_deployment(&lms()?, "d").await?.is_none());
    Ok(())
}

async fn lists_return_every_row_once<R: Platform, D: Site>(harness: Given<R, D>) -> CaseResult {
    let other = platform("https://other.example.edu", "c-0")?;
    let mut rows = vec![other];
    for number in 0..7 {
        rows.push(platform(ISSUER, &format!("c-{number}"))?);
    }
    let owner = rows[1].clone();
    let mut fixtures = Fixtures::of(&rows);
    for number in 0..5 {
        fixtures = fixtures.deployed(&owner, &format!("d-{number}"))?;
    }
    let tool = Tool::<R, D>::open(&harness, fixtures).await?;
    for limit in [1, 2, 7, 1000] {
        for (issuer, expected) in [(Some(ISSUER), 7), (None, 8)] {
            let (mut names, mut request) = (Vec::new(), PageRequest::new().limit(limit)?);
            loop {
                let page = tool.second.list_registrations(issuer, &request).await?;
                assert!(page.items.len() <= limit);
                for row in page.items {
                    let row = row.to_registration()?;
                    names.push((row.issuer().to_owned(), row.client_id().to_owned()));
                }
                match page.next {
                    Some(next) => request = request.after(next),
                    None => break,
                }
            }
            let distinct: BTreeSet<_> = names.iter().collect();
            assert_eq!((names.len(), distinct.len()), (expected, expected));
        }
        let (mut ids, mut request) = (Vec::new(), PageRequest::new().limit(limit)?);
        loop {
            let page = tool.second.list_deployments(&owner, &request).await?;
            for row in page.items {
                ids.push(row.to_deployment()?.deployment_id().to_owned());
            }
            match page.next {
                Some(next) => request = request.after(next),
                None => break,
            }
        }
        assert_eq!(ids, ["d-0", "d-1", "d-2", "d-3", "d-4"]);
    }
    let foreign =
        PageRequest::new().after(Scan::collection(Collection::new("other"), "").cursor("1"));
    let error = tool.first.list_registrations(None, &foreign).await;
    let error = error.expect_err("a cursor of another query");
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    Ok(())
}

fn with_key(private_key: SecretField) -> store_core::Result<Registration> {
    Registration::new(RegistrationParts {
        tool_jwk: Some(ToolJwk {
            kid: "kid-1".into(),
            private_key,
        }),
        ..parts(ISSUER, "tool-1")
    })
}

fn sealed_elsewhere() -> Result<SecretField, serde_json::Error> {
    serde_json::from_value(serde_json::json!({ "key": "old", "sealed": "AAAA" }))
}

async fn a_private_key_is_never_shown_and_can_sign<R: Platform, D: Site>(
    harness: Given<R, D>,
) -> CaseResult {
    let clear = with_key(SecretField::Clear(Secret::new(PEM)))?;
    let tool = Tool::<R, D>::with(&harness, &[]).await?;
    let stored = tool.first.upsert_registration(R::from(clear)).await?;
    let found = tool.second.get_registration(ISSUER, Some("tool-1")).await?;
    let found = found.expect("it was stored");
    for row in [&stored, &found] {
        let registration = row.to_registration()?;
        let shown = format!(
            "{row:?} {registration:?} {}",
            serde_json::to_string(&**row)?
        );
        assert!(!shown.contains("TUM0Q0FR"), "the key is shown");
        let key = tool.second.signing_key(&registration).await?;
        let key = key.expect("it has a key of its own");
        assert!(!format!("{key:?}").contains("TUM0Q0FR"), "the key is shown");
        assert_eq!((&*key.kid, key.private_key.expose()), ("kid-1", PEM));
    }
    // What was read can be written again.
    let again = serde_json::from_value::<R>(serde_json::to_value(&*found)?)?;
    let again = tool.first.upsert_registration(again).await?;
    let key = tool.second.signing_key(&again.to_registration()?).await?;
    assert_eq!(key.expect("it still has it").private_key.expose(), PEM);
    Ok(())
}

async fn a_sealed_key_does_not_open_elsewhere<R: Platform, D: Site>(
    harness: Given<R, D>,
) -> CaseResult {
    let clear = with_key(SecretField::Clear(Secret::new(PEM)))?;
    let tool = Tool::<R, D>::with(&harness, &[]).await?;
    let stored = tool.first.upsert_registration(R::from(clear)).await?;
    let stolen = stored.to_registration()?.tool_jwk().cloned();
    let thief = Registration::new(RegistrationParts {
        tool_jwk: stolen,
        ..parts("https://evil.example.edu", "tool-1")
    })?;
    let signed = tool.first.signing_key(&thief).await;
    assert_eq!(signed.expect_err("it opened").kind(), ErrorKind::Corrupt);
    let stored = tool.first.upsert_registration(R::from(thief)).await;
    assert!(stored.is_err(), "a key that does not open was stored");
    let foreign = with_key(sealed_elsewhere()?)?;
    let stored = tool.first.upsert_registration(R::from(foreign)).await;
    assert!(stored.is_err(), "a key that does not open was stored");
    Ok(())
}
