//! What objects cost in memory.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use store_core::blobs::{BlobMetadata, BlobRef, BlobStoreExt, OpenOptions, PutOptions};
use store_core::{ErrorKind, ManualClock, Store};
use store_memory::MemoryStore;

const CHUNK: usize = 256 * 1024;

fn at() -> BlobRef<'static> {
    BlobRef::new("bucket", "object").unwrap()
}

fn open() -> (MemoryStore, Store, ManualClock) {
    let clock = ManualClock::default();
    let memory = MemoryStore::builder()
        .clock(clock.clone())
        .max_bytes(8 * CHUNK)
        .build();
    let store = Store::from(&memory);
    (memory, store, clock)
}

#[tokio::test]
async fn usage_is_what_it_was_before_the_object() {
    let (memory, store, clock) = open();
    let before = memory.usage();
    let bytes = vec![7; 2 * CHUNK + 1];
    let put = store
        .blobs()
        .put(at(), BlobMetadata::default(), bytes.clone())
        .await;
    put.unwrap().published().unwrap();
    let held = memory.usage().bytes - before.bytes;
    assert!(held > bytes.len() && held < bytes.len() + 1000, "{held}");

    store.blobs().delete(at()).await.unwrap();
    clock.advance(Duration::from_secs(3600));
    store.blobs().sweep_all().await.unwrap();
    assert_eq!(memory.usage(), before);
}

#[tokio::test]
async fn a_read_copies_no_content() {
    let (_memory, store, _) = open();
    let put = store
        .blobs()
        .put(at(), BlobMetadata::default(), vec![7; CHUNK + 9])
        .await;
    put.unwrap().published().unwrap();
    let mut seen = Vec::new();
    for from in [0, 5] {
        let options = OpenOptions::from(from..);
        let mut blob = store.blobs().open(at(), options).await.unwrap().unwrap();
        while let Some(piece) = blob.reader.next().await.unwrap() {
            seen.push(piece.as_ptr() as usize);
        }
    }
    let [first, last, first_from_5, last_again] = seen[..] else {
        panic!("two chunks, twice: {seen:?}");
    };
    assert_eq!(
        (first_from_5, last_again),
        (first + 5, last),
        "the stored bytes themselves"
    );
}

#[tokio::test]
async fn a_full_store_refuses_more_and_has_room_again_after_an_abort() {
    let (memory, store, _) = open();
    let before = memory.usage();
    for finish in [false, true] {
        let mut sink = store
            .blobs()
            .begin(at(), PutOptions::default())
            .await
            .unwrap();
        let error = sink.write(vec![7; 9 * CHUNK].into()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LimitExceeded);
        if finish {
            assert!(sink.commit().await.is_err(), "a part is missing");
        } else {
            sink.abort().await.unwrap();
        }
        assert_eq!(memory.usage(), before);
    }
}
