//! Listing keys.

use std::collections::BTreeSet;
use std::sync::Arc;

use store_core::api_keys::{
    ApiKey, ApiKeyStore, ApiKeyStoreExt, KeyData, KeyEntry, KeyId, ListKeys,
};
use store_core::{ErrorKind, Result};

use super::fixtures::{Fixture, Space, key};
use super::{Given, KeyCase, needs_delete, needs_list, needs_update};
use crate::case;
use crate::suite::CaseResult;

pub(super) fn all() -> Vec<KeyCase> {
    vec![
        needs_list(case!(a_list_holds_the_keys_of_one_tenant_alone, "18", "47")),
        needs_list(case!(a_list_shows_disabled_and_expired_keys)),
        needs_list(case!(pages_hold_every_key_once, "14", "16")),
        needs_list(case!(a_page_of_zero_is_refused_and_a_huge_one_served, "15")),
        needs_list(case!(a_cursor_fits_only_its_own_list)),
        needs_list(case!(looking_keys_up_adds_none_to_the_lists, "11")),
        needs_list(needs_delete(case!(
            pages_neither_skip_nor_repeat_while_keys_are_deleted,
            "14",
            "17"
        ))),
        needs_list(needs_update(case!(a_key_that_moves_changes_lists))),
        needs_list(needs_delete(case!(a_deleted_key_is_in_no_list, "8"))),
    ]
}

fn of(tenant: &str, count: usize) -> Vec<Fixture> {
    (0..count)
        .map(|_| Fixture::new(KeyData::new().with_tenant(tenant)))
        .collect()
}

/// The ids behind these fixtures.
async fn ids(space: &Space, fixtures: &[Fixture]) -> Result<BTreeSet<KeyId>> {
    let mut ids = BTreeSet::new();
    for fixture in fixtures {
        ids.insert(space.entry(fixture.key()).await?.id().clone());
    }
    Ok(ids)
}

/// All pages, checking each one's size.
async fn pages(store: &dyn ApiKeyStore, query: ListKeys) -> Result<Vec<Vec<KeyEntry>>> {
    let mut pages = Vec::new();
    let mut after = query.clone();
    loop {
        let page = store.list(&after).await?;
        assert!(page.items.len() <= query.page_request().size());
        assert!(
            page.next.is_none() || !page.items.is_empty(),
            "an empty page has a cursor"
        );
        pages.push(page.items);
        match page.next {
            Some(cursor) => after = query.clone().after(cursor),
            None => return Ok(pages),
        }
    }
}

/// Every id of the list; none twice.
async fn listed(store: &Arc<dyn ApiKeyStore>, query: ListKeys) -> Result<BTreeSet<KeyId>> {
    let entries = pages(&**store, query).await?.concat();
    let ids: BTreeSet<_> = entries.iter().map(|entry| entry.id().clone()).collect();
    assert_eq!(ids.len(), entries.len(), "a key is listed twice");
    Ok(ids)
}

async fn a_list_holds_the_keys_of_one_tenant_alone(given: Given) -> CaseResult {
    let long = "t".repeat(1024);
    let almost = "t".repeat(1023);
    let tenants = [
        "a", "A", "ab", "a/b", "a/", "a%", "a_", "a*", "%", "a:b", "a.b", "ä", "#", &long, &almost,
    ];
    let fixtures: Vec<_> = tenants.iter().map(|tenant| of(tenant, 2)).collect();
    let none = vec![Fixture::new(KeyData::new())];
    let space = Space::open(&given, fixtures.iter().flatten().chain(&none)).await?;
    let mut all = ids(&space, &none).await?;
    for (tenant, fixtures) in tenants.iter().zip(&fixtures) {
        let expected = ids(&space, fixtures).await?;
        for store in [&space.first, &space.second] {
            let found = listed(store, ListKeys::of_tenant(*tenant)).await?;
            assert_eq!(found, expected, "the keys of {tenant:.10}");
        }
        all.extend(expected);
    }
    let unknown = listed(&space.first, ListKeys::of_tenant("unknown")).await?;
    assert!(unknown.is_empty());
    // This one may repeat a key while it moves; none moves here.
    assert_eq!(listed(&space.second, ListKeys::all()).await?, all);
    Ok(())
}

async fn a_list_shows_disabled_and_expired_keys(given: Given) -> CaseResult {
    let second = std::time::Duration::from_secs(1);
    let data = || KeyData::new().with_tenant("acme");
    let fixtures = [
        Fixture::new(data()),
        Fixture::new(data().disabled()),
        Fixture::new(data()).expiring_after(second),
    ];
    let space = Space::open(&given, &fixtures).await?;
    space.clock.advance(second);
    let expected = ids(&space, &fixtures).await?;
    let page = space.first.list(&ListKeys::of_tenant("acme")).await?;
    for entry in &page.items {
        assert!(expected.contains(entry.id()));
    }
    assert_eq!(page.items.len(), 3);
    let enabled = page.items.iter().filter(|entry| entry.data().enabled);
    assert_eq!(enabled.count(), 2);
    Ok(())
}

