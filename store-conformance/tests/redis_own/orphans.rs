//! The chunks of objects: unpublished ones expire.

use std::time::Duration;

use store_conformance::proxy::{self, Cut, Proxy};
use store_core::blobs::{
    BlobMetadata, BlobRef, BlobSink, BlobStoreExt, OpenOptions, Publication, PutOptions,
};
use store_core::{ManualClock, Store};
use store_redis::redis::cmd;

use crate::cluster::Nodes;
use crate::expiry::until;
use crate::{End, Failure, Place, tests};

tests![
    every_chunk_expires_until_it_is_published,
    every_chunk_expires_in_a_cluster_too,
    abandoned_chunks_are_removed_without_a_sweep,
    a_write_that_outlives_its_chunks_is_not_published,
    a_write_that_lost_a_chunk_is_not_published,
    a_reader_is_not_disturbed_by_an_abandoned_overwrite,
    chunks_of_a_partition_are_persisted_together,
    a_lost_request_to_persist_chunks_is_sent_again,
];

const CHUNK: usize = 256 * 1024;
const LIFE: Duration = Duration::from_secs(600);
const AT: (&str, &str) = ("b", "k");

fn at() -> Result<BlobRef<'static>, Failure> {
    Ok(BlobRef::new(AT.0, AT.1)?)
}

/// A store whose abandoned chunks the server removes soon, without a grace.
async fn brief(place: &Place) -> Result<Store, Failure> {
    let builder = place.builder().orphans_expire(Duration::from_millis(200));
    Ok(builder.grace(Duration::ZERO).connect().await?.into())
}

/// A writer that has written this many chunks; some may not have arrived.
async fn write(store: &Store, chunks: usize) -> Result<Box<dyn BlobSink>, Failure> {
    let mut sink = store.blobs().begin(at()?, PutOptions::default()).await?;
    sink.write(vec![7; chunks * CHUNK].into()).await?;
    Ok(sink)
}

/// The servers' keys of chunks, and their remaining milliseconds; below zero for none.
async fn chunks(places: &[Place]) -> Result<Vec<(String, i64)>, Failure> {
    let mut found = Vec::new();
    for place in places {
        for key in place.keys().await? {
            let mut life = cmd("PTTL");
            let left: i64 = place.ask(life.arg(&key)).await?;
            // It may have expired since.
            if key.contains(":blob_chunks") && left != -2 {
                found.push((key, left));
            }
        }
    }
    Ok(found)
}

fn is_deadlines(key: &str) -> bool {
    key.contains("/expiry:")
}

async fn check_that_chunks_expire(places: &[Place]) -> End {
    let clock = ManualClock::default();
    let builder = places[0].builder().clock(clock.clone());
    let store = Store::from(builder.orphans_expire(LIFE).connect().await?);
    let mut sink = write(&store, 40).await?;
    sink.write(vec![7; 100].into()).await?;
    let found = chunks(places).await?;
    assert!(found.len() > 32, "{}", found.len());
    for (key, left) in &found {
        // With the grace.
        assert!((1..=900_001).contains(left), "{key} is stored for {left}");
    }
    sink.commit().await?.published()?;
    let found = chunks(places).await?;
    // The chunks, of which the last is short, and their ids.
    assert_eq!(found.len(), 41 + 16);
    for (key, left) in &found {
        assert_eq!(*left, -1, "{key} expires");
        assert!(!is_deadlines(key), "{key}");
    }
    // By the store's clock too, which decides what exists.
    clock.advance(2 * LIFE);
    let read = store.blobs().read(at()?, 1 << 30).await?;
    assert_eq!(read.ok_or("published")?.1.len(), 40 * CHUNK + 100);
    Ok(())
}

async fn every_chunk_expires_until_it_is_published(place: Place) -> End {
    check_that_chunks_expire(&[place]).await
}

async fn every_chunk_expires_in_a_cluster_too(_: Place) -> End {
    let nodes = Nodes::start(0)?;
    let url = |port| format!("redis://127.0.0.1:{port}");
    let mut places: Vec<Place> = nodes.ports.iter().map(|p| Place::new(&url(p))).collect();
    let namespace = places[0].namespace.clone();
    for place in &mut places {
        place.namespace.clone_from(&namespace);
    }
    check_that_chunks_expire(&places).await
}

async fn abandoned_chunks_are_removed_without_a_sweep(place: Place) -> End {
    let store = brief(&place).await?;
    // As if the process had been killed.
    std::mem::forget(write(&store, 20).await?);
    let places = [place];
    until("the chunks were removed", || async {
        Ok(chunks(&places).await?.is_empty())
    })
    .await
}

