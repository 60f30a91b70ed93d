use std::sync::Arc;
use std::time::Duration;

use object_store::ObjectStore;
use object_store::memory::InMemory;
use store_core::blobs::engine::Place;
use store_core::blobs::{BlobMetadata, BlobRef, BlobStoreExt, OpenOptions, Pointer, PutOptions};
use store_core::{BlobStore, Clock, ErrorKind, ManualClock, Result, Version};

use super::{S3Blobs, head};
use crate::S3Store;
use crate::objects::Found;
use crate::records::S3Records;

fn at() -> BlobRef<'static> {
    BlobRef::new("bucket", "a/b").expect("a valid key")
}

fn content(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n * 7 % 251) as u8).collect()
}

/// A store that writes content as objects of three parts of 100 bytes.
async fn opened(bucket: &Arc<InMemory>, clock: &ManualClock) -> Result<S3Blobs> {
    let mut builder = S3Store::builder()
        .object_store(Arc::clone(bucket) as Arc<dyn ObjectStore>)
        .clock(clock.clone())
        .inline(10)
        .part_size(100);
    builder.blobs.parts = 3;
    let records = S3Records::open(&builder).await?;
    Ok(super::open(records.shared(), builder.blobs))
}

async fn contents(bucket: &InMemory) -> usize {
    let folder = object_store::path::Path::from("content");
    let listed = bucket.list_with_delimiter(Some(&folder)).await;
    let generations = listed.expect("it is there").common_prefixes;
    let mut count = 0;
    for generation in generations {
        let listed = bucket.list_with_delimiter(Some(&generation)).await;
        count += listed.expect("it is there").objects.len();
    }
    count
}

#[tokio::test]
async fn content_of_more_parts_than_an_upload_takes_is_several_objects() -> Result<()> {
    let (bucket, clock) = (Arc::default(), ManualClock::default());
    let store = opened(&bucket, &clock).await?;
    for (length, objects) in [(100, 1), (299, 1), (300, 1), (301, 2), (600, 2), (1234, 5)] {
        let bytes = content(length);
        let put = store.put(at(), BlobMetadata::default(), bytes.clone());
        put.await?.published()?;
        assert_eq!(contents(&bucket).await, objects, "{length}");
        for from in [0, 99, 100, 299, 300, 301, 599, length].map(|n| n.min(length)) {
            for to in [1, 100, 300, 301, 600, 601, length].map(|n| n.clamp(from, length)) {
                let range = OpenOptions::from(from as u64..to as u64);
                let mut blob = store.open(at(), range).await?.expect("just put");
                let mut found = Vec::new();
                while let Some(piece) = blob.reader.next().await? {
                    found.extend_from_slice(&piece);
                }
                assert!(found == bytes[from..to], "{from}..{to} of {length}");
            }
        }
        assert!(store.delete(at()).await?);
        clock.advance(Duration::from_secs(300));
        assert_eq!(store.sweep_all().await?.removed, 1, "{length}");
        assert_eq!(contents(&bucket).await, 0, "{length}");
    }
    Ok(())
}

#[tokio::test]
async fn an_aborted_write_leaves_no_object() -> Result<()> {
    let (bucket, clock) = (Arc::default(), ManualClock::default());
    let store = opened(&bucket, &clock).await?;
    for abandoned in [false, true] {
        let mut sink = store.begin(at(), PutOptions::default()).await?;
        for piece in content(1234).chunks(33) {
            sink.write(piece.to_vec().into()).await?;
            // The lease is renewed half-way, and the notes with it.
            clock.advance(Duration::from_secs(100));
            assert_eq!(store.sweep_all().await?.removed, 0, "it goes on");
        }
        assert_eq!(contents(&bucket).await, 4);
        if abandoned {
            std::mem::forget(sink);
            clock.advance(Duration::from_secs(3600 + 300));
            assert_eq!(store.sweep_all().await?.removed, 1);
        } else {
            sink.abort().await?;
        }
        assert_eq!(contents(&bucket).await, 0);
        let folder = object_store::path::Path::from("reclaim");
        let listed = bucket.list_with_delimiter(Some(&folder)).await;
        assert!(listed.expect("it is there").objects.is_empty(), "no note");
    }
    Ok(())
}

#[tokio::test]
async fn parts_that_s3_does_not_accept_are_refused() {
    let builder = S3Store::builder().url("s3://bucket").part_size(1 << 20);
    let error = builder.connect().await.expect_err("too small");
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.message().contains("5 MiB"), "{error}");
}

