//! Sessions that became useless, and servers that cannot be reached.

use std::time::Duration;

use store_core::limits::{Quota, QuotaSet, Take};
use store_core::{ErrorKind, Retry, Store};
use store_postgres::PostgresStore;

use crate::{End, Place, number, tests, write};

tests![
    read_only_sessions_are_replaced_after_a_promotion,
    sessions_that_were_ended_while_idle_fail_no_call,
    a_port_where_nothing_listens_is_reported_without_waiting,
    another_backends_url_is_refused_before_any_connection,
    a_host_that_does_not_answer_is_passed_over,
    a_store_moves_to_the_next_host_when_its_own_fails,
    the_store_works_whatever_the_form_of_string_literals,
];

/// Longer than any call here needs, and less than a pool's patience.
const SOON: Duration = Duration::from_secs(8);

/// Has the store open this many sessions.
async fn open_sessions(place: &Place, store: &Store, name: &str, wanted: i64) -> End {
    let count = format!("SELECT count(*) FROM pg_stat_activity WHERE application_name = '{name}'");
    while place.ask::<i64>(&count).await? < wanted {
        let reads = (0..wanted * 4).map(|_| {
            let store = store.clone();
            tokio::spawn(async move { number(&store, "a").await })
        });
        for read in reads.collect::<Vec<_>>() {
            read.await??;
        }
    }
    Ok(())
}

async fn take(store: &Store) -> store_core::Result<bool> {
    let quotas = QuotaSet::new([Quota::per_second(1000)?])?;
    let take = Take::new("key", &quotas, 1, store.now())?;
    store
        .limits()
        .take(&take)
        .await
        .map(|decision| decision.is_allowed())
}

async fn read_only_sessions_are_replaced_after_a_promotion(place: Place) -> End {
    place.open().await?;
    place
        .run(
            "CREATE ROLE {schema} SUPERUSER LOGIN;
             ALTER ROLE {schema} SET default_transaction_read_only = on",
        )
        .await?;
    let url = place
        .url
        .replacen("//store@", &format!("//{}@", place.schema), 1);
    let url = format!("{url}?application_name={}", place.schema);
    let builder = place.builder().url(url).max_connections(4);
    let store = Store::from(builder.connect().await?);
    open_sessions(&place, &store, &place.schema, 4).await?;
    let error = write(&store, "a", 1).await.expect_err("it is read-only");
    assert_eq!(
        (error.kind(), error.retry()),
        (ErrorKind::Unavailable, Retry::Safe),
        "{error:?}"
    );
    open_sessions(&place, &store, &place.schema, 4).await?;
    place
        .run("ALTER ROLE {schema} RESET default_transaction_read_only")
        .await?;
    // The sessions that are open stay read-only for as long as they live.
    for number in 0..8 {
        write(&store, "a", number).await?;
        assert!(take(&store).await?);
    }
    Ok(())
}

async fn sessions_that_were_ended_while_idle_fail_no_call(place: Place) -> End {
    let url = format!("{}?application_name={}", place.url, place.schema);
    let postgres = place
        .builder()
        .url(url)
        .max_connections(6)
        .connect()
        .await?;
    postgres.setup().await?;
    let store = Store::from(postgres);
    for round in 0..3 {
        for call in 0..3 {
            write(&store, "a", round).await?;
            open_sessions(&place, &store, &place.schema, 6).await?;
            let ended: i64 = place
                .ask(
                    "SELECT count(*) FILTER (WHERE pg_terminate_backend(pid, 10000))
                     FROM pg_stat_activity WHERE application_name = '{schema}'",
                )
                .await?;
            assert_eq!(ended, 6);
            for _ in 0..6 {
                match call {
                    0 => assert!(take(&store).await?),
                    1 => write(&store, "a", round).await?,
                    _ => assert_eq!(number(&store, "a").await?, Some(round)),
                }
            }
        }
    }
    Ok(())
}

async fn a_port_where_nothing_listens_is_reported_without_waiting(_: Place) -> End {
    // No server listens on port 1 (tcpmux, RFC 1078).
    let connecting = PostgresStore::connect("postgres://store:hunter2@127.0.0.1:1/db");
    let opened = tokio::time::timeout(SOON, connecting).await?;
    let error = opened.expect_err("nothing listens there");
    assert_eq!(
        (error.kind(), error.retry()),
        (ErrorKind::Unavailable, Retry::Safe)
    );
    let text = format!("{error:?}");
    assert!(text.contains("cannot be reached"), "{text}");
    assert!(text.contains("nothing listens at 127.0.0.1:1"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
    Ok(())
}

async fn another_backends_url_is_refused_before_any_connection(_: Place) -> End {
    let error = PostgresStore::connect("redis://u:hunter2@127.0.0.1:1").await;
    let error = error.expect_err("it is Redis'");
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.message().contains("`redis:`"), "{error}");
    assert!(!format!("{error:?}").contains("hunter2"));
    Ok(())
}

async fn a_host_that_does_not_answer_is_passed_over(place: Place) -> End {
    let url = place.url.replacen('@', "@127.0.0.1:1,", 1);
    let postgres = place.builder().url(url).connect().await?;
    postgres.setup().await?;
    write(&Store::from(postgres), "a", 1).await?;
    Ok(())
}

async fn a_store_moves_to_the_next_host_when_its_own_fails(place: Place) -> End {
    place.open().await?;
    let (proxy, _) = place.proxy(0).await?;
    let first = format!("@{},", proxy.address());
    let url = place.url.replacen('@', &first, 1) + "?sslmode=disable";
    let store = Store::from(place.builder().url(url).connect().await?);
    write(&store, "a", 1).await?;
    assert!(proxy.requests() > 0, "the first host is preferred");
    proxy.set_down(true);
    let moving = async {
        let mut failed = 0;
        while let Err(error) = number(&store, "a").await {
            assert!(error.is(ErrorKind::Unavailable), "{error:?}");
            failed += 1;
        }
        failed
    };
    let failed = tokio::time::timeout(SOON, moving).await?;
    assert!(failed <= 2, "{failed} calls failed");
    write(&store, "a", 2).await?;
    Ok(())
}

async fn the_store_works_whatever_the_form_of_string_literals(place: Place) -> End {
    let url = format!("{}?options[standard_conforming_strings]=off", place.url);
    let postgres = place.builder().url(url).connect().await?;
    postgres.setup().await?;
    let store = Store::from(postgres);
    write(&store, "a", 1).await?;
    assert!(take(&store).await?);
    let shown: i64 = place
        .ask("SELECT count(*) FROM {schema}.rate_limits")
        .await?;
    assert_eq!(shown, 1);
    Ok(())
}
