//! Notices of changes: which listener gets which, and when.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use store_core::body::MAX_BODY;
use store_core::changes::{Changes, Notice};
use store_core::{
    Batch, Body, Collection, ErrorKind, Expect, Partition, RecordKey, RecordStore, Result, Support,
};

use super::names::strange_names;
use super::tools::{Given, OTHERS, Space, conflict};
use crate::history::Dice;
use crate::suite::CaseResult;
use crate::{Case, case};

/// A collection with change notices.
pub(crate) const WATCHED: Collection = Collection::new("watched").cacheable();

pub(super) fn cases() -> Vec<Case<dyn RecordStore>> {
    vec![
        needs(case!(every_change_notifies_every_listener, "8")),
        needs(case!(
            a_change_can_be_read_when_its_notice_arrives,
            "8",
            "R3"
        )),
        needs(case!(what_did_not_change_causes_no_notice, "8")),
        needs(case!(notices_contain_odd_names_unchanged, "8", "47")),
        needs(case!(a_large_record_causes_the_same_notices, "8")),
        needs(case!(notices_never_cross_namespaces, "10")),
        needs(case!(a_missed_notice_is_reported_as_a_gap, "8")),
        needs(case!(a_dropped_call_loses_no_notice, "8", "39")),
        needs(case!(a_closed_store_ends_its_notices, "R10", "58")).needs("close", |harness| {
            Box::pin(a_store_without_close_continues_its_notices(harness))
        }),
    ]
}

/// A store need not have change notices; then it refuses the call.
fn needs(case: Case<dyn RecordStore>) -> Case<dyn RecordStore> {
    case.needs("change notice", |harness| {
        Box::pin(change_notices_are_refused_where_there_are_none(harness))
    })
}

async fn change_notices_are_refused_where_there_are_none(harness: Given) -> CaseResult {
    let space = Space::open(&harness).await?;
    let refused = space.first.changes().await.expect_err("it has no notices");
    assert_eq!(refused.kind(), ErrorKind::Unsupported, "{refused}");
    assert_eq!(space.first.capabilities().change_notice, Support::No);
    Ok(())
}

fn watched(id: impl AsRef<str>) -> Result<RecordKey> {
    RecordKey::new(WATCHED, id)
}

/// Waits as long as a slow network may take, and then fails.
async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    let answer = tokio::time::timeout(Duration::from_secs(30), future).await;
    answer.unwrap_or_else(|_| panic!("{what}: no notice arrived"))
}

/// Receives exactly `expected`, in any order.
async fn receives(
    what: &str,
    changes: &mut Changes,
    partition: &Partition,
    expected: &[RecordKey],
) {
    let mut expected: Vec<_> = expected.iter().collect();
    while !expected.is_empty() {
        let notice = soon(what, changes.next()).await;
        let Some(Notice::Changed { partition: p, key }) = &notice else {
            panic!("{what}: {notice:?}, although nothing was lost");
        };
        let place = expected.iter().position(|wanted| *wanted == key);
        let place = place.filter(|_| p == partition);
        expected.swap_remove(
            place.unwrap_or_else(|| {
                panic!("{what}: a notice of {:?} in {:?}", key.id(), p.as_str())
            }),
        );
    }
}

async fn every_change_notifies_every_listener(harness: Given) -> CaseResult {
    let space = Space::open(&harness).await?;
    assert_ne!(space.first.capabilities().change_notice, Support::No);
    let mut listeners = vec![
        space.first.changes().await?,
        space.second.changes().await?,
        space.second.changes().await?,
    ];
    let (a, b, c) = (watched("a")?, watched("b")?, watched("c")?);
    let many: Vec<_> = (0..90)
        .map(|i| watched(format!("{i:03}{}", "x".repeat(200))))
        .collect::<Result<_>>()?;
    let mut batches: Vec<Batch> = (0..6).map(|_| space.batch()).collect();
    batches[0].put(a.clone(), Expect::Absent, Body::json(1)?)?;
    batches[1].put(a.clone(), Expect::Present, Body::json(2)?)?;
    batches[2].put(b.clone(), Expect::Any, Body::json(1)?)?;
    batches[3].delete(a.clone(), Expect::Present)?;
    batches[4]
        .check(a.clone(), Expect::Absent)?
        .delete(b.clone(), Expect::Present)?
        .put(c.clone(), Expect::Absent, Body::json(1)?)?
        .put(RecordKey::new(OTHERS, "a")?, Expect::Absent, Body::json(1)?)?;
    for key in &many {
        batches[5].put(key.clone(), Expect::Absent, Body::json(1)?)?;
    }
    for (number, batch) in batches.iter().enumerate() {
        space.handle(number).commit(batch).await?;
    }
    let last = watched("last")?;
    let mut batch = space.batch();
    batch.put(last.clone(), Expect::Any, Body::json(1)?)?;
    space.first.commit(&batch).await?;

    let mut expected = vec![&a, &a, &b, &a, &b, &c];
    expected.extend(&many);
    expected.sort();
    for changes in &mut listeners {
        let mut noticed = Vec::new();
        loop {
            match soon("the last change", changes.next()).await {
                Some(Notice::Changed { partition, key }) => {
                    assert_eq!(partition, space.partition);
                    if key == last {
                        break;
                    }
                    noticed.push(key);
                }
                other => panic!("{other:?}, although nothing was lost"),
            }
        }
        noticed.sort();
        assert!(
            noticed.iter().eq(expected.iter().copied()),
            "{} notices, {} changes",
            noticed.len(),
            expected.len()
        );
    }
    Ok(())
}

