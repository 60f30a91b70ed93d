//! Large records that must be new, which no script writes.

use std::time::Duration;

use store_conformance::proxy::{self, Cut, Proxy};
use store_core::{Batch, Body, Clock, ErrorKind, Expect, ManualClock, Scan, Store, Version};
use store_redis::redis::cmd;

use crate::expiry::until;
use crate::{End, Place, THINGS, key, partition, tests};

tests![
    a_large_record_is_created_once_and_listed,
    a_large_record_takes_the_place_of_an_expired_one_and_lasts,
    a_large_record_whose_reply_was_lost_is_found,
    a_large_record_that_expires_is_created_once_and_goes,
    a_refused_large_record_leaves_what_is_there_as_it_is,
    ids_of_expired_large_records_are_forgotten_as_others_come,
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

/// How many ids, and how many deadlines, the partition has.
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
    let error = again.expect_err("it is there");
    let current = error.into_conflict()?;
    let current = current.item(0).and_then(|item| item.current());
    assert_eq!(
        current.map(|record| record.version()),
        Some(first.version())
    );
    assert_eq!(version(&store, "a").await?, Some(first.version()));
    assert_eq!(listed(&store).await?, 1);
    let mut gone = Batch::new(partition(), store.now());
    gone.delete(key("a"), Expect::Version(first.version()))?;
    store.records().commit(&gone).await?;
    assert_eq!(place.keys().await?, Vec::<String>::new());
    Ok(())
}

async fn a_large_record_takes_the_place_of_an_expired_one_and_lasts(place: Place) -> End {
    let clock = ManualClock::default();
    let builder = place.builder().clock(clock.clone());
    // In one store the server keeps what expired, in the other it does not.
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
            assert_eq!(left, -1, "{name} goes with what expired");
        }
        assert_eq!(listed(&store).await?, 1);
        let mut gone = Batch::new(partition(), store.now());
        gone.delete(key("a"), Expect::Any)?;
        store.records().commit(&gone).await?;
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
                assert_eq!(version(&store, id).await?, None, "half of it");
            }
        }
        let listed = listed(&store).await?;
        let there = 2 + usize::from(version(&store, "c").await?.is_some());
        let there = there + usize::from(version(&store, "d").await?.is_some());
        assert_eq!(listed, there);
    }
    Ok(())
}

async fn a_large_record_that_expires_is_created_once_and_goes(place: Place) -> End {
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
    let mut gone = Batch::new(partition(), store.now());
    gone.delete(key("a"), Expect::Any)?;
    store.records().commit(&gone).await?;
    let batch = large_until(&store, "a", Some(Duration::from_millis(5)))?;
    store.records().commit(&batch).await?;
    until("it went", || async { Ok(place.keys().await?.is_empty()) }).await
}

/// Else nobody would know when its id is to be forgotten.
async fn a_refused_large_record_leaves_what_is_there_as_it_is(place: Place) -> End {
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

async fn ids_of_expired_large_records_are_forgotten_as_others_come(place: Place) -> End {
    let store = Store::from(place.builder().grace(Duration::ZERO).connect().await?);
    store.records().commit(&large(&store, "lasting")?).await?;
    for i in 0..24 {
        let batch = large_until(&store, &i.to_string(), Some(Duration::from_millis(5)))?;
        store.records().commit(&batch).await?;
    }
    until("records went", || async {
        // The lasting one, the ids and the deadlines.
        Ok(place.keys().await?.len() == 3)
    })
    .await?;
    // Each forgets sixteen.
    for id in ["another", "a third"] {
        store.records().commit(&large(&store, id)?).await?;
    }
    assert_eq!(sets(&place).await?, (3, 0));
    Ok(())
}
