//! R3 and R4: all or nothing, and conflicts with the current records.

use std::time::Duration;

use store_core::{
    Batch, Body, Change, Conflict, Decided, Expect, Partition, Record, RecordKey, RecordStore,
    RecordStoreExt, Version,
};

use super::tools::{Given, OTHERS, Space, conflict, key, number};
use crate::suite::CaseResult;
use crate::{Case, case};

pub(super) fn cases() -> Vec<Case<dyn RecordStore>> {
    vec![
        case!(a_failed_expectation_writes_nothing, "R3", "R4"),
        case!(a_commit_spans_collections, "R3"),
        case!(every_expectation_means_what_it_says, "R3", "R4", "12"),
        case!(a_conflict_names_exactly_what_failed, "R4"),
        case!(a_check_changes_nothing, "R3"),
        case!(a_write_is_seen_by_the_other_handle_immediately, "R3"),
        case!(a_recreated_record_is_another_record, "R3", "32"),
        case!(a_rewrite_with_the_same_body_is_a_new_version, "R3", "32"),
        case!(a_delete_leaves_nothing_and_may_be_repeated, "R3"),
        case!(an_empty_commit_does_nothing, "R3"),
        case!(an_update_that_changes_nothing_writes_nothing, "33"),
        case!(one_name_in_two_partitions_is_two_records, "R1", "20"),
    ]
}

async fn a_failed_expectation_writes_nothing(harness: Given) -> CaseResult {
    let space = Space::open(&harness).await?;
    let there = space.put("there", 1).await?;
    space.put("deleted too", 2).await?;
    // The failing item first, in the middle and last.
    for position in 0..3 {
        let mut batch = space.batch();
        for i in 0..3 {
            if i == position {
                batch.put(key("there")?, Expect::Absent, Body::json(3)?)?;
            } else if i == (position + 1) % 3 {
                batch.put(key("new")?, Expect::Any, Body::json(4)?)?;
            } else {
                batch.delete(key("deleted too")?, Expect::Any)?;
            }
        }
        conflict(space.second.commit(&batch).await);
        assert!(space.record("new").await?.is_none(), "{position}: written");
        assert_eq!(space.number("deleted too").await?, Some(2), "{position}");
        let record = space.record("there").await?.ok_or("it was there")?;
        assert_eq!((number(&record)?, record.version()), (1, there));
    }
    Ok(())
}

async fn a_commit_spans_collections(harness: Given) -> CaseResult {
    let space = Space::open(&harness).await?;
    let other = RecordKey::new(OTHERS, "a")?;
    let mut batch = space.batch();
    batch.put(key("a")?, Expect::Absent, Body::json(1)?)?.put(
        other.clone(),
        Expect::Absent,
        Body::json(2)?,
    )?;
    space.first.commit(&batch).await?;
    let found = space.second.get(other.at(&space.partition)).await?;
    assert_eq!(found.ok_or("the other half")?.version(), batch.version());

    let mut batch = space.batch();
    batch
        .delete(key("a")?, Expect::Present)?
        .check(other.clone(), Expect::Absent)?;
    conflict(space.second.commit(&batch).await);
    assert_eq!(space.number("a").await?, Some(1), "half of it was done");
    Ok(())
}

/// What can be stored where an expectation applies.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Before {
    Never,
    Deleted,
    Expired,
    There,
    Overwritten,
}

/// Brings about `before`; returns the version that is stored, or was last.
async fn prepare(space: &Space, id: &str, before: Before) -> Result<Version, store_core::Error> {
    Ok(match before {
        Before::Never => space.batch().version(),
        Before::Deleted => {
            let version = space.put(id, 1).await?;
            space.delete(id).await?;
            version
        }
        Before::Expired => {
            let soon = space.now() + Duration::from_nanos(1);
            let version = space.put_until(id, 1, Some(soon)).await?;
            space.clock.advance(Duration::from_nanos(1));
            version
        }
        Before::There => space.put(id, 1).await?,
        Before::Overwritten => {
            let old = space.put(id, 0).await?;
            space.put(id, 1).await?;
            old
        }
    })
}

