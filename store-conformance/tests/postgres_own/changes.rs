//! Change notices: which writes send them, which subscribers receive them, and what
//! happens when the connection breaks.

use std::time::Duration;

use store_core::changes::{Changes, Notice};
use store_core::{Batch, Body, Collection, ErrorKind, Expect, RecordKey, Result, Store, Support};
use store_postgres::sqlx::{self, Connection, PgConnection};
use store_postgres::{PostgresBuilder, PostgresStore};

use crate::{End, Place, partition, tests};

tests![
    a_terminated_listener_reports_a_gap_and_resumes,
    every_writer_sends_notices_whatever_its_options,
    a_change_within_a_transaction_is_announced_at_its_commit,
    setup_changes_what_is_announced_only_on_request,
    changes_are_refused_where_no_notices_are_sent,
    changes_are_refused_where_no_notices_arrive,
    a_listener_needs_no_connection_of_the_pool,
    a_closed_store_leaves_no_listener_behind,
];

const WATCHED: Collection = Collection::new("watched").cacheable();

fn builder(place: &Place) -> PostgresBuilder {
    place.builder().collection(WATCHED)
}

/// A store with change notices, after `setup`.
async fn notifying(place: &Place) -> Result<PostgresStore> {
    let store = builder(place).change_notice(true).connect().await?;
    store.setup().await?;
    Ok(store)
}

fn watched(id: &str) -> Result<RecordKey> {
    RecordKey::new(WATCHED, id)
}

fn change(store: &Store, id: &str) -> Result<Batch> {
    let mut batch = Batch::new(partition(), store.now());
    batch.put(watched(id)?, Expect::Any, Body::json(1)?)?;
    Ok(batch)
}

async fn next(changes: &mut Changes) -> std::result::Result<Option<Notice>, &'static str> {
    tokio::time::timeout(Duration::from_secs(30), changes.next())
        .await
        .map_err(|_| "no notice arrived")
}

fn changed(id: &str) -> Result<Option<Notice>> {
    Ok(Some(Notice::Changed {
        partition: partition(),
        key: watched(id)?,
    }))
}

/// The sessions that listen to this schema.
const LISTENERS: &str = "FROM pg_stat_activity WHERE pid <> pg_backend_pid() \
    AND query = 'LISTEN \"store_changes/{schema}\"'";

async fn a_terminated_listener_reports_a_gap_and_resumes(place: Place) -> End {
    let store = Store::from(notifying(&place).await?);
    let mut changes = [
        store.records().changes().await?,
        store.records().changes().await?,
    ];
    for round in ["a", "b"] {
        let killed: i64 = place
            .ask(&format!(
                "SELECT count(pg_terminate_backend(pid)) {LISTENERS}"
            ))
            .await?;
        assert_eq!(killed, 1, "one connection for all subscribers");
        // Its notice may arrive before, between or after the two gaps, or not at all.
        store.records().commit(&change(&store, "during")?).await?;
        for changes in &mut changes {
            let mut gaps = 0;
            while gaps < 2 {
                match next(changes).await? {
                    Some(Notice::Gap) => gaps += 1,
                    other => assert_eq!(other, changed("during")?),
                }
            }
        }
        store.records().commit(&change(&store, round)?).await?;
        for changes in &mut changes {
            let mut notice = next(changes).await?;
            if notice == changed("during")? {
                notice = next(changes).await?;
            }
            assert_eq!(notice, changed(round)?, "nothing is missed after a gap");
        }
    }
    Ok(())
}

async fn every_writer_sends_notices_whatever_its_options(place: Place) -> End {
    let listening = Store::from(notifying(&place).await?);
    let mut changes = listening.records().changes().await?;
    let other = Store::from(builder(&place).connect().await?);
    assert_eq!(other.records().capabilities().change_notice, Support::No);
    other.records().commit(&change(&other, "a")?).await?;
    assert_eq!(next(&mut changes).await?, changed("a")?);
    // A statement that does not go through the store, such as with psql.
    place
        .run("DELETE FROM {schema}.records WHERE collection = 'watched' AND id = 'a'")
        .await?;
    assert_eq!(next(&mut changes).await?, changed("a")?);
    place.run("TRUNCATE {schema}.records").await?;
    assert_eq!(next(&mut changes).await?, Some(Notice::Gap));
    let far_too_long = "x".repeat(10_000);
    place
        .run(&format!(
            "ALTER TABLE {{schema}}.records DROP CONSTRAINT records_pkey;
             INSERT INTO {{schema}}.records
                 (collection, partition, id, version, size, body)
             VALUES ('watched', 'p', '{far_too_long}', gen_random_uuid(), 1, '1')"
        ))
        .await?;
    assert_eq!(next(&mut changes).await?, Some(Notice::Gap));
    Ok(())
}

async fn a_change_within_a_transaction_is_announced_at_its_commit(place: Place) -> End {
    let postgres = notifying(&place).await?;
    let store = Store::from(&postgres);
    let mut changes = store.records().changes().await?;
    let mut connection = PgConnection::connect(&place.url).await?;
    for (id, finish) in [("a", false), ("b", true)] {
        let mut transaction = connection.begin().await?;
        let batch = change(&store, id)?;
        postgres.within(&mut transaction).commit(&batch).await?;
        if finish {
            transaction.commit().await?;
        } else {
            transaction.rollback().await?;
        }
    }
    assert_eq!(next(&mut changes).await?, changed("b")?);
    Ok(())
}

