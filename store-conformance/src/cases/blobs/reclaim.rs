//! Content that no reader can reach is freed, and nothing else.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use store_core::blobs::{
    BLOB_CHUNKS, BLOB_RECLAIM, BLOBS, BlobSink, BlobStoreExt, OpenOptions, Publication,
};
use store_core::{BlobStore, Clock, Collection, ErrorKind, Scan, Store};

use super::flaky::{Flaky, Outage};
use super::tools::{
    CHUNK, Given, LARGE, LONG, SEVERAL_CHUNKS, content, drain, holds, holds_none, named, object,
    put, seeded, superseded, sweep, written,
};
use crate::case;
use crate::harness::Harness;
use crate::suite::{Case, CaseResult};

/// After it every lease and every reader's grace is over.
pub(super) const A_DAY: Duration = Duration::from_secs(24 * 3600);

pub(super) fn cases() -> Vec<Case<dyn BlobStore>> {
    vec![
        case!(an_abandoned_write_is_reclaimed, "49"),
        case!(a_write_that_was_reclaimed_can_not_commit, "49", "44"),
        case!(a_write_in_progress_is_not_reclaimed, "49"),
        case!(replaced_and_deleted_content_is_reclaimed, "50"),
        case!(a_dropped_sink_frees_its_content, "50", "49"),
        case!(two_sweeps_at_once_count_each_content_once, "50"),
        case!(a_sweep_reports_when_the_next_content_is_due, "50"),
        case!(content_in_more_than_a_hundred_pieces_is_freed_whole, "50"),
        case!(a_sweep_racing_commits_frees_nothing_that_is_published, "49"),
    ]
}

pub(super) fn store_cases() -> Vec<Case<Store>> {
    vec![
        case!(nothing_is_left_of_deleted_objects, "50", "49"),
        case!(an_aborted_write_frees_its_content_at_once, "50"),
        case!(a_close_waits_until_a_dropped_write_is_freed, "50", "R10").needs("close", |given| {
            Box::pin(a_close_of_objects_in_records_waits(given))
        }),
    ]
}

/// Abandons a write as a killed process does: the work that its drop begins is given to a
/// runtime that never runs it.
pub(super) fn killed(sink: Box<dyn BlobSink>) {
    let process = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let runtime = runtime.expect("a runtime can be made");
        let _entered = runtime.enter();
        drop(sink);
    });
    process.join().expect("a drop does not panic");
}

/// A dropped write needs no sweep: the work that the drop begins frees everything.
async fn a_dropped_sink_frees_its_content(harness: Given) -> CaseResult {
    let opened = harness.open(()).await?;
    put(&opened.first, object(), seeded(1), b"stays").await?;
    for length in [10, SEVERAL_CHUNKS, LONG] {
        drop(written(&opened.first, object(), seeded(2), &content(2, length)).await?);
        let freed = async {
            while opened.second.sweep().await?.next_due.is_some() {
                tokio::task::yield_now().await;
            }
            Ok::<_, store_core::Error>(())
        };
        let freed = tokio::time::timeout(Duration::from_secs(20), freed).await;
        freed.map_err(|_| format!("{length} bytes wait for a sweep"))??;
        holds([&opened.second], object(), b"stays").await?;
    }
    opened.clock.advance(A_DAY);
    assert_eq!(sweep(&opened.second).await?, 0, "nothing was left");
    Ok(())
}

/// Nothing is left to the sweep of another process, which would free it much later.
async fn a_close_waits_until_a_dropped_write_is_freed(
    harness: Arc<dyn Harness<Store>>,
) -> CaseResult {
    a_close_of_objects_in_records_waits(Arc::clone(&harness)).await?;
    let opened = harness.open(()).await?;
    let blobs = opened.first.blobs();
    drop(written(blobs, object(), seeded(1), &content(1, LONG)).await?);
    opened.first.close().await?;
    match opened.second.blobs().sweep().await {
        // Both handles are of one opened store.
        Err(error) if error.is(ErrorKind::Closed) => {}
        swept => assert_eq!(swept?.next_due, None, "it waits for a sweep"),
    }
    Ok(())
}

