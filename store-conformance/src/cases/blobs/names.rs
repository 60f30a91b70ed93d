//! Names of objects, and lists of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use store_core::blobs::{BlobList, BlobRef, BlobStat, MAX_BLOB_KEY};
use store_core::{BlobStore, Cursor, ErrorKind, Result};

use super::tools::{Given, holds, holds_none, named, put, seeded, written};
use crate::case;
use crate::suite::{Case, CaseResult};

pub(super) fn cases() -> Vec<Case<dyn BlobStore>> {
    vec![
        case!(odd_names_never_collide, "47", "R1"),
        needs_list(case!(
            a_list_is_in_bytewise_order_without_gap_or_repeat,
            "14",
            "19"
        )),
        needs_list(case!(a_list_knows_prefixes_literally, "18")),
        needs_list(case!(a_list_shows_what_is_published_and_no_more, "40")),
        needs_list(case!(
            a_list_continues_after_its_last_object_was_deleted,
            "17"
        )),
        needs_list(case!(a_page_of_none_is_refused_and_a_huge_one_is_not, "15")),
    ]
}

pub(super) fn needs_list(case: Case<dyn BlobStore>) -> Case<dyn BlobStore> {
    case.needs("list_objects", |given| Box::pin(listing_is_refused(given)))
}

async fn listing_is_refused(given: Given) -> CaseResult {
    let opened = given.open(()).await?;
    let error = opened.first.list(&BlobList::new("bucket")?).await;
    let error = error.expect_err("listing objects is declared unsupported");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    Ok(())
}

/// Names that a store which splits, cleans, folds or matches them would mix up.
/// In bytewise order of their keys.
fn odd_keys() -> Vec<String> {
    let long = |tail: &str| format!("{}{tail}", "k".repeat(190));
    let mut keys: Vec<String> = [
        " ",
        "  ",
        "#",
        "#a",
        "%",
        "%2F",
        "%2f",
        "*",
        "+",
        ".",
        "..",
        "../object",
        "./object",
        "/",
        "//",
        "/object",
        ":",
        "A",
        "[a-z]",
        "\\",
        "\u{1}",
        "\n",
        "_",
        "a",
        "a ",
        "a#1",
        "a.meta.json",
        "a/",
        "a/.",
        "a/b",
        "a//b",
        "a:b",
        "aa",
        "b",
        "object",
        "object/",
        "object.meta.json",
        "objects",
        "null",
        "{}",
        "{a}",
        "\u{7f}",
        "é",
        "e\u{301}",
        "ÿ",
        "\u{ffff}",
        "\u{10000}",
    ]
    .map(String::from)
    .into();
    keys.extend(["", "x", "y"].map(long));
    keys.push("z".repeat(MAX_BLOB_KEY));
    keys.push(format!("{}y", "z".repeat(MAX_BLOB_KEY - 1)));
    keys.sort();
    keys
}

/// Every page of `list`, of `size` objects each.
async fn pages(
    store: &Arc<dyn BlobStore>,
    list: &BlobList,
    size: usize,
) -> Result<Vec<(String, BlobStat)>> {
    let mut found = Vec::new();
    let mut next: Option<Cursor> = None;
    loop {
        let mut list = list.clone().limit(size)?;
        if let Some(cursor) = &next {
            // Through its text, as a web client would hand it back.
            list = list.after(cursor.to_string().parse()?);
        }
        let page = store.list(&list).await?;
        assert!(page.items.len() <= size);
        assert!(
            page.next.is_none() || !page.items.is_empty(),
            "an empty page has no cursor"
        );
        found.extend(page.items.into_iter().map(|entry| (entry.key, entry.stat)));
        next = page.next;
        if next.is_none() {
            return Ok(found);
        }
    }
}

fn keys_of(found: &[(String, BlobStat)]) -> Vec<&str> {
    found.iter().map(|(key, _)| key.as_str()).collect()
}

async fn odd_names_never_collide(harness: Given) -> CaseResult {
    let opened = harness.open(()).await?;
    let keys = odd_keys();
    // The same keys in buckets that differ by what a separator would hide.
    let buckets = ["a", "a:b", "a/b", "A", ""];
    let mut expected = BTreeMap::new();
    for bucket in buckets {
        let pairs = ["b:c", "c", "b/c"].map(String::from);
        for key in keys
            .iter()
            .step_by(if bucket == "a" { 1 } else { 7 })
            .chain(&pairs)
        {
            let bytes = format!("{bucket} has {key}").into_bytes();
            put(&opened.first, BlobRef::new(bucket, key)?, seeded(1), &bytes).await?;
            expected.insert((bucket, key.clone()), bytes);
        }
    }
    for ((bucket, key), bytes) in &expected {
        holds([&opened.second], BlobRef::new(bucket, key)?, bytes).await?;
    }
    // Deleting every other one leaves the rest.
    for (index, ((bucket, key), _)) in expected.iter().enumerate() {
        if index % 2 == 0 {
            assert!(
                opened.second.delete(BlobRef::new(bucket, key)?).await?,
                "{bucket:?} {key:?}"
            );
        }
    }
    for (index, ((bucket, key), bytes)) in expected.iter().enumerate() {
        let at = BlobRef::new(bucket, key)?;
        if index % 2 == 0 {
            holds_none([&opened.first], at).await?;
        } else {
            holds([&opened.first], at, bytes).await?;
        }
    }
    Ok(())
}

