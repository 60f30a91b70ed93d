//! An outage at any step is an error, and the interrupted call was done completely or
//! not at all.

use std::sync::Arc;

use store_core::blobs::{BlobList, BlobStoreExt, OpenOptions, Publication};
use store_core::{ErrorKind, Retry, Store};

use super::flaky::{Flaky, LateChunk, Outage};
use super::reclaim::{A_DAY, killed, usage};
use super::tools::{
    CHUNK, SEVERAL_CHUNKS, content, drain, holds, holds_none, named, object, put, read, seeded,
    written,
};
use crate::case;
use crate::harness::Harness;
use crate::suite::{Case, CaseResult};

pub(super) fn store_cases() -> Vec<Case<Store>> {
    vec![
        case!(an_outage_is_an_error_and_never_a_miss, "48", "R7"),
        case!(a_read_continues_after_an_outage, "48"),
        case!(
            an_outage_at_any_step_of_a_write_leaves_the_old_or_the_new,
            "48",
            "42",
            "50"
        ),
        case!(
            an_outage_at_any_step_of_a_delete_leaves_all_or_nothing,
            "48",
            "50"
        ),
        case!(
            an_outage_at_any_step_of_a_sweep_frees_nothing_in_use_and_leaves_nothing,
            "48",
            "49",
            "50"
        ),
        case!(a_chunk_that_arrives_after_an_abort_is_freed, "50", "49"),
        case!(after_close_every_call_is_refused, "R10", "58", "48").needs("close", |given| {
            Box::pin(objects_without_close_stay_usable(given))
        }),
    ]
}

async fn an_outage_is_an_error_and_never_a_miss(harness: Arc<dyn Harness<Store>>) -> CaseResult {
    let opened = harness.open(()).await?;
    let bytes = content(1, SEVERAL_CHUNKS);
    let standard = Flaky::over(&opened.first, Outage::Never).blobs();
    put(&standard, object(), seeded(1), &bytes).await?;
    let down = Flaky::over(&opened.first, Outage::From(0)).blobs();
    for at in [object(), named("none")] {
        let errors = [
            down.stat(at).await.expect_err("down"),
            down.open(at, OpenOptions::default())
                .await
                .expect_err("down"),
            down.delete(at).await.expect_err("down"),
            down.begin(at, seeded(1).into()).await.expect_err("down"),
            down.list(&BlobList::new("bucket")?)
                .await
                .expect_err("down"),
            down.sweep().await.expect_err("down"),
        ];
        for error in errors {
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        }
    }
    // An outage while content is read or written.
    let blobs = Flaky::over(&opened.first, Outage::From(1)).blobs();
    let mut blob = blobs
        .open(object(), OpenOptions::default())
        .await?
        .expect("put");
    let error = blob.reader.next().await.expect_err("down");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let blobs = Flaky::over(&opened.first, Outage::From(3)).blobs();
    let mut sink = blobs.begin(object(), seeded(2).into()).await?;
    let wrote = sink.write(content(2, SEVERAL_CHUNKS).into()).await;
    assert_eq!(wrote.expect_err("down").kind(), ErrorKind::Unavailable);
    assert!(sink.commit().await.is_err(), "a part is missing");
    holds([&standard], object(), &bytes).await?;
    Ok(())
}

async fn a_read_continues_after_an_outage(harness: Arc<dyn Harness<Store>>) -> CaseResult {
    let opened = harness.open(()).await?;
    let bytes = content(1, 12 * CHUNK + 9);
    let standard = Flaky::over(&opened.first, Outage::Never).blobs();
    put(&standard, object(), seeded(1), &bytes).await?;
    for step in 1..=13 {
        let blobs = Flaky::over(&opened.first, Outage::After(step)).blobs();
        let mut blob = blobs
            .open(object(), OpenOptions::default())
            .await?
            .expect("put");
        let mut found = Vec::new();
        let mut errors = 0;
        loop {
            match blob.reader.next().await {
                Ok(Some(piece)) => found.extend_from_slice(&piece),
                Ok(None) => break,
                Err(_) => errors += 1,
            }
        }
        assert_eq!(errors, 1, "one answer was lost, at step {step}");
        assert!(found == bytes, "every byte once, in order, at step {step}");
    }
    Ok(())
}

