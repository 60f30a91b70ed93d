//! Lists and their pages.

use store_core::ErrorKind;
use store_core::entity::Listing;

use super::Family;
use crate::cases::iam::fixtures::{Sample, holding, key, path};
use crate::cases::iam::tools::{kind, names};
use crate::harness::Opened;
use crate::suite::CaseResult;

const SEVEN: [&str; 7] = ["a", "b", "c", "d", "e", "f", "g"];

/// Samples of these names and paths.
async fn create_at<E: Sample>(
    opened: &Opened<dyn store_core::entity::EntityStore<E>>,
    placed: &[(&str, &str)],
) -> store_core::Result<()> {
    for (name, at) in placed {
        let mut one = E::sample(&path("1"), name);
        one.meta_mut().path = (*at).into();
        opened.first.create(one).await?;
    }
    Ok(())
}

pub(super) async fn a_list_neither_skips_nor_repeats<E: Sample>(harness: Family<E>) -> CaseResult {
    let opened = holding::<E>(&harness, &SEVEN).await?;
    for limit in 1..=8 {
        let listing = Listing::<E>::new().limit(limit)?;
        let pages = names(&opened.second, &path("1"), listing).await?;
        assert_eq!(pages.concat(), SEVEN, "pages of {limit}");
        assert!(pages.iter().all(|page| page.len() <= limit));
    }
    // Entities created and deleted between pages neither hide nor repeat others.
    let first = opened
        .first
        .list(&path("1"), &Listing::new().limit(3)?)
        .await?;
    opened.second.delete(&key("a")).await?;
    opened.second.create(E::sample(&path("1"), "aa")).await?;
    opened.second.create(E::sample(&path("1"), "dd")).await?;
    let listing = Listing::new().after(first.next.expect("four are left"));
    let rest = opened.first.list(&path("1"), &listing).await?;
    let rest: Vec<&str> = rest.items.iter().map(|one| one.name()).collect();
    assert_eq!(rest, ["d", "dd", "e", "f", "g"]);
    Ok(())
}

pub(super) async fn a_full_last_page_has_no_cursor<E: Sample>(harness: Family<E>) -> CaseResult {
    let opened = holding::<E>(&harness, &SEVEN).await?;
    let page = opened
        .first
        .list(&path("1"), &Listing::new().limit(7)?)
        .await?;
    assert_eq!(page.items.len(), 7);
    assert!(page.next.is_none(), "there is no eighth");
    let page = opened
        .first
        .list(&path("1"), &Listing::new().limit(6)?)
        .await?;
    assert!(page.next.is_some(), "there is a seventh");
    Ok(())
}

pub(super) async fn a_list_continues_where_its_cursor_was_deleted<E: Sample>(
    harness: Family<E>,
) -> CaseResult {
    let opened = holding::<E>(&harness, &SEVEN).await?;
    let page = opened
        .first
        .list(&path("1"), &Listing::new().limit(3)?)
        .await?;
    for name in ["b", "c", "d"] {
        opened.second.delete(&key(name)).await?;
    }
    let listing = Listing::new().after(page.next.expect("four are left"));
    let rest = opened.first.list(&path("1"), &listing).await?;
    let rest: Vec<&str> = rest.items.iter().map(|one| one.name()).collect();
    assert_eq!(rest, ["e", "f", "g"]);
    Ok(())
}

pub(super) async fn a_page_size_of_zero_is_refused_and_a_huge_one_capped<E: Sample>(
    harness: Family<E>,
) -> CaseResult {
    let opened = holding::<E>(&harness, &SEVEN).await?;
    assert_eq!(kind(Listing::<E>::new().limit(0)), ErrorKind::InvalidInput);
    let listing = Listing::new().limit(usize::MAX)?;
    let page = opened.first.list(&path("1"), &listing).await?;
    assert_eq!(page.items.len(), 7);
    assert!(page.next.is_none());
    Ok(())
}