/// The same for the standard implementation over the records of the backend. What the
/// first of two closes waits for, the second one waits for too.
async fn a_close_of_objects_in_records_waits(harness: Arc<dyn Harness<Store>>) -> CaseResult {
    let opened = harness.open(()).await?;
    for closes in [1, 2] {
        let blobs = Flaky::over(&opened.first, Outage::Never).blobs();
        drop(written(&blobs, object(), seeded(1), &content(1, LONG)).await?);
        if closes == 2 {
            // Begins to wait and gives up.
            let mut given_up = pin!(blobs.close());
            let _ = poll_fn(|cx| Poll::Ready(given_up.as_mut().poll(cx))).await;
        }
        blobs.close().await?;
        let next_due = blobs.sweep().await?.next_due;
        assert_eq!(next_due, None, "it waits for a sweep");
    }
    Ok(())
}

async fn two_sweeps_at_once_count_each_content_once(harness: Given) -> CaseResult {
    let opened = harness.open(()).await?;
    for round in 0..4 {
        for seed in 0..4 {
            put(&opened.first, object(), seeded(seed), &content(seed, LARGE)).await?;
        }
        opened.first.delete(object()).await?;
        opened.clock.advance(A_DAY);
        let sweeps = [&opened.first, &opened.second].map(|store| {
            let store = Arc::clone(store);
            tokio::spawn(async move { sweep(&store).await })
        });
        let mut freed = 0;
        for sweep in sweeps {
            freed += sweep.await??;
        }
        freed += sweep(&opened.first).await?;
        assert_eq!(freed, 4, "in round {round}");
    }
    Ok(())
}

async fn a_sweep_reports_when_the_next_content_is_due(harness: Given) -> CaseResult {
    let opened = harness.open(()).await?;
    assert_eq!(opened.first.sweep().await?.next_due, None, "nothing waits");
    put(&opened.first, object(), seeded(1), &content(1, LARGE)).await?;
    assert_eq!(opened.first.sweep().await?.next_due, None, "it is in use");
    opened.first.delete(object()).await?;
    let swept = opened.second.sweep_all().await?;
    assert_eq!(swept, opened.second.sweep().await?);
    let due = swept
        .next_due
        .ok_or("deleted content waits for its readers")?;
    let now = opened.clock.now();
    assert!(due > now, "{due:?} is over");
    opened.clock.advance(due.since(now));
    assert_eq!(sweep(&opened.second).await?, 1, "it is due then");
    assert_eq!(opened.second.sweep().await?.next_due, None);
    Ok(())
}

/// A commit takes a hundred records: what owns more is freed in several.
async fn content_in_more_than_a_hundred_pieces_is_freed_whole(harness: Given) -> CaseResult {
    let opened = harness.open(()).await?;
    let length = 130 * CHUNK + 5;
    put(&opened.first, object(), seeded(1), &content(1, length)).await?;
    let open = OpenOptions::default();
    let blob = opened.second.open(object(), open).await?;
    let mut reader = blob.expect("just put").reader;
    assert!(opened.first.delete(object()).await?);
    opened.clock.advance(A_DAY);
    assert_eq!(sweep(&opened.first).await?, 1);
    assert_eq!(opened.first.sweep().await?.next_due, None);
    let mut read = 0;
    let error = loop {
        match reader.next().await {
            Ok(Some(piece)) => read += piece.len(),
            Ok(None) => return Err("short data".into()),
            Err(error) => break error,
        }
    };
    assert!(error.is(store_core::ErrorKind::Superseded), "{error:?}");
    assert!(read < length);
    Ok(())
}

