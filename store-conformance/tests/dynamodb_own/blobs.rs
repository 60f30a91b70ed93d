//! Streamed objects: what removing their chunks sends.

use std::time::Duration;

use store_conformance::core::ManualClock;
use store_conformance::core::blobs::{BlobMetadata, BlobRef, BlobStoreExt, OpenOptions};

use crate::limits::watched;
use crate::{End, Place, tests};

tests![
    chunks_are_written_once_and_removed_without_a_transaction,
    a_reader_reads_ahead_a_few_chunks_at_a_time,
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
    assert_eq!(blobs.sweep_all().await?, 1);
    assert_eq!(inject.operations("TransactWriteItems"), 0);
    // By lanes of sixteen.
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
    // The pointer, and at most as many chunks as may be under way.
    let requests = inject.requests();
    assert!((2..=1 + 9).contains(&requests), "{requests}");
    Ok(())
}
