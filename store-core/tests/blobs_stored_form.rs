//! Objects that earlier releases stored are readable, and fields that a later release
//! added survive a rewrite by this one.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use store_core::blobs::{
    BLOB_CHUNKS, BLOB_RECLAIM, BLOBS, BlobMetadata, BlobRef, BlobStoreExt, PutOptions, RecordBlobs,
};
use store_core::{
    Batch, Body, Collection, Expect, ManualClock, Partition, RecordKey, RecordRef, Store, Timestamp,
};
use store_memory::MemoryStore;

const GOLDEN: &str = include_str!("golden/blobs_1.json");

fn at() -> BlobRef<'static> {
    BlobRef::new("reports", "2030/q1.csv").unwrap()
}

async fn store_raw(store: &Store, collection: Collection, partition: &str, id: &str, body: Body) {
    let mut batch = Batch::new(Partition::new(partition).unwrap(), store.now());
    let key = RecordKey::new(collection, id).unwrap();
    batch.put(key, Expect::Absent, body).unwrap();
    store.records().commit(&batch).await.unwrap();
}

/// The record as it is stored, as plain JSON.
async fn stored(store: &Store, collection: Collection, partition: &str, id: &str) -> Option<Value> {
    let at = RecordRef::new(partition, collection, id).unwrap();
    let record = store.records().get(at).await.unwrap()?;
    Some((*record.decode::<Value>().unwrap()).clone())
}

async fn pointer(store: &Store) -> Value {
    stored(store, BLOBS, at().bucket(), at().key())
        .await
        .unwrap()
}

/// A store that contains the golden object, at the start of 2030.
async fn golden_store() -> (Store, ManualClock, Value) {
    let clock = ManualClock::new(Timestamp::from_seconds(1_893_456_000));
    let store = Store::from(MemoryStore::builder().clock(clock.clone()).build());
    let golden: Value = serde_json::from_str(GOLDEN).unwrap();
    let body = Body::from_json(golden["pointer"].to_string());
    store_raw(&store, BLOBS, at().bucket(), at().key(), body).await;
    for chunk in golden["chunks"].as_array().unwrap() {
        let [partition, id, bytes] = [0, 1, 2].map(|i| chunk[i].as_str().unwrap());
        let body = Body::bytes(bytes.to_owned()).unwrap();
        store_raw(&store, BLOB_CHUNKS, partition, id, body).await;
    }
    (store, clock, golden)
}

#[tokio::test]
async fn an_object_of_format_1_reads_as_it_was_written() {
    let (store, ..) = golden_store().await;
    let (stat, bytes) = store.blobs().read(at(), 100).await.unwrap().unwrap();
    assert_eq!(&bytes[..], b"abcde");
    assert_eq!(stat.size, 5);
    assert_eq!(
        stat.version,
        "00000000000000000000000000000a07".parse().unwrap()
    );
    assert_eq!(stat.published_at, Timestamp::from_seconds(1_893_456_001));
    let metadata = stat.metadata;
    assert_eq!(metadata.tag.as_deref(), Some("\"v7\""));
    assert_eq!(
        metadata.cached_at,
        Some(Timestamp::from_seconds(1_893_455_999))
    );
    assert_eq!(metadata.attributes["content-type"], "text/csv");
}

#[tokio::test]
async fn what_a_later_release_added_survives_a_rewrite() {
    let (store, _, golden) = golden_store().await;
    let sink = store
        .blobs()
        .begin(at(), PutOptions::default())
        .await
        .unwrap();
    let mut rewritten = pointer(&store).await;
    assert_eq!(rewritten["next"], 10, "it was rewritten");
    assert_eq!(
        rewritten["uploads"].as_array_mut().unwrap().pop().unwrap()["sequence"],
        9
    );
    rewritten["next"] = 9.into();
    assert_eq!(rewritten, golden["pointer"]);

    sink.commit().await.unwrap().published().unwrap();
    let published = pointer(&store).await;
    assert_eq!(
        published["from_a_later_release"],
        golden["pointer"]["from_a_later_release"]
    );
    assert_eq!(published["uploads"], golden["pointer"]["uploads"]);
}

