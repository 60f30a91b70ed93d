//! Streamed objects: requests, and chunks that expire.

use std::collections::HashMap;
use std::time::Duration;

use store_core::blobs::{
    BlobMetadata, BlobRef, BlobStoreExt, OpenOptions, Publication, PutOptions,
};
use store_core::{ManualClock, Store};
use store_dynamodb::sdk::types::AttributeValue;

use crate::limits::watched;
use crate::{End, Failure, Place, tests};

tests![
    chunks_are_written_once_and_removed_without_a_transaction,
    a_reader_reads_ahead_a_few_chunks_at_a_time,
    orphans_carry_a_time_to_live_and_what_is_published_does_not,
    a_write_that_outlives_its_chunks_is_not_published,
];

const CHUNK: usize = 256 * 1024;

async fn chunks_are_written_once_and_removed_without_a_transaction(place: Place) -> End {
    let (store, inject, clock): (_, _, ManualClock) = watched(&place).await?;
    let at = BlobRef::new("b", "k")?;
    let big = vec![7; 36 * CHUNK];
    let blobs = store.blobs();
    let put = blobs.put(at, BlobMetadata::default(), big).await?;
    put.published()?;
    // The chunks, three notes that cover them, and the pointer twice.
    assert_eq!(inject.operations("PutItem"), 36 + 3 + 2);
    blobs.delete(at).await?;
    clock.advance(Duration::from_secs(7200));
    inject.requests();
    assert_eq!(blobs.sweep_all().await?.removed, 1);
    assert_eq!(inject.operations("TransactWriteItems"), 0);
    // One for each of the sixteen partitions.
    assert_eq!(inject.operations("BatchWriteItem"), 16);
    let answer = place
        .client()
        .scan()
        .table_name(&place.table)
        .select(store_dynamodb::sdk::types::Select::Count)
        .send()
        .await?;
    assert!(answer.count < 3, "{} items are left", answer.count);
    Ok(())
}

async fn a_reader_reads_ahead_a_few_chunks_at_a_time(place: Place) -> End {
    let (store, inject, _) = watched(&place).await?;
    let at = BlobRef::new("b", "k")?;
    let put = store
        .blobs()
        .put(at, BlobMetadata::default(), vec![7; 40 * CHUNK]);
    put.await?.published()?;
    inject.requests();
    let blob = store.blobs().open(at, OpenOptions::default()).await?;
    let mut reader = blob.ok_or("just put")?.reader;
    assert_eq!(reader.next().await?.map(|piece| piece.len()), Some(CHUNK));
    // The pointer, and at most as many chunks as may be read ahead.
    let requests = inject.requests();
    assert!((2..=1 + 9).contains(&requests), "{requests}");
    Ok(())
}

/// How many chunks there are, and how many of them have a time to live.
async fn chunks(place: &Place) -> Result<(usize, usize), Failure> {
    let (client, mut items, mut start) = (place.client(), Vec::new(), None);
    loop {
        let answer = client
            .scan()
            .table_name(&place.table)
            .set_exclusive_start_key(start)
            .filter_expression("begins_with(sk, :chunks)")
            .expression_attribute_values(":chunks", AttributeValue::S("blob_chunks:".into()))
            .projection_expression("pk, expires_at, remove_at")
            .send()
            .await?;
        items.extend(answer.items.unwrap_or_default());
        start = answer.last_evaluated_key;
        if start.is_none() {
            break;
        }
    }
    let both = |item: &&HashMap<String, AttributeValue>| {
        item.contains_key("remove_at") && item.contains_key("expires_at")
    };
    let mortal = items.iter().filter(both).count();
    let either = items.iter().filter(|item| item.len() > 1).count();
    assert_eq!(mortal, either, "only one of the two attributes");
    Ok((items.len(), mortal))
}

/// A store whose chunks live for a while.
async fn expiring(place: &Place, clock: &ManualClock) -> Result<Store, Failure> {
    let builder = place.builder().clock(clock.clone());
    let store = builder.orphans_expire(LIFE).connect().await?;
    store.setup().await?;
    Ok(store.into())
}

const LIFE: Duration = Duration::from_secs(600);

async fn orphans_carry_a_time_to_live_and_what_is_published_does_not(place: Place) -> End {
    let clock = ManualClock::default();
    let store = expiring(&place, &clock).await?;
    let at = BlobRef::new("b", "k")?;
    let mut sink = store.blobs().begin(at, PutOptions::default()).await?;
    // More than may be in flight, so that some were written.
    let size = 9 * CHUNK + 1;
    sink.write(vec![7; size].into()).await?;
    assert!(chunks(&place).await?.1 >= 1, "none was written yet");
    sink.commit().await?.published()?;
    assert_eq!(chunks(&place).await?, (10, 0));
    clock.advance(2 * LIFE);
    let (stat, bytes) = store.blobs().read(at, 4 << 20).await?.ok_or("published")?;
    assert_eq!((stat.size, bytes.len()), (bytes.len() as u64, size));
    // An object whose process is killed.
    let other = BlobRef::new("b", "other")?;
    let mut sink = store.blobs().begin(other, PutOptions::default()).await?;
    sink.write(vec![7; 9 * CHUNK].into()).await?;
    std::mem::forget(sink);
    let (all, mortal) = chunks(&place).await?;
    assert_eq!(all - mortal, 10, "an orphan without a time to live");
    assert!(mortal > 0);
    Ok(())
}

async fn a_write_that_outlives_its_chunks_is_not_published(place: Place) -> End {
    let clock = ManualClock::default();
    let store = expiring(&place, &clock).await?;
    let at = BlobRef::new("b", "k")?;
    let mut sink = store.blobs().begin(at, PutOptions::default()).await?;
    sink.write(vec![7; 3 * CHUNK].into()).await?;
    clock.advance(LIFE);
    assert!(!matches!(
        sink.commit().await,
        Ok(Publication::Published(_))
    ));
    assert!(store.blobs().stat(at).await?.is_none());
    Ok(())
}
