//! Answers that DynamoDB ends early, and scans of the whole table.

use std::collections::BTreeSet;
use std::time::Duration;

use store_core::{Batch, Body, Clock, ErrorKind, Expect, ManualClock, Partition, Scan, Store};

use crate::{End, Failure, Place, THINGS, key, other, partition, tests};

tests![
    a_page_continues_where_a_megabyte_ends,
    a_page_continues_past_expired_records,
    keys_beyond_sixteen_megabytes_are_requested_again,
    a_scan_in_any_number_of_segments_finds_each_record_once,
    a_scan_through_mostly_other_collections_needs_few_requests,
    an_altered_cursor_is_refused,
];

/// Puts records of that size.
async fn fill(store: &Store, count: usize, size: usize) -> End {
    for i in 0..count {
        let mut batch = Batch::new(partition(), store.now());
        let body = Body::bytes(vec![7; size])?;
        batch.put(key(&format!("{i:04}")), Expect::Any, body)?;
        store.records().commit(&batch).await?;
    }
    Ok(())
}

/// Partition and id of all records, page by page; no page with a cursor is empty.
pub(crate) async fn all_pages(
    store: &Store,
    scan: &Scan,
) -> Result<Vec<(String, String)>, Failure> {
    let mut found = Vec::new();
    let mut page = store.records().scan(scan).await?;
    loop {
        assert!(page.items.len() <= scan.page_size());
        let name = |r: &store_core::Record| (r.partition().as_str().to_owned(), r.id().to_owned());
        found.extend(page.items.iter().map(name));
        let Some(next) = page.next else {
            return Ok(found);
        };
        assert!(!page.items.is_empty(), "an empty page with a cursor");
        page = store.records().scan(&scan.clone().after(&next)?).await?;
    }
}

async fn a_page_continues_where_a_megabyte_ends(place: Place) -> End {
    let (store, inject) = place.watched().await?;
    fill(&store, 12, 200_000).await?;
    inject.requests();
    let scan = Scan::partition(THINGS, partition()).limit(12)?;
    let page = store.records().scan(&scan).await?;
    assert_eq!(page.items.len(), 12);
    assert!(page.next.is_none(), "the page is the last");
    assert!(inject.requests() > 2, "every answer was whole");
    Ok(())
}

async fn a_page_continues_past_expired_records(place: Place) -> End {
    let clock = ManualClock::default();
    let builder = place.builder().clock(clock.clone());
    let opened = builder.connect().await?;
    opened.setup().await?;
    let store = Store::from(opened);
    for i in 0..60 {
        let mut batch = Batch::new(partition(), store.now());
        let until = (i % 20 != 0).then(|| clock.now() + Duration::from_secs(1));
        let body = Body::json(i)?;
        batch.put_until(key(&format!("{i:04}")), Expect::Any, body, until)?;
        store.records().commit(&batch).await?;
    }
    clock.advance(Duration::from_secs(1));
    let scan = Scan::partition(THINGS, partition()).limit(2)?;
    let ids: Vec<_> = all_pages(&store, &scan)
        .await?
        .into_iter()
        .map(|(_, id)| id)
        .collect();
    assert_eq!(ids, ["0000", "0020", "0040"]);
    let exactly = store.records().scan(&scan.limit(3)?).await?;
    assert!(exactly.next.is_none(), "only expired records follow");
    Ok(())
}

async fn keys_beyond_sixteen_megabytes_are_requested_again(place: Place) -> End {
    let (store, inject) = place.watched().await?;
    // More than the 16 MB of one answer.
    fill(&store, 80, 250_000).await?;
    let keys: Vec<_> = (0..80).map(|i| key(&format!("{i:04}"))).collect();
    let partition = partition();
    let at: Vec<_> = keys.iter().map(|key| key.at(&partition)).collect();
    inject.requests();
    let found = store.records().get_many(&at).await?;
    assert!(found.iter().all(Option::is_some));
    assert_eq!(inject.requests(), 2);
    Ok(())
}

async fn a_scan_in_any_number_of_segments_finds_each_record_once(place: Place) -> End {
    let store = place.open().await?;
    let mut expected = BTreeSet::new();
    for p in 0..15 {
        let mut batch = Batch::new(Partition::new(format!("p{p}"))?, store.now());
        for i in 0..4 {
            batch.put(key(&format!("{i}")), Expect::Any, Body::json(i)?)?;
            batch.put(other(&format!("{i}")), Expect::Any, Body::json(i)?)?;
            expected.insert((format!("p{p}"), format!("{i}")));
        }
        store.records().commit(&batch).await?;
    }
    for segments in [1, 3, 16] {
        let store = place.builder().scan_segments(segments).connect().await?;
        let store = Store::from(store);
        for limit in [1, 7, 60, 1000] {
            let found = all_pages(&store, &Scan::collection(THINGS, "").limit(limit)?).await?;
            assert_eq!(
                found.len(),
                expected.len(),
                "{segments} segments by {limit}"
            );
            assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), expected);
        }
        let some = all_pages(&store, &Scan::collection(THINGS, "p1").id_prefix("2")).await?;
        assert_eq!(some.len(), 6, "p1 and p10 to p14");
    }
    // A scan ends in as many segments as it began with.
    let three = Store::from(place.builder().scan_segments(3).connect().await?);
    let scan = Scan::collection(THINGS, "").limit(7)?;
    let first = three.records().scan(&scan).await?;
    let next = first.next.ok_or("there are sixty")?;
    let rest = all_pages(&store, &scan.after(&next)?).await?;
    assert_eq!(first.items.len() + rest.len(), expected.len());
    Ok(())
}

async fn a_scan_through_mostly_other_collections_needs_few_requests(place: Place) -> End {
    let (store, inject) = place.watched().await?;
    for p in 0..40 {
        let mut batch = Batch::new(Partition::new(format!("p{p}"))?, store.now());
        for i in 0..50 {
            batch.put(other(&format!("{i}")), Expect::Any, Body::json(i)?)?;
        }
        store.records().commit(&batch).await?;
    }
    fill(&store, 1, 10).await?;
    inject.requests();
    let found = all_pages(&store, &Scan::collection(THINGS, "").limit(2)?).await?;
    assert_eq!(found.len(), 1);
    let calls = inject.requests();
    println!("one of 2001 found with {calls} calls");
    assert!(calls < 60, "{calls}");
    Ok(())
}

async fn an_altered_cursor_is_refused(place: Place) -> End {
    let store = place.open().await?;
    for scan in [
        Scan::partition(THINGS, partition()),
        Scan::collection(THINGS, ""),
    ] {
        for position in [
            "x".repeat(300).into_bytes(),
            vec![b'a', 0, 200],
            vec![0xff; 9],
        ] {
            let forged = scan.clone().after(&scan.cursor(&position))?;
            let error = store.records().scan(&forged).await.expect_err("forged");
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        }
    }
    // Positions after and before all ids with the prefix.
    fill(&store, 3, 1).await?;
    let scan = Scan::partition(THINGS, partition()).id_prefix("0001");
    for position in ["zzz", "0000", ""] {
        let resumed = scan.clone().after(&scan.cursor(position))?;
        let error = store.records().scan(&resumed).await.expect_err("forged");
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    }
    Ok(())
}