pub(super) async fn a_prefix_is_literal<E: Sample>(harness: Family<E>) -> CaseResult {
    let opened = holding::<E>(&harness, &[]).await?;
    let paths = [
        "/axb/", "/a%b/", "/a_b/", "/a*b/", "/a[x]b/", "/a\\b/", "/A%B/", "/a/b/",
    ];
    let placed: Vec<(&str, &str)> = paths.iter().map(|path| (&path[1..], *path)).collect();
    let placed: Vec<(String, &str)> = placed
        .iter()
        .map(|(name, path)| (name.trim_end_matches('/').to_owned(), *path))
        .collect();
    let placed: Vec<(&str, &str)> = placed.iter().map(|(n, p)| (n.as_str(), *p)).collect();
    create_at(&opened, &placed).await?;
    for (name, at) in &placed {
        let listing = Listing::<E>::new().path_prefix(*at);
        let found = names(&opened.second, &path("1"), listing).await?.concat();
        assert_eq!(found, [*name], "the prefix {at}");
    }
    let listing = Listing::<E>::new().path_prefix("/a");
    assert_eq!(
        names(&opened.second, &path("1"), listing)
            .await?
            .concat()
            .len(),
        7
    );
    Ok(())
}

pub(super) async fn a_list_by_path_pages_without_gap<E: Sample>(harness: Family<E>) -> CaseResult {
    let opened = holding::<E>(&harness, &[]).await?;
    let placed: Vec<(String, &str)> = (10..40)
        .map(|i| (i.to_string(), if i % 5 == 0 { "/eng/x/" } else { "/ops/" }))
        .collect();
    let placed: Vec<(&str, &str)> = placed.iter().map(|(n, p)| (n.as_str(), *p)).collect();
    create_at(&opened, &placed).await?;
    let engineers = ["10", "15", "20", "25", "30", "35"];
    for limit in 1..=7 {
        let listing = Listing::<E>::new().path_prefix("/eng/").limit(limit)?;
        let pages = names(&opened.second, &path("1"), listing).await?;
        assert_eq!(pages.concat(), engineers, "pages of {limit}");
        assert!(pages.iter().all(|page| page.len() <= limit));
        assert!(
            pages.iter().all(|page| !page.is_empty()),
            "a full last page is the last, though others follow"
        );
    }
    Ok(())
}

pub(super) async fn a_cursor_of_another_query_is_refused<E: Sample>(
    harness: Family<E>,
) -> CaseResult {
    let opened = holding::<E>(&harness, &SEVEN).await?;
    let page = opened
        .first
        .list(&path("1"), &Listing::new().limit(3)?)
        .await?;
    let cursor = page.next.expect("four are left");
    // Its text can be handed to a client and back, and to the other handle.
    let cursor: store_core::Cursor = cursor.to_string().parse()?;
    let listing = Listing::new().after(cursor.clone());
    assert_eq!(
        opened.second.list(&path("1"), &listing).await?.items.len(),
        4
    );
    let elsewhere = opened.first.list(&path("2"), &listing).await;
    assert_eq!(kind(elsewhere), ErrorKind::InvalidInput);
    let narrowed = Listing::new().path_prefix("/").after(cursor);
    let narrowed = opened.first.list(&path("1"), &narrowed).await;
    assert_eq!(kind(narrowed), ErrorKind::InvalidInput);
    Ok(())
}

pub(super) async fn names_sort_bytewise<E: Sample>(harness: Family<E>) -> CaseResult {
    let mut sorted = [
        "10", "9", "A", "Z", "_", "a", "a b", "a-b", "aa", "b", "z", "~", "é", "Ω", "日本", "𝒳",
    ];
    let opened = holding::<E>(&harness, &sorted).await?;
    sorted.sort_unstable();
    let listed = names(&opened.second, &path("1"), Listing::<E>::new().limit(5)?).await?;
    assert_eq!(listed.concat(), sorted);
    Ok(())
}
