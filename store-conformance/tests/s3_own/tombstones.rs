//! Old tombstones are removed where the server removes conditionally.

use std::time::Duration;

use futures_util::TryStreamExt;
use store_core::{Batch, Body, Clock, Expect, ManualClock, Store, SystemClock};
use store_s3::object_store::ObjectStore;
use store_s3::object_store::path::Path;

use crate::{End, Place, harness, key, partition, tests, write};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

tests![
    sweeps_leave_nothing_of_deleted_and_expired_records,
    a_tombstone_younger_than_a_day_stays,
    a_record_that_replaced_an_old_tombstone_survives_the_sweep,
];

/// The objects below the folder of records, without what `setup` wrote.
async fn objects(place: &Place) -> Result<Vec<String>, crate::own::Failure> {
    let driver = harness::driver(&place.url).build()?;
    let folder = Path::parse(format!("{}/records", place.prefix))?;
    let all = driver.list(Some(&folder));
    let names = all.map_ok(|one| one.location.to_string());
    let names: Vec<_> = names.try_collect().await?;
    let of_setup = |name: &String| name.contains("collection_flags");
    Ok(names.into_iter().filter(|name| !of_setup(name)).collect())
}

/// A store whose clock is the system's, and can be moved.
async fn open(place: &Place) -> Result<(Store, ManualClock), crate::own::Failure> {
    let clock = ManualClock::new(SystemClock.now());
    let store = place.builder().clock(clock.clone()).connect().await?;
    store.setup().await?;
    Ok((store.into(), clock))
}

async fn delete(store: &Store, id: &str) -> End {
    let mut batch = Batch::new(partition(), store.now());
    batch.delete(key(id), Expect::Any)?;
    store.records().commit(&batch).await?;
    Ok(())
}

async fn sweeps_leave_nothing_of_deleted_and_expired_records(place: Place) -> End {
    let (store, clock) = open(&place).await?;
    for id in ["a", "b", "c"] {
        write(&store, id, 1).await?;
        delete(&store, id).await?;
    }
    // Two in one commit, and one that expires.
    let mut batch = Batch::new(partition(), store.now());
    batch.put(key("d"), Expect::Absent, Body::json(1)?)?;
    batch.put(key("e"), Expect::Absent, Body::json(1)?)?;
    store.records().commit(&batch).await?;
    let mut batch = Batch::new(partition(), store.now());
    batch.delete(key("d"), Expect::Any)?;
    batch.delete(key("e"), Expect::Any)?;
    store.records().commit(&batch).await?;
    let mut batch = Batch::new(partition(), store.now());
    let expires = Some(store.now() + Duration::from_secs(60));
    let body = Body::json(1)?;
    batch.put_until(key("f"), Expect::Absent, body, expires)?;
    store.records().commit(&batch).await?;
    clock.advance(Duration::from_secs(3600));
    assert_eq!(store.records().sweep(Duration::ZERO).await?.removed, 1);
    assert_eq!(objects(&place).await?.len(), 6, "tombstones");

    clock.advance(2 * DAY);
    store.records().sweep(Duration::ZERO).await?;
    assert_eq!(objects(&place).await?, Vec::<String>::new());
    // The names can be used again.
    write(&store, "a", 2).await?;
    assert!(store.get(key("a").at(&partition())).await?.is_some());
    Ok(())
}

async fn a_tombstone_younger_than_a_day_stays(place: Place) -> End {
    let (store, clock) = open(&place).await?;
    write(&store, "a", 1).await?;
    delete(&store, "a").await?;
    clock.advance(DAY - Duration::from_secs(3600));
    store.records().sweep(Duration::ZERO).await?;
    assert_eq!(objects(&place).await?.len(), 1);
    Ok(())
}

async fn a_record_that_replaced_an_old_tombstone_survives_the_sweep(place: Place) -> End {
    let (store, clock) = open(&place).await?;
    write(&store, "a", 1).await?;
    delete(&store, "a").await?;
    clock.advance(2 * DAY);
    let racing = async {
        write(&store, "a", 2).await?;
        End::Ok(())
    };
    let sweeping = async {
        store.records().sweep(Duration::ZERO).await?;
        End::Ok(())
    };
    let (written, swept) = tokio::join!(racing, sweeping);
    written?;
    swept?;
    store.records().sweep(Duration::ZERO).await?;
    assert!(store.get(key("a").at(&partition())).await?.is_some());
    Ok(())
}
