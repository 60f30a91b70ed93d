//! Answers in part: what the server leaves unprocessed is requested again, and a page
//! does not end where an answer does.

use std::time::Duration;

use store_core::blobs::{BlobMetadata, BlobRef, BlobStoreExt};
use store_core::{
    Batch, Body, ErrorKind, Expect, ManualClock, Partition, RecordKey, Result, Retry, Scan, Store,
};
use store_dynamodb::sdk::Client;

use crate::pages::all_pages;
use crate::partial::Partial;
use crate::{End, Place, THINGS, key, other, partition, tests, write};

tests![
    get_many_returns_every_record_however_few_keys_an_answer_has,
    keys_that_are_never_processed_are_unavailable,
    chunks_that_were_left_are_deleted_by_the_same_sweep,
    chunks_that_are_never_deleted_fail_the_sweep_and_the_next_one_deletes_them,
    a_page_is_whole_however_early_the_server_ends_its_answers,
    a_page_ends_after_four_mebibytes_and_the_next_one_continues,
];

/// How often a request that makes no progress is sent.
const ATTEMPTS: usize = 12;

/// A store whose server can be made to answer in part, and its clock.
async fn partial(place: &Place) -> Result<(Store, Partial, ManualClock)> {
    let (partial, clock) = (Partial::default(), ManualClock::default());
    let config = place.config().interceptor(partial.clone()).build();
    let builder = place.builder().client(Client::from_conf(config));
    let opened = builder.clock(clock.clone()).connect().await?;
    opened.setup().await?;
    Ok((opened.into(), partial, clock))
}

async fn get_many_returns_every_record_however_few_keys_an_answer_has(place: Place) -> End {
    let (store, partial, _) = partial(&place).await?;
    for i in (0..20).step_by(2) {
        write(&store, &format!("{i:02}"), i).await?;
    }
    let keys: Vec<_> = (0..20).map(|i| key(&format!("{i:02}"))).collect();
    let partition = partition();
    let at: Vec<_> = keys.iter().map(|key| key.at(&partition)).collect();
    let stalled = [0; ATTEMPTS - 1];
    let counts = [&[3, 0, 1][..], &stalled, &[7], &stalled, &[1]].concat();
    let requests = counts.len() as u64 + 1;
    partial.batches(counts);
    let found = store.records().get_many(&at).await?;
    assert_eq!(partial.sent(), requests);
    for (i, record) in (0..).zip(found) {
        let number = record.map(|record| record.decode::<u64>().map(|n| *n));
        let expected = (i % 2 == 0).then_some(i);
        assert_eq!(number.transpose()?, expected, "record {i}");
    }
    Ok(())
}

async fn keys_that_are_never_processed_are_unavailable(place: Place) -> End {
    let (store, partial, _) = partial(&place).await?;
    write(&store, "a", 1).await?;
    let (key, partition) = (key("a"), partition());
    partial.batches([0; ATTEMPTS]);
    let answer = store.records().get_many(&[key.at(&partition)]).await;
    let error = answer.expect_err("an answer without the key is no absence");
    let class = (error.kind(), error.retry());
    assert_eq!(class, (ErrorKind::Unavailable, Retry::Safe));
    assert_eq!(partial.sent(), ATTEMPTS as u64);
    assert!(store.records().get_many(&[key.at(&partition)]).await?[0].is_some());
    Ok(())
}

/// Deletes an object of 17 chunks, of which two are in one partition: a sweep deletes
/// those together and the others alone.
async fn delete_seventeen_chunks(store: &Store, clock: &ManualClock) -> End {
    let (at, content) = (BlobRef::new("b", "k")?, vec![7; 17 * 256 * 1024]);
    let put = store.blobs().put(at, BlobMetadata::default(), content);
    put.await?.published()?;
    store.blobs().delete(at).await?;
    clock.advance(Duration::from_secs(7200));
    Ok(())
}

/// How many chunks are stored.
async fn chunks(store: &Store) -> Result<usize> {
    let scan = Scan::collection(store_core::blobs::BLOB_CHUNKS, "");
    Ok(store.records().scan(&scan).await?.items.len())
}

