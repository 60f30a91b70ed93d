//! Lookups of deployments.

use store_core::lti::{MAX_ID, Registration};

use super::fixtures::{Cases, Fixtures, Given, Platform, Site, Tool, lms, platform};
use crate::case;
use crate::suite::CaseResult;

pub(super) fn cases<R: Platform, D: Site>() -> Cases<R, D> {
    vec![
        case!(a_deployment_belongs_to_its_registration_alone, "56"),
        case!(deployment_ids_are_case_sensitive, "56"),
        case!(odd_deployment_ids_never_collide, "47", "56"),
        case!(a_deployment_id_has_up_to_255_characters, "56"),
    ]
}

async fn found<R: Platform, D: Site>(
    tool: &Tool<R, D>,
    registration: &Registration,
    id: &str,
) -> store_core::Result<Option<String>> {
    let mut found = Vec::new();
    for handle in [&tool.first, &tool.second] {
        let record = handle.get_deployment(registration, id).await?;
        let deployment = record.map(|record| record.to_deployment()).transpose()?;
        found.push(deployment.map(|d| d.deployment_id().to_owned()));
    }
    assert_eq!(found[0], found[1], "the handles disagree");
    Ok(found.swap_remove(0))
}

async fn a_deployment_belongs_to_its_registration_alone<R: Platform, D: Site>(
    harness: Given<R, D>,
) -> CaseResult {
    let one = platform("https://a.example.edu", "1")?;
    let sibling = platform("https://a.example.edu", "2")?;
    let stranger = platform("https://b.example.edu", "1")?;
    let missing = platform("https://a.example.edu", "3")?;
    let fixtures = Fixtures::of(&[one.clone(), sibling.clone(), stranger.clone()])
        .deployed(&one, "d")?
        .deployed(&sibling, "e")?;
    let tool = Tool::<R, D>::open(&harness, fixtures).await?;
    assert_eq!(found(&tool, &one, "d").await?.as_deref(), Some("d"));
    assert_eq!(found(&tool, &sibling, "e").await?.as_deref(), Some("e"));
    for (registration, id) in [
        (&sibling, "d"),
        (&stranger, "d"),
        (&missing, "d"),
        (&one, "e"),
        (&one, "f"),
    ] {
        assert_eq!(found(&tool, registration, id).await?, None);
    }
    Ok(())
}

async fn deployment_ids_are_case_sensitive<R: Platform, D: Site>(
    harness: Given<R, D>,
) -> CaseResult {
    let fixtures = Fixtures::of(&[lms()?])
        .deployed(&lms()?, "Course-7")?
        .deployed(&lms()?, "COURSE-7")?;
    let tool = Tool::<R, D>::open(&harness, fixtures).await?;
    for (id, there) in [
        ("Course-7", true),
        ("COURSE-7", true),
        ("course-7", false),
        ("cOURSE-7", false),
        ("Course-7 ", false),
    ] {
        let expected = there.then(|| id.to_owned());
        assert_eq!(found(&tool, &lms()?, id).await?, expected, "{id:?}");
    }
    Ok(())
}

async fn odd_deployment_ids_never_collide<R: Platform, D: Site>(
    harness: Given<R, D>,
) -> CaseResult {
    let issuer = "https://lms.example.edu";
    let (ab, a) = (platform(issuer, "a:b")?, platform(issuer, "a")?);
    let (slash, escaped) = (platform(issuer, "a/b")?, platform(issuer, "a%2Fb")?);
    let all = [&ab, &a, &slash, &escaped];
    let deployments = [
        (&ab, "c"),
        (&a, "b:c"),
        (&slash, "d"),
        (&a, "b/d"),
        (&escaped, "e"),
        (&a, "b%2Fe"),
        (&a, "#f"),
        (&a, " "),
        (&a, "*"),
        (&a, "_"),
        (&a, ".."),
        (&a, "~!\"'\\"),
    ];
    let mut fixtures = Fixtures::of(&all.map(Clone::clone));
    for (registration, id) in deployments {
        fixtures = fixtures.deployed(registration, id)?;
    }
    let tool = Tool::<R, D>::open(&harness, fixtures).await?;
    for registration in all {
        for (_, id) in deployments {
            let there = deployments
                .iter()
                .any(|&(owner, held)| owner.client_id() == registration.client_id() && held == id);
            let expected = there.then(|| id.to_owned());
            let answer = found(&tool, registration, id).await?;
            assert_eq!(answer, expected, "{:?} {id:?}", registration.client_id());
        }
    }
    Ok(())
}

async fn a_deployment_id_has_up_to_255_characters<R: Platform, D: Site>(
    harness: Given<R, D>,
) -> CaseResult {
    let registration = platform("https://lms.example.edu", &"c".repeat(1000))?;
    let longest = |last: &str| "d".repeat(MAX_ID - 1) + last;
    let fixtures = Fixtures::of(std::slice::from_ref(&registration))
        .deployed(&registration, &longest("a"))?
        .deployed(&registration, &longest("b"))?;
    let tool = Tool::<R, D>::open(&harness, fixtures).await?;
    for (id, there) in [
        (longest("a"), true),
        (longest("b"), true),
        (longest("c"), false),
        (longest("aa"), false),
        ("d".repeat(MAX_ID - 1), false),
        ("dä".into(), false),
    ] {
        let expected = there.then(|| id.clone());
        assert_eq!(found(&tool, &registration, &id).await?, expected);
    }
    Ok(())
}
