//! Notices of changes: by whom, to whom, and what becomes of them when the
//! line breaks.

use std::time::Duration;

use store_core::changes::{Changes, Notice};
use store_core::{Batch, Body, Collection, ErrorKind, Expect, RecordKey, Result, Store, Support};
use store_postgres::sqlx::{self, Connection, PgConnection};
use store_postgres::{PostgresBuilder, PostgresStore};

use crate::{End, Place, partition, tests};

tests![
    a_killed_listener_tells_of_a_gap_and_hears_again,
    whoever_writes_tells_whatever_its_program_was_opened_with,
    a_change_within_a_transaction_is_told_when_it_is_final,
    setup_changes_what_is_announced_only_if_asked,
    who_listens_where_nothing_is_told_is_refused,
    who_listens_where_nothing_is_heard_is_refused,
    a_listener_needs_no_connection_of_the_pool,
    a_closed_store_leaves_no_listener_behind,
];

const WATCHED: Collection = Collection::new("watched").cacheable();

fn builder(place: &Place) -> PostgresBuilder {
    place.builder().collection(WATCHED)
}

/// A store that tells, set up.
async fn telling(place: &Place) -> Result<PostgresStore> {
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
        .map_err(|_| "nothing was told")
}

fn changed(id: &str) -> Result<Option<Notice>> {
    Ok(Some(Notice::Changed {
        partition: partition(),
        key: watched(id)?,
    }))
}

/// Of the sessions that listen to this place.
const LISTENERS: &str = "FROM pg_stat_activity WHERE pid <> pg_backend_pid() \
    AND query = 'LISTEN \"store_changes/{schema}\"'";

async fn a_killed_listener_tells_of_a_gap_and_hears_again(place: Place) -> End {
    let store = Store::from(telling(&place).await?);
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
        assert_eq!(killed, 1, "one line, however many listen");
        // Nobody can say whether this is heard before, between or after.
        store
            .records()
            .commit(&change(&store, "meanwhile")?)
            .await?;
        for changes in &mut changes {
            let mut gaps = 0;
            while gaps < 2 {
                match next(changes).await? {
                    Some(Notice::Gap) => gaps += 1,
                    told => assert_eq!(told, changed("meanwhile")?),
                }
            }
        }
        store.records().commit(&change(&store, round)?).await?;
        for changes in &mut changes {
            let mut told = next(changes).await?;
            if told == changed("meanwhile")? {
                told = next(changes).await?;
            }
            assert_eq!(told, changed(round)?, "after the last gap all is heard");
        }
    }
    Ok(())
}

async fn whoever_writes_tells_whatever_its_program_was_opened_with(place: Place) -> End {
    let listening = Store::from(telling(&place).await?);
    let mut changes = listening.records().changes().await?;
    let other = Store::from(builder(&place).connect().await?);
    assert_eq!(other.records().capabilities().change_notice, Support::No);
    other.records().commit(&change(&other, "a")?).await?;
    assert_eq!(next(&mut changes).await?, changed("a")?);
    // A person with psql.
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

async fn a_change_within_a_transaction_is_told_when_it_is_final(place: Place) -> End {
    let postgres = telling(&place).await?;
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

async fn setup_changes_what_is_announced_only_if_asked(place: Place) -> End {
    const LATER: Collection = Collection::new("cached_later").cacheable();
    let told = "SELECT coalesce(string_agg(c.name, ' ' ORDER BY c.name), 'none')
        FROM {schema}.collections AS c
        WHERE c.name IN ('watched', 'things', 'cached_later') AND EXISTS (
            SELECT FROM pg_trigger AS t
            WHERE t.tgrelid = '{schema}.records'::regclass AND t.tgname = 'announce'
              AND pg_get_triggerdef(t.oid) LIKE '%' || c.name || '%')";
    builder(&place).connect().await?.setup().await?;
    for (said, later, left) in [
        (None, false, "none"),
        (Some(true), false, "watched"),
        (None, false, "watched"),
        (None, true, "cached_later watched"),
        (Some(false), true, "none"),
        (Some(true), false, "watched"),
    ] {
        let mut builder = builder(&place);
        if let Some(told) = said {
            builder = builder.change_notice(told);
        }
        if later {
            builder = builder.collection(LATER);
        }
        builder.connect().await?.setup().await?;
        assert_eq!(place.ask::<String>(told).await?, left, "{said:?} {later}");
    }
    Ok(())
}

async fn who_listens_where_nothing_is_told_is_refused(place: Place) -> End {
    let silent = builder(&place).connect().await?;
    silent.setup().await?;
    let unasked = Store::from(silent);
    let error = unasked
        .records()
        .changes()
        .await
        .expect_err("not asked for");
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");

    let asked = builder(&place).change_notice(true).connect().await?;
    let store = Store::from(&asked);
    let error = store.records().changes().await.expect_err("not set up");
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    assert!(error.message().contains("setup"), "{error}");
    asked.setup().await?;
    store.records().changes().await?;
    Ok(())
}

/// As a pooler in transaction mode, which grants LISTEN and delivers nothing.
async fn who_listens_where_nothing_is_heard_is_refused(place: Place) -> End {
    telling(&place).await?;
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
    let deaf = Store::from(listening(url(&elsewhere)).await?);
    let error = deaf
        .records()
        .changes()
        .await
        .expect_err("another database");
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    assert!(error.message().contains("listener_url"), "{error}");
    deaf.close().await?;

    let hearing = Store::from(listening(place.url.clone()).await?);
    let mut changes = hearing.records().changes().await?;
    let batch = change(&hearing, "a")?;
    hearing.records().commit(&batch).await?;
    assert_eq!(next(&mut changes).await?, changed("a")?);
    place
        .run(&format!("DROP DATABASE {elsewhere} WITH (FORCE)"))
        .await?;
    Ok(())
}

async fn a_listener_needs_no_connection_of_the_pool(place: Place) -> End {
    telling(&place).await?;
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
    let question = format!("SELECT count(*) {LISTENERS}");
    let listeners = || place.ask::<i64>(&question);
    let closed = telling(&place).await?;
    let dropped = telling(&place).await?;
    let mut heard = Store::from(&closed).records().changes().await?;
    let mut lost = Store::from(&dropped).records().changes().await?;
    assert_eq!(listeners().await?, 2);
    closed.close().await?;
    drop(dropped);
    assert_eq!(next(&mut heard).await?, None);
    assert_eq!(next(&mut lost).await?, None);
    // The server ends a session when it sees that the client is gone.
    while listeners().await? > 0 {}
    // A pool that is lent stays open, and the listener goes all the same.
    let pool = sqlx::PgPool::connect(&place.url).await?;
    let lent = builder(&place).change_notice(true).pool(pool.clone());
    let lent = Store::from(lent.connect().await?);
    lent.records().changes().await?;
    assert_eq!(listeners().await?, 1);
    lent.close().await?;
    while listeners().await? > 0 {}
    assert!(!pool.is_closed());
    Ok(())
}