/// Runs `act` with an outage at each of its steps, of each kind, until it takes
/// place before or after all of them. `prove` gets what `act` returned.
macro_rules! at_every_step {
    ($harness:expr, $opened:ident, $blobs:ident, $prepare:block, $act:block, $answer:ident, $prove:block) => {{
        for kind in [Outage::From, Outage::Before, Outage::After] {
            for step in 0.. {
                assert!(step < 100, "it takes a bounded number of steps");
                let $opened = $harness.open(()).await?;
                $prepare
                let flaky = Flaky::over(&$opened.first, kind(step));
                let $blobs = flaky.blobs();
                let $answer = async { $act }.await;
                let steps = flaky.calls();
                $prove
                if steps <= step {
                    assert!($answer.is_ok(), "no step failed");
                    break;
                }
            }
        }
    }};
}

async fn an_outage_at_any_step_of_a_write_leaves_the_old_or_the_new(
    harness: Arc<dyn Harness<Store>>,
) -> CaseResult {
    let (old, new) = (content(1, SEVERAL_CHUNKS), content(2, SEVERAL_CHUNKS + 1));
    at_every_step!(
        harness,
        opened,
        blobs,
        {
            let standard = Flaky::over(&opened.first, Outage::Never).blobs();
            put(&standard, object(), seeded(1), &old).await?;
        },
        {
            let sink = written(&blobs, object(), seeded(2), &new).await?;
            sink.commit().await
        },
        answer,
        {
            let standard = Flaky::over(&opened.second, Outage::Never).blobs();
            let (stat, found) = read(&standard, object()).await?.expect("old or new");
            let is_new = stat.metadata.tag == seeded(2).tag;
            assert!(
                found == if is_new { &new[..] } else { &old[..] },
                "one of the two, whole"
            );
            match &answer {
                Ok(Publication::Published(answer)) => assert_eq!(*answer, stat),
                Ok(other) => panic!("nothing else was written: {other:?}"),
                Err(error) => assert!(!is_new || error.retry() == Retry::Ambiguous, "{error:?}"),
            }
            // What the outage left behind is garbage and no more.
            opened.clock.advance(A_DAY);
            standard.sweep_all().await?;
            holds([&standard], object(), if is_new { &new } else { &old }).await?;
            assert_eq!(
                usage(&opened.first).await?.0,
                1 + 4,
                "a pointer and four chunks"
            );
        }
    );
    Ok(())
}

async fn an_outage_at_any_step_of_a_delete_leaves_all_or_nothing(
    harness: Arc<dyn Harness<Store>>,
) -> CaseResult {
    let bytes = content(1, SEVERAL_CHUNKS);
    at_every_step!(
        harness,
        opened,
        blobs,
        {
            let standard = Flaky::over(&opened.first, Outage::Never).blobs();
            put(&standard, object(), seeded(1), &bytes).await?;
        },
        { blobs.delete(object()).await },
        answer,
        {
            let standard = Flaky::over(&opened.second, Outage::Never).blobs();
            let is_there = standard.stat(object()).await?.is_some();
            match &answer {
                Ok(there_was_one) => assert_eq!((*there_was_one, is_there), (true, false)),
                Err(error) => assert!(is_there || error.retry() == Retry::Ambiguous, "{error:?}"),
            }
            opened.clock.advance(A_DAY);
            standard.sweep_all().await?;
            if is_there {
                holds([&standard], object(), &bytes).await?;
            } else {
                holds_none([&standard], object()).await?;
            }
            let records = usage(&opened.first).await?.0;
            assert_eq!(records, if is_there { 5 } else { 0 });
        }
    );
    Ok(())
}

