//! Streamed objects: writers, readers, deleters and sweepers of one object.

use std::sync::Arc;
use std::time::Duration;

use store_core::blobs::{BLOB_CHUNKS, BLOB_RECLAIM, BlobMetadata, BlobStoreExt};
use store_core::{BlobStore, ErrorKind, Result, Scan};

use crate::cases::blobs::tools::{CHUNK, content, object};
use crate::simulation::world::{Called, World};
use crate::suite::CaseResult;

/// Two chunks and a part of one.
const LENGTH: usize = 2 * CHUNK + 77;

/// Longer than every lease and every grace.
const LONG: Duration = Duration::from_secs(2 * 24 * 3600);

/// A reader gets one published content whole, or an error; in the end the last
/// publication is readable and everything else can be swept.
pub(super) async fn readers_see_one_whole_object_and_sweeps_free_the_rest(
    world: Arc<World>,
) -> CaseResult {
    const CLIENTS: usize = 4;
    const EACH: usize = 2;
    let clients = (0..CLIENTS).map(|client| {
        let world = Arc::clone(&world);
        async move {
            let blobs = Arc::clone(world.store(client).blobs());
            for turn in 0..EACH {
                let seed = 1 + (client * EACH + turn) as u64;
                match world.below(7) {
                    0..=2 => {
                        let bytes = bytes::Bytes::from(content(seed, LENGTH));
                        let put = blobs.put(object(), BlobMetadata::default(), bytes);
                        world.call(unless_superseded(put)).await?;
                    }
                    3 => {
                        world.call(blobs.delete(object())).await?;
                    }
                    4 => {
                        world.call(blobs.sweep()).await?;
                    }
                    5 => {
                        world.step().await;
                        // No request is on its way for half an hour.
                        world.deliver().await;
                        world.clock().advance(Duration::from_secs(1800));
                    }
                    _ => read_whole(&world, &*blobs).await?,
                }
            }
            Ok(())
        }
    });
    world.race(clients).await?;
    let plain = world.plain();
    let before = plain.blobs().read(object(), 1 << 20).await?;
    world.clock().advance(LONG);
    while plain.blobs().sweep().await?.more {}
    // A second pass frees what the first one took off the object.
    world.clock().advance(LONG);
    while plain.blobs().sweep().await?.more {}
    let after = plain.blobs().read(object(), 1 << 20).await?;
    let bytes = |found: &Option<(_, bytes::Bytes)>| found.as_ref().map(|(_, bytes)| bytes.clone());
    assert_eq!(bytes(&before).is_some(), bytes(&after).is_some());
    assert!(
        bytes(&before) == bytes(&after),
        "a sweep changed what is published"
    );
    if let Some(bytes) = bytes(&after) {
        assert!(is_one_content(&bytes), "no single write has this content");
    }
    let needed = if after.is_some() {
        LENGTH.div_ceil(CHUNK)
    } else {
        0
    };
    let mut chunks = 0;
    let mut scan = Scan::collection(BLOB_CHUNKS, "");
    loop {
        let page = plain.records().scan(&scan).await?;
        chunks += page.items.len();
        match page.next {
            Some(next) => scan = scan.after(&next)?,
            None => break,
        }
    }
    assert_eq!(chunks, needed, "chunks that no object has");
    let notes = plain
        .records()
        .scan(&Scan::collection(BLOB_RECLAIM, ""))
        .await?;
    assert!(
        notes.items.len() <= 1,
        "{} notes are left",
        notes.items.len()
    );
    Ok(())
}

async fn read_whole(world: &World, blobs: &dyn BlobStore) -> CaseResult {
    let read = unless_superseded(blobs.read(object(), 1 << 20));
    if let Called::Answered(Some(Some((stat, bytes)))) = world.call(read).await? {
        assert_eq!(stat.size, bytes.len() as u64);
        assert!(is_one_content(&bytes), "no single write has this content");
    }
    Ok(())
}

/// `None` for a writer or a reader that was slower than its lease or grace.
async fn unless_superseded<T>(call: impl Future<Output = Result<T>>) -> Result<Option<T>> {
    match call.await {
        Err(error) if error.is(ErrorKind::Superseded) => Ok(None),
        answer => answer.map(Some),
    }
}

fn is_one_content(bytes: &[u8]) -> bool {
    (1..=16).any(|seed| content(seed, LENGTH) == bytes)
}
