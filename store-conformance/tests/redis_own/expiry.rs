//! What the server removes, and that nothing is left.

use std::time::{Duration, Instant};

use store_core::limits::{Quota, QuotaSet, Take};
use store_core::{Batch, Body, Clock, Expect, ManualClock, Scan, Store};
use store_redis::redis::cmd;

use crate::{End, Place, THINGS, key, partition, tests, write};

tests![
    a_partition_whose_records_all_expire_leaves_no_key,
    ids_of_expired_records_are_removed_by_later_commits,
    a_deleted_partition_leaves_no_key,
    a_record_without_expiry_outlives_the_others_of_its_partition,
    the_servers_time_decides_nothing,
    a_bucket_is_removed_when_it_is_full_again,
    a_bucket_is_stored_longer_when_a_take_moves_its_expiry,
];

/// A store whose server removes what has expired without a grace.
async fn without_grace(place: &Place) -> store_core::Result<Store> {
    let builder = place.builder().grace(Duration::ZERO);
    Ok(builder.connect().await?.into())
}

async fn put_brief(store: &Store, id: &str) -> store_core::Result<()> {
    let mut batch = Batch::new(partition(), store.now());
    let at = store.now() + Duration::from_millis(5);
    batch.put_until(key(id), Expect::Any, Body::json(1)?, Some(at))?;
    store.records().commit(&batch).await.map(drop)
}

/// Waits until `holds` returns true, at most ten seconds.
pub(crate) async fn until<F, T>(what: &str, holds: F) -> End
where
    F: Fn() -> T,
    T: Future<Output = Result<bool, crate::Failure>>,
{
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(10) {
        if holds().await? {
            return Ok(());
        }
    }
    Err(format!("not in time: {what}").into())
}

async fn a_partition_whose_records_all_expire_leaves_no_key(place: Place) -> End {
    let store = without_grace(&place).await?;
    for i in 0..20 {
        put_brief(&store, &i.to_string()).await?;
    }
    until("no key was left", || async {
        Ok(place.keys().await?.is_empty())
    })
    .await
}

async fn ids_of_expired_records_are_removed_by_later_commits(place: Place) -> End {
    let store = without_grace(&place).await?;
    write(&store, "lasting", 1).await?;
    for i in 0..200 {
        put_brief(&store, &i.to_string()).await?;
    }
    until("the records were removed", || async {
        // The record without expiry, the ids and the deadlines.
        Ok(place.keys().await?.len() == 3)
    })
    .await?;
    // Each commit removes sixteen ids.
    for i in 0..14 {
        write(&store, &format!("another {i}"), 1).await?;
    }
    let mut command = cmd("ZCARD");
    command.arg(format!("{}:{{p}}:things", place.namespace));
    let ids: u64 = place.ask(&command).await?;
    assert_eq!(ids, 15);
    assert_eq!(place.keys().await?.len(), 16, "no deadline is left");
    Ok(())
}

async fn a_deleted_partition_leaves_no_key(place: Place) -> End {
    let store = place.open().await?;
    for id in ["a", "b"] {
        write(&store, id, 1).await?;
        put_brief(&store, &format!("{id} brief")).await?;
    }
    let mut batch = Batch::new(partition(), store.now());
    for id in ["a", "b", "a brief", "b brief", "never written"] {
        batch.delete(key(id), Expect::Any)?;
    }
    store.records().commit(&batch).await?;
    assert_eq!(place.keys().await?, [""; 0]);
    Ok(())
}

async fn a_record_without_expiry_outlives_the_others_of_its_partition(place: Place) -> End {
    let store = without_grace(&place).await?;
    put_brief(&store, "brief").await?;
    write(&store, "lasting", 1).await?;
    put_brief(&store, "made lasting").await?;
    write(&store, "made lasting", 1).await?;
    until("the brief record was removed", || async {
        let keys = place.keys().await?;
        Ok(!keys.iter().any(|key| key.ends_with(":brief")))
    })
    .await?;
    let page = store
        .records()
        .scan(&Scan::partition(THINGS, partition()))
        .await?;
    let ids: Vec<_> = page.items.iter().map(|record| record.id()).collect();
    assert_eq!(ids, ["lasting", "made lasting"]);
    Ok(())
}

/// The store's clock is years ahead of the server's, and is set by the test.
async fn the_servers_time_decides_nothing(place: Place) -> End {
    let clock = ManualClock::default();
    let builder = place.builder().clock(clock.clone());
    let store = Store::from(builder.connect().await?);
    put_brief(&store, "a").await?;
    let begin = Instant::now();
    until("20 ms have passed on the server too", || async {
        let _: (u64, u64) = place.ask(&cmd("TIME")).await?;
        Ok(begin.elapsed() > Duration::from_millis(20))
    })
    .await?;
    assert!(
        crate::number(&store, "a").await?.is_some(),
        "the clock has not moved"
    );
    clock.set(clock.now() + Duration::from_millis(5));
    assert!(crate::number(&store, "a").await?.is_none());
    clock.set(clock.now() - Duration::from_millis(1));
    assert!(
        crate::number(&store, "a").await?.is_some(),
        "the server still has it"
    );
    Ok(())
}

/// For how many milliseconds the server still stores the buckets of the limit `k`.
async fn life(place: &Place) -> Result<i64, crate::Failure> {
    let mut command = cmd("PTTL");
    command.arg(format!("{}/limit:{{k}}", place.namespace));
    Ok(place.ask(&command).await?)
}

async fn a_bucket_is_stored_longer_when_a_take_moves_its_expiry(place: Place) -> End {
    let clock = ManualClock::default();
    let builder = place.builder().grace(Duration::ZERO).clock(clock.clone());
    let store = Store::from(builder.connect().await?);
    // Full after three minutes.
    let quotas = QuotaSet::new([Quota::new(1, Duration::from_secs(60))?.with_burst(3)?])?;
    for round in 0..3 {
        let take = Take::new("k", &quotas, 1, store.now())?;
        assert!(store.limits().take(&take).await?.is_allowed());
        let left = life(&place).await?;
        assert!((120_000..=180_001).contains(&left), "{left} ms in {round}");
        // As if two minutes had passed on the server.
        let mut command = cmd("PEXPIRE");
        let key = format!("{}/limit:{{k}}", place.namespace);
        place.ask::<()>(command.arg(key).arg(60_000)).await?;
        clock.set(clock.now() + Duration::from_secs(120));
    }
    Ok(())
}

async fn a_bucket_is_removed_when_it_is_full_again(place: Place) -> End {
    let store = without_grace(&place).await?;
    let quick = QuotaSet::new([Quota::new(1000, Duration::from_millis(10))?])?;
    let slow = QuotaSet::new([
        Quota::new(1000, Duration::from_millis(10))?,
        Quota::per_second(1)?.named("slow")?,
    ])?;
    for (quotas, at_least) in [(&quick, 10), (&slow, 1000), (&quick, 900)] {
        let take = Take::new("k", quotas, 1, store.now())?;
        assert!(store.limits().take(&take).await?.is_allowed());
        let left = life(&place).await?;
        assert!((at_least - 500..=1001).contains(&left), "{left}");
    }
    store
        .limits()
        .delete(store_core::limits::LimitKey::new("k")?)
        .await?;
    let take = Take::new("k", &quick, 1, store.now())?;
    assert!(store.limits().take(&take).await?.is_allowed());
    until("the bucket was removed", || async {
        Ok(place.keys().await?.is_empty())
    })
    .await
}
