//! What calls cost, counted over the wire.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use store_conformance::proxy::{self, Proxy};
use store_core::limits::{Quota, QuotaSet, RateLimitStoreExt, Take, Tokens};
use store_core::{Batch, Body, Expect, Expectation, ManualClock, Record, Result, Scan, Store};
use store_s3::S3Store;
use store_s3::object_store::ObjectStoreExt;
use store_s3::object_store::memory::InMemory;
use store_s3::object_store::path::Path;

use crate::drivers::{Client, Manner};
use crate::own::is_corrupt_in_every_read;
use crate::{End, Place, harness, key, other, partition, put, tests, write};

tests![
    requests_are_as_documented,
    concurrent_takes_are_sent_together,
    a_commit_costs_the_same_in_any_partition,
    a_list_of_what_was_deleted_or_expired_reads_nothing,
    a_deleted_nonce_leaves_nothing,
    a_foreign_object_is_corrupt_alone_and_among_others,
];

/// A put of each of so many, expecting what `expect` says.
fn batch<'r, E: Into<Expectation<'r>>>(
    store: &Store,
    of: usize,
    expect: impl Fn(usize) -> E,
) -> Result<Batch> {
    let mut batch = Batch::new(partition(), store.now());
    for i in 0..of {
        batch.put(key(&format!("{i:02}")), expect(i), Body::json(i)?)?;
    }
    Ok(batch)
}

async fn read(store: &Store, of: usize) -> Result<Vec<Option<Record>>> {
    let (keys, partition): (Vec<_>, _) = (
        (0..of).map(|i| key(&format!("{i:02}"))).collect(),
        partition(),
    );
    let at: Vec<_> = keys.iter().map(|key| key.at(&partition)).collect();
    store.records().get_many(&at).await
}

async fn requests_are_as_documented(place: Place) -> End {
    let proxy = Proxy::start(harness::address(&place.url), Some(proxy::http), 0).await?;
    let url = format!("http://{}", proxy.address());
    let store = Store::from(place.builder_at(&url).connect().await?);
    let (records, partition) = (store.records(), partition());
    proxy.requests();
    let mut counted: Vec<(&str, u64, u64)> = Vec::new();
    let mut count = |what: &'static str, expected| {
        counted.push((what, proxy.requests(), expected));
    };
    records
        .commit(&put(&store, "x", Expect::Absent, 1)?)
        .await?;
    count("create", 1);
    let found = records.get(key("x").at(&partition)).await?;
    count("get", 1);
    let committed = records
        .commit(&put(&store, "x", found.as_ref(), 2)?)
        .await?;
    count("put of what was read", 1);
    assert!(committed.token(0).is_some());
    records.commit(&put(&store, "x", Expect::Any, 3)?).await?;
    count("put of anything", 2);
    let refused = records.commit(&put(&store, "x", found.as_ref(), 4)?).await;
    assert!(refused.is_err());
    count("put that is refused", 2);
    records
        .commit(&batch(&store, 10, |_| Expect::Absent)?)
        .await?;
    count("create ten", 23);
    let found = read(&store, 10).await?;
    count("get ten", 10);
    let all = batch(&store, 10, |i| Expectation::from(found[i].as_ref()))?;
    records.commit(&all).await?;
    count("put ten of what was read", 23);
    records.commit(&batch(&store, 10, |_| Expect::Any)?).await?;
    count("put ten of anything", 33);
    assert!(
        records
            .commit(&batch(&store, 10, |_| Expect::Absent)?)
            .await
            .is_err()
    );
    // The first is found to be there, and all are read, twice.
    count("create ten that are there", 26);
    let scan = Scan::partition(crate::own::THINGS, partition.clone()).limit(100)?;
    assert_eq!(records.scan(&scan).await?.items.len(), 11);
    count("page of eleven", 12);
    let quotas = QuotaSet::new([Quota::per_second(1)?])?;
    for (what, requests) in [("take", 2), ("take that is denied", 1)] {
        let take = Take::new("k", &quotas, 1, store.now())?;
        let decision = store.limits().take(&take).await?;
        assert_eq!(decision.is_allowed(), requests == 2);
        count(what, requests);
    }
    records.ping().await?;
    count("ping", 1);
    for (what, requests, expected) in &counted {
        println!("{what}: {requests}");
        assert!(requests <= expected, "{what}: {requests}, not {expected}");
    }
    Ok(())
}

async fn concurrent_takes_are_sent_together(place: Place) -> End {
    const TAKES: u64 = 64;
    let proxy = Proxy::start(harness::address(&place.url), Some(proxy::http), 0).await?;
    let url = format!("http://{}", proxy.address());
    let s3 = place.builder_at(&url).connect().await?;
    proxy.requests();
    // Half of them are more than there is, and the clock stands still.
    let quotas = QuotaSet::new([Quota::per_second(TAKES as u32 / 2)?])?;
    let takes = (0..TAKES).map(|_| async {
        // Each through a handle of its own: they share what coalesces.
        let store = Store::from(&s3);
        let take = Take::new("hot", &quotas, 1, store.now())?;
        store.limits().take(&take).await
    });
    let decisions = try_join_all(takes).await?;
    let allowed = decisions.iter().filter(|one| one.is_allowed()).count();
    assert_eq!(allowed as u64, TAKES / 2);
    // The first, those that waited for it, and some that came between: not a
    // read and a write for each, which would be twice as many at least.
    let requests = proxy.requests();
    println!("{requests} requests for {TAKES} takes");
    assert!(requests < TAKES, "{requests} requests");
    Ok(())
}