async fn a_change_can_be_read_when_its_notice_arrives(harness: Given) -> CaseResult {
    let space = Space::open(&harness).await?;
    let a = watched("a")?;
    let mut changes = space.second.changes().await?;
    for number in 0..30 {
        let mut batch = space.batch();
        batch.put(a.clone(), Expect::Any, Body::json(number)?)?;
        let read = async {
            soon("a write", changes.next()).await;
            space.second.get(a.at(&space.partition)).await
        };
        let (committed, read) = tokio::join!(space.first.commit(&batch), read);
        committed?;
        let version = read?.map(|record| record.version());
        assert_eq!(
            version,
            Some(batch.version()),
            "noticed before it could be read"
        );
    }
    Ok(())
}

async fn what_did_not_change_causes_no_notice(harness: Given) -> CaseResult {
    let space = Space::open(&harness).await?;
    let second = Duration::from_secs(1);
    let (a, brief, last) = (watched("a")?, watched("brief")?, watched("last")?);
    let mut batch = space.batch();
    batch
        .put(a.clone(), Expect::Any, Body::json(1)?)?
        .put_until(
            brief,
            Expect::Any,
            Body::json(1)?,
            Some(space.now() + second),
        )?;
    space.first.commit(&batch).await?;

    let mut changes = space.second.changes().await?;
    let mut refused = space.batch();
    refused.put(a.clone(), Expect::Absent, Body::json(2)?)?;
    conflict(space.first.commit(&refused).await);
    refused.put(watched("b")?, Expect::Any, Body::json(2)?)?;
    conflict(space.first.commit(&refused).await);
    let mut checked = space.batch();
    checked.check(a.clone(), Expect::Present)?;
    space.first.commit(&checked).await?;
    space.put("not watched", 1).await?;
    space.first.commit(&space.batch()).await?;
    // A record contains its expiry, so there is no notice of it.
    space.clock.advance(second * 10);
    space.first.sweep(second).await?;

    let mut batch = space.batch();
    batch.put(last.clone(), Expect::Absent, Body::json(1)?)?;
    space.first.commit(&batch).await?;
    receives("the only change", &mut changes, &space.partition, &[last]).await;
    Ok(())
}

async fn notices_contain_odd_names_unchanged(harness: Given) -> CaseResult {
    let space = Space::open(&harness).await?;
    let mut changes = space.second.changes().await?;
    let names = strange_names();
    for names in names.chunks(50) {
        let keys: Vec<_> = names.iter().map(watched).collect::<Result<_>>()?;
        let mut batch = space.batch();
        for key in &keys {
            batch.put(key.clone(), Expect::Absent, Body::json(1)?)?;
        }
        space.first.commit(&batch).await?;
        receives("ids", &mut changes, &space.partition, &keys).await;
    }
    for (index, name) in names.iter().enumerate().step_by(3) {
        let partition = Partition::new(name)?;
        let key = watched(&names[names.len() - 1 - index])?;
        let mut batch = Batch::new(partition.clone(), space.now());
        batch.put(key.clone(), Expect::Absent, Body::json(1)?)?;
        space.first.commit(&batch).await?;
        receives("a partition", &mut changes, &partition, &[key]).await;
    }
    Ok(())
}

