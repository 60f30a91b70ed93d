//! Notices of changes: who hears of what, and when.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use store_core::changes::{Changes, Notice};
use store_core::{
    Batch, Body, Collection, ErrorKind, Expect, Partition, RecordKey, RecordStore, Result, Support,
};

use super::names::strange_names;
use super::tools::{Given, OTHERS, Space, conflict};
use crate::suite::CaseResult;
use crate::{Case, case};

/// Its changes are told.
pub(crate) const WATCHED: Collection = Collection::new("watched").cacheable();

pub(super) fn cases() -> Vec<Case<dyn RecordStore>> {
    vec![
        needs(case!(every_change_is_told_to_all_who_listen, "8")),
        needs(case!(a_change_can_be_read_when_it_is_told, "8", "R3")),
        needs(case!(what_did_not_change_is_not_told, "8")),
        needs(case!(strange_names_are_told_as_they_are, "8", "47")),
        needs(case!(two_namespaces_never_hear_each_other, "10")),
        needs(case!(whoever_misses_a_notice_is_told_of_a_gap, "8")),
        needs(case!(a_call_that_is_dropped_loses_no_notice, "8", "39")),
        needs(case!(a_closed_store_ends_what_it_tells, "R10", "58")).needs("close", |harness| {
            Box::pin(a_store_without_close_goes_on_telling(harness))
        }),
    ]
}

/// A store need not tell anybody; then it says so.
fn needs(case: Case<dyn RecordStore>) -> Case<dyn RecordStore> {
    case.needs("change notice", |harness| {
        Box::pin(a_store_without_change_notice_says_so(harness))
    })
}

async fn a_store_without_change_notice_says_so(harness: Given) -> CaseResult {
    let space = Space::open(&harness).await?;
    let refused = space.first.changes().await.expect_err("it tells nobody");
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
    answer.unwrap_or_else(|_| panic!("{what}: nothing was told"))
}

/// Hears exactly `expected`, in whatever order.
async fn hears(what: &str, changes: &mut Changes, partition: &Partition, expected: &[RecordKey]) {
    let mut expected: Vec<_> = expected.iter().collect();
    while !expected.is_empty() {
        let told = soon(what, changes.next()).await;
        let Some(Notice::Changed { partition: p, key }) = &told else {
            panic!("{what}: {told:?}, where nothing was lost");
        };
        let place = expected.iter().position(|wanted| *wanted == key);
        let place = place.filter(|_| p == partition);
        expected.swap_remove(
            place.unwrap_or_else(|| panic!("{what}: told of {:?} in {:?}", key.id(), p.as_str())),
        );
    }
}

async fn every_change_is_told_to_all_who_listen(harness: Given) -> CaseResult {
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
        let mut told = Vec::new();
        loop {
            match soon("the last change", changes.next()).await {
                Some(Notice::Changed { partition, key }) => {
                    assert_eq!(partition, space.partition);
                    if key == last {
                        break;
                    }
                    told.push(key);
                }
                other => panic!("{other:?}, where nothing was lost"),
            }
        }
        told.sort();
        assert!(
            told.iter().eq(expected.iter().copied()),
            "{} told, {} changed",
            told.len(),
            expected.len()
        );
    }
    Ok(())
}

async fn a_change_can_be_read_when_it_is_told(harness: Given) -> CaseResult {
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
            "told before it could be read"
        );
    }
    Ok(())
}

async fn what_did_not_change_is_not_told(harness: Given) -> CaseResult {
    let space = Space::open(&harness).await?;
    let second = Duration::from_secs(1);
    let (a, gone, last) = (watched("a")?, watched("gone")?, watched("last")?);
    let mut batch = space.batch();
    batch
        .put(a.clone(), Expect::Any, Body::json(1)?)?
        .put_until(
            gone,
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
    space.put("nobody watches these", 1).await?;
    space.first.commit(&space.batch()).await?;
    // A record says itself when it expires.
    space.clock.advance(second * 10);
    space.first.sweep(second).await?;

    let mut batch = space.batch();
    batch.put(last.clone(), Expect::Absent, Body::json(1)?)?;
    space.first.commit(&batch).await?;
    hears("the only change", &mut changes, &space.partition, &[last]).await;
    Ok(())
}

async fn strange_names_are_told_as_they_are(harness: Given) -> CaseResult {
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
        hears("ids", &mut changes, &space.partition, &keys).await;
    }
    for (index, name) in names.iter().enumerate().step_by(3) {
        let partition = Partition::new(name)?;
        let key = watched(&names[names.len() - 1 - index])?;
        let mut batch = Batch::new(partition.clone(), space.now());
        batch.put(key.clone(), Expect::Absent, Body::json(1)?)?;
        space.first.commit(&batch).await?;
        hears("a partition", &mut changes, &partition, &[key]).await;
    }
    Ok(())
}

async fn two_namespaces_never_hear_each_other(harness: Given) -> CaseResult {
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
        hears(name, changes, &space.partition, &[watched(name)?]).await;
    }
    Ok(())
}

/// More at once than any line should be trusted to hold: what does not arrive
/// is made up for.
async fn whoever_misses_a_notice_is_told_of_a_gap(harness: Given) -> CaseResult {
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
        "{} notices are missing, and nobody said so",
        missing.len()
    );
    Ok(())
}

async fn a_call_that_is_dropped_loses_no_notice(harness: Given) -> CaseResult {
    let space = Space::open(&harness).await?;
    let mut changes = space.second.changes().await?;
    for i in 0..20 {
        let key = watched(i.to_string())?;
        let mut batch = space.batch();
        batch.put(key.clone(), Expect::Absent, Body::json(i)?)?;
        // Whichever is done first ends the other; a commit is never told twice.
        let told = tokio::select! {
            told = changes.next() => told,
            done = space.first.commit(&batch) => done.map(|_| None)?,
        };
        if told.is_none() {
            hears("a commit", &mut changes, &space.partition, &[key]).await;
        }
    }
    Ok(())
}

async fn a_closed_store_ends_what_it_tells(harness: Given) -> CaseResult {
    let space = Space::open(&harness).await?;
    let mut changes = space.first.changes().await?;
    let waits = async { soon("the end", changes.next()).await };
    let (told, closed) = tokio::join!(waits, space.first.close());
    closed?;
    assert_eq!(told, None);
    assert_eq!(soon("still the end", changes.next()).await, None);
    let error = space.first.changes().await.expect_err("it is closed");
    assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
    Ok(())
}

/// What is left of the promise where there is nothing to close.
async fn a_store_without_close_goes_on_telling(harness: Given) -> CaseResult {
    let space = Space::open(&harness).await?;
    let mut changes = space.first.changes().await?;
    space.first.close().await?;
    let key = watched("a")?;
    let mut batch = space.batch();
    batch.put(key.clone(), Expect::Any, Body::json(1)?)?;
    Arc::clone(&space.second).commit(&batch).await?;
    hears("a write", &mut changes, &space.partition, &[key]).await;
    Ok(())
}