#[tokio::test]
async fn what_this_release_writes_has_the_golden_form() {
    let (store, clock, golden) = golden_store().await;
    // Replacing the golden object leaves a note of its content.
    let metadata = BlobMetadata::tagged("\"v9\"").attribute("content-type", "text/csv");
    let apart = RecordBlobs::new(Arc::clone(store.records())).inline(0);
    let put = apart.put(at(), metadata, "new").await.unwrap();
    put.published().unwrap();
    let note = &golden["note"];
    let [partition, id] = ["partition", "id"].map(|name| note[name].as_str().unwrap());
    let found = stored(&store, BLOB_RECLAIM, partition, id).await;
    assert_eq!(
        found.as_ref(),
        Some(&note["body"]),
        "the note is where the sweep finds it"
    );

    // The fields of the new pointer have the golden names and types.
    let mut shape = pointer(&store).await;
    let mut expected = golden["pointer"].clone();
    for value in [&mut shape, &mut expected] {
        forget_values(value);
    }
    assert_eq!(shape, expected);

    // The sweep finds and frees the content by the note.
    clock.advance(Duration::from_secs(300));
    assert_eq!(store.blobs().sweep_all().await.unwrap().removed, 1);
    for chunk in golden["chunks"].as_array().unwrap() {
        let [partition, id] = [0, 1].map(|i| chunk[i].as_str().unwrap());
        let at = RecordRef::new(partition, BLOB_CHUNKS, id).unwrap();
        assert!(store.records().get(at).await.unwrap().is_none());
    }
}

#[tokio::test]
async fn small_content_is_stored_in_the_objects_record() {
    let (store, ..) = golden_store().await;
    let put = store.blobs().put(at(), PutOptions::default(), "new").await;
    put.unwrap().published().unwrap();
    let published = &pointer(&store).await["published"];
    assert_eq!(published["inline"], "bmV3");
    assert_eq!(published["content"]["size"], 3);
    let (_, bytes) = store.blobs().read(at(), 100).await.unwrap().unwrap();
    assert_eq!(&bytes[..], b"new");
}

#[tokio::test]
async fn a_record_that_contradicts_itself_is_corrupt_and_nothing_panics() {
    let changes: [(&str, Value); 7] = [
        ("/next", 0.into()),
        ("/next", u64::MAX.into()),
        ("/next", 7.into()),
        ("/floor", 9.into()),
        ("/published/sequence", 9.into()),
        ("/published/inline", "YWJj".into()),
        ("/published/inline", "not Base64".into()),
    ];
    for (field, value) in changes {
        let (store, _, golden) = golden_store().await;
        let mut changed = golden["pointer"].clone();
        if field == "/published/inline" {
            changed["published"]["inline"] = Value::Null;
        }
        *changed.pointer_mut(field).unwrap() = value;
        let mut batch = Batch::new(Partition::new(at().bucket()).unwrap(), store.now());
        let key = RecordKey::new(BLOBS, at().key()).unwrap();
        let body = Body::from_json(changed.to_string());
        batch.put(key, Expect::Present, body).unwrap();
        store.records().commit(&batch).await.unwrap();
        let blobs = store.blobs();
        let errors = [
            blobs.stat(at()).await.map(drop).unwrap_err(),
            blobs.delete(at()).await.map(drop).unwrap_err(),
            blobs
                .begin(at(), PutOptions::default())
                .await
                .map(drop)
                .unwrap_err(),
            blobs
                .put(at(), PutOptions::default(), "x")
                .await
                .map(drop)
                .unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.kind(), store_core::ErrorKind::Corrupt, "{field}");
        }
    }
}

/// Replaces all values by their types.
fn forget_values(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.remove("from_a_later_release");
            fields.values_mut().for_each(forget_values);
        }
        Value::Array(items) => items.iter_mut().for_each(forget_values),
        Value::String(text) => text.clear(),
        Value::Number(number) => *number = 0.into(),
        Value::Null | Value::Bool(_) => {}
    }
}