/// A backend may store a large body in parts, and may write them in several steps.
async fn a_large_record_causes_the_same_notices(harness: Given) -> CaseResult {
    let space = Space::open(&harness).await?;
    let mut listeners = [space.first.changes().await?, space.second.changes().await?];
    // JSON, and bytes that cannot be compressed.
    let text = Body::json("x".repeat(MAX_BODY - 100))?;
    let mut dice = Dice::new(1);
    let noise: Vec<u8> = (0..MAX_BODY - 100).map(|_| dice.below(256) as u8).collect();
    for (name, body) in [("text", text), ("noise", Body::bytes(noise)?)] {
        let (large, small) = (watched(name)?, watched(format!("{name}, small"))?);
        let mut batches: Vec<Batch> = (0..5).map(|_| space.batch()).collect();
        batches[0].put(large.clone(), Expect::Absent, body.clone())?;
        batches[1].put(large.clone(), Expect::Present, body.clone())?;
        batches[2].put(large.clone(), Expect::Any, Body::json(1)?)?;
        batches[3].put(large.clone(), Expect::Present, body)?.put(
            small.clone(),
            Expect::Absent,
            Body::json(1)?,
        )?;
        batches[4].delete(large.clone(), Expect::Present)?;
        for (number, batch) in batches.iter().enumerate() {
            space.handle(number).commit(batch).await?;
            let expected = match number {
                3 => vec![large.clone(), small.clone()],
                _ => vec![large.clone()],
            };
            for changes in &mut listeners {
                let what = format!("{name}, commit {number}");
                receives(&what, changes, &space.partition, &expected).await;
            }
        }
    }
    Ok(())
}

async fn notices_never_cross_namespaces(harness: Given) -> CaseResult {
    let spaces = [Space::open(&harness).await?, Space::open(&harness).await?];
    let mut listeners = [
        spaces[0].second.changes().await?,
        spaces[1].second.changes().await?,
    ];
    let names = ["here", "there"];
    for (space, name) in spaces.iter().zip(names) {
        let mut batch = space.batch();
        batch.put(watched(name)?, Expect::Any, Body::json(1)?)?;
        space.first.commit(&batch).await?;
    }
    for ((changes, space), name) in listeners.iter_mut().zip(&spaces).zip(names) {
        receives(name, changes, &space.partition, &[watched(name)?]).await;
    }
    Ok(())
}

/// More notices than any connection buffers: a gap replaces those that do not arrive.
async fn a_missed_notice_is_reported_as_a_gap(harness: Given) -> CaseResult {
    let space = Space::open(&harness).await?;
    let mut slow = space.second.changes().await?;
    let mut missing = std::collections::BTreeSet::new();
    for hundred in 0..15 {
        let mut batch = space.batch();
        for i in 0..100 {
            let id = format!("{hundred}-{i}");
            batch.put(watched(&id)?, Expect::Absent, Body::json(i)?)?;
            missing.insert(id);
        }
        space.handle(hundred).commit(&batch).await?;
    }
    let last = watched("last")?;
    let mut batch = space.batch();
    batch.put(last.clone(), Expect::Absent, Body::json(1)?)?;
    space.first.commit(&batch).await?;
    loop {
        match soon("the last change", slow.next()).await {
            Some(Notice::Gap) => missing.clear(),
            Some(Notice::Changed { key, .. }) if key == last => break,
            Some(Notice::Changed { key, .. }) => drop(missing.remove(key.id())),
            None => panic!("the store is open"),
        }
    }
    assert!(
        missing.is_empty(),
        "{} notices are missing without a gap",
        missing.len()
    );
    Ok(())
}

async fn a_dropped_call_loses_no_notice(harness: Given) -> CaseResult {
    let space = Space::open(&harness).await?;
    let mut changes = space.second.changes().await?;
    for i in 0..20 {
        let key = watched(i.to_string())?;
        let mut batch = space.batch();
        batch.put(key.clone(), Expect::Absent, Body::json(i)?)?;
        // The first to end drops the other; a commit is never noticed twice.
        let notice = tokio::select! {
            notice = changes.next() => notice,
            done = space.first.commit(&batch) => done.map(|_| None)?,
        };
        if notice.is_none() {
            receives("a commit", &mut changes, &space.partition, &[key]).await;
        }
    }
    Ok(())
}

async fn a_closed_store_ends_its_notices(harness: Given) -> CaseResult {
    let space = Space::open(&harness).await?;
    let mut changes = space.first.changes().await?;
    let waits = async { soon("the end", changes.next()).await };
    let (end, closed) = tokio::join!(waits, space.first.close());
    closed?;
    assert_eq!(end, None);
    assert_eq!(soon("still the end", changes.next()).await, None);
    let error = space.first.changes().await.expect_err("it is closed");
    assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
    Ok(())
}

/// The rest of the promise for a store without anything to close.
async fn a_store_without_close_continues_its_notices(harness: Given) -> CaseResult {
    let space = Space::open(&harness).await?;
    let mut changes = space.first.changes().await?;
    space.first.close().await?;
    let key = watched("a")?;
    let mut batch = space.batch();
    batch.put(key.clone(), Expect::Any, Body::json(1)?)?;
    Arc::clone(&space.second).commit(&batch).await?;
    receives("a write", &mut changes, &space.partition, &[key]).await;
    Ok(())
}
