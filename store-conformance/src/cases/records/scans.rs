//! R5: lists in order, page by page, with no gap and no repetition.

use std::collections::{BTreeMap, BTreeSet};

use store_core::page::MAX_PAGE;
use store_core::{Batch, Body, Cursor, ErrorKind, Expect, Partition, RecordStore, Scan, Version};

use super::names::strange_names;
use super::tools::{Given, OTHERS, Space, THINGS, ids, key, number, pages};
use crate::suite::CaseResult;
use crate::{Case, case};

pub(super) fn cases() -> Vec<Case<dyn RecordStore>> {
    vec![
        case!(a_scan_is_in_bytewise_order, "R5", "19"),
        case!(pages_have_neither_gap_nor_repetition, "R5", "14"),
        case!(an_exactly_full_last_page_has_no_cursor, "R5", "16"),
        case!(
            a_page_of_zero_is_refused_and_a_huge_one_is_capped,
            "R5",
            "15"
        ),
        case!(a_cursor_outlives_its_record, "R5", "17"),
        case!(changes_during_a_scan_hide_no_stable_record, "R5", "14"),
        case!(a_cursor_is_valid_only_for_its_query, "R5"),
        case!(a_forged_cursor_shows_nothing_outside_its_query, "R1", "R5"),
        case!(a_cursor_serves_the_other_handle_as_text, "R5"),
        case!(a_scan_stays_within_its_prefix_on_every_page, "R5", "18"),
        case!(a_scan_returns_what_a_get_returns, "R5"),
        case!(a_collection_scan_delivers_every_record, "R5"),
        case!(a_collection_scan_survives_changes, "R5"),
    ]
}

/// Writes these ids, each with its index in the list as its number.
async fn put_all(space: &Space, ids: &[String]) -> CaseResult {
    for (chunk, ids) in ids.chunks(50).enumerate() {
        let mut batch = space.batch();
        for (i, id) in ids.iter().enumerate() {
            batch.put(key(id)?, Expect::Absent, Body::json(chunk * 50 + i)?)?;
        }
        space.first.commit(&batch).await?;
    }
    Ok(())
}

fn numbered(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|i| format!("{i:04}")).collect()
}

async fn a_scan_is_in_bytewise_order(harness: Given) -> CaseResult {
    let space = Space::open(&harness).await?;
    // They include U+FFFF and U+10000, which UTF-16 sorts the other way, letters that a
    // collation would fold, and marks that it would ignore.
    let mut names = strange_names();
    names.extend(
        [
            "10", "9", "Z", "z", "aa", "a-a", "ab", "Ab", "coop", "co-op",
        ]
        .map(String::from),
    );
    put_all(&space, &names).await?;
    names.sort_unstable();
    for limit in [1000, 7] {
        let found = ids(&*space.second, space.scan().limit(limit)?).await?;
        for (found, expected) in found.iter().zip(&names) {
            assert_eq!(found, expected, "in pages of {limit}");
        }
        assert_eq!(found.len(), names.len());
    }
    Ok(())
}

async fn pages_have_neither_gap_nor_repetition(harness: Given) -> CaseResult {
    let space = Space::open(&harness).await?;
    let names = numbered(0..30);
    put_all(&space, &names).await?;
    for limit in [1, 2, 7, 10, 29, 30, 31, MAX_PAGE] {
        let found = ids(&*space.second, space.scan().limit(limit)?).await?;
        assert_eq!(found, names, "in pages of {limit}");
    }
    assert_eq!(ids(&*space.first, space.scan()).await?, names, "by default");
    Ok(())
}

async fn an_exactly_full_last_page_has_no_cursor(harness: Given) -> CaseResult {
    let space = Space::open(&harness).await?;
    let empty = space.first.scan(&space.scan()).await?;
    assert!(empty.items.is_empty() && empty.next.is_none());
    put_all(&space, &numbered(0..6)).await?;
    for limit in [1, 2, 3, 6] {
        let pages = pages(&*space.second, space.scan().limit(limit)?).await?;
        // A page may be short, so the count is a lower bound; none is empty.
        assert!(pages.len() >= 6 / limit, "pages of {limit}");
        assert!(
            pages.iter().all(|page| !page.is_empty()),
            "pages of {limit}"
        );
    }
    // The prefix ends before the collection does.
    let scan = space.scan().id_prefix("0003").limit(1)?;
    let page = space.second.scan(&scan).await?;
    assert_eq!((page.items.len(), page.next.is_none()), (1, true));
    Ok(())
}