async fn a_list_is_in_bytewise_order_without_gap_or_repeat(harness: Given) -> CaseResult {
    let opened = harness.open(()).await?;
    let keys = odd_keys();
    let mut stats = BTreeMap::new();
    // In another order than the list's.
    for (index, key) in keys.iter().rev().enumerate() {
        let stat = put(&opened.first, named(key), seeded(index as u64), b"x").await?;
        stats.insert(key.clone(), stat);
    }
    put(
        &opened.first,
        BlobRef::new("bucket2", "elsewhere")?,
        seeded(1),
        b"x",
    )
    .await?;
    let list = BlobList::new("bucket")?;
    for size in [1, 7, keys.len(), keys.len() + 1] {
        let found = pages(&opened.second, &list, size).await?;
        assert_eq!(found.len(), keys.len(), "each once, in pages of {size}");
        for (key, stat) in &found {
            assert_eq!(Some(stat), stats.get(key), "{key:?}");
        }
        // Among keys of this length that begin alike, any order will do.
        let sortable = |key: &&str| key.len() <= 197;
        let order: Vec<_> = keys_of(&found).into_iter().filter(sortable).collect();
        assert!(order.is_sorted(), "{order:?}");
    }
    Ok(())
}

async fn a_list_knows_prefixes_literally(harness: Given) -> CaseResult {
    let opened = harness.open(()).await?;
    let keys = odd_keys();
    for key in &keys {
        put(&opened.first, named(key), seeded(1), b"x").await?;
    }
    let long = "z".repeat(MAX_BLOB_KEY);
    let prefixes = [
        "", "a", "a/", "%", "_", "*", "[", "\\", ".", "#", "é", "object", "zz", "none",
    ];
    let prefixes = prefixes
        .into_iter()
        .chain([&long[..198], &long[..MAX_BLOB_KEY - 1], &long]);
    for prefix in prefixes {
        let list = BlobList::new("bucket")?.prefix(prefix);
        let mut found = pages(&opened.second, &list, 3).await?;
        found.sort_by(|(a, _), (b, _)| a.cmp(b));
        let expected: Vec<_> = keys.iter().filter(|key| key.starts_with(prefix)).collect();
        assert_eq!(keys_of(&found), expected, "{prefix:?}");
    }
    // A cursor is valid only for its own query.
    let list = BlobList::new("bucket")?.prefix("a").limit(1)?;
    let cursor = opened
        .first
        .list(&list)
        .await?
        .next
        .expect("there are more");
    for other in [
        BlobList::new("bucket")?,
        BlobList::new("bucket2")?.prefix("a"),
    ] {
        let error = opened.first.list(&other.after(cursor.clone())).await;
        assert_eq!(error.expect_err("foreign").kind(), ErrorKind::InvalidInput);
    }
    Ok(())
}

async fn a_list_shows_what_is_published_and_no_more(harness: Given) -> CaseResult {
    let opened = harness.open(()).await?;
    let list = BlobList::new("bucket")?;
    assert!(pages(&opened.first, &list, 2).await?.is_empty());
    let mut open = Vec::new();
    for key in ["a1", "a2", "a3", "c1", "c2", "c3"] {
        open.push(written(&opened.first, named(key), seeded(1), b"x").await?);
    }
    put(&opened.first, named("b"), seeded(1), b"old").await?;
    open.push(written(&opened.first, named("b"), seeded(2), b"new").await?);
    for size in [1, 2, 100] {
        assert_eq!(keys_of(&pages(&opened.second, &list, size).await?), ["b"]);
    }
    opened.first.delete(named("b")).await?;
    for size in [1, 2, 100] {
        assert!(pages(&opened.second, &list, size).await?.is_empty());
    }
    for sink in open.drain(..4) {
        sink.commit().await?.published()?;
    }
    assert_eq!(
        keys_of(&pages(&opened.second, &list, 2).await?),
        ["a1", "a2", "a3", "c1"]
    );
    Ok(())
}

async fn a_list_continues_after_its_last_object_was_deleted(harness: Given) -> CaseResult {
    let opened = harness.open(()).await?;
    for key in ["a", "b", "c", "d"] {
        put(&opened.first, named(key), seeded(1), b"x").await?;
    }
    let list = BlobList::new("bucket")?.limit(2)?;
    let page = opened.first.list(&list).await?;
    let cursor = page.next.expect("there are more");
    for key in ["b", "c"] {
        opened.second.delete(named(key)).await?;
    }
    let page = opened.second.list(&list.after(cursor)).await?;
    let keys: Vec<_> = page.items.iter().map(|entry| entry.key.as_str()).collect();
    assert_eq!(keys, ["d"]);
    assert!(page.next.is_none(), "a full last page would be one, too");
    Ok(())
}

async fn a_page_of_none_is_refused_and_a_huge_one_is_not(harness: Given) -> CaseResult {
    let opened = harness.open(()).await?;
    put(&opened.first, named("a"), seeded(1), b"x").await?;
    let list = || BlobList::new("bucket");
    assert_eq!(
        list()?.limit(0).expect_err("none").kind(),
        ErrorKind::InvalidInput
    );
    let page = opened.first.list(&list()?.limit(usize::MAX)?).await?;
    assert_eq!((page.items.len(), page.next.is_none()), (1, true));
    let page = opened.first.list(&list()?.limit(1)?).await?;
    assert!(page.next.is_none(), "an exactly full last page is the last");
    Ok(())
}