async fn a_write_that_outlives_its_chunks_is_not_published(place: Place) -> End {
    // By the clock, before the server removes them; and by the server alone.
    let clock = ManualClock::default();
    let builder = place.builder().clock(clock.clone()).orphans_expire(LIFE);
    let store = Store::from(builder.connect().await?);
    let sink = write(&store, 20).await?;
    clock.advance(LIFE);
    assert_eq!(sink.commit().await?, Publication::Superseded);
    assert!(store.blobs().stat(at()?).await?.is_none());

    let places = [place];
    let store = brief(&places[0]).await?;
    let sink = write(&store, 20).await?;
    until("the chunks were removed", || async {
        Ok(chunks(&places).await?.is_empty())
    })
    .await?;
    assert_eq!(sink.commit().await?, Publication::Superseded);
    assert!(store.blobs().stat(at()?).await?.is_none());
    Ok(())
}

/// Whichever chunk is lost; chunks that were persisted before are removed too.
async fn a_write_that_lost_a_chunk_is_not_published(place: Place) -> End {
    let store = place.open().await?;
    let places = [place];
    for lost in [0, 7, 18, 35] {
        // Only the last nine may not have arrived yet.
        let sink = write(&store, 45).await?;
        let found = chunks(&places).await?;
        let suffix = format!(":blob_chunks:{lost:08x}");
        let chunk = found.iter().find(|(key, _)| key.ends_with(&suffix));
        let mut removal = cmd("DEL");
        removal.arg(&chunk.ok_or("it was written")?.0);
        assert_eq!(places[0].ask::<u64>(&removal).await?, 1);
        assert_eq!(sink.commit().await?, Publication::Superseded);
        assert!(store.blobs().stat(at()?).await?.is_none());
        assert_eq!(chunks(&places).await?, []);
    }
    Ok(())
}

async fn a_reader_is_not_disturbed_by_an_abandoned_overwrite(place: Place) -> End {
    let (store, other) = (place.open().await?, brief(&place).await?);
    let content: Vec<u8> = (0..20 * CHUNK).map(|i| ((i * 7919) >> 3) as u8).collect();
    let put = store
        .blobs()
        .put(at()?, BlobMetadata::default(), content.clone());
    put.await?.published()?;
    let places = [place];
    let published = chunks(&places).await?;
    let blob = store.blobs().open(at()?, OpenOptions::default()).await?;
    let mut reader = blob.ok_or("published")?.reader;
    let mut read = reader.next().await?.ok_or("twenty")?.to_vec();
    std::mem::forget(write(&other, 20).await?);
    until("the chunks of the other were removed", || async {
        Ok(chunks(&places).await?.len() == published.len())
    })
    .await?;
    while let Some(bytes) = reader.next().await? {
        read.extend_from_slice(&bytes);
    }
    assert!(read == content, "the content changed");
    let (_, again) = store.blobs().read(at()?, 1 << 30).await?.ok_or("there")?;
    assert!(again == content, "the content changed");
    Ok(())
}

async fn chunks_of_a_partition_are_persisted_together(place: Place) -> End {
    let proxy = Proxy::start(place.address(), Some(proxy::redis), 0).await?;
    let builder = place.builder().url(format!("redis://{}", proxy.address()));
    let opened = builder.connect().await?;
    opened.setup().await?;
    let store = Store::from(opened);
    let content = vec![7; 40 * CHUNK];
    proxy.requests();
    let put = store.blobs().put(at()?, BlobMetadata::default(), content);
    put.await?.published()?;
    // The pointer is written twice; three notes, of which the last is removed.
    assert_eq!(proxy.requests(), 2 + 4 + 40 + 16);
    Ok(())
}

async fn a_lost_request_to_persist_chunks_is_sent_again(place: Place) -> End {
    let proxy = Proxy::start(place.address(), Some(proxy::redis), 0).await?;
    let builder = place.builder().url(format!("redis://{}", proxy.address()));
    let opened = builder.connect().await?;
    opened.setup().await?;
    let store = Store::from(opened);
    for cut in [
        Cut::BeforeRequest,
        Cut::InRequest,
        Cut::BeforeReply,
        Cut::InReply,
    ] {
        let mut sink = store.blobs().begin(at()?, PutOptions::default()).await?;
        // Too large for the pointer, and less than a chunk.
        sink.write(vec![7; 100_000].into()).await?;
        // The commit sends the note and the chunk before.
        proxy.script([Cut::None, Cut::None, cut]);
        let cuts = proxy.cuts();
        sink.commit().await?.published()?;
        assert_eq!(proxy.cuts(), cuts + 1);
    }
    for (key, left) in chunks(&[place]).await? {
        assert_eq!(left, -1, "{key} expires");
    }
    Ok(())
}
