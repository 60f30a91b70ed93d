//! Clocks that differ: what DynamoDB may remove, and when.

use std::time::{Duration, SystemTime};

use store_core::limits::{LimitKey, Quota, QuotaSet, Take};
use store_core::{Batch, Body, Clock, Expect, ManualClock, Store, SystemClock, Timestamp};
use store_dynamodb::sdk::types::AttributeValue;

use crate::{End, Failure, Place, key, number, partition, tests};

tests![
    a_server_removes_by_its_own_clock,
    within_the_grace_a_record_stays_for_the_slowest_clock,
    a_bucket_is_not_removed_before_its_slowest_quota_is_full,
    a_bucket_in_use_is_never_near_its_removal,
    a_ping_reports_how_far_the_clocks_differ,
];

const GRACE: Duration = Duration::from_secs(600);
const LIFE: Duration = Duration::from_secs(30);

/// When the server may remove the item, in seconds.
async fn ttl(place: &Place, pk: &str, sk: &str) -> Result<u64, Failure> {
    let text = |text: &str| AttributeValue::S(text.into());
    let client = place.client();
    let asked = client.get_item().table_name(&place.table);
    let answer = asked.key("pk", text(pk)).key("sk", text(sk)).send().await?;
    let item = answer.item.ok_or("the item is not stored")?;
    let ttl = item.get("remove_at").ok_or("it has no time of removal")?;
    Ok(ttl.as_n().map_err(|_| "no number")?.parse()?)
}

fn server_now() -> u64 {
    let since = SystemTime::UNIX_EPOCH.elapsed();
    since.map_or(0, |since| since.as_secs())
}

/// Puts `a` for a while.
async fn put_for_a_while(store: &Store, number: u64) -> End {
    let mut batch = Batch::new(partition(), store.now());
    let until = Some(store.now() + LIFE);
    batch.put_until(key("a"), Expect::Any, Body::json(number)?, until)?;
    store.records().commit(&batch).await?;
    Ok(())
}

/// However wrong this process's clock is.
async fn a_server_removes_by_its_own_clock(place: Place) -> End {
    let server = Timestamp::from_seconds(server_now());
    let day = Duration::from_secs(86_400);
    for now in [server, server + day, server - 20 * day, Timestamp::EPOCH] {
        let builder = place.builder().grace(GRACE).clock(ManualClock::new(now));
        let store = builder.connect().await?;
        store.setup().await?;
        let before = server_now();
        put_for_a_while(&store.into(), 1).await?;
        let life = ttl(&place, "r:p", "things:a").await? - before;
        let expected = (LIFE + GRACE).as_secs();
        // The server's time is in whole seconds.
        assert!(life.abs_diff(expected) <= 3, "{life} s by a clock at {now}");
    }
    Ok(())
}

/// The bound: two clocks less than the grace apart.
async fn within_the_grace_a_record_stays_for_the_slowest_clock(place: Place) -> End {
    let apart = GRACE - Duration::from_secs(5);
    let now = SystemClock.now();
    let (quick, slow) = (ManualClock::new(now), ManualClock::new(now));
    let builder = place.builder().grace(GRACE);
    let opened = builder.clone().clock(quick.clone()).connect().await?;
    opened.setup().await?;
    let first = Store::from(opened);
    let second = Store::from(builder.clock(slow.clone()).connect().await?);
    put_for_a_while(&second, 1).await?;
    quick.advance(apart);
    assert_eq!(number(&first, "a").await?, None, "it is past its end");
    assert_eq!(number(&second, "a").await?, Some(1), "it is not");
    // The server stores it for as long as any clock within the bound sees it.
    let removed = ttl(&place, "r:p", "things:a").await?;
    let last = slow.now() + LIFE + apart;
    assert!(removed >= last.as_seconds(), "{removed} is before {last}");
    // It has expired for one clock, which may create it again, and then both see the
    // new record.
    let mut batch = Batch::new(partition(), first.now());
    batch.put(key("a"), Expect::Absent, Body::json(2u64)?)?;
    first.records().commit(&batch).await?;
    assert_eq!(number(&second, "a").await?, Some(2));
    Ok(())
}

async fn a_bucket_is_not_removed_before_its_slowest_quota_is_full(place: Place) -> End {
    let clock = ManualClock::new(SystemClock.now());
    let builder = place.builder().grace(GRACE).clock(clock.clone());
    let opened = builder.connect().await?;
    opened.setup().await?;
    let store = Store::from(opened);
    let quick = QuotaSet::from(Quota::per_second(1)?.named("quick")?);
    let day = Duration::from_secs(86_400);
    let slow = QuotaSet::from(Quota::new(1, day)?.named("slow")?);
    let take = |quotas| Take::new("k", quotas, 1, clock.now());
    assert!(store.limits().take(&take(&slow)?).await?.is_allowed());
    let removed = ttl(&place, "l:k", "bucket").await?;
    assert!(removed >= (clock.now() + day + GRACE).as_seconds());
    assert!(store.limits().take(&take(&quick)?).await?.is_allowed());
    assert_eq!(ttl(&place, "l:k", "bucket").await?, removed);
    // In the other order the removal is delayed.
    store.limits().delete(LimitKey::new("k")?).await?;
    assert!(store.limits().take(&take(&quick)?).await?.is_allowed());
    assert!(ttl(&place, "l:k", "bucket").await? < removed);
    assert!(store.limits().take(&take(&slow)?).await?.is_allowed());
    assert_eq!(ttl(&place, "l:k", "bucket").await?, removed);
    Ok(())
}

/// Although a take seldom changes its time of removal.
async fn a_bucket_in_use_is_never_near_its_removal(place: Place) -> End {
    let clock = ManualClock::new(SystemClock.now());
    let builder = place.builder().grace(GRACE).clock(clock.clone());
    let first = builder.clone().connect().await?;
    first.setup().await?;
    let (first, second) = (Store::from(first), Store::from(builder.connect().await?));
    let minute = Duration::from_secs(60);
    let quotas = QuotaSet::from(Quota::new(100, minute)?);
    let mut removals = Vec::new();
    for i in 0..60 {
        // The second store has an old hint.
        let store = [&first, &second][usize::from(i % 7 == 6)];
        let take = Take::new("k", &quotas, 1, clock.now())?;
        assert!(store.limits().take(&take).await?.is_allowed());
        let removed = ttl(&place, "l:k", "bucket").await?;
        let least = (clock.now() + minute + GRACE).as_seconds();
        assert!(removed >= least, "{removed} is before {least}");
        removals.push(removed);
        clock.advance(minute);
    }
    removals.dedup();
    // Once in half a grace, by each.
    assert!(removals.len() <= 2 * 12, "{removals:?}");
    Ok(())
}

async fn a_ping_reports_how_far_the_clocks_differ(place: Place) -> End {
    let apart = Duration::from_secs(500);
    let clock = ManualClock::new(SystemClock.now() + apart);
    let store = Store::from(place.builder().clock(clock).connect().await?);
    let skew = store
        .records()
        .ping()
        .await?
        .skew
        .ok_or("the server sent no time")?;
    assert!(skew.abs_diff(apart) < Duration::from_secs(10), "{skew:?}");
    Ok(())
}