async fn pages_hold_every_key_once(given: Given) -> CaseResult {
    let fixtures = of("acme", 12);
    let space = Space::open(&given, &fixtures).await?;
    let expected = ids(&space, &fixtures).await?;
    for size in [1, 3, 5, 12, 13] {
        let query = ListKeys::of_tenant("acme").limit(size)?;
        assert_eq!(
            listed(&space.second, query).await?,
            expected,
            "in pages of {size}"
        );
    }
    let exact = ListKeys::of_tenant("acme").limit(12)?;
    let page = space.first.list(&exact).await?;
    assert_eq!(page.items.len(), 12);
    assert!(page.next.is_none(), "nothing follows an exactly full page");
    Ok(())
}

async fn a_page_of_zero_is_refused_and_a_huge_one_served(given: Given) -> CaseResult {
    let fixtures = of("acme", 3);
    let space = Space::open(&given, &fixtures).await?;
    for query in [ListKeys::of_tenant("acme"), ListKeys::all()] {
        let error = query.clone().limit(0).expect_err("a page of zero");
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        let huge = query.limit(usize::MAX)?;
        assert_eq!(listed(&space.first, huge).await?.len(), 3);
    }
    Ok(())
}

async fn a_cursor_fits_only_its_own_list(given: Given) -> CaseResult {
    let fixtures = [of("acme", 3), of("other", 3)].concat();
    let space = Space::open(&given, &fixtures).await?;
    let query = ListKeys::of_tenant("acme").limit(1)?;
    let cursor = space.first.list(&query).await?.next;
    let cursor = cursor.expect("two more follow");
    for other in [ListKeys::of_tenant("other"), ListKeys::all()] {
        let answer = space.second.list(&other.after(cursor.clone())).await;
        let error = answer.expect_err("a cursor of another list");
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
    let rest = space.second.list(&query.limit(9)?.after(cursor)).await?;
    assert_eq!(rest.items.len(), 2);
    Ok(())
}

async fn pages_neither_skip_nor_repeat_while_keys_are_deleted(given: Given) -> CaseResult {
    let fixtures = of("acme", 18);
    let space = Space::open(&given, &fixtures).await?;
    let all = ids(&space, &fixtures).await?;
    let (mut seen, mut deleted) = (BTreeSet::new(), BTreeSet::new());
    let query = ListKeys::of_tenant("acme").limit(4)?;
    let mut after = query.clone();
    loop {
        let page = space.first.list(&after).await?;
        for entry in &page.items {
            assert!(seen.insert(entry.id().clone()), "a key is listed twice");
        }
        let Some(cursor) = page.next else { break };
        // The last of the page, where the cursor stands, and one yet to come.
        let last = page.items.last().map(|entry| entry.id().clone());
        let ahead = all.iter().find(|id| !seen.contains(id)).cloned();
        for id in last.into_iter().chain(ahead) {
            space.second.delete_key((&id).into()).await?;
            deleted.insert(id);
        }
        after = query.clone().after(cursor);
    }
    let remaining: BTreeSet<_> = all.difference(&deleted).collect();
    let missed: Vec<_> = remaining
        .into_iter()
        .filter(|id| !seen.contains(id))
        .collect();
    assert!(missed.is_empty(), "skipped: {missed:?}");
    Ok(())
}

async fn a_key_that_moves_changes_lists(given: Given) -> CaseResult {
    let fixtures = of("before", 2);
    let space = Space::open(&given, &fixtures).await?;
    let moving = space.entry(fixtures[0].key()).await?.id().clone();
    let move_to = async |tenant: Option<&str>| {
        let tenant = tenant.map(str::to_owned);
        space
            .second
            .update(fixtures[0].key(), move |data| {
                data.tenant = tenant.clone();
                Ok(())
            })
            .await
    };
    let has = async |tenant: &str| {
        let ids = listed(&space.first, ListKeys::of_tenant(tenant)).await?;
        Ok::<_, store_core::Error>(ids.contains(&moving))
    };
    move_to(Some("after")).await?;
    assert!(!has("before").await? && has("after").await?);
    move_to(Some("before")).await?;
    assert!(has("before").await? && !has("after").await?);
    move_to(None).await?;
    assert!(!has("before").await? && !has("after").await?);
    move_to(Some("after")).await?;
    assert!(!has("before").await? && has("after").await?);
    assert_eq!(space.entry(fixtures[0].key()).await?.id(), &moving);
    let left = listed(&space.second, ListKeys::of_tenant("before")).await?;
    assert_eq!(left.len(), 1, "the other key stayed");
    Ok(())
}

async fn a_deleted_key_is_in_no_list(given: Given) -> CaseResult {
    let fixtures = of("acme", 2);
    let space = Space::open(&given, &fixtures).await?;
    let deleted = space.entry(fixtures[0].key()).await?.id().clone();
    space.first.delete_key(fixtures[0].key().into()).await?;
    for query in [ListKeys::of_tenant("acme"), ListKeys::all()] {
        let ids = listed(&space.second, query).await?;
        assert!(!ids.contains(&deleted) && ids.len() == 1);
    }
    Ok(())
}

async fn looking_keys_up_adds_none_to_the_lists(given: Given) -> CaseResult {
    let fixtures = of("acme", 2);
    let space = Space::open(&given, &fixtures).await?;
    let before = ids(&space, &fixtures).await?;
    for number in 0..30 {
        space.assert_unknown(&key()).await?;
        let odd = ApiKey::parse(format!("odd-{number}"))?;
        space.assert_unknown(&odd).await?;
    }
    assert_eq!(listed(&space.second, ListKeys::all()).await?, before);
    Ok(())
}
