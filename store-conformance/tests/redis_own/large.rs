//! Large new records, which are not written by a script.

use std::time::Duration;

use store_conformance::proxy::{self, Cut, Proxy};
use store_core::{Batch, Body, Clock, ErrorKind, Expect, ManualClock, Scan, Store, Version};
use store_redis::redis::cmd;

use crate::expiry::until;
use crate::{End, Place, THINGS, key, partition, tests};

tests![
    a_large_record_is_created_once_and_listed,
    a_large_record_replaces_an_expired_one_and_does_not_expire,
    a_large_record_whose_reply_was_lost_is_found,
    a_large_record_that_expires_is_created_once_and_removed,
    a_refused_large_record_changes_nothing,
    ids_of_expired_large_records_are_removed_by_later_commits,
];

fn large(store: &Store, id: &str) -> store_core::Result<Batch> {
    large_until(store, id, None)
}

fn large_until(store: &Store, id: &str, life: Option<Duration>) -> store_core::Result<Batch> {
    let mut batch = Batch::new(partition(), store.now());
    let (body, end) = (
        Body::bytes(vec![7; 100_000])?,
        life.map(|l| store.now() + l),
    );
    batch.put_until(key(id), Expect::Absent, body, end)?;
    Ok(batch)
}

/// The number of ids and of deadlines of the partition.
async fn sets(place: &Place) -> Result<(u64, u64), crate::Failure> {
    let ids = format!("{}:{{p}}:things", place.namespace);
    let deadlines = format!("{}/expiry:{{p}}:things", place.namespace);
    Ok((
        place.ask(cmd("ZCARD").arg(ids)).await?,
        place.ask(cmd("ZCARD").arg(deadlines)).await?,
    ))
}

async fn version(store: &Store, id: &str) -> Result<Option<Version>, crate::Failure> {
    let found = store.records().get(key(id).at(&partition())).await?;
    Ok(found.map(|record| record.version()))
}

async fn listed(store: &Store) -> Result<usize, crate::Failure> {
    let scan = Scan::partition(THINGS, partition());
    Ok(store.records().scan(&scan).await?.items.len())
}

async fn a_large_record_is_created_once_and_listed(place: Place) -> End {
    let proxy = Proxy::start(place.address(), Some(proxy::redis), 0).await?;
    let builder = place.builder().url(format!("redis://{}", proxy.address()));
    let store = Store::from(builder.connect().await?);
    proxy.requests();
    let first = large(&store, "a")?;
    store.records().commit(&first).await?;
    assert_eq!(proxy.requests(), 1);
    let again = store.records().commit(&large(&store, "a")?).await;
    let error = again.expect_err("it exists");
    let current = error.into_conflict()?;
    let current = current.item(0).and_then(|item| item.current());
    assert_eq!(
        current.map(|record| record.version()),
        Some(first.version())
    );
    assert_eq!(version(&store, "a").await?, Some(first.version()));
    assert_eq!(listed(&store).await?, 1);
    let mut deletion = Batch::new(partition(), store.now());
    deletion.delete(key("a"), Expect::Version(first.version()))?;
    store.records().commit(&deletion).await?;
    assert_eq!(place.keys().await?, Vec::<String>::new());
    Ok(())
}

async fn a_large_record_replaces_an_expired_one_and_does_not_expire(place: Place) -> End {
    let clock = ManualClock::default();
    let builder = place.builder().clock(clock.clone());
    // In the first store the server still has the expired record, in the second not.
    for grace in [Duration::from_secs(60), Duration::ZERO] {
        let store = Store::from(builder.clone().grace(grace).connect().await?);
        let mut brief = Batch::new(partition(), store.now());
        let soon = Some(clock.now() + Duration::from_millis(1));
        brief.put_until(key("a"), Expect::Any, Body::json(1)?, soon)?;
        store.records().commit(&brief).await?;
        clock.advance(Duration::from_millis(1));
        let mut exists = cmd("EXISTS");
        exists.arg(format!("{}:{{p}}:things:a", place.namespace));
        while grace.is_zero() && place.ask::<bool>(&exists).await? {}
        let batch = large(&store, "a")?;
        store.records().commit(&batch).await?;
        assert_eq!(version(&store, "a").await?, Some(batch.version()));
        for name in place.keys().await? {
            let mut life = cmd("PTTL");
            let left: i64 = place.ask(life.arg(&name)).await?;
            assert_eq!(left, -1, "{name} expires");
        }
        assert_eq!(listed(&store).await?, 1);
        let mut deletion = Batch::new(partition(), store.now());
        deletion.delete(key("a"), Expect::Any)?;
        store.records().commit(&deletion).await?;
    }
    Ok(())
}