async fn an_abandoned_write_is_reclaimed(harness: Given) -> CaseResult {
    let opened = harness.open(()).await?;
    let bytes = content(1, SEVERAL_CHUNKS);
    put(&opened.first, named("stays"), seeded(1), &bytes).await?;
    for key in ["a", "b"] {
        killed(written(&opened.first, named(key), seeded(2), &content(2, LONG)).await?);
    }
    assert_eq!(sweep(&opened.second).await?, 0, "they may still go on");
    opened.clock.advance(A_DAY);
    // By another process than the one that died.
    assert_eq!(sweep(&opened.second).await?, 2, "both abandoned writes");
    assert_eq!(sweep(&opened.first).await?, 0, "and only once");
    holds([&opened.first, &opened.second], named("stays"), &bytes).await?;
    holds_none([&opened.first, &opened.second], named("a")).await?;
    Ok(())
}

async fn a_write_that_was_reclaimed_can_not_commit(harness: Given) -> CaseResult {
    let opened = harness.open(()).await?;
    let bytes = content(1, SEVERAL_CHUNKS);
    for exists in [false, true] {
        if exists {
            put(&opened.first, object(), seeded(1), &bytes).await?;
        }
        let late = written(
            &opened.first,
            object(),
            seeded(2),
            &content(2, SEVERAL_CHUNKS),
        )
        .await?;
        opened.clock.advance(A_DAY);
        sweep(&opened.second).await?;
        superseded(&late.commit().await?);
        if exists {
            holds([&opened.first, &opened.second], object(), &bytes).await?;
        } else {
            holds_none([&opened.first, &opened.second], object()).await?;
        }
    }
    Ok(())
}

/// Any implementation gives a write that stands still more than 20 minutes.
async fn a_write_in_progress_is_not_reclaimed(harness: Given) -> CaseResult {
    let opened = harness.open(()).await?;
    let bytes = content(1, 12 * CHUNK + 5);
    let mut sink = opened.first.begin(object(), seeded(1).into()).await?;
    for piece in bytes.chunks(CHUNK) {
        sink.write(piece.to_vec().into()).await?;
        opened.clock.advance(Duration::from_secs(20 * 60));
        assert_eq!(sweep(&opened.second).await?, 0, "it is still being written");
    }
    sink.commit().await?.published()?;
    holds([&opened.first, &opened.second], object(), &bytes).await?;
    opened.clock.advance(A_DAY);
    sweep(&opened.second).await?;
    holds([&opened.first, &opened.second], object(), &bytes).await?;
    Ok(())
}

async fn replaced_and_deleted_content_is_reclaimed(harness: Given) -> CaseResult {
    let opened = harness.open(()).await?;
    let bytes = |seed| content(seed, LARGE);
    for seed in 1..=3 {
        put(&opened.first, object(), seeded(seed), &bytes(seed)).await?;
    }
    put(&opened.first, named("deleted"), seeded(4), &bytes(4)).await?;
    opened.second.delete(named("deleted")).await?;
    opened.clock.advance(A_DAY);
    assert_eq!(sweep(&opened.second).await?, 3, "two replaced, one deleted");
    assert_eq!(sweep(&opened.first).await?, 0, "and only once");
    holds([&opened.first, &opened.second], object(), &bytes(3)).await?;
    Ok(())
}

async fn a_sweep_racing_commits_frees_nothing_that_is_published(harness: Given) -> CaseResult {
    let opened = harness.open(()).await?;
    for round in 0..6 {
        let bytes = content(round, 2 * CHUNK);
        // One whose lease is over, and the one before, replaced long ago.
        let late = written(&opened.first, object(), seeded(round), &bytes).await?;
        opened.clock.advance(A_DAY);
        let newer = written(&opened.first, object(), seeded(round), &bytes).await?;
        let sweeps = [&opened.first, &opened.second].map(|store| {
            let store = Arc::clone(store);
            tokio::spawn(async move { sweep(&store).await })
        });
        let late = tokio::spawn(late.commit());
        let newer = tokio::spawn(newer.commit());
        for sweep in sweeps {
            sweep.await??;
        }
        let published = [late.await??, newer.await??]
            .iter()
            .any(|answer| matches!(answer, Publication::Published(_)));
        assert!(published, "the newer one, at the least");
        sweep(&opened.second).await?;
        holds([&opened.first, &opened.second], object(), &bytes).await?;
    }
    Ok(())
}