async fn a_list_of_what_was_deleted_or_expired_reads_nothing(_: Place) -> End {
    const RECORDS: usize = 100;
    let bucket = Arc::new(InMemory::new());
    let client = Client::new(&bucket, Manner::Sound, 0);
    let counter = client.counter();
    let clock = ManualClock::default();
    let builder = S3Store::builder().object_store(Arc::new(client));
    let store = Store::from(builder.clock(clock.clone()).connect().await?);
    for i in 0..RECORDS {
        let key = key(&format!("{i:02}"));
        let expires_at = store.now() + Duration::from_secs(60);
        let mut create = Batch::new(partition(), store.now());
        create.put_until(
            key.clone(),
            Expect::Absent,
            Body::json(i)?,
            Some(expires_at),
        )?;
        store.records().commit(&create).await?;
        if i % 2 == 0 {
            let mut delete = Batch::new(partition(), store.now());
            delete.delete(key, Expect::Present)?;
            store.records().commit(&delete).await?;
        }
    }
    clock.advance(Duration::from_secs(3600));
    let swept = store.records().sweep(Duration::ZERO).await?;
    assert_eq!(swept.removed as usize, RECORDS / 2, "the expired ones");
    let scan = Scan::partition(crate::own::THINGS, partition()).limit(100)?;
    counter();
    assert!(store.records().scan(&scan).await?.items.is_empty());
    assert_eq!(counter(), 1, "the list alone");
    store.records().sweep(Duration::ZERO).await?;
    assert_eq!(counter(), 2, "a list of transactions, and one of records");
    // A tombstone is replaced as any other state is.
    write(&store, "00", 7).await?;
    assert_eq!(store.records().scan(&scan).await?.items.len(), 1);
    Ok(())
}

async fn a_commit_costs_the_same_in_any_partition(_: Place) -> End {
    let mut costs = Vec::new();
    for others in [100, 100_000] {
        let bucket = Arc::new(InMemory::new());
        for i in 0..others {
            let name = format!("records/things/=p/=other {i:06}").replace(' ', "!20");
            bucket.put(&Path::parse(name)?, "{}\n".into()).await?;
        }
        let client = Client::new(&bucket, Manner::Sound, 0);
        let counter = client.counter();
        let store = Store::from(S3Store::from_object_store(Arc::new(client)).await?);
        counter();
        store
            .records()
            .commit(&batch(&store, 10, |_| Expect::Absent)?)
            .await?;
        let created = counter();
        store
            .records()
            .commit(&batch(&store, 10, |_| Expect::Any)?)
            .await?;
        costs.push((created, counter()));
    }
    assert_eq!(costs, [(23, 33); 2]);
    Ok(())
}

async fn a_deleted_nonce_leaves_nothing(_: Place) -> End {
    use store_core::{Collection, RecordKey};
    const ONCE: Collection = Collection::new("once").single_use();
    let bucket = Arc::new(InMemory::new());
    let store = Store::from(S3Store::from_object_store(bucket.clone()).await?);
    let once = RecordKey::new(ONCE, "a")?;
    for delete in [false, true] {
        let mut batch = Batch::new(partition(), store.now());
        match delete {
            false => batch.put(once.clone(), Expect::Absent, Body::json(1)?)?,
            true => batch.delete(once.clone(), Expect::Present)?,
        };
        store.records().commit(&batch).await?;
        let name = Path::parse("records/once/=p/=a")?;
        assert_eq!(bucket.head(&name).await.is_err(), delete);
    }
    // Another one leaves word that it was there.
    write(&store, "a", 1).await?;
    let mut batch = Batch::new(partition(), store.now());
    batch.delete(key("a"), Expect::Present)?;
    batch.check(other("b"), Expect::Absent)?;
    store.records().commit(&batch).await?;
    assert!(
        bucket
            .head(&Path::parse("records/things/=p/=a")?)
            .await
            .is_ok()
    );
    let key = store_core::limits::LimitKey::new("k")?;
    let one = |_: Option<Tokens>, _: &Quota, now| {
        Some(Tokens {
            tokens: 1.0,
            last_refill: now,
        })
    };
    let quota = Quota::per_second(1)?;
    store.limits().update_tokens(key, &quota, one).await?;
    Ok(())
}

async fn a_foreign_object_is_corrupt_alone_and_among_others(_: Place) -> End {
    let bucket = Arc::new(InMemory::new());
    let store = Store::from(S3Store::from_object_store(bucket.clone()).await?);
    write(&store, "a", 1).await?;
    let name = Path::parse("records/things/=p/=foreign")?;
    bucket.put(&name, "not a record".into()).await?;
    is_corrupt_in_every_read(&store, "foreign").await
}