async fn every_expectation_means_what_it_says(harness: Given) -> CaseResult {
    let space = Space::open(&harness).await?;
    let befores = [
        Before::Never,
        Before::Deleted,
        Before::Expired,
        Before::There,
        Before::Overwritten,
    ];
    for before in befores {
        let there = matches!(before, Before::There | Before::Overwritten);
        for (expected, holds) in [
            ("any", true),
            ("absent", !there),
            ("present", there),
            ("version", before == Before::There),
        ] {
            for change in ["check", "put", "delete"] {
                let id = format!("{before:?} {expected} {change}");
                let version = prepare(&space, &id, before).await?;
                let expect = match expected {
                    "any" => Expect::Any,
                    "absent" => Expect::Absent,
                    "present" => Expect::Present,
                    _ => Expect::Version(version),
                };
                let mut batch = space.batch();
                match change {
                    "check" => batch.check(key(&id)?, expect)?,
                    "put" => batch.put(key(&id)?, expect, Body::json(2)?)?,
                    _ => batch.delete(key(&id)?, expect)?,
                };
                let answer = space.second.commit(&batch).await;
                assert_eq!(answer.is_ok(), holds, "{id}: {answer:?}");
                let after = match change {
                    "put" if holds => Some(2),
                    "delete" if holds => None,
                    _ => there.then_some(1),
                };
                assert_eq!(space.number(&id).await?, after, "after {id}");
                if !holds {
                    let error = conflict(answer);
                    let current = error.conflict().and_then(|c| c.item(0)?.current());
                    let current = current.map(number).transpose()?;
                    assert_eq!(current, there.then_some(1), "the conflict of {id}");
                }
            }
        }
    }
    Ok(())
}

async fn a_conflict_names_exactly_what_failed(harness: Given) -> CaseResult {
    let space = Space::open(&harness).await?;
    let mut versions = Vec::new();
    for (id, number) in [("b", 2), ("d", 4), ("e", 5), ("f", 6)] {
        versions.push(space.put(id, number).await?);
    }
    let mut batch = space.batch();
    batch
        .put(key("g")?, Expect::Absent, Body::json(0)?)? // 0 holds
        .put(key("f")?, Expect::Absent, Body::json(0)?)? // 1 fails: it is there
        .check(key("b")?, Expect::Version(versions[0]))? // 2 holds
        .delete(key("a")?, Expect::Present)? // 3 fails: it is not
        .check(key("d")?, Expect::Version(versions[0]))? // 4 fails: another's version
        .delete(key("e")?, Expect::Any)? // 5 holds
        .check(key("c")?, Expect::Version(versions[1]))?; // 6 fails: absent
    let error = conflict(space.second.commit(&batch).await);
    let conflict: Conflict = error.into_conflict()?;
    let failed: Vec<(usize, Option<(u64, Version)>)> = conflict
        .failed()
        .iter()
        .map(|item| {
            let current = item.current().map(|r| Ok((number(r)?, r.version())));
            Ok((item.index(), current.transpose()?))
        })
        .collect::<store_core::Result<_>>()?;
    let expected = [
        (1, Some((6, versions[3]))),
        (3, None),
        (4, Some((4, versions[1]))),
        (6, None),
    ];
    assert_eq!(failed, expected);
    for item in conflict.failed() {
        if let Some(current) = item.current() {
            assert_eq!(current.id(), batch.items()[item.index()].key().id());
        }
    }
    Ok(())
}

async fn a_check_changes_nothing(harness: Given) -> CaseResult {
    let space = Space::open(&harness).await?;
    let later = Some(space.now() + Duration::from_secs(60));
    let version = space.put_until("a", 1, later).await?;
    let mut batch = space.batch();
    batch
        .check(key("a")?, Expect::Version(version))?
        .check(key("b")?, Expect::Absent)?
        .check(key("c")?, Expect::Any)?;
    space.first.commit(&batch).await?;
    let record = space.record("a").await?.ok_or("it was only looked at")?;
    assert_eq!((record.version(), record.expires_at()), (version, later));
    assert!(space.record("b").await?.is_none());
    assert!(space.record("c").await?.is_none());
    Ok(())
}