/// How many records objects take, and how many bytes of bodies.
pub(super) async fn usage(store: &Store) -> store_core::Result<(usize, usize)> {
    async fn of(store: &Store, collection: Collection) -> store_core::Result<(usize, usize)> {
        let (mut records, mut bytes) = (0, 0);
        let mut scan = Scan::collection(collection, "").limit(10)?;
        loop {
            let page = store.records().scan(&scan).await?;
            records += page.items.len();
            bytes += page
                .items
                .iter()
                .map(|record| record.body().size())
                .sum::<usize>();
            match page.next {
                Some(next) => scan = scan.after(&next)?,
                None => return Ok((records, bytes)),
            }
        }
    }
    let mut total = (0, 0);
    for collection in [BLOBS, BLOB_CHUNKS, BLOB_RECLAIM] {
        let (records, bytes) = of(store, collection).await?;
        total = (total.0 + records, total.1 + bytes);
    }
    Ok(total)
}

async fn nothing_is_left_of_deleted_objects(harness: Arc<dyn Harness<Store>>) -> CaseResult {
    let opened = harness.open(()).await?;
    let (store, blobs) = (&*opened.first, opened.first.blobs());
    let bytes = content(1, SEVERAL_CHUNKS);
    let before = usage(store).await?;
    for key in ["a", "b"] {
        put(blobs, named(key), seeded(1), &bytes).await?;
        put(blobs, named(key), seeded(2), b"small").await?;
        put(blobs, named(key), seeded(3), &bytes).await?;
        written(blobs, named(key), seeded(4), &bytes)
            .await?
            .abort()
            .await?;
        killed(written(blobs, named(key), seeded(5), &bytes).await?);
        let stale = written(blobs, named(key), seeded(6), &bytes).await?;
        put(opened.second.blobs(), named(key), seeded(7), &bytes).await?;
        superseded(&stale.commit().await?);
    }
    killed(written(blobs, named("c"), seeded(1), &bytes).await?);
    killed(blobs.begin(named("d"), seeded(1).into()).await?);
    // One is deleted while a write over it is open, both are deleted in the end.
    let open = written(blobs, named("a"), seeded(8), &bytes).await?;
    let mut blob = blobs
        .open(named("b"), OpenOptions::default())
        .await?
        .expect("put");
    for key in ["a", "b"] {
        assert!(opened.second.blobs().delete(named(key)).await?);
    }
    superseded(&open.commit().await?);
    assert!(drain(&mut blob.reader).await? == bytes, "within its grace");
    opened.clock.advance(A_DAY);
    opened.second.blobs().sweep_all().await?;
    assert_eq!(usage(store).await?, before, "not a record is left");
    Ok(())
}

async fn an_aborted_write_frees_its_content_at_once(
    harness: Arc<dyn Harness<Store>>,
) -> CaseResult {
    let opened = harness.open(()).await?;
    let (store, blobs) = (&*opened.first, opened.first.blobs());
    let before = usage(store).await?;
    for length in [0, 10, SEVERAL_CHUNKS, 20 * CHUNK] {
        let bytes = content(1, length);
        written(blobs, object(), seeded(1), &bytes)
            .await?
            .abort()
            .await?;
        assert_eq!(usage(store).await?, before, "after {length} bytes");
    }
    put(blobs, object(), seeded(1), b"stays").await?;
    let before = usage(store).await?;
    let stale = written(blobs, object(), seeded(2), &content(2, SEVERAL_CHUNKS)).await?;
    stale.abort().await?;
    assert_eq!(
        usage(store).await?.0,
        before.0,
        "no record more than before"
    );
    Ok(())
}
