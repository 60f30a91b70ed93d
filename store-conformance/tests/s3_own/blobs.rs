//! Streamed objects in a bucket: what they cost, what is left of them, and what
//! becomes of a write when anything fails.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use store_conformance::core::blobs::{
    BlobMetadata, BlobRef, BlobSink, BlobStoreExt, OpenOptions, Publication, PutMode, PutOptions,
};
use store_conformance::core::{ErrorKind, ManualClock, Result, Retry, Store};
use store_conformance::proxy::{self, Cut, Proxy};
use store_conformance::servers::s3;
use store_s3::S3Store;
use store_s3::object_store::{ObjectMeta, ObjectStore};
use tokio::task::block_in_place;

use crate::drivers::{Client, Manner};
use crate::watched::{Outage, Watched};
use crate::{End, Failure, Place, harness, own, tests};

tests![
    requests_of_objects_are_as_documented,
    a_range_costs_one_get_of_exactly_that_range,
    an_abort_leaves_nothing,
    what_a_killed_writer_left_is_swept_by_age_and_not_before,
    a_reader_keeps_its_publication_until_its_grace_is_over,
    an_outage_at_any_request_of_a_write_leaves_the_old_or_the_new,
    a_cut_at_any_request_of_a_write_leaves_the_old_or_the_new,
    an_overloaded_server_publishes_what_it_says,
    a_writer_ahead_of_its_server_waits,
    writes_and_sweeps_at_once_leave_what_was_published,
];

const MIB: usize = 1 << 20;

/// More than one part.
const LARGE: usize = 6 * MIB + 17;

/// After it every lease and every grace is over.
const A_DAY: Duration = Duration::from_secs(24 * 3600);

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

async fn put(store: &Store, bytes: Vec<u8>) -> Result<Publication> {
    store
        .blobs()
        .put(at(), BlobMetadata::default(), bytes)
        .await
}

async fn written(store: &Store, bytes: Vec<u8>) -> Result<Box<dyn BlobSink>> {
    let mut sink = store.blobs().begin(at(), PutOptions::default()).await?;
    for piece in bytes.chunks(MIB) {
        sink.write(piece.to_vec().into()).await?;
    }
    Ok(sink)
}

async fn read(store: &Store) -> Result<Option<Vec<u8>>> {
    let found = store.blobs().read(at(), u64::MAX).await?;
    Ok(found.map(|(_, bytes)| bytes.into()))
}

