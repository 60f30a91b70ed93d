//! Lookups of registrations.

use store_core::lti::Registration;

use super::fixtures::{
    Cases, Fixtures, Given, Platform, Site, Tool, lms, odd_fields, parts, platform,
};
use crate::case;
use crate::suite::CaseResult;

pub(super) fn cases<R: Platform, D: Site>() -> Cases<R, D> {
    vec![
        case!(a_registration_is_found_by_exactly_its_names, "47"),
        case!(
            an_issuer_alone_gives_the_smallest_of_several_client_ids,
            "55"
        ),
        case!(an_issuer_alone_gives_its_default, "55"),
        case!(an_issuer_alone_gives_its_only_registration, "55"),
        case!(records_of_an_application_are_returned_unchanged, "5"),
        case!(odd_issuers_and_client_ids_never_collide, "47"),
        case!(names_of_any_length_never_collide, "47"),
        case!(a_lookup_accepts_any_text),
    ]
}

const CANVAS: &str = "https://canvas.instructure.com";

async fn a_registration_is_found_by_exactly_its_names<R: Platform, D: Site>(
    harness: Given<R, D>,
) -> CaseResult {
    let tool = Tool::with(&harness, &[lms()?]).await?;
    let (issuer, client) = ("https://lms.example.edu", "tool-1");
    let found = tool.client(issuer, Some(client)).await?;
    assert_eq!(found.as_deref(), Some(client));
    for (issuer, client) in [
        (issuer, "tool-2"),
        (issuer, "Tool-1"),
        (issuer, "tool-1 "),
        (issuer, "tool-"),
        (issuer, ""),
        ("https://lms.example.edu/", client),
        ("https://LMS.example.edu", client),
        ("https://other.example.edu", client),
    ] {
        let found = tool.client(issuer, Some(client)).await?;
        assert_eq!(found, None, "{issuer} {client:?}");
    }
    let alone = tool.client("https://other.example.edu", None).await?;
    assert_eq!(alone, None);
    Ok(())
}

async fn an_issuer_alone_gives_the_smallest_of_several_client_ids<R: Platform, D: Site>(
    harness: Given<R, D>,
) -> CaseResult {
    // Inserted in an order that is neither ascending nor descending.
    let clients = ["7", "10000000000042", "9", "10000000000007", "a"];
    let rows: Vec<Registration> = clients
        .iter()
        .map(|client| platform(CANVAS, client))
        .collect::<store_core::Result<_>>()?;
    let tool = Tool::with(&harness, &rows).await?;
    for _ in 0..3 {
        let found = tool.client(CANVAS, None).await?;
        assert_eq!(found.as_deref(), Some("10000000000007"));
    }
    for client in clients {
        let found = tool.client(CANVAS, Some(client)).await?;
        assert_eq!(found.as_deref(), Some(client));
    }
    Ok(())
}

async fn an_issuer_alone_gives_its_default<R: Platform, D: Site>(
    harness: Given<R, D>,
) -> CaseResult {
    let other = "https://other.example.edu";
    let rows = [
        platform(CANVAS, "1")?,
        platform(CANVAS, "3")?,
        platform(CANVAS, "2")?,
        platform(other, "5")?,
        platform(other, "4")?,
    ];
    let mut fixtures = Fixtures::of(&rows);
    fixtures.defaults = vec![(CANVAS.into(), "3".into())];
    let tool = Tool::open(&harness, fixtures).await?;
    assert_eq!(tool.client(CANVAS, None).await?.as_deref(), Some("3"));
    assert_eq!(tool.client(other, None).await?.as_deref(), Some("4"));
    Ok(())
}

async fn an_issuer_alone_gives_its_only_registration<R: Platform, D: Site>(
    harness: Given<R, D>,
) -> CaseResult {
    let tool = Tool::with(&harness, &[lms()?, platform(CANVAS, "1")?]).await?;
    let found = tool.client("https://lms.example.edu", None).await?;
    assert_eq!(found.as_deref(), Some("tool-1"));
    Ok(())
}

