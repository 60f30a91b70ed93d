//! What calls cost, and what becomes of the pool.

use std::time::Duration;

use store_conformance::core::limits::{Quota, Quotas, Take};
use store_conformance::core::{Batch, Body, Durability, Expect, Scan, Store};
use store_postgres::PostgresStore;
use store_postgres::sqlx::{self, Connection, PgConnection};

use crate::{End, OTHERS, Place, THINGS, key, number, other, partition, put, tests, write};

tests![
    every_primitive_is_one_statement,
    a_lent_pool_stays_open,
    a_closed_store_closes_its_own_pool_for_all_clones,
    the_background_sweep_removes_what_expired,
    a_store_that_closes_waits_for_its_sweep,
    durability_is_told_as_the_server_is_configured,
];

async fn every_primitive_is_one_statement(place: Place) -> End {
    let (proxy, url) = place.proxy(0).await?;
    let direct = place.open().await?;
    drop(direct);
    let store = Store::from(place.builder().url(url).connect().await?);
    let records = store.records();
    let partition = partition();
    for round in 0..2 {
        // The first round prepares, which is no execution.
        proxy.requests();
        let mut counted = Vec::new();
        let mut count = |what: &'static str| counted.push((what, proxy.requests()));
        write(&store, "a", 1).await?;
        count("put");
        records
            .commit(&put(&store, "a", Expect::Present, 2)?)
            .await?;
        count("put of a present one");
        let refused = records.commit(&put(&store, "a", Expect::Absent, 3)?).await;
        assert!(refused.is_err());
        count("conflict");
        let mut hundred = Batch::new(partition.clone(), store.now());
        for i in 0..50 {
            hundred.put(
                key(&format!("{round}-{i:03}")),
                Expect::Absent,
                Body::json(i)?,
            )?;
            hundred.check(other(&format!("{i:03}")), Expect::Absent)?;
        }
        records.commit(&hundred).await?;
        count("commit of 100 in two collections");
        records.get(key("a").at(&partition)).await?;
        count("get");
        let (a, b) = (key("a"), other("b"));
        records
            .get_many(&[a.at(&partition), b.at(&partition)])
            .await?;
        count("get_many over two collections");
        let page = records
            .scan(&Scan::partition(THINGS, partition.clone()).limit(10)?)
            .await?;
        count("page");
        let cursor = page.next.ok_or("there are fifty")?;
        let next = Scan::partition(THINGS, partition.clone())
            .limit(10)?
            .after(&cursor)?;
        records.scan(&next).await?;
        count("next page");
        records.scan(&Scan::collection(OTHERS, "")).await?;
        count("page of a collection");
        for (what, quotas) in [("take", quotas(1)?), ("take of two quotas", quotas(2)?)] {
            for attempt in ["allowed", "denied"] {
                let take = Take::new(what, &quotas, 1, store.now())?;
                let decision = store.limits().take(&take).await?;
                assert_eq!(decision.is_allowed(), attempt == "allowed" && round == 0);
                count(what);
            }
        }
        records.sweep(Duration::ZERO).await?;
        count("sweep");
        records.ping().await?;
        count("ping");
        records
            .commit(&Batch::new(partition.clone(), store.now()))
            .await?;
        records.get_many(&[]).await?;
        assert_eq!(proxy.requests(), 0, "nothing is to do");
        for (what, statements) in counted {
            assert_eq!(statements, 1, "{what}");
        }
    }
    Ok(())
}

/// So many, of one token each.
fn quotas(count: u32) -> store_conformance::core::Result<Quotas> {
    let quota = |i| Quota::per_second(1)?.named(format!("q{i}"));
    Quotas::new((0..count).map(quota).collect::<Result<Vec<_>, _>>()?)
}

async fn a_lent_pool_stays_open(place: Place) -> End {
    place.open().await?;
    let pool = place.pool().await?;
    let store = place.builder().pool(pool.clone()).connect().await?;
    write(&Store::from(&store), "a", 1).await?;
    store.close().await?;
    store.close().await?;
    let error = number(&Store::from(&store), "a")
        .await
        .expect_err("the store is closed");
    assert_eq!(error.kind(), store_conformance::core::ErrorKind::Closed);
    assert!(!pool.is_closed());
    sqlx::query("SELECT 1").execute(&pool).await?;
    Ok(())
}

async fn a_closed_store_closes_its_own_pool_for_all_clones(place: Place) -> End {
    let store = place.open().await?;
    let clone: PostgresStore = store.clone();
    store.close().await?;
    for closed in [Store::from(&store), Store::from(&clone)] {
        let error = number(&closed, "a").await.expect_err("closed");
        assert_eq!(error.kind(), store_conformance::core::ErrorKind::Closed);
    }
    assert!(clone.setup().await.is_err());
    Ok(())
}

async fn the_background_sweep_removes_what_expired(place: Place) -> End {
    place.open().await?;
    let swept = place
        .builder()
        .sweep_every(Duration::from_millis(5), Duration::ZERO)
        .connect()
        .await?;
    let store = Store::from(&swept);
    let mut batch = Batch::new(partition(), store.now());
    for i in 0..100 {
        let expires_at = (i > 0).then(|| store.now());
        batch.put_until(key(&i.to_string()), Expect::Any, Body::json(i)?, expires_at)?;
    }
    store.records().commit(&batch).await?;
    let left = || place.ask::<i64>("SELECT count(*) FROM {schema}.records_things");
    while left().await? > 1 {}
    swept.close().await?;
    assert_eq!(number(&place.open().await?.into(), "0").await?, Some(0));
    Ok(())
}

/// With a pool that stays open, so that nothing else could end it.
async fn a_store_that_closes_waits_for_its_sweep(place: Place) -> End {
    place.open().await?;
    let pool = place.pool().await?;
    let store = place
        .builder()
        .pool(pool.clone())
        .sweep_every(Duration::from_millis(5), Duration::ZERO)
        .connect()
        .await?;
    let mut holder = PgConnection::connect(&place.url).await?;
    let mut transaction = holder.begin().await?;
    let hold = format!("LOCK TABLE {}.records_things", place.schema);
    sqlx::query(sqlx::AssertSqlSafe(hold))
        .execute(&mut *transaction)
        .await?;
    let sweeps = || {
        place.ask::<i64>(
            "SELECT count(*) FROM pg_stat_activity
             WHERE state = 'active' AND query LIKE '%{schema}\".sweep(%' AND wait_event_type = 'Lock'",
        )
    };
    while sweeps().await? == 0 {}
    let closing = tokio::spawn({
        let store = store.clone();
        async move { store.close().await }
    });
    assert_eq!(sweeps().await?, 1);
    assert!(!closing.is_finished(), "its sweep still runs");
    transaction.commit().await?;
    closing.await??;
    assert_eq!(sweeps().await?, 0);
    assert!(!pool.is_closed());
    Ok(())
}

async fn durability_is_told_as_the_server_is_configured(place: Place) -> End {
    let fsync: String = place.ask("SHOW fsync").await?;
    let told = Store::from(place.open().await?)
        .records()
        .capabilities()
        .durability;
    let expected = if fsync == "on" {
        Durability::Crash
    } else {
        Durability::Restart
    };
    assert_eq!(told, expected);
    Ok(())
}