async fn a_page_of_zero_is_refused_and_a_huge_one_is_capped(harness: Given) -> CaseResult {
    let space = Space::open(&harness).await?;
    let error = space.scan().limit(0).expect_err("nothing can be returned");
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let names = numbered(0..MAX_PAGE + 3);
    put_all(&space, &names).await?;
    let scan = space.scan().limit(usize::MAX)?;
    let page = space.first.scan(&scan).await?;
    assert!(page.items.len() <= MAX_PAGE);
    assert!(page.next.is_some(), "a capped page says that there is more");
    assert_eq!(ids(&*space.second, scan).await?, names);
    Ok(())
}

async fn a_cursor_outlives_its_record(harness: Given) -> CaseResult {
    let space = Space::open(&harness).await?;
    put_all(&space, &numbered(0..10)).await?;
    let scan = space.scan().limit(3)?;
    let page = space.first.scan(&scan).await?;
    let cursor = page.next.ok_or("seven are left")?;
    let seen: Vec<_> = page.items.iter().map(|r| r.id().to_owned()).collect();
    for id in &seen {
        space.delete(id).await?;
    }
    let rest = ids(&*space.second, scan.clone().after(&cursor)?).await?;
    // `ids` begins with the first page of its scan, which here is the second.
    assert_eq!(rest, numbered(seen.len()..10));
    for id in &rest {
        space.delete(id).await?;
    }
    let none = space.second.scan(&scan.after(&cursor)?).await?;
    assert!(none.items.is_empty() && none.next.is_none());
    Ok(())
}

async fn changes_during_a_scan_hide_no_stable_record(harness: Given) -> CaseResult {
    let space = Space::open(&harness).await?;
    let names = numbered(0..40);
    put_all(&space, &names).await?;
    let stable: Vec<_> = names.iter().step_by(2).cloned().collect();
    let scan = space.scan().limit(3)?;
    let (mut found, mut next) = (Vec::new(), None::<Cursor>);
    for round in 0.. {
        let page = match &next {
            None => space.first.scan(&scan).await?,
            Some(cursor) => space.second.scan(&scan.clone().after(cursor)?).await?,
        };
        found.extend(page.items.iter().map(|r| r.id().to_owned()));
        next = page.next;
        if next.is_none() {
            break;
        }
        // Before, at and after the position of the scan: one record is deleted, one is
        // added, and a stable one is rewritten.
        for id in names.iter().skip(1).step_by(2).skip(round).take(1) {
            space.delete(id).await?;
        }
        for place in ["0000", "0019", "0039"] {
            space.put(&format!("{place} new {round}"), 1).await?;
        }
        space.put(&stable[round % stable.len()], 1).await?;
    }
    assert!(found.is_sorted(), "out of order: {found:?}");
    let distinct: BTreeSet<_> = found.iter().collect();
    assert_eq!(distinct.len(), found.len(), "repeated: {found:?}");
    let delivered: Vec<_> = found.into_iter().filter(|id| stable.contains(id)).collect();
    assert_eq!(delivered, stable);
    Ok(())
}