async fn a_write_is_seen_by_the_other_handle_immediately(harness: Given) -> CaseResult {
    let space = Space::open(&harness).await?;
    let at = key("a")?;
    let mut last: Option<Record> = None;
    for round in 0..12u64 {
        let (writer, reader) = (
            space.handle(round as usize),
            space.handle(round as usize + 1),
        );
        // A cache, if there is one, could be outdated here.
        let before = reader.get(at.at(&space.partition)).await?;
        assert_eq!(before.map(|r| r.version()), last.map(|r| r.version()));
        let mut batch = space.batch();
        if round % 4 == 3 {
            batch.delete(at.clone(), Expect::Present)?;
        } else {
            batch.put(at.clone(), Expect::Any, Body::json(round)?)?;
        }
        writer.commit(&batch).await?;
        let seen = reader.get(at.at(&space.partition)).await?;
        assert_eq!(seen.is_none(), round % 4 == 3, "round {round}");
        let listed = reader.scan(&space.scan()).await?.items;
        assert_eq!(
            listed.first().map(Record::version),
            seen.as_ref().map(Record::version),
            "the scan differs in round {round}"
        );
        if let Some(seen) = &seen {
            assert_eq!((number(seen)?, seen.version()), (round, batch.version()));
        }
        last = seen;
    }
    Ok(())
}

async fn a_recreated_record_is_another_record(harness: Given) -> CaseResult {
    let space = Space::open(&harness).await?;
    let old = space.put("a", 1).await?;
    space.delete("a").await?;
    let new = space.put("a", 1).await?;
    assert_ne!(old, new);
    for change in ["put", "delete", "check"] {
        let mut batch = space.batch();
        let expect = Expect::Version(old);
        match change {
            "put" => batch.put(key("a")?, expect, Body::json(2)?)?,
            "delete" => batch.delete(key("a")?, expect)?,
            _ => batch.check(key("a")?, expect)?,
        };
        conflict(space.second.commit(&batch).await);
    }
    let record = space.record("a").await?.ok_or("it is there")?;
    assert_eq!((number(&record)?, record.version()), (1, new));
    Ok(())
}

async fn a_rewrite_with_the_same_body_is_a_new_version(harness: Given) -> CaseResult {
    let space = Space::open(&harness).await?;
    let old = space.put("a", 1).await?;
    let new = space.put("a", 1).await?;
    let record = space.record("a").await?.ok_or("just written")?;
    assert_eq!(record.version(), new);
    let mut batch = space.batch();
    batch.put(key("a")?, Expect::Version(old), Body::json(2)?)?;
    conflict(space.second.commit(&batch).await);
    Ok(())
}

async fn a_delete_leaves_nothing_and_may_be_repeated(harness: Given) -> CaseResult {
    let space = Space::open(&harness).await?;
    space.put("a", 1).await?;
    space.delete("a").await?;
    space.delete("a").await?;
    assert!(space.record("a").await?.is_none());
    assert!(space.first.scan(&space.scan()).await?.items.is_empty());
    let mut batch = space.batch();
    batch.delete(key("a")?, Expect::Absent)?;
    space.first.commit(&batch).await?;
    Ok(())
}

async fn an_empty_commit_does_nothing(harness: Given) -> CaseResult {
    let space = Space::open(&harness).await?;
    let batch = space.batch();
    assert!(batch.is_empty());
    space.first.commit(&batch).await?;
    assert!(space.first.scan(&space.scan()).await?.items.is_empty());
    assert!(space.first.get_many(&[]).await?.is_empty());
    Ok(())
}

async fn an_update_that_changes_nothing_writes_nothing(harness: Given) -> CaseResult {
    let space = Space::open(&harness).await?;
    let at = key("a")?;
    let partition = &space.partition;
    let keep = |record: Option<&Record>| {
        let held = record.map(number).transpose()?;
        Ok(Decided::Keep(held))
    };
    assert_eq!(space.first.update(partition, &at, keep).await?, None);
    assert!(space.record("a").await?.is_none(), "an absent one was made");
    let version = space.put("a", 7).await?;
    assert_eq!(space.second.update(partition, &at, keep).await?, Some(7));
    let record = space.record("a").await?.ok_or("it was not deleted")?;
    assert_eq!(record.version(), version);
    Ok(())
}

async fn one_name_in_two_partitions_is_two_records(harness: Given) -> CaseResult {
    let space = Space::open(&harness).await?;
    let elsewhere = Partition::new("q")?;
    space.put("a", 1).await?;
    let mut batch = Batch::new(elsewhere.clone(), space.now());
    let change = Change::Put {
        body: Body::json(2)?,
        expires_at: None,
    };
    batch.item(key("a")?, Expect::Absent, change)?;
    space.second.commit(&batch).await?;
    space.delete("a").await?;
    let left = space.first.get(key("a")?.at(&elsewhere)).await?;
    assert_eq!(number(&left.ok_or("only its namesake was deleted")?)?, 2);
    Ok(())
}