/// The names of everything below a prefix, without it.
async fn names(driver: &dyn ObjectStore, prefix: &str) -> Result<BTreeSet<String>, Failure> {
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
fn tally(names: &BTreeSet<String>) -> [usize; 3] {
    ["blobs/", "content/", "reclaim/"]
        .map(|folder| names.iter().filter(|n| n.starts_with(folder)).count())
}

/// A store whose parts are small, over a bucket in memory.
async fn small(watched: &Watched, clock: &ManualClock) -> Result<Store> {
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
async fn uploads(place: &Place) -> Result<usize, Failure> {
    Ok(block_in_place(|| s3::uploads(&place.url, &place.prefix))?)
}

async fn an_abort_leaves_nothing(place: Place) -> End {
    let driver = harness::driver(&place.url).build()?;
    let store = place.open().await?;
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
    // And a dropped one aborts behind its caller's back.
    drop(written(&store, content(1, LARGE)).await?);
    let gone = async {
        while uploads(&place).await? > 0 {
            tokio::task::yield_now().await;
        }
        Ok::<_, Failure>(())
    };
    tokio::time::timeout(Duration::from_secs(30), gone).await??;
    Ok(())
}

async fn what_a_killed_writer_left_is_swept_by_age_and_not_before(place: Place) -> End {
    let (driver, clock) = (harness::driver(&place.url).build()?, ManualClock::default());
    let builder = place.builder().clock(clock.clone());
    let killed = Store::from(builder.clone().connect().await?);
    let store = Store::from(builder.connect().await?);
    // As a process that is killed leaves it: nothing of it ever runs again.
    std::mem::forget(written(&killed, content(1, LARGE)).await?);
    for _ in 0..2 {
        assert_eq!(store.blobs().sweep_all().await?, 0, "it may go on");
        assert_eq!(uploads(&place).await?, 1);
        // The lease is over, and so is the time that others are given.
        clock.advance(Duration::from_secs(1800));
    }
    clock.advance(Duration::from_secs(299));
    assert_eq!(store.blobs().sweep_all().await?, 0, "it may go on");
    clock.advance(Duration::from_secs(1));
    assert_eq!(store.blobs().sweep_all().await?, 1, "now nobody may");
    assert_eq!(uploads(&place).await?, 0);
    assert_eq!(store.blobs().sweep_all().await?, 0, "and only once");
    let names = names(&driver, &place.prefix).await?;
    assert_eq!(tally(&names), [1, 0, 0], "{names:?}");
    Ok(())
}

async fn a_reader_keeps_its_publication_until_its_grace_is_over(place: Place) -> End {
    let (driver, clock) = (harness::driver(&place.url).build()?, ManualClock::default());
    let store = Store::from(place.builder().clock(clock.clone()).connect().await?);
    let bytes = content(1, LARGE);
    put(&store, bytes.clone()).await?.published()?;
    let all = OpenOptions::default();
    let mut early = store.blobs().open(at(), all).await?.expect("put").reader;
    let mut late = store.blobs().open(at(), all).await?.expect("put").reader;
    put(&store, content(2, LARGE)).await?.published()?;
    clock.advance(Duration::from_secs(299));
    assert_eq!(store.blobs().sweep_all().await?, 0);
    let mut found = Vec::new();
    while let Some(piece) = early.next().await? {
        found.extend_from_slice(&piece);
    }
    assert!(found == bytes, "to the last byte");
    clock.advance(Duration::from_secs(1));
    assert_eq!(store.blobs().sweep_all().await?, 1);
    for _ in 0..2 {
        let error = late.next().await.expect_err("its content is gone");
        assert_eq!(error.kind(), ErrorKind::Superseded, "{error:?}");
    }
    // What is in use is not looked at.
    clock.advance(A_DAY);
    assert_eq!(store.blobs().sweep_all().await?, 0);
    assert_eq!(read(&store).await?, Some(content(2, LARGE)));
    let names = names(&driver, &place.prefix).await?;
    assert_eq!(tally(&names), [1, 1, 0], "{names:?}");
    Ok(())
}

/// The old object or the new one is there, as `answer` says; a day later nothing
/// else is.
async fn is_one_of(
    whole: &Store,
    (driver, prefix): (&dyn ObjectStore, &str),
    clock: &ManualClock,
    answer: &Result<Publication>,
    [old, new]: [&[u8]; 2],
) -> Result<bool, Failure> {
    let found = read(whole).await?.expect("one of the two");
    assert!(found == old || found == new, "neither, or not whole");
    let is_new = found == new;
    match answer {
        Ok(Publication::Published(_)) => assert!(is_new, "it said so"),
        Ok(other) => panic!("nothing else was written: {other:?}"),
        Err(error) => assert!(!is_new || error.retry() == Retry::Ambiguous, "{error:?}"),
    }
    clock.advance(A_DAY);
    whole.blobs().sweep_all().await?;
    assert!(read(whole).await?.expect("still there") == found);
    let names = names(driver, prefix).await?;
    assert_eq!(tally(&names), [1, 1, 0], "{names:?}");
    Ok(is_new)
}

async fn an_outage_at_any_request_of_a_write_leaves_the_old_or_the_new(_: Place) -> End {
    // Of one part; of several.
    for length in [800, 5300] {
        let (old, new) = (content(1, 2500), content(2, length));
        for outage in [Outage::Before, Outage::After, Outage::From] {
            let mut ended = BTreeSet::new();
            for step in 0.. {
                let (watched, clock) = (Watched::new(), ManualClock::default());
                let whole = small(&watched.another(), &clock).await?;
                put(&whole, old.clone()).await?.published()?;
                let store = small(&watched, &clock).await?;
                watched.log();
                watched.set(outage(step));
                let answer = put(&store, new.clone()).await;
                watched.set(Outage::None);
                let steps = watched.log().len();
                // What a dropped upload does behind its back.
                tokio::task::yield_now().await;
                let bucket: &dyn ObjectStore = &**watched.bucket();
                let contents: [&[u8]; 2] = [&old, &new];
                let is_new = is_one_of(&whole, (bucket, ""), &clock, &answer, contents).await?;
                ended.insert(is_new);
                if steps <= step {
                    assert!(answer.is_ok(), "nothing failed: {answer:?}");
                    break;
                }
                assert!(step < 60, "it takes a bounded number of requests");
            }
            // A single failure may be made good.
            let both = outage(0) != Outage::From(0) || ended.len() == 2;
            assert!(both && ended.contains(&true), "{ended:?}");
        }
    }
    Ok(())
}

async fn a_cut_at_any_request_of_a_write_leaves_the_old_or_the_new(place: Place) -> End {
    let (old, new) = (content(1, MIB + 1), content(2, LARGE));
    for cut in [
        Cut::BeforeRequest,
        Cut::InRequest,
        Cut::BeforeReply,
        Cut::InReply,
    ] {
        for at in 0..10 {
            let place = Place::new(&place.url);
            let (driver, clock) = (harness::driver(&place.url).build()?, ManualClock::default());
            let builder = |url: &str| place.builder_at(url).clock(clock.clone());
            let whole = Store::from(builder(&place.url).connect().await?);
            put(&whole, old.clone()).await?.published()?;
            let proxy = Proxy::start(harness::address(&place.url), Some(proxy::http), 0).await?;
            let url = format!("http://{}", proxy.address());
            let store = Store::from(builder(&url).connect().await?);
            let mut cuts = vec![Cut::None; at];
            cuts.push(cut);
            proxy.script(cuts);
            let answer = put(&store, new.clone()).await;
            let bucket: (&dyn ObjectStore, &str) = (&driver, &place.prefix);
            is_one_of(&whole, bucket, &clock, &answer, [&old, &new])
                .await
                .map_err(|e| format!("{cut:?} at {at}: {e}"))?;
            // The third request begins an upload. If only its reply was lost it
            // was begun twice, and nobody knows the first one: it has no parts.
            let unknown = at == 2 && matches!(cut, Cut::BeforeReply | Cut::InReply);
            let left = uploads(&place).await?;
            assert_eq!(left, usize::from(unknown), "{cut:?} at {at}: {answer:?}");
        }
    }
    Ok(())
}

async fn an_overloaded_server_publishes_what_it_says(_: Place) -> End {
    for seed in own::storm_seeds()? {
        let bucket = Arc::new(store_s3::object_store::memory::InMemory::new());
        let clock = ManualClock::default();
        let open = |manner| {
            let client = Arc::new(Client::new(&bucket, manner, seed));
            let builder = S3Store::builder().object_store(client);
            builder.clock(clock.clone()).inline(100).part_size(1000)
        };
        let whole = Store::from(open(Manner::Sound).connect().await?);
        let store = loop {
            if let Ok(store) = open(Manner::Overloaded).connect().await {
                break Store::from(store);
            }
        };
        let (mut last, mut published) = (content(0, 10), 0);
        put(&whole, last.clone()).await?.published()?;
        for round in 1..60 {
            let bytes = content(round, [50, 700, 3300][round as usize % 3]);
            let answer = put(&store, bytes.clone()).await;
            let found = read(&whole).await?.expect("never deleted");
            match answer {
                Ok(Publication::Published(_)) => {
                    assert!(found == bytes, "acknowledged");
                    published += 1;
                }
                Err(error) if error.retry() == Retry::Ambiguous => {
                    assert!(found == bytes || found == last);
                }
                other => assert!(found == last, "{other:?}"),
            }
            last = found;
        }
        assert!(published > 20, "{published}");
        clock.advance(A_DAY);
        whole.blobs().sweep_all().await?;
        let names = names(&*bucket, "").await?;
        assert_eq!(tally(&names)[2], 0, "{names:?}");
    }
    Ok(())
}

async fn a_writer_ahead_of_its_server_waits(_: Place) -> End {
    let watched = Watched::new().with_parts(0);
    let store = small(&watched, &ManualClock::default()).await?;
    let bytes = content(1, 20_000);
    let mut sink = store.blobs().begin(at(), PutOptions::default()).await?;
    let mut accepted = 0;
    for piece in bytes.chunks(100) {
        let write = sink.write(piece.to_vec().into());
        match tokio::time::timeout(Duration::from_millis(100), write).await {
            Ok(written) => written?,
            Err(_) => break,
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

/// Several writers of one object, with writes that nobody goes on with, deletes
/// and sweeps, while time goes on: what is there is always whole, and what is
/// published in the end stays.
async fn writes_and_sweeps_at_once_leave_what_was_published(_: Place) -> End {
    const WRITERS: u64 = 3;
    let (watched, clock) = (Watched::new(), ManualClock::default());
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let store = small(&watched, &clock).await?;
        let clock = clock.clone();
        tasks.spawn(async move {
            for round in 0..40 {
                let seed = writer * 1000 + round;
                let length = [50, 700, 2500, 4000][seed as usize % 4];
                let sink = match written(&store, content(seed, length)).await {
                    Ok(sink) => sink,
                    // Another one's time went on, and the lease was over.
                    Err(error) if error.is(ErrorKind::Superseded) => continue,
                    Err(error) => return Err(error.into()),
                };
                match (seed * 7 + writer) % 5 {
                    0 => drop(sink),
                    1 => {
                        clock.advance(Duration::from_secs(1900));
                        store.blobs().sweep().await?;
                        let _ = sink.commit().await?;
                    }
                    2 => {
                        store.blobs().delete(at()).await?;
                        let _ = sink.commit().await?;
                    }
                    _ => drop(sink.commit().await?),
                }
                tokio::task::yield_now().await;
            }
            Ok::<_, Failure>(())
        });
    }
    let store = small(&watched, &clock).await?;
    while !tasks.is_empty() {
        let opened = store.blobs().open(at(), OpenOptions::default()).await?;
        if let Some(mut blob) = opened {
            let mut found = Vec::new();
            let ended = loop {
                match blob.reader.next().await {
                    Ok(Some(piece)) => found.extend_from_slice(&piece),
                    Ok(None) => break Ok(()),
                    Err(error) => break Err(error),
                }
            };
            match ended {
                Ok(()) => assert_eq!(found.len() as u64, blob.stat.size),
                Err(error) => assert_eq!(error.kind(), ErrorKind::Superseded, "{error:?}"),
            }
        }
        store.blobs().sweep().await?;
        while let Some(ended) = tasks.try_join_next() {
            ended??;
        }
        tokio::task::yield_now().await;
    }
    let last = content(9, 2500);
    put(&store, last.clone()).await?.published()?;
    clock.advance(A_DAY);
    store.blobs().sweep_all().await?;
    assert_eq!(read(&store).await?, Some(last));
    let names = names(watched.bucket(), "").await?;
    assert_eq!(tally(&names), [1, 1, 0], "{names:?}");
    Ok(())
}
