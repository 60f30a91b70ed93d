//! Streamed objects in a bucket: what they cost and what remains of them.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use store_conformance::proxy::{self, Proxy};
use store_conformance::servers::s3;
use store_core::blobs::{
    BlobMetadata, BlobRef, BlobSink, BlobStoreExt, OpenOptions, Publication, PutMode, PutOptions,
};
use store_core::{ErrorKind, ManualClock, Result, Store};
use store_s3::S3Store;
use store_s3::object_store::{ObjectMeta, ObjectStore};
use tokio::task::block_in_place;

use crate::watched::Watched;
use crate::{End, Failure, Place, harness, tests};

tests![
    requests_of_objects_are_as_documented,
    a_range_costs_one_get_of_exactly_that_range,
    an_abort_leaves_nothing,
    what_a_killed_writer_left_is_swept_by_age_and_not_before,
    a_reader_keeps_its_publication_until_its_grace_is_over,
    a_writer_ahead_of_its_server_waits,
];

pub(crate) const MIB: usize = 1 << 20;

/// More than one part.
pub(crate) const LARGE: usize = 6 * MIB + 17;

/// After it every lease and every grace is over.
pub(crate) const A_DAY: Duration = Duration::from_secs(24 * 3600);

pub(crate) fn at() -> BlobRef<'static> {
    BlobRef::new("bucket", "a/b").expect("a good key")
}

/// Bytes that differ by `seed` and by place.
pub(crate) fn content(seed: u64, length: usize) -> Vec<u8> {
    let word = |n: usize| ((n as u64 + 1) * (2 * seed + 0x9e37_79b9)).to_le_bytes();
    let mut bytes: Vec<u8> = (0..length.div_ceil(8)).flat_map(word).collect();
    bytes.truncate(length);
    bytes
}

pub(crate) async fn put(store: &Store, bytes: Vec<u8>) -> Result<Publication> {
    store
        .blobs()
        .put(at(), BlobMetadata::default(), bytes)
        .await
}

pub(crate) async fn written(store: &Store, bytes: Vec<u8>) -> Result<Box<dyn BlobSink>> {
    let mut sink = store.blobs().begin(at(), PutOptions::default()).await?;
    for piece in bytes.chunks(MIB) {
        sink.write(piece.to_vec().into()).await?;
    }
    Ok(sink)
}

pub(crate) async fn read(store: &Store) -> Result<Option<Vec<u8>>> {
    let found = store.blobs().read(at(), u64::MAX).await?;
    Ok(found.map(|(_, bytes)| bytes.into()))
}

/// The names of everything below a prefix, without it.
pub(crate) async fn names(
    driver: &dyn ObjectStore,
    prefix: &str,
) -> Result<BTreeSet<String>, Failure> {
    let mut folders = vec![store_s3::object_store::path::Path::parse(prefix)?];
    let mut names = BTreeSet::new();
    while let Some(folder) = folders.pop() {
        let listed = driver.list_with_delimiter(Some(&folder)).await?;
        folders.extend(listed.common_prefixes);
        let name = |found: ObjectMeta| {
            let name = found.location.as_ref();
            let name = name.strip_prefix(prefix).unwrap_or(name);
            name.trim_start_matches('/').to_owned()
        };
        names.extend(listed.objects.into_iter().map(name));
    }
    Ok(names)
}

/// How many of them are of each folder: pointers, contents, notes.
pub(crate) fn tally(names: &BTreeSet<String>) -> [usize; 3] {
    ["blobs/", "content/", "reclaim/"]
        .map(|folder| names.iter().filter(|n| n.starts_with(folder)).count())
}

/// A store whose parts are small, over a bucket in memory.
pub(crate) async fn small(watched: &Watched, clock: &ManualClock) -> Result<Store> {
    let builder = S3Store::builder()
        .object_store(Arc::new(watched.clone()))
        .clock(clock.clone())
        .inline(100)
        .part_size(1000)
        .in_flight(3);
    Ok(builder.connect().await?.into())
}

