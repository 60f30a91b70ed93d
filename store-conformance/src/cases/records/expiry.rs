//! R2: an expired record is absent for every caller.

use std::time::Duration;

use store_core::{Batch, Body, Expect, RecordStore, Scan, Timestamp};

use super::tools::{Given, Space, THINGS, conflict, ids, key, number};
use crate::suite::CaseResult;
use crate::{Case, case};

pub(super) fn cases() -> Vec<Case<dyn RecordStore>> {
    vec![
        case!(an_expired_record_is_absent_before_any_sweep, "R2", "35"),
        case!(
            an_expired_record_is_absent_to_every_kind_of_read,
            "R2",
            "35"
        ),
        case!(a_record_expires_at_its_very_nanosecond, "R2", "37"),
        case!(an_expired_record_is_absent_to_expectations, "R2", "35"),
        case!(an_expired_version_is_no_longer_expected, "R2", "32"),
        case!(a_conflict_never_shows_an_expired_record, "R2", "R4"),
        case!(a_commit_judges_expiry_by_its_own_time, "R2"),
        case!(an_overwrite_moves_the_expiry, "R2"),
        case!(a_record_written_expired_is_never_seen, "R2"),
        case!(an_expiry_survives_to_the_nanosecond, "R2", "37"),
        case!(expired_records_do_not_hide_others, "R2", "R5"),
    ]
}

const SECOND: Duration = Duration::from_secs(1);
const NANO: Duration = Duration::from_nanos(1);

async fn an_expired_record_is_absent_before_any_sweep(harness: Given) -> CaseResult {
    let space = Space::open(&harness).await?;
    space
        .put_until("brief", 1, Some(space.now() + SECOND))
        .await?;
    assert!(space.record("brief").await?.is_some());
    space.clock.advance(SECOND);
    assert!(space.record("brief").await?.is_none());

    let mut batch = space.batch();
    batch.put(key("brief")?, Expect::Absent, Body::json(2)?)?;
    space.first.commit(&batch).await?;
    assert_eq!(space.number("brief").await?, Some(2), "created over it");
    space.clock.advance(SECOND);
    assert_eq!(
        space.number("brief").await?,
        Some(2),
        "expired at the old time"
    );
    Ok(())
}

async fn an_expired_record_is_absent_to_every_kind_of_read(harness: Given) -> CaseResult {
    let space = Space::open(&harness).await?;
    space.put("stays", 1).await?;
    space
        .put_until("goes", 2, Some(space.now() + SECOND))
        .await?;
    let (goes, stays) = (key("goes")?, key("stays")?);
    let at = [goes.at(&space.partition), stays.at(&space.partition)];
    for (left, expected) in [(true, vec!["goes", "stays"]), (false, vec!["stays"])] {
        for store in [&space.first, &space.second] {
            assert_eq!(store.get(at[0]).await?.is_some(), left, "by get");
            if let Some(now) = store.get_now(at[0]) {
                assert_eq!(now?.is_some(), left, "by get_now");
            }
            let many = store.get_many(&at).await?;
            assert_eq!(many[0].is_some(), left, "by get_many");
            assert!(many[1].is_some());
            assert_eq!(ids(&**store, space.scan()).await?, expected, "by a scan");
            let everywhere = Scan::collection(THINGS, "");
            let mut found = ids(&**store, everywhere).await?;
            found.sort();
            found.dedup();
            assert_eq!(found, expected, "by a scan of the collection");
        }
        space.clock.advance(SECOND);
    }
    Ok(())
}

async fn a_record_expires_at_its_very_nanosecond(harness: Given) -> CaseResult {
    let space = Space::open(&harness).await?;
    let half = SECOND / 2 + Duration::from_nanos(123_456);
    let deadline = space.now() + half;
    space.put_until("a", 1, Some(deadline)).await?;
    space.clock.set(deadline - NANO);
    assert!(space.record("a").await?.is_some(), "a nanosecond early");
    let mut batch = space.batch();
    batch.check(key("a")?, Expect::Present)?;
    space.first.commit(&batch).await?;
    space.clock.set(deadline);
    assert!(space.record("a").await?.is_none(), "expires_at <= now");
    let mut batch = space.batch();
    batch.check(key("a")?, Expect::Absent)?;
    space.first.commit(&batch).await?;
    Ok(())
}

async fn an_expired_record_is_absent_to_expectations(harness: Given) -> CaseResult {
    let space = Space::open(&harness).await?;
    for (i, (expect, holds)) in [
        (Expect::Any, true),
        (Expect::Absent, true),
        (Expect::Present, false),
    ]
    .into_iter()
    .enumerate()
    {
        for (change, put) in [("put", true), ("delete", false)] {
            let id = format!("{change}{i}");
            space.put_until(&id, 1, Some(space.now() + SECOND)).await?;
            space.clock.advance(SECOND);
            let mut batch = space.batch();
            if put {
                batch.put(key(&id)?, expect, Body::json(2)?)?;
            } else {
                batch.delete(key(&id)?, expect)?;
            }
            let answer = space.second.commit(&batch).await;
            assert_eq!(
                answer.is_ok(),
                holds,
                "{change} of an expired one, {expect:?}"
            );
            let left = (put && holds).then_some(2);
            assert_eq!(space.number(&id).await?, left, "{change}, {expect:?}");
        }
    }
    Ok(())
}

