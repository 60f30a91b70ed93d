//! Streamed objects when something fails, and when a sweep comes at any moment.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use store_conformance::proxy::{self, Cut, Proxy};
use store_core::blobs::{BlobStoreExt, OpenOptions, Publication};
use store_core::{ErrorKind, ManualClock, Result, Retry, Store};
use store_s3::S3Store;
use store_s3::object_store::ObjectStore;

use crate::blobs::{
    A_DAY, LARGE, MIB, at, content, names, put, read, small, tally, uploads, written,
};
use crate::drivers::{Client, Manner};
use crate::watched::{Outage, Pause, Watched};
use crate::{End, Failure, Place, harness, own, tests};

tests![
    an_outage_at_any_request_of_a_write_leaves_the_old_or_the_new,
    a_cut_at_any_request_of_a_write_leaves_the_old_or_the_new,
    an_overloaded_server_publishes_what_it_says,
    concurrent_writes_and_sweeps_leave_what_was_published,
    a_sweep_at_any_request_of_a_commit_frees_nothing_of_it,
    a_commit_at_any_request_of_a_sweep_loses_nothing,
];

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
            let clock = ManualClock::default();
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
            let driver = harness::driver(&place.url).build()?;
            let bucket: (&dyn ObjectStore, &str) = (&driver, &place.prefix);
            is_one_of(&whole, bucket, &clock, &answer, [&old, &new])
                .await
                .map_err(|e| format!("{cut:?} at {at}: {e}"))?;
            // The third request begins an upload. If only its reply was lost it
            // was begun twice, and the first one is unknown: it has no parts.
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

/// Several writers of one object, with abandoned writes, deletes and sweeps, while
/// time passes: the object is always whole, and what is published in the end stays.
async fn concurrent_writes_and_sweeps_leave_what_was_published(_: Place) -> End {
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
            // What dropped sinks began is done then.
            store.blobs().close().await?;
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

/// The answer of a commit that raced a sweep is true, and a day later the bucket
/// contains the one content and nothing else.
async fn is_true(
    watched: &Watched,
    clock: &ManualClock,
    answer: &Publication,
    [old, new]: [&[u8]; 2],
) -> Result<bool, Failure> {
    let whole = small(&watched.another(), clock).await?;
    let is_new = match answer {
        Publication::Published(_) => true,
        Publication::Superseded => false,
        other => panic!("nothing else was written: {other:?}"),
    };
    let expected = if is_new { new } else { old };
    for _ in 0..2 {
        assert!(read(&whole).await?.is_some_and(|found| found == expected));
        clock.advance(A_DAY);
        whole.blobs().sweep_all().await?;
    }
    let names = names(&**watched.bucket(), "").await?;
    assert_eq!(tally(&names), [1, 1, 0], "{names:?}");
    Ok(is_new)
}

/// A store whose clock is ahead of others', and which sweeps.
async fn ahead(watched: &Watched, by: Duration) -> Result<Store> {
    let clock = ManualClock::default();
    clock.advance(by);
    small(watched, &clock).await
}

/// Waits until the request stands still, or the task ended without it.
async fn met<T>(pause: &Pause, task: &tokio::task::JoinHandle<T>) {
    let ended = async {
        while !task.is_finished() {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        () = pause.arrived() => {}
        () = ended => {}
    }
}

/// The commit of a large object over another stands still at each of its requests
/// in turn, while a process whose clock is ahead sweeps: by so much that the old
/// content's grace is over, or the write's lease too.
async fn a_sweep_at_any_request_of_a_commit_frees_nothing_of_it(_: Place) -> End {
    let (old, new) = (content(1, 2500), content(2, 3300));
    let mut ended = BTreeSet::new();
    for by in [Duration::from_secs(301), A_DAY] {
        for step in 0.. {
            let (watched, clock) = (Watched::new(), ManualClock::default());
            let store = small(&watched, &clock).await?;
            put(&store, old.clone()).await?.published()?;
            let sweeper = ahead(&watched.another(), by).await?;
            let sink = written(&store, new.clone()).await?;
            watched.log();
            let pause = watched.pause_at(step);
            let commit = tokio::spawn(sink.commit());
            met(&pause, &commit).await;
            sweeper.blobs().sweep_all().await?;
            pause.end();
            let answer = commit.await??;
            ended.insert(is_true(&watched, &clock, &answer, [&old, &new]).await?);
            if watched.log().len() <= step {
                assert!(step > 3, "there were no more requests");
                break;
            }
        }
    }
    assert_eq!(ended.len(), 2, "some were published, some came too late");
    Ok(())
}

/// The other way round: the sweep stands still while the write that it takes for
/// abandoned is committed.
async fn a_commit_at_any_request_of_a_sweep_loses_nothing(_: Place) -> End {
    let (old, new) = (content(1, 2500), content(2, 3300));
    let mut ended = BTreeSet::new();
    for step in 0.. {
        let (watched, clock) = (Watched::new(), ManualClock::default());
        let store = small(&watched.another(), &clock).await?;
        put(&store, old.clone()).await?.published()?;
        let sink = written(&store, new.clone()).await?;
        let sweeper = ahead(&watched, A_DAY).await?;
        watched.log();
        let pause = watched.pause_at(step);
        let sweep = tokio::spawn(async move { sweeper.blobs().sweep().await });
        met(&pause, &sweep).await;
        let answer = sink.commit().await?;
        pause.end();
        sweep.await??;
        ended.insert(is_true(&watched, &clock, &answer, [&old, &new]).await?);
        if watched.log().len() <= step {
            assert!(step > 3, "there were no more requests");
            break;
        }
    }
    assert_eq!(ended.len(), 2, "some were published, some came too late");
    Ok(())
}