async fn setup_changes_what_is_announced_only_on_request(place: Place) -> End {
    const LATER: Collection = Collection::new("cached_later").cacheable();
    let announced = "SELECT coalesce(string_agg(c.name, ' ' ORDER BY c.name), 'none')
        FROM {schema}.collections AS c
        WHERE c.name IN ('watched', 'things', 'cached_later') AND EXISTS (
            SELECT FROM pg_trigger AS t
            WHERE t.tgrelid = '{schema}.records'::regclass AND t.tgname = 'announce'
              AND pg_get_triggerdef(t.oid) LIKE '%' || c.name || '%')";
    builder(&place).connect().await?.setup().await?;
    for (option, later, expected) in [
        (None, false, "none"),
        (Some(true), false, "watched"),
        (None, false, "watched"),
        (None, true, "cached_later watched"),
        (Some(false), true, "none"),
        (Some(true), false, "watched"),
    ] {
        let mut builder = builder(&place);
        if let Some(enabled) = option {
            builder = builder.change_notice(enabled);
        }
        if later {
            builder = builder.collection(LATER);
        }
        builder.connect().await?.setup().await?;
        let found = place.ask::<String>(announced).await?;
        assert_eq!(found, expected, "{option:?} {later}");
    }
    Ok(())
}

async fn changes_are_refused_where_no_notices_are_sent(place: Place) -> End {
    let without = builder(&place).connect().await?;
    without.setup().await?;
    let without = Store::from(without);
    let error = without.records().changes().await.expect_err("not enabled");
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");

    let enabled = builder(&place).change_notice(true).connect().await?;
    let store = Store::from(&enabled);
    let error = store.records().changes().await.expect_err("not set up");
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    assert!(error.message().contains("setup"), "{error}");
    enabled.setup().await?;
    store.records().changes().await?;
    Ok(())
}

/// Another database stands for a pooler in transaction mode, which accepts LISTEN and
/// delivers no notices.
async fn changes_are_refused_where_no_notices_arrive(place: Place) -> End {
    notifying(&place).await?;
    let elsewhere = format!("{}_elsewhere", place.schema);
    place.run(&format!("CREATE DATABASE {elsewhere}")).await?;
    let url = |database: &str| {
        let (server, _) = place.url.rsplit_once('/').expect("a URL with a path");
        format!("{server}/{database}")
    };
    let listening = |url: String| {
        let builder = builder(&place).change_notice(true).listener_url(url);
        builder.timeout(Duration::from_millis(500)).connect()
    };
    let unreached = Store::from(listening(url(&elsewhere)).await?);
    let error = unreached
        .records()
        .changes()
        .await
        .expect_err("another database");
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    assert!(error.message().contains("listener_url"), "{error}");
    unreached.close().await?;

    let reached = Store::from(listening(place.url.clone()).await?);
    let mut changes = reached.records().changes().await?;
    let batch = change(&reached, "a")?;
    reached.records().commit(&batch).await?;
    assert_eq!(next(&mut changes).await?, changed("a")?);
    place
        .run(&format!("DROP DATABASE {elsewhere} WITH (FORCE)"))
        .await?;
    Ok(())
}

async fn a_listener_needs_no_connection_of_the_pool(place: Place) -> End {
    notifying(&place).await?;
    let small = builder(&place).change_notice(true).max_connections(1);
    let store = Store::from(small.connect().await?);
    let mut changes = store.records().changes().await?;
    for id in ["a", "b"] {
        store.records().commit(&change(&store, id)?).await?;
        assert_eq!(next(&mut changes).await?, changed(id)?);
    }
    Ok(())
}

async fn a_closed_store_leaves_no_listener_behind(place: Place) -> End {
    let query = format!("SELECT count(*) {LISTENERS}");
    let listeners = || place.ask::<i64>(&query);
    let closed = notifying(&place).await?;
    let dropped = notifying(&place).await?;
    let mut of_closed = Store::from(&closed).records().changes().await?;
    let mut of_dropped = Store::from(&dropped).records().changes().await?;
    assert_eq!(listeners().await?, 2);
    closed.close().await?;
    drop(dropped);
    assert_eq!(next(&mut of_closed).await?, None);
    assert_eq!(next(&mut of_dropped).await?, None);
    // The server ends a session when it notices that the client has disconnected.
    while listeners().await? > 0 {}
    // A borrowed pool stays open, and the listener is closed all the same.
    let pool = sqlx::PgPool::connect(&place.url).await?;
    let borrowed = builder(&place).change_notice(true).pool(pool.clone());
    let borrowed = Store::from(borrowed.connect().await?);
    borrowed.records().changes().await?;
    assert_eq!(listeners().await?, 1);
    borrowed.close().await?;
    while listeners().await? > 0 {}
    assert!(!pool.is_closed());
    Ok(())
}
