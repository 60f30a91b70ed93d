//! What is stored, when releases differ: fields and forms of a newer release.
//!
//! These cases look behind the standard implementation, at the records of the
//! backend under test.

use std::sync::Arc;

use serde_json::{Value, json};
use store_core::blobs::{BLOB_RECLAIM, BLOBS, BlobStoreExt, PutOptions, RecordBlobs};
use store_core::{Batch, BlobStore, Body, Collection, ErrorKind, Record, Result, Scan, Store};

use super::reclaim::{A_DAY, usage};
use super::tools::{SEVERAL_CHUNKS, content, holds, named, object, put, seeded, written};
use crate::case;
use crate::harness::Harness;
use crate::suite::{Case, CaseResult};

pub(super) fn store_cases() -> Vec<Case<Store>> {
    vec![
        case!(
            fields_of_a_newer_release_survive_every_step_of_an_object,
            "42"
        ),
        case!(
            a_sweep_reports_notes_of_a_newer_release_and_frees_the_others,
            "50",
            "R7"
        ),
        case!(
            content_of_more_chunks_than_a_commit_takes_is_freed_whole,
            "50"
        ),
    ]
}

fn standard(store: &Store) -> RecordBlobs {
    RecordBlobs::new(Arc::clone(store.records()))
}

/// All records of a collection.
async fn all(store: &Store, collection: Collection) -> Result<Vec<Record>> {
    let mut found = Vec::new();
    let mut scan = Scan::collection(collection, "");
    loop {
        let page = store.records().scan(&scan).await?;
        found.extend(page.items);
        match page.next {
            Some(next) => scan = scan.after(&next)?,
            None => return Ok(found),
        }
    }
}

/// Rewrites a record's JSON as another release would.
async fn edit(store: &Store, record: &Record, change: impl FnOnce(&mut Value)) -> Result<()> {
    let mut value = (*record.decode::<Value>()?).clone();
    change(&mut value);
    let mut batch = Batch::new(record.partition().clone(), store.now());
    let body = Body::json(value)?;
    batch.put_until(record.key().clone(), record, body, record.expires_at())?;
    store.records().commit(&batch).await.map(drop)
}

const FIELD: &str = "from_a_newer_release";

/// Where the pointer has the field: at the top, in the publication, in its
/// metadata, in an open write.
fn fields(pointer: &Value) -> [bool; 4] {
    let places = ["", "/published", "/published/metadata", "/uploads/0"];
    places.map(|place| pointer.pointer(place).is_some_and(|v| v[FIELD] == 1))
}

async fn fields_of_a_newer_release_survive_every_step_of_an_object(
    harness: Arc<dyn Harness<Store>>,
) -> CaseResult {
    let opened = harness.open(()).await?;
    let store = &*opened.first;
    let blobs: Arc<dyn BlobStore> = Arc::new(standard(store));
    let pointer = async || -> Result<Value> {
        let record = all(store, BLOBS).await?.pop().expect("the object's record");
        Ok((*record.decode::<Value>()?).clone())
    };
    let bytes = content(1, SEVERAL_CHUNKS);
    put(&blobs, object(), seeded(1), &bytes).await?;
    let open = blobs.begin(object(), PutOptions::default()).await?;
    let record = all(store, BLOBS).await?.pop().expect("the object's record");
    edit(store, &record, |pointer| {
        for place in ["", "/published", "/published/metadata", "/uploads/0"] {
            pointer.pointer_mut(place).expect("it is there")[FIELD] = json!(1);
        }
    })
    .await?;

    let second = written(&blobs, object(), seeded(2), b"x").await?;
    assert_eq!(fields(&pointer().await?), [true; 4], "a write begins");
    second.abort().await?;
    assert_eq!(fields(&pointer().await?), [true; 4], "it is aborted");
    open.abort().await?;
    let [top, published, metadata, _] = fields(&pointer().await?);
    assert!(top && published && metadata, "the first is aborted");
    let stat = blobs.stat(object()).await?.expect("published");
    let restamped = blobs.restamp(object(), stat.version, stat.metadata).await?;
    restamped.published()?;
    let [top, published, metadata, _] = fields(&pointer().await?);
    assert!(top && published && metadata, "its metadata are replaced");
    put(&blobs, object(), seeded(3), &bytes).await?;
    assert!(fields(&pointer().await?)[0], "it is replaced");
    opened.clock.advance(A_DAY);
    blobs.sweep_all().await?;
    assert!(fields(&pointer().await?)[0], "its old content is swept");
    Ok(())
}