async fn chunks_that_were_left_are_deleted_by_the_same_sweep(place: Place) -> End {
    let (store, partial, clock) = partial(&place).await?;
    delete_seventeen_chunks(&store, &clock).await?;
    let stalled = [0; ATTEMPTS - 1];
    let counts = [&stalled[..], &[1], &stalled].concat();
    let requests = counts.len() as u64 + 1;
    partial.batches(counts);
    assert_eq!(store.blobs().sweep_all().await?.removed, 1);
    assert_eq!((partial.sent(), chunks(&store).await?), (requests, 0));
    Ok(())
}

async fn chunks_that_are_never_deleted_fail_the_sweep_and_the_next_one_deletes_them(
    place: Place,
) -> End {
    let (store, partial, clock) = partial(&place).await?;
    delete_seventeen_chunks(&store, &clock).await?;
    partial.batches([0; ATTEMPTS]);
    let error = store.blobs().sweep_all().await.expect_err("two are left");
    let class = (error.kind(), error.retry());
    assert_eq!(class, (ErrorKind::Unavailable, Retry::Safe));
    assert!(chunks(&store).await? >= 2);
    clock.advance(Duration::from_secs(7200));
    store.blobs().sweep_all().await?;
    assert_eq!(chunks(&store).await?, 0);
    Ok(())
}

/// Whether the record number `i` expires: some do at the beginning, in the middle and at
/// the end.
fn expires(i: usize) -> bool {
    !(i % 5 == 3 || i % 7 == 4)
}

/// An answer of expired records alone is empty and has a cursor. So is the last one, if
/// the server stops after the last item.
async fn a_page_is_whole_however_early_the_server_ends_its_answers(place: Place) -> End {
    let (store, partial, clock) = partial(&place).await?;
    let until = Some(store.now() + Duration::from_secs(1));
    let partitions = [partition(), Partition::new("q")?];
    let mut expected = Vec::new();
    for at in &partitions {
        let mut batch = Batch::new(at.clone(), store.now());
        for i in 0..24 {
            let until = until.filter(|_| expires(i));
            let id = format!("{i:02}");
            batch.put_until(key(&id), Expect::Any, Body::json(i)?, until)?;
            batch.put_until(other(&id), Expect::Any, Body::json(i)?, until)?;
            if until.is_none() {
                expected.push((at.as_str().to_owned(), id));
            }
        }
        store.records().commit(&batch).await?;
    }
    clock.advance(Duration::from_secs(1));
    let in_one: Vec<_> = expected
        .iter()
        .filter(|(at, _)| at == "p")
        .cloned()
        .collect();
    for page in [1, 2, 3, 5] {
        partial.page(page);
        for limit in [1, 2, 8, in_one.len(), 1000] {
            let scan = Scan::partition(THINGS, partition()).limit(limit)?;
            let found = all_pages(&store, &scan).await?;
            assert_eq!(found, in_one, "{page} an answer, {limit} a page");
            let scan = Scan::collection(THINGS, "").limit(limit)?;
            let mut found = all_pages(&store, &scan).await?;
            found.sort();
            assert_eq!(found, expected, "{page} an answer, {limit} a page");
        }
    }
    Ok(())
}

async fn a_page_ends_after_four_mebibytes_and_the_next_one_continues(place: Place) -> End {
    let (store, _, _) = partial(&place).await?;
    let size = 250_000;
    for i in 0..36 {
        let mut batch = Batch::new(partition(), store.now());
        let at = RecordKey::new(THINGS, format!("{i:02}"))?;
        batch.put(at, Expect::Any, Body::bytes(vec![7; size])?)?;
        store.records().commit(&batch).await?;
    }
    for scan in [
        Scan::partition(THINGS, partition()),
        Scan::collection(THINGS, ""),
    ] {
        let page = store.records().scan(&scan).await?;
        let bytes = page.items.len() * size;
        // The answer of the server that fills the page may be of 1 MB.
        assert!(
            (4 << 20..6 << 20).contains(&bytes),
            "a page of {bytes} bytes"
        );
        assert_eq!(all_pages(&store, &scan).await?.len(), 36);
    }
    Ok(())
}