async fn requests_of_objects_are_as_documented(place: Place) -> End {
    let proxy = Proxy::start(harness::address(&place.url), Some(proxy::http), 0).await?;
    let url = format!("http://{}", proxy.address());
    let store = Store::from(place.builder_at(&url).connect().await?);
    let blobs = store.blobs();
    proxy.requests();
    for round in 0..2 {
        let sink = written(&store, content(round, MIB)).await?;
        assert_eq!(proxy.requests(), 2, "begin");
        sink.commit().await?.published()?;
        assert_eq!(proxy.requests(), 1, "commit of a small one");
    }
    assert_eq!(read(&store).await?, Some(content(1, MIB)));
    assert_eq!(proxy.requests(), 1, "open and read a small one");
    assert!(blobs.stat(at()).await?.is_some());
    assert_eq!(proxy.requests(), 1, "stat");
    let sink = written(&store, content(2, 5 * MIB)).await?;
    assert_eq!(proxy.requests(), 2, "begin, and nothing is sent yet");
    sink.commit().await?.published()?;
    assert_eq!(proxy.requests(), 4, "commit of one part");
    put(&store, content(3, LARGE)).await?.published()?;
    // Begin, note, two parts with what surrounds them, a note of the old one,
    // the pointer, and the first note goes.
    assert_eq!(proxy.requests(), 2 + 1 + 4 + 1 + 1 + 1, "put of two parts");
    assert_eq!(read(&store).await?, Some(content(3, LARGE)));
    assert_eq!(proxy.requests(), 1 + 2, "open, and two parts");
    assert!(blobs.delete(at()).await?);
    assert_eq!(proxy.requests(), 3, "delete of a large one");
    assert!(!blobs.delete(at()).await?);
    assert_eq!(proxy.requests(), 1, "delete of none");
    blobs.sweep().await?;
    assert_eq!(proxy.requests(), 1, "sweep, and nothing is due");
    Ok(())
}

async fn a_range_costs_one_get_of_exactly_that_range(_: Place) -> End {
    let watched = Watched::new();
    let store = small(&watched, &ManualClock::default()).await?;
    let bytes = content(1, 10_500);
    put(&store, bytes.clone()).await?.published()?;
    watched.log();
    for (from, to) in [(0u64, 1u64), (999, 1001), (4321, 5321), (10_499, 10_500)] {
        let opened = store
            .blobs()
            .open(at(), OpenOptions::from(from..to))
            .await?;
        let mut reader = opened.expect("just put").reader;
        let piece = reader.next().await?.expect("not empty");
        assert!(piece == bytes[from as usize..to as usize]);
        assert!(reader.next().await?.is_none());
        let log = watched.log();
        assert_eq!(log.len(), 2, "{log:?}");
        assert!(log[1].starts_with("GET content/"), "{log:?}");
        let range = format!(" bytes={from}-{}", to - 1);
        assert!(log[1].ends_with(&range), "{log:?}");
    }
    // A longer one is read a few parts ahead, and no more.
    let opened = store.blobs().open(at(), OpenOptions::default()).await?;
    let mut reader = opened.expect("just put").reader;
    reader.next().await?;
    assert!(watched.log().len() <= 1 + 3, "read ahead without end");
    Ok(())
}

/// How many uploads are under way.
pub(crate) async fn uploads(place: &Place) -> Result<usize, Failure> {
    Ok(block_in_place(|| s3::uploads(&place.url, &place.prefix))?)
}

async fn an_abort_leaves_nothing(place: Place) -> End {
    let store = place.open().await?;
    let driver = harness::driver(&place.url).build()?;
    for length in [0, 10, 2 * MIB, LARGE] {
        let sink = written(&store, content(1, length)).await?;
        assert_eq!(uploads(&place).await?, usize::from(length == LARGE));
        sink.abort().await?;
        let names = names(&driver, &place.prefix).await?;
        assert_eq!(tally(&names), [1, 0, 0], "a pointer alone: {names:?}");
        assert_eq!(uploads(&place).await?, 0, "after {length} bytes");
    }
    // One that came too late, or may not, is given up by its commit.
    for length in [2 * MIB, LARGE] {
        let late = written(&store, content(1, length)).await?;
        put(&store, content(2, 10)).await?.published()?;
        assert!(matches!(late.commit().await?, Publication::Superseded));
        let only = PutOptions::default().mode(PutMode::CreateOnly);
        let exists = store.blobs().put(at(), only, content(3, length)).await?;
        assert!(matches!(exists, Publication::AlreadyExists));
        let names = names(&driver, &place.prefix).await?;
        assert_eq!(tally(&names), [1, 0, 0], "{names:?}");
        assert_eq!(read(&store).await?, Some(content(2, 10)));
    }
    // A dropped one is aborted by a task, for which close waits.
    drop(written(&store, content(1, LARGE)).await?);
    store.close().await?;
    assert_eq!(uploads(&place).await?, 0, "after close");
    let names = names(&driver, &place.prefix).await?;
    assert_eq!(tally(&names), [1, 0, 0], "{names:?}");
    Ok(())
}