async fn a_sweep_reports_notes_of_a_newer_release_and_frees_the_others(
    harness: Arc<dyn Harness<Store>>,
) -> CaseResult {
    let opened = harness.open(()).await?;
    let store = &*opened.first;
    let blobs: Arc<dyn BlobStore> = Arc::new(standard(store));
    let bytes = content(1, SEVERAL_CHUNKS);
    let newer: [(&str, Value); 2] = [("format", json!(2)), ("reason", json!("moved"))];
    for (field, value) in newer {
        let before = usage(store).await?.0;
        put(&blobs, named("newer"), seeded(1), &bytes).await?;
        blobs.delete(named("newer")).await?;
        let note = all(store, BLOB_RECLAIM).await?.pop().expect("its note");
        let was = (*note.decode::<Value>()?).clone();
        edit(store, &note, |note| note[field] = value).await?;
        put(&blobs, named("other"), seeded(2), &bytes).await?;
        blobs.delete(named("other")).await?;
        opened.clock.advance(A_DAY);

        let error = blobs.sweep_all().await.expect_err("it cannot read a note");
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        if field == "format" {
            assert!(error.message().contains("upgrade"), "{error}");
        }
        // The note and its four chunks.
        assert_eq!(
            usage(store).await?.0,
            before + 5,
            "the other content is freed"
        );
        let note = all(store, BLOB_RECLAIM).await?.pop().expect("it is left");
        edit(store, &note, |note| *note = was).await?;
        assert_eq!(blobs.sweep_all().await?.removed, 1, "by the newer release");
        assert_eq!(usage(store).await?.0, before, "nothing is left");
    }
    // A pointer of a newer release protects its content.
    put(&blobs, object(), seeded(1), &bytes).await?;
    put(&blobs, object(), seeded(2), &bytes).await?;
    opened.clock.advance(A_DAY);
    let pointer = all(store, BLOBS).await?.pop().expect("the object's record");
    edit(store, &pointer, |pointer| pointer["format"] = json!(2)).await?;
    let before = usage(store).await?.0;
    let error = blobs
        .sweep_all()
        .await
        .expect_err("it cannot read the pointer");
    assert!(error.message().contains("upgrade"), "{error}");
    assert_eq!(usage(store).await?.0, before, "nothing was freed");
    let pointer = all(store, BLOBS).await?.pop().expect("the object's record");
    edit(store, &pointer, |pointer| pointer["format"] = json!(1)).await?;
    assert_eq!(blobs.sweep_all().await?.removed, 1);
    holds([&blobs], object(), &bytes).await?;
    Ok(())
}

/// Chunks are spread over sixteen partitions, and each has more than a hundred.
async fn content_of_more_chunks_than_a_commit_takes_is_freed_whole(
    harness: Arc<dyn Harness<Store>>,
) -> CaseResult {
    const CHUNKS: usize = 16 * 101;
    let opened = harness.open(()).await?;
    let store = &*opened.first;
    let before = usage(store).await?;
    // More in flight than a pool has connections.
    let small = standard(store).inline(0).chunk_size(4).in_flight(32);
    let blobs: Arc<dyn BlobStore> = Arc::new(small);
    let bytes = content(1, 4 * CHUNKS);
    put(&blobs, object(), seeded(1), &bytes).await?;
    assert_eq!(usage(store).await?.0, before.0 + 1 + CHUNKS);
    blobs.delete(object()).await?;
    opened.clock.advance(A_DAY);
    assert_eq!(blobs.sweep_all().await?.removed, 1);
    assert_eq!(usage(store).await?, before, "not a chunk is left");
    Ok(())
}
