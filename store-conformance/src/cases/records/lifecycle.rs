//! R8 to R10: calls that are dropped, what is printed, sweeping and closing.

use std::future::Future;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use store_core::{
    Batch, Body, ErrorKind, Expect, Partition, Ping, Record, RecordKey, RecordStore, Result, Scan,
    Swept,
};

use super::tools::{Given, Space, THINGS, conflict, ids, key};
use crate::suite::CaseResult;
use crate::{Case, case};

pub(super) fn cases() -> Vec<Case<dyn RecordStore>> {
    vec![
        case!(a_dropped_commit_is_wholly_done_or_wholly_not, "R8", "39"),
        case!(a_dropped_read_leaves_the_store_usable, "R8", "39"),
        case!(nothing_printed_holds_a_name_or_a_body, "R9"),
        case!(a_closed_store_answers_closed, "R7", "R10", "58").needs("close", |harness| {
            Box::pin(a_store_without_close_stays_open(harness))
        }),
        case!(a_store_says_what_it_is_and_answers_a_ping, "R7"),
        case!(a_sweep_takes_only_what_expired_before_the_grace, "R2"),
        case!(a_sweep_never_takes_a_renewed_record, "R2"),
    ]
}

/// The answer of `future`, unless it takes more than `polls` polls; then it is
/// dropped where it stands.
async fn within<T>(polls: usize, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    let mut left = polls;
    std::future::poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match future.as_mut().poll(context) {
            Poll::Ready(answer) => Poll::Ready(Some(answer)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

async fn a_dropped_commit_is_wholly_done_or_wholly_not(harness: Given) -> CaseResult {
    let space = Space::open(&harness).await?;
    for polls in 0..60 {
        let keys: Vec<RecordKey> = (0..4)
            .map(|i| key(format!("{polls}-{i}")))
            .collect::<Result<_>>()?;
        space.put(keys[0].id(), 0).await?;
        let mut batch = space.batch();
        batch
            .put(keys[0].clone(), Expect::Present, Body::json(1)?)?
            .put(keys[1].clone(), Expect::Absent, Body::json(1)?)?
            .check(keys[3].clone(), Expect::Absent)?
            .put(keys[2].clone(), Expect::Absent, Body::json(1)?)?;
        let answer = within(polls, space.first.commit(&batch)).await;
        let found = space.snapshot(&keys[..3]).await?;
        let ours = |r: &Option<Record>| r.as_ref().is_some_and(|r| r.version() == batch.version());
        let landed = found.iter().filter(|record| ours(record)).count();
        assert!(
            landed % 3 == 0,
            "dropped after {polls} polls: {landed} of 3 written"
        );
        // Nothing is left locked or half open.
        for number in 0..2 {
            let mut batch = space.batch();
            batch.put(keys[3].clone(), Expect::Any, Body::json(number)?)?;
            space.handle(number).commit(&batch).await?;
        }
        assert!(space.record(keys[3].id()).await?.is_some());
        if let Some(answer) = answer {
            answer?;
            assert_eq!(landed, 3, "answered, and not to be found");
            break;
        }
    }
    Ok(())
}

async fn a_dropped_read_leaves_the_store_usable(harness: Given) -> CaseResult {
    let space = Space::open(&harness).await?;
    space.put("a", 1).await?;
    let a = key("a")?;
    let at = [a.at(&space.partition); 3];
    for polls in 0..8 {
        let _ = within(polls, space.first.get(at[0])).await;
        let _ = within(polls, space.first.get_many(&at)).await;
        let _ = within(polls, space.first.scan(&space.scan())).await;
        // Answers are not confused with those of dropped calls.
        space.put("b", polls as u64).await?;
        let b = space.first.get(key("b")?.at(&space.partition)).await?;
        assert_eq!(*b.ok_or("just written")?.decode::<usize>()?, polls);
        assert_eq!(space.number("a").await?, Some(1));
    }
    Ok(())
}

async fn nothing_printed_holds_a_name_or_a_body(harness: Given) -> CaseResult {
    let space = Space::open(&harness).await?;
    let partition = Partition::new("hidden-partition")?;
    let named = key("hidden-id")?;
    let mut batch = Batch::new(partition.clone(), space.now());
    batch.put(
        named.clone(),
        Expect::Absent,
        Body::replacement("hidden-body")?,
    )?;
    space.first.commit(&batch).await?;
    let record = space.first.get(named.at(&partition)).await?;
    let record = record.ok_or("just written")?;
    let scan = Scan::partition(THINGS, partition.clone()).id_prefix("hidden");
    let page = space.first.scan(&scan).await?;
    let error = conflict(space.second.commit(&batch).await);
    let corrupt = record.decode::<u64>().expect_err("it is a text");
    let mut printed = vec![
        format!("{:?} {:?}", space.first, space.second),
        format!("{record:?} {page:?} {batch:?} {scan:?}"),
    ];
    for error in [&error, &corrupt] {
        printed.push(format!("{error} {error:?}"));
        let mut source = std::error::Error::source(error);
        while let Some(cause) = source {
            printed.push(format!("{cause} {cause:?}"));
            source = cause.source();
        }
    }
    for text in printed {
        assert!(!text.contains("hidden"), "printed: {text}");
    }
    Ok(())
}

async fn a_closed_store_answers_closed(harness: Given) -> CaseResult {
    let space = Space::open(&harness).await?;
    space.put("a", 1).await?;
    let clone = std::sync::Arc::clone(&space.first);
    space.first.close().await?;
    space.first.close().await?;
    let a = key("a")?;
    let at = a.at(&space.partition);
    let mut write = space.batch();
    write.put(key("b")?, Expect::Any, Body::json(2)?)?;
    for store in [&space.first, &clone] {
        if let Some(answer) = store.get_now(at) {
            let error = answer.err().ok_or("get_now answered")?;
            assert_eq!(error.kind(), ErrorKind::Closed, "get_now: {error}");
        }
        for (operation, answer) in [
            ("get", store.get(at).await.map(drop)),
            ("get_many", store.get_many(&[at]).await.map(drop)),
            ("scan", store.scan(&space.scan()).await.map(drop)),
            ("commit", store.commit(&write).await.map(drop)),
        ] {
            let error = answer.err().ok_or(format!("{operation} answered"))?;
            assert_eq!(error.kind(), ErrorKind::Closed, "{operation}: {error}");
        }
        // A store may leave these two to their defaults, which ask no server.
        match store.ping().await {
            Ok(ping) => assert_eq!(ping, Ping::default(), "a closed server answered"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Closed, "ping: {error}"),
        }
        match store.sweep(Duration::ZERO).await {
            Ok(swept) => assert_eq!(swept, Swept::default(), "a closed store was swept"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Closed, "sweep: {error}"),
        }
    }
    Ok(())
}

/// What is left of the promise where there is nothing to close.
async fn a_store_without_close_stays_open(harness: Given) -> CaseResult {
    let space = Space::open(&harness).await?;
    space.first.close().await?;
    space.put("a", 1).await?;
    assert_eq!(space.number("a").await?, Some(1));
    Ok(())
}

async fn a_store_says_what_it_is_and_answers_a_ping(harness: Given) -> CaseResult {
    let space = Space::open(&harness).await?;
    assert!(!space.first.capabilities().backend.is_empty());
    assert_eq!(space.first.capabilities(), space.second.capabilities());
    let ping = space.first.ping().await?;
    assert_eq!(ping.server_time.is_some(), ping.skew.is_some());
    assert!(
        ids(&*space.first, space.scan()).await?.is_empty(),
        "a ping writes nothing"
    );
    Ok(())
}

/// Sweeps until nothing more is removed, and returns how many records were.
async fn sweep(store: &dyn RecordStore, grace: Duration) -> Result<u64> {
    let mut removed = 0;
    for _ in 0..1000 {
        let swept = store.sweep(grace).await?;
        removed += swept.removed;
        if !swept.more {
            return Ok(removed);
        }
    }
    panic!("a sweep that never ends");
}

async fn a_sweep_takes_only_what_expired_before_the_grace(harness: Given) -> CaseResult {
    let space = Space::open(&harness).await?;
    let (second, start) = (Duration::from_secs(1), space.now());
    let mut batch = space.batch();
    for i in 0..40u32 {
        let expires_at = (i % 4 != 0).then(|| start + second * (i % 4) * 10);
        batch.put_until(
            key(format!("{i:02}"))?,
            Expect::Absent,
            Body::json(i)?,
            expires_at,
        )?;
    }
    space.first.commit(&batch).await?;
    space.clock.advance(second * 15);
    let early = sweep(&*space.first, second * 6).await?;
    assert_eq!(early, 0, "taken within the grace");
    for (after, left) in [(15, 30), (20, 20), (30, 10), (1000, 10)] {
        space.clock.set(start + second * after);
        sweep(&*space.first, second * 5).await?;
        let found = ids(&*space.second, space.scan()).await?;
        assert_eq!(found.len(), left, "after {after} s");
    }
    Ok(())
}

async fn a_sweep_never_takes_a_renewed_record(harness: Given) -> CaseResult {
    let space = Space::open(&harness).await?;
    let second = Duration::from_secs(1);
    for id in ["renewed", "made lasting", "recreated", "revived"] {
        space.put_until(id, 1, Some(space.now() + second)).await?;
    }
    space
        .put_until("renewed", 2, Some(space.now() + second * 1000))
        .await?;
    space.put("made lasting", 2).await?;
    space.delete("recreated").await?;
    space.put("recreated", 2).await?;
    space.clock.advance(second * 100);
    space
        .put_until("revived", 2, Some(space.now() + second * 100))
        .await?;
    sweep(&*space.first, second).await?;
    for id in ["renewed", "made lasting", "recreated", "revived"] {
        assert_eq!(space.number(id).await?, Some(2), "{id} was swept");
    }

    // The same while both run: a renewed record survives the sweep.
    for round in 0..20 {
        let id = format!("race {round}");
        space.put_until(&id, 1, Some(space.now() + second)).await?;
        space.clock.advance(second * 10);
        let (put, swept) = tokio::join!(space.put(&id, 2), sweep(&*space.second, second));
        put?;
        swept?;
        assert_eq!(
            space.number(&id).await?,
            Some(2),
            "swept while it was renewed"
        );
    }
    Ok(())
}