async fn what_a_killed_writer_left_is_swept_by_age_and_not_before(place: Place) -> End {
    let clock = ManualClock::default();
    let builder = place.builder().clock(clock.clone());
    let killed = Store::from(builder.clone().connect().await?);
    let store = Store::from(builder.connect().await?);
    // As a process that is killed leaves it: nothing of it ever runs again.
    std::mem::forget(written(&killed, content(1, LARGE)).await?);
    for _ in 0..2 {
        assert_eq!(store.blobs().sweep_all().await?.removed, 0, "it may go on");
        assert_eq!(uploads(&place).await?, 1);
        // The lease is over, and so is the time that others are given.
        clock.advance(Duration::from_secs(1800));
    }
    clock.advance(Duration::from_secs(299));
    assert_eq!(store.blobs().sweep_all().await?.removed, 0, "it may go on");
    clock.advance(Duration::from_secs(1));
    assert_eq!(
        store.blobs().sweep_all().await?.removed,
        1,
        "now its time is over"
    );
    assert_eq!(uploads(&place).await?, 0);
    assert_eq!(store.blobs().sweep_all().await?.removed, 0, "and only once");
    let driver = harness::driver(&place.url).build()?;
    let names = names(&driver, &place.prefix).await?;
    assert_eq!(tally(&names), [1, 0, 0], "{names:?}");
    Ok(())
}

async fn a_reader_keeps_its_publication_until_its_grace_is_over(place: Place) -> End {
    let clock = ManualClock::default();
    let store = Store::from(place.builder().clock(clock.clone()).connect().await?);
    let bytes = content(1, LARGE);
    put(&store, bytes.clone()).await?.published()?;
    let all = OpenOptions::default();
    let mut early = store.blobs().open(at(), all).await?.expect("put").reader;
    let mut late = store.blobs().open(at(), all).await?.expect("put").reader;
    put(&store, content(2, LARGE)).await?.published()?;
    clock.advance(Duration::from_secs(299));
    assert_eq!(store.blobs().sweep_all().await?.removed, 0);
    let mut found = Vec::new();
    while let Some(piece) = early.next().await? {
        found.extend_from_slice(&piece);
    }
    assert!(found == bytes, "to the last byte");
    clock.advance(Duration::from_secs(1));
    assert_eq!(store.blobs().sweep_all().await?.removed, 1);
    for _ in 0..2 {
        let error = late.next().await.expect_err("its content was freed");
        assert_eq!(error.kind(), ErrorKind::Superseded, "{error:?}");
    }
    // What is in use is not looked at.
    clock.advance(A_DAY);
    assert_eq!(store.blobs().sweep_all().await?.removed, 0);
    assert_eq!(read(&store).await?, Some(content(2, LARGE)));
    let driver = harness::driver(&place.url).build()?;
    let names = names(&driver, &place.prefix).await?;
    assert_eq!(tally(&names), [1, 1, 0], "{names:?}");
    Ok(())
}

async fn a_writer_ahead_of_its_server_waits(_: Place) -> End {
    let watched = Watched::new().with_parts(0);
    let store = small(&watched, &ManualClock::default()).await?;
    let bytes = content(1, 20_000);
    let mut sink = store.blobs().begin(at(), PutOptions::default()).await?;
    let mut accepted = 0;
    for piece in bytes.chunks(100) {
        // In memory nothing else makes it wait.
        let mut write = pin!(sink.write(piece.to_vec().into()));
        match poll_fn(|cx| Poll::Ready(write.as_mut().poll(cx))).await {
            Poll::Ready(written) => written?,
            Poll::Pending => break,
        }
        accepted += piece.len();
    }
    // Three parts on their way, and one that is full.
    assert_eq!(accepted, 4000, "and no more while the server stands still");
    drop(sink);
    watched.let_through(100);
    let slow = watched.another();
    let whole = small(&slow, &ManualClock::default()).await?;
    put(&whole, bytes.clone()).await?.published()?;
    assert_eq!(read(&whole).await?, Some(bytes));
    Ok(())
}