async fn an_expired_version_is_no_longer_expected(harness: Given) -> CaseResult {
    let space = Space::open(&harness).await?;
    let old = space.put_until("a", 1, Some(space.now() + SECOND)).await?;
    space.clock.advance(SECOND);
    let mut batch = space.batch();
    batch.put(key("a")?, Expect::Version(old), Body::json(2)?)?;
    conflict(space.first.commit(&batch).await);
    assert!(
        space.record("a").await?.is_none(),
        "an expired record exists again"
    );

    // Created again with the very same content, it is another record.
    let new = space.put("a", 1).await?;
    let mut batch = space.batch();
    batch.put(key("a")?, Expect::Version(old), Body::json(2)?)?;
    conflict(space.first.commit(&batch).await);
    let mut batch = space.batch();
    batch.put(key("a")?, Expect::Version(new), Body::json(3)?)?;
    space.first.commit(&batch).await?;
    Ok(())
}

async fn a_conflict_never_shows_an_expired_record(harness: Given) -> CaseResult {
    let space = Space::open(&harness).await?;
    let old = space.put_until("a", 1, Some(space.now() + SECOND)).await?;
    space.clock.advance(SECOND);
    for expect in [Expect::Present, Expect::Version(old)] {
        let mut batch = space.batch();
        batch.check(key("a")?, expect)?;
        let error = conflict(space.first.commit(&batch).await);
        let failed = error.conflict().and_then(|c| c.item(0));
        let failed = failed.ok_or("the conflict names what failed")?;
        assert!(failed.current().is_none(), "{expect:?}");
    }
    Ok(())
}

async fn a_commit_judges_expiry_by_its_own_time(harness: Given) -> CaseResult {
    let space = Space::open(&harness).await?;
    space.put_until("a", 1, Some(space.now() + SECOND)).await?;
    let mut later = Batch::new(space.partition.clone(), space.now() + SECOND);
    later.put(key("a")?, Expect::Absent, Body::json(2)?)?;
    space.first.commit(&later).await?;
    assert_eq!(space.number("a").await?, Some(2));
    Ok(())
}

async fn an_overwrite_moves_the_expiry(harness: Given) -> CaseResult {
    let space = Space::open(&harness).await?;
    let start = space.now();
    let at = |seconds: u32| Some(start + SECOND * seconds);
    // Each is written to expire at the first and overwritten with the second.
    let moves = [
        ("later", at(10), at(30)),
        ("earlier", at(30), at(10)),
        ("never", at(10), None),
        ("now bounded", None, at(10)),
    ];
    for (id, before, after) in moves {
        space.put_until(id, 1, before).await?;
        let version = space.put_until(id, 2, after).await?;
        let record = space.record(id).await?.ok_or("just written")?;
        assert_eq!((record.version(), record.expires_at()), (version, after));
    }
    for seconds in [9, 10, 29, 30, 100] {
        space.clock.set(start + SECOND * seconds);
        for (id, _, after) in moves {
            let alive = after.is_none_or(|at| at > space.now());
            let found = space.record(id).await?;
            assert_eq!(found.is_some(), alive, "{id} after {seconds} s");
        }
    }
    Ok(())
}

async fn a_record_written_expired_is_never_seen(harness: Given) -> CaseResult {
    let space = Space::open(&harness).await?;
    for (id, at) in [
        ("now", space.now()),
        ("just before", space.now() - NANO),
        ("long ago", Timestamp::EPOCH),
    ] {
        space.put(id, 1).await?;
        space.put_until(id, 2, Some(at)).await?;
        assert!(space.record(id).await?.is_none(), "{id}");
        let mut batch = space.batch();
        batch.check(key(id)?, Expect::Absent)?;
        space.first.commit(&batch).await?;
    }
    assert!(ids(&*space.first, space.scan()).await?.is_empty());
    Ok(())
}

async fn an_expiry_survives_to_the_nanosecond(harness: Given) -> CaseResult {
    let space = Space::open(&harness).await?;
    let second = space.now() + SECOND;
    for at in [
        second,
        second + NANO,
        second + Duration::from_nanos(999_999_999),
        second + Duration::from_nanos(1_001),
        Timestamp::MAX - NANO,
        Timestamp::MAX,
    ] {
        space.put_until("a", 1, Some(at)).await?;
        let record = space.record("a").await?.ok_or("it has not expired")?;
        assert_eq!(record.expires_at(), Some(at));
        let page = space.first.scan(&space.scan()).await?;
        assert_eq!(page.items[0].expires_at(), Some(at), "in a scan");
    }
    space.put("a", 1).await?;
    let record = space.record("a").await?.ok_or("it never expires")?;
    assert_eq!(record.expires_at(), None);
    Ok(())
}

async fn expired_records_do_not_hide_others(harness: Given) -> CaseResult {
    let space = Space::open(&harness).await?;
    let deadline = space.now() + SECOND;
    let mut living = Vec::new();
    for chunk in 0..4 {
        let mut batch = space.batch();
        for i in 0..50 {
            let id = format!("{:03}", chunk * 50 + i);
            let lives = (chunk * 50 + i) % 67 == 66;
            let expires_at = (!lives).then_some(deadline);
            batch.put_until(key(&id)?, Expect::Any, Body::json(7)?, expires_at)?;
            living.extend(lives.then_some(id));
        }
        space.first.commit(&batch).await?;
    }
    space.clock.advance(SECOND);
    for limit in [1, 2, 3, 5, 1000] {
        let found = ids(&*space.second, space.scan().limit(limit)?).await?;
        assert_eq!(found, living, "pages of {limit}");
    }
    let page = space.second.scan(&space.scan().limit(1)?).await?;
    assert_eq!(number(&page.items[0])?, 7);
    Ok(())
}