async fn an_outage_at_any_step_of_a_sweep_frees_nothing_in_use_and_leaves_nothing(
    harness: Arc<dyn Harness<Store>>,
) -> CaseResult {
    let bytes = content(1, SEVERAL_CHUNKS);
    at_every_step!(
        harness,
        opened,
        blobs,
        {
            let standard = Flaky::over(&opened.first, Outage::Never).blobs();
            put(&standard, object(), seeded(2), &content(2, SEVERAL_CHUNKS)).await?;
            killed(written(&standard, object(), seeded(3), &bytes).await?);
            put(&standard, object(), seeded(1), &bytes).await?;
            opened.clock.advance(A_DAY);
        },
        { blobs.sweep_all().await },
        answer,
        {
            let standard = Flaky::over(&opened.second, Outage::Never).blobs();
            holds([&standard], object(), &bytes).await?;
            // A later sweep frees the rest.
            standard.sweep_all().await?;
            opened.clock.advance(A_DAY);
            standard.sweep_all().await?;
            holds([&standard], object(), &bytes).await?;
            let records = usage(&opened.first).await?.0;
            assert_eq!(records, 1 + 4, "a pointer and four chunks");
        }
    );
    Ok(())
}

/// Its writer got no reply and aborted, or dropped the write, before the server
/// executed the request.
async fn a_chunk_that_arrives_after_an_abort_is_freed(
    harness: Arc<dyn Harness<Store>>,
) -> CaseResult {
    for drops in [false, true] {
        let opened = harness.open(()).await?;
        let before = usage(&opened.first).await?;
        let late = LateChunk::over(&opened.first);
        let blobs = late.blobs();
        let mut sink = blobs.begin(object(), seeded(1).into()).await?;
        // The error may be reported by any later call.
        let _ = sink.write(content(1, SEVERAL_CHUNKS).into()).await;
        if drops {
            drop(sink.commit().await.expect_err("a chunk has no reply"));
        } else {
            sink.abort().await?;
        }
        assert!(late.deliver().await?, "a chunk was sent");
        assert!(usage(&opened.first).await? > before, "the chunk is stored");
        opened.clock.advance(A_DAY);
        let standard = Flaky::over(&opened.second, Outage::Never).blobs();
        standard.sweep_all().await?;
        assert_eq!(usage(&opened.first).await?, before, "and is freed");
    }
    Ok(())
}

/// What is left of the promise where there is nothing to close.
async fn objects_without_close_stay_usable(harness: Arc<dyn Harness<Store>>) -> CaseResult {
    let opened = harness.open(()).await?;
    let blobs = opened.first.blobs();
    blobs.close().await?;
    put(blobs, object(), seeded(1), b"content").await?;
    Ok(holds([blobs], object(), b"content").await?)
}

async fn after_close_every_call_is_refused(harness: Arc<dyn Harness<Store>>) -> CaseResult {
    let opened = harness.open(()).await?;
    let blobs = opened.first.blobs();
    put(blobs, object(), seeded(1), &content(1, SEVERAL_CHUNKS)).await?;
    let mut blob = blobs
        .open(object(), OpenOptions::default())
        .await?
        .expect("put");
    let sink = written(blobs, object(), seeded(2), b"late").await?;
    blobs.close().await?;
    blobs.close().await?;
    let errors = [
        blobs.stat(object()).await.expect_err("closed"),
        blobs
            .open(object(), OpenOptions::default())
            .await
            .expect_err("closed"),
        blobs.delete(object()).await.expect_err("closed"),
        blobs
            .begin(object(), seeded(1).into())
            .await
            .expect_err("closed"),
        blobs
            .list(&BlobList::new("bucket")?)
            .await
            .expect_err("closed"),
        blobs.sweep().await.expect_err("closed"),
        drain(&mut blob.reader).await.expect_err("closed"),
        sink.commit().await.expect_err("closed"),
    ];
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
    }
    Ok(())
}
