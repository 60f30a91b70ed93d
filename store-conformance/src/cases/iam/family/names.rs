//! Names and tenants.

use store_core::ErrorKind;
use store_core::entity::{Key, Listing, MAX_ENTITY_NAME};
use store_core::tenants::Tenant;

use super::Family;
use crate::cases::iam::fixtures::{Fixtures, Sample, holding, key, path};
use crate::cases::iam::tools::{kind, names};
use crate::harness::Opened;
use crate::suite::CaseResult;

const ODD: [&str; 23] = [
    "%",
    "_",
    "\\",
    "*",
    "[a]",
    "a%",
    "a_",
    "ab",
    "a*",
    "a/b",
    "a%2Fb",
    "/",
    "..",
    ".",
    ":",
    "a:b",
    "{}",
    "#",
    "#a",
    "a b",
    "a'; --",
    "ä☃𝒳",
    "gate",
];

pub(super) async fn odd_names_are_literal<E: Sample>(harness: Family<E>) -> CaseResult {
    let opened = holding::<E>(&harness, &ODD).await?;
    for name in ODD {
        let found = opened.second.get(&key(name)).await?;
        assert_eq!(found.expect("a fixture").name(), name);
    }
    let mut listed = names(&opened.second, &path("1"), Listing::new().limit(7)?)
        .await?
        .concat();
    listed.sort_unstable();
    let mut sorted = ODD;
    sorted.sort_unstable();
    assert_eq!(listed, sorted);
    for (done, name) in ODD.iter().enumerate() {
        opened.first.delete(&key(name)).await?;
        let left = opened.second.list(&path("1"), &Listing::new()).await?;
        assert_eq!(left.items.len(), ODD.len() - done - 1, "after {name}");
    }
    Ok(())
}

pub(super) async fn long_names_are_distinguished<E: Sample>(harness: Family<E>) -> CaseResult {
    let long = "n".repeat(MAX_ENTITY_NAME - 1);
    let all = [
        format!("{long}a"),
        format!("{long}b"),
        long.clone(),
        "n".repeat(255),
        "n".repeat(256),
        "☃".repeat(300),
    ];
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let opened = holding::<E>(&harness, &all).await?;
    for name in &all {
        let found = opened.second.get(&key(name)).await?;
        assert_eq!(found.expect("a fixture").name(), *name);
    }
    let pages = names(&opened.second, &path("1"), Listing::new().limit(2)?).await?;
    assert_eq!(pages.concat().len(), all.len());
    opened.first.delete(&key(all[0])).await?;
    assert!(opened.second.get(&key(all[0])).await?.is_none());
    assert!(opened.second.get(&key(all[1])).await?.is_some());
    Ok(())
}

pub(super) async fn equal_names_in_two_tenants_are_two<E: Sample>(
    harness: Family<E>,
) -> CaseResult {
    let paths = [
        "5", "6", "7", "5/7", "6/7", "5/77", "57", "1", "1/2", "1/23",
    ];
    let tenants = paths.map(|at| Tenant::new(&path(at), at));
    let entities = paths.map(|at| E::sample(&path(at), "ada"));
    let Opened { first, second, .. } = harness
        .open(Fixtures {
            tenants: tenants.into(),
            entities: entities.into(),
        })
        .await?;
    for at in paths {
        let key = Key::<E>::new(&path(at), "ada");
        let found = second.get(&key).await?.expect("a fixture");
        assert_eq!(found.meta().tenant_id, path(at));
        let listed = second.list(&path(at), &Listing::new()).await?;
        assert_eq!(listed.items, [found], "a list is of one tenant");
    }
    first.delete(&Key::new(&path("5/7"), "ada")).await?;
    for at in paths {
        let found = second.get(&Key::<E>::new(&path(at), "ada")).await?;
        assert_eq!(found.is_some(), at != "5/7", "{at}");
    }
    Ok(())
}

pub(super) async fn a_name_that_cannot_be_stored_is_refused<E: Sample>(
    harness: Family<E>,
) -> CaseResult {
    let Opened { first, .. } = holding::<E>(&harness, &[]).await?;
    let long = "n".repeat(MAX_ENTITY_NAME + 1);
    let wrong = [
        "", "a\0b", "a\nb", "\u{7f}", "a\u{85}", " a", "a ", "\u{a0}a", &long,
    ];
    for name in wrong {
        let answer = first.create(E::sample(&path("1"), name)).await;
        assert_eq!(kind(answer), ErrorKind::InvalidInput);
    }
    for wrong in ["", "eng", "/eng", "eng/", "/\0/", "/a\n/"] {
        let mut one = E::sample(&path("1"), "ada");
        one.meta_mut().path = wrong.into();
        assert_eq!(kind(first.create(one).await), ErrorKind::InvalidInput);
    }
    Ok(())
}