async fn records_of_an_application_are_returned_unchanged<R: Platform, D: Site>(
    harness: Given<R, D>,
) -> CaseResult {
    let registration = Registration::new(store_core::lti::RegistrationParts {
        token_endpoint: Some("https://lms.example.edu/token?v=1".into()),
        extra: odd_fields(),
        ..parts("https://lms.example.edu", "tool-1")
    })?;
    let deployment = store_core::lti::Deployment::new("1:a")?.with_extra(odd_fields())?;
    let put = (
        serde_json::to_value(R::from(registration.clone()))?,
        serde_json::to_value(D::from(deployment.clone()))?,
    );
    let mut fixtures = Fixtures::of(std::slice::from_ref(&registration));
    fixtures.deployments = vec![(registration.clone(), D::from(deployment))];
    let tool = Tool::open(&harness, fixtures).await?;
    for handle in [&tool.first, &tool.second] {
        let record = handle
            .get_registration("https://lms.example.edu", Some("tool-1"))
            .await?
            .expect("it was loaded");
        assert_eq!(serde_json::to_value(&*record)?, put.0);
        let registration = record.to_registration()?;
        let deployment = handle.get_deployment(&registration, "1:a").await?;
        assert_eq!(
            serde_json::to_value(&*deployment.expect("it was loaded"))?,
            put.1
        );
    }
    Ok(())
}

async fn odd_issuers_and_client_ids_never_collide<R: Platform, D: Site>(
    harness: Given<R, D>,
) -> CaseResult {
    let names = [
        ("https://lms.example/a:b", "c"),
        ("https://lms.example/a", "b:c"),
        ("https://lms.example/a/b", "c"),
        ("https://lms.example/a", "b/c"),
        ("https://lms.example/a", "b%2Fc"),
        ("https://lms.example/a", "c"),
        ("https://lms.example/a", "C"),
        ("https://lms.example/a", "c "),
        ("https://lms.example/a", "#c"),
        ("https://lms.example/a", ".."),
        ("https://lms.example/a", "default"),
        ("https://lms.example/a", "{c}"),
        ("https://lms.example/a", "%"),
        ("https://lms.example/a", "ä"),
        ("https://lms.example/a", "a\u{308}"),
        ("https://lms.example/A", "c"),
        ("https://lms.example/a%2Fb", "c"),
    ];
    let rows: Vec<Registration> = names
        .iter()
        .map(|(issuer, client)| platform(issuer, client))
        .collect::<store_core::Result<_>>()?;
    let tool = Tool::<R, D>::with(&harness, &rows).await?;
    for (issuer, client) in names {
        let found = tool.client(issuer, Some(client)).await?;
        assert_eq!(found.as_deref(), Some(client), "{issuer}");
    }
    // Half of them are stored, and the others are not found.
    let (there, missing) = rows.split_at(rows.len() / 2);
    for (there, missing) in [(there, missing), (missing, there)] {
        let tool = Tool::<R, D>::with(&harness, there).await?;
        for row in missing {
            let found = tool.client(row.issuer(), Some(row.client_id())).await?;
            assert_eq!(found, None, "{row:?}");
        }
    }
    Ok(())
}

async fn names_of_any_length_never_collide<R: Platform, D: Site>(
    harness: Given<R, D>,
) -> CaseResult {
    let long_issuer = |last: &str| format!("https://lms.example.edu/{}{last}", "i".repeat(1900));
    let long_client = |last: &str| "c".repeat(1000) + last;
    let mut rows = Vec::new();
    for issuer in [long_issuer("a"), long_issuer("b")] {
        for client in [long_client("a"), long_client("b")] {
            rows.push(platform(&issuer, &client)?);
        }
    }
    let (last, loaded) = rows.split_last().expect("there are four");
    let tool = Tool::<R, D>::with(&harness, loaded).await?;
    for row in loaded {
        let found = tool.client(row.issuer(), Some(row.client_id())).await?;
        assert_eq!(found.as_deref(), Some(row.client_id()));
    }
    let found = tool.client(last.issuer(), Some(last.client_id())).await?;
    assert_eq!(found, None);
    assert!(tool.client(last.issuer(), None).await?.is_some());
    Ok(())
}

async fn a_lookup_accepts_any_text<R: Platform, D: Site>(harness: Given<R, D>) -> CaseResult {
    let tool = Tool::with(&harness, &[lms()?]).await?;
    let huge = "x".repeat(1 << 20);
    for text in ["", "\0", "a\0b", "%", "'; --", &huge] {
        for client in [None, Some(text), Some("tool-1")] {
            let found = tool.first.get_registration(text, client).await?;
            assert!(found.is_none());
        }
        let found = tool
            .first
            .get_registration("https://lms.example.edu", Some(text));
        assert!(found.await?.is_none());
        let found = tool.first.get_deployment(&lms()?, text).await?;
        assert!(found.is_none());
    }
    Ok(())
}