async fn a_cursor_is_valid_only_for_its_query(harness: Given) -> CaseResult {
    let space = Space::open(&harness).await?;
    put_all(&space, &numbered(0..5)).await?;
    let page = space.first.scan(&space.scan().limit(2)?).await?;
    let cursor = page.next.ok_or("three are left")?;
    let elsewhere = Partition::new("q")?;
    for other in [
        space.scan().id_prefix("0"),
        Scan::partition(OTHERS, space.partition.clone()),
        Scan::partition(THINGS, elsewhere),
        Scan::collection(THINGS, "p"),
    ] {
        let error = other.after(&cursor).expect_err("another question");
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
    // Cut and extended, by a client of an API.
    let text = cursor.to_string();
    for forged in [format!("{text}AAAA"), text[..text.len() - 2].to_owned()] {
        let Ok(scan) = forged.parse().and_then(|c: Cursor| space.scan().after(&c)) else {
            continue;
        };
        if let Err(error) = space.first.scan(&scan).await {
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        }
    }
    Ok(())
}

/// A client has a genuine cursor, so it knows everything in it but can change the
/// position.
async fn a_forged_cursor_shows_nothing_outside_its_query(harness: Given) -> CaseResult {
    let space = Space::open(&harness).await?;
    put_all(
        &space,
        &["admin", "user-7/mine", "user-7/more", "user-8/theirs"].map(String::from),
    )
    .await?;
    for partition in ["alpha", "q", "zeta"] {
        let mut batch = Batch::new(Partition::new(partition)?, space.now());
        batch.put(key("secret")?, Expect::Any, Body::json(1u64)?)?;
        space.first.commit(&batch).await?;
    }
    let names = [
        "",
        "admin",
        "user-7/mine",
        "user-8/theirs",
        "zeta",
        "alpha",
        "q",
        "p",
    ];
    let mut positions: Vec<Vec<u8>> = vec![vec![0; 2], vec![0; 3], vec![0xff; 5], vec![0]];
    for id in names {
        positions.push(id.into());
        positions.push(id.replace('-', "\0").into());
        for partition in ["", "alpha", "p", "q", "zeta"] {
            positions.push(format!("{partition}\0{id}").into());
            // With a length, with a length and a shard, and as a list of names that are
            // still to be delivered.
            let mut place = vec![partition.len() as u8];
            place.extend_from_slice(partition.as_bytes());
            place.extend_from_slice(id.as_bytes());
            positions.push(place.clone());
            for shard in [0, 7, 255] {
                positions.push([&[shard][..], &place].concat());
            }
            positions.push(format!("\0\0\x000\x001\0{partition}\0{id}\0").into());
        }
    }
    for query in [
        space.scan().id_prefix("user-7/"),
        Scan::collection(THINGS, "p"),
        Scan::collection(THINGS, "").id_prefix("user-7/"),
    ] {
        for position in &positions {
            let forged: Cursor = query.cursor(position).to_string().parse()?;
            let resumed = query.clone().after(&forged)?;
            match space.second.scan(&resumed).await {
                Ok(page) => {
                    for record in page.items {
                        let (partition, id) = (record.partition().as_str(), record.id());
                        assert!(
                            query.selects(partition, id),
                            "the position {position:?} shows {id:?} of {partition:?}"
                        );
                    }
                }
                // A cluster may answer that the cursor belongs to another topology.
                Err(error) => assert!(
                    matches!(
                        error.kind(),
                        ErrorKind::InvalidInput | ErrorKind::Superseded
                    ),
                    "{error}"
                ),
            }
        }
    }
    Ok(())
}

async fn a_cursor_serves_the_other_handle_as_text(harness: Given) -> CaseResult {
    let space = Space::open(&harness).await?;
    let names = numbered(0..9);
    put_all(&space, &names).await?;
    let mut found = Vec::new();
    let mut text = None::<String>;
    for round in 0..names.len() {
        let mut scan = space.scan().limit(2)?;
        if let Some(text) = &text {
            scan = scan.after(&text.parse()?)?;
        }
        let page = space.handle(round).scan(&scan).await?;
        found.extend(page.items.iter().map(|r| r.id().to_owned()));
        text = page.next.map(|cursor| cursor.to_string());
        if text.is_none() {
            break;
        }
    }
    assert_eq!(found, names);
    Ok(())
}

async fn a_scan_stays_within_its_prefix_on_every_page(harness: Given) -> CaseResult {
    let space = Space::open(&harness).await?;
    let mut names: Vec<String> = Vec::new();
    for group in ["a", "a/", "a/b", "a0", "b", "\u{10ffff}"] {
        names.extend((0..5).map(|i| format!("{group}{i}")));
    }
    put_all(&space, &names).await?;
    names.sort_unstable();
    for prefix in ["a/", "a", "a/b", "\u{10ffff}", "c"] {
        let expected: Vec<_> = names.iter().filter(|n| n.starts_with(prefix)).collect();
        for limit in [1, 2, 5, 100] {
            let scan = space.scan().id_prefix(prefix).limit(limit)?;
            let found = ids(&*space.second, scan).await?;
            assert!(
                found.iter().eq(expected.iter().copied()),
                "{prefix:?} by {limit}"
            );
        }
    }
    Ok(())
}

async fn a_scan_returns_what_a_get_returns(harness: Given) -> CaseResult {
    let space = Space::open(&harness).await?;
    let later = space.now() + std::time::Duration::from_nanos(1_234_567_891);
    space.put_until("a", 1, Some(later)).await?;
    space.put("b", 2).await?;
    let mut batch = space.batch();
    batch.put(key("c")?, Expect::Any, Body::bytes(vec![0, 255])?)?;
    space.first.commit(&batch).await?;
    for listed in space.second.scan(&space.scan()).await?.items {
        let got = space.record(listed.id()).await?.ok_or("it was listed")?;
        assert_eq!(got.version(), listed.version());
        assert_eq!(got.expires_at(), listed.expires_at());
        assert_eq!(got.key(), listed.key());
        assert_eq!(got.partition(), listed.partition());
        assert_eq!(got.body().as_bytes(), listed.body().as_bytes());
        if got.body().as_bytes().is_none() {
            assert_eq!(number(&got)?, number(&listed)?);
        }
        let mut batch = space.batch();
        batch.put(listed.key().clone(), &listed, Body::json(9)?)?;
        space.first.commit(&batch).await?;
    }
    Ok(())
}

/// Records in many partitions, and their numbers.
async fn spread(space: &Space) -> Result<BTreeMap<(String, String), Version>, store_core::Error> {
    let mut written = BTreeMap::new();
    for partition in (0..12).map(|i| format!("{}{i}", ["x", "y", "x/"][i % 3])) {
        let mut batch = Batch::new(Partition::new(&partition)?, space.now());
        for id in numbered(0..5) {
            batch.put(key(&id)?, Expect::Any, Body::json(1)?)?;
            written.insert((partition.clone(), id), batch.version());
        }
        space.first.commit(&batch).await?;
    }
    Ok(written)
}

async fn a_collection_scan_delivers_every_record(harness: Given) -> CaseResult {
    let space = Space::open(&harness).await?;
    let written = spread(&space).await?;
    for (partitions, id_prefix) in [("", ""), ("x", ""), ("x/", ""), ("y1", ""), ("", "0003")] {
        let expected: BTreeSet<_> = written
            .keys()
            .filter(|(p, id)| p.starts_with(partitions) && id.starts_with(id_prefix))
            .cloned()
            .collect();
        for limit in [3, 60, 1000] {
            let scan = Scan::collection(THINGS, partitions)
                .id_prefix(id_prefix)
                .limit(limit)?;
            let pages = pages(&*space.second, scan).await?;
            let found: BTreeSet<_> = pages
                .iter()
                .flatten()
                .map(|r| (r.partition().as_str().to_owned(), r.id().to_owned()))
                .collect();
            assert_eq!(found, expected, "{partitions:?}, {id_prefix:?}, {limit}");
        }
    }
    Ok(())
}

async fn a_collection_scan_survives_changes(harness: Given) -> CaseResult {
    let space = Space::open(&harness).await?;
    let written = spread(&space).await?;
    let scan = Scan::collection(THINGS, "").limit(4)?;
    let (mut found, mut next) = (BTreeSet::new(), None::<Cursor>);
    for round in 0..1000 {
        let page = match &next {
            None => space.first.scan(&scan).await?,
            Some(cursor) => space.second.scan(&scan.clone().after(cursor)?).await?,
        };
        let here = |r: &store_core::Record| (r.partition().as_str().to_owned(), r.id().to_owned());
        found.extend(page.items.iter().map(here));
        // The record at the cursor is deleted; it was delivered.
        if let Some(last) = page.items.last() {
            let mut batch = Batch::new(last.partition().clone(), space.now());
            batch.delete(last.key().clone(), Expect::Any)?;
            space.first.commit(&batch).await?;
        }
        let mut batch = Batch::new(Partition::new(format!("{round} new"))?, space.now());
        batch.put(key("new")?, Expect::Any, Body::json(1)?)?;
        space.first.commit(&batch).await?;
        next = page.next;
        // Records that are added during the scan may be delivered or not, but the scan
        // must end.
        if next.is_none() || written.keys().all(|name| found.contains(name)) {
            break;
        }
    }
    let missed: Vec<_> = written
        .keys()
        .filter(|name| !found.contains(*name))
        .collect();
    assert!(missed.is_empty(), "never delivered: {missed:?}");
    Ok(())
}