async fn a_large_record_whose_reply_was_lost_is_found(place: Place) -> End {
    let proxy = Proxy::start(place.address(), Some(proxy::redis), 0).await?;
    let builder = place.builder().url(format!("redis://{}", proxy.address()));
    let store = Store::from(builder.connect().await?);
    for (id, cut) in [("a", Cut::BeforeReply), ("b", Cut::InReply)] {
        proxy.script([cut]);
        store.records().commit(&large(&store, id)?).await?;
        assert!(version(&store, id).await?.is_some());
    }
    for (id, cut) in [("c", Cut::BeforeRequest), ("d", Cut::InRequest)] {
        proxy.script([cut]);
        match store.records().commit(&large(&store, id)?).await {
            Ok(_) => assert!(version(&store, id).await?.is_some()),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Unavailable);
                assert_eq!(version(&store, id).await?, None, "half of a record");
            }
        }
        let listed = listed(&store).await?;
        let exist = 2 + usize::from(version(&store, "c").await?.is_some());
        let exist = exist + usize::from(version(&store, "d").await?.is_some());
        assert_eq!(listed, exist);
    }
    Ok(())
}

async fn a_large_record_that_expires_is_created_once_and_removed(place: Place) -> End {
    let proxy = Proxy::start(place.address(), Some(proxy::redis), 0).await?;
    let builder = place.builder().url(format!("redis://{}", proxy.address()));
    let store = Store::from(builder.grace(Duration::ZERO).connect().await?);
    let in_an_hour = Some(Duration::from_secs(3600));
    let batch = large_until(&store, "a", in_an_hour)?;
    proxy.requests();
    store.records().commit(&batch).await?;
    assert_eq!(proxy.requests(), 1);
    for name in place.keys().await? {
        let mut life = cmd("PTTL");
        let left: i64 = place.ask(life.arg(&name)).await?;
        assert!((3_000_000..=3_600_001).contains(&left), "{name}: {left}");
    }
    assert_eq!((sets(&place).await?, listed(&store).await?), ((1, 1), 1));
    let mut deletion = Batch::new(partition(), store.now());
    deletion.delete(key("a"), Expect::Any)?;
    store.records().commit(&deletion).await?;
    let batch = large_until(&store, "a", Some(Duration::from_millis(5)))?;
    store.records().commit(&batch).await?;
    until("it was removed", || async {
        Ok(place.keys().await?.is_empty())
    })
    .await
}

/// Otherwise the time at which its id is to be removed would be lost.
async fn a_refused_large_record_changes_nothing(place: Place) -> End {
    let store = place.open().await?;
    let in_an_hour = Some(Duration::from_secs(3600));
    let first = large_until(&store, "a", in_an_hour)?;
    store.records().commit(&first).await?;
    let refused = store.records().commit(&large(&store, "a")?).await;
    assert!(refused.is_err_and(|error| error.is(ErrorKind::Conflict)));
    assert_eq!(version(&store, "a").await?, Some(first.version()));
    assert_eq!(sets(&place).await?, (1, 1));
    Ok(())
}

async fn ids_of_expired_large_records_are_removed_by_later_commits(place: Place) -> End {
    let store = Store::from(place.builder().grace(Duration::ZERO).connect().await?);
    store.records().commit(&large(&store, "lasting")?).await?;
    for i in 0..24 {
        let batch = large_until(&store, &i.to_string(), Some(Duration::from_millis(5)))?;
        store.records().commit(&batch).await?;
    }
    until("the records were removed", || async {
        // The record without expiry, the ids and the deadlines.
        Ok(place.keys().await?.len() == 3)
    })
    .await?;
    // Each commit removes sixteen ids.
    for id in ["another", "a third"] {
        store.records().commit(&large(&store, id)?).await?;
    }
    assert_eq!(sets(&place).await?, (3, 0));
    Ok(())
}