#[test]
fn a_pointer_is_read_back_whole_or_in_part() -> Result<()> {
    let place = Place::new(at())?;
    let mut pointer = Pointer::new("a/b");
    let (now, generation) = (ManualClock::default().now(), Version::unique());
    pointer.begin(generation, now + Duration::from_secs(1), now)?;
    let found = |bytes: bytes::Bytes| Found {
        etag: "\"e\"".into(),
        bytes,
    };
    let object = head::encode(&place, &mut pointer);
    let stored = head::decode_at(&place, &found(object.clone()))?;
    assert_eq!(*stored.pointer, pointer);
    let text = String::from_utf8_lossy(&object);
    assert!(text.starts_with("{\"store\":1,\"bucket\":\"bucket\",\"request\":\""));
    // An object of another key, of a newer release, or with more bytes than its head
    // states.
    let other = Place::new(BlobRef::new("bucket", "other")?)?;
    assert!(head::decode_at(&other, &found(object.clone())).is_err());
    for field in ["\"store\":", "\"format\":"] {
        let newer = text.replace(&format!("{field}1"), &format!("{field}2"));
        let error = head::decode_at(&place, &found(newer.into())).expect_err("it is newer");
        assert!(error.message().contains("upgrade"), "{error}");
    }
    let longer = [&object[..], b"x"].concat();
    assert!(head::decode_at(&place, &found(longer.into())).is_err());

    let small = store_core::blobs::Content {
        generation,
        size: 5,
        chunk_size: 100,
    };
    let mode = store_core::blobs::PutMode::Overwrite;
    let published = pointer.publish(small, &BlobMetadata::default(), mode, now);
    assert!(published.published().is_ok());
    pointer.set_inline("hello".into());
    let object = head::encode(&place, &mut pointer);
    let stored = head::decode_at(&place, &found(object.clone()))?;
    assert_eq!(*stored.pointer, pointer);
    assert_eq!(stored.pointer.inline(), Some(&"hello".into()));
    let size = object.len() as u64;
    for end in 0..object.len() {
        let part = head::decode(&found(object.slice(..end)), size)?;
        let is_unread = part.is_some_and(|part| part.stored.pointer.is_unread());
        assert_eq!(is_unread, end >= object.len() - 5, "{end}");
        // Decoded as the whole object, it is refused.
        assert!(head::decode(&found(object.slice(..end)), end as u64).is_err());
    }
    Ok(())
}

/// A pointer as release 0.1 stores it, which every later release must read.
#[test]
fn the_stored_form_of_a_pointer_is_read() -> Result<()> {
    let head = "{\"store\":1,\"bucket\":\"reports\",\
        \"request\":\"04040404040404040404040404040404\",\"inline\":true,\"object\":{\
        \"format\":1,\"key\":\"2030/q1.csv\",\"next\":9,\"floor\":4,\"published\":{\
        \"sequence\":7,\"version\":\"00000000000000000000000000000a07\",\"content\":{\
        \"generation\":\"00000000000000000000000000000b07\",\"size\":5,\"chunk_size\":2},\
        \"published_at\":\"2030-01-01T00:00:01.000000000Z\",\"metadata\":{\
        \"tag\":\"v7\",\"negative\":false,\"cached_at\":\"2029-12-31T23:59:59.000000000Z\",\
        \"attributes\":{\"content-type\":\"text/csv\"}}},\"uploads\":[{\"sequence\":8,\
        \"generation\":\"00000000000000000000000000000b08\",\
        \"lease_until\":\"2100-01-01T00:00:00.000000000Z\"}]}}";
    let place = Place::new(BlobRef::new("reports", "2030/q1.csv")?)?;
    let found = Found {
        etag: "\"e\"".into(),
        bytes: format!("{head}\nhello").into(),
    };
    let stored = head::decode_at(&place, &found)?;
    assert_eq!(stored.pointer.inline(), Some(&"hello".into()));
    let stat = stored.pointer.stat().expect("it is published");
    assert_eq!((stat.size, stat.metadata.tag.as_deref()), (5, Some("v7")));
    // What this release writes has the same form, but another request.
    let mut pointer = (*stored.pointer).clone();
    let written = head::encode(&place, &mut pointer);
    let written = String::from_utf8_lossy(&written);
    let (line, content) = written.split_once('\n').expect("two parts");
    let parse = |line: &str| serde_json::from_str::<serde_json::Value>(line).expect("JSON");
    let (mut line, form) = (parse(line), parse(head));
    line["request"] = form["request"].clone();
    assert_eq!((line, content), (form, "hello"));
    Ok(())
}
