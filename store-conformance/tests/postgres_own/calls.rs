//! What calls cost, and what becomes of the pool.

use std::time::Duration;

use store_core::{Batch, Body, Durability, Expect, Scan, Store};
use store_postgres::PostgresStore;
use store_postgres::sqlx::{self, Connection, PgConnection};

use crate::own::calls::*;
use crate::own::faults::Wired;
use crate::{End, OTHERS, Place, key, number, partition, tests, write};

tests![
    every_primitive_is_one_request,
    a_page_of_a_collection_and_a_sweep_are_one_statement_each,
    a_borrowed_pool_stays_open,
    a_closed_store_closes_its_own_pool_for_all_clones,
    the_background_sweep_removes_what_expired,
    a_store_that_closes_waits_for_its_sweep,
    durability_is_told_as_the_server_is_configured,
];

async fn a_page_of_a_collection_and_a_sweep_are_one_statement_each(place: Place) -> End {
    let (proxy, store) = place.behind(0).await?;
    for _ in 0..2 {
        proxy.requests();
        store.records().scan(&Scan::collection(OTHERS, "")).await?;
        assert_eq!(proxy.requests(), 1);
        store.records().sweep(Duration::ZERO).await?;
        assert_eq!(proxy.requests(), 1);
    }
    Ok(())
}

async fn a_borrowed_pool_stays_open(place: Place) -> End {
    place.open().await?;
    let pool = place.pool().await?;
    let store = place.builder().pool(pool.clone()).connect().await?;
    write(&Store::from(&store), "a", 1).await?;
    store.close().await?;
    store.close().await?;
    let error = number(&Store::from(&store), "a")
        .await
        .expect_err("the store is closed");
    assert_eq!(error.kind(), store_core::ErrorKind::Closed);
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
        assert_eq!(error.kind(), store_core::ErrorKind::Closed);
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
    let left =
        || place.ask::<i64>("SELECT count(*) FROM {schema}.records WHERE collection = 'things'");
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
    let hold = format!("LOCK TABLE {}.records", place.schema);
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
    let reported = Store::from(place.open().await?)
        .records()
        .capabilities()
        .durability;
    let expected = if fsync == "on" {
        Durability::Crash
    } else {
        Durability::Restart
    };
    assert_eq!(reported, expected);
    Ok(())
}
