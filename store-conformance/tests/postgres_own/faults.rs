//! Lost connections, servers that stopped, dropped calls.

use std::time::Duration;

use store_conformance::proxy::Proxy;
use store_conformance::storm;
use store_core::{ErrorKind, Expect, Result, Retry, Store};
use store_postgres::sqlx::postgres::PgConnectOptions;
use store_postgres::sqlx::{Connection, PgConnection};

use crate::own::faults::*;
use crate::{End, Failure, Place, key, number, partition, put, tests, write};

tests![
    a_commit_whose_reply_was_lost_is_found,
    a_commit_of_several_whose_reply_was_lost_is_found,
    a_commit_that_may_apply_twice_is_ambiguous,
    a_commit_whose_request_was_lost_is_sent_again,
    a_take_whose_reply_was_lost_is_ambiguous_and_not_sent_again,
    an_outage_is_an_error_and_never_an_absence,
    without_a_connection_nothing_was_sent,
    a_server_that_is_not_there_is_unavailable,
    a_dropped_call_leaves_a_clean_pool,
    a_commit_that_waits_too_long_times_out,
    a_session_that_the_server_ended_is_replaced,
    a_commit_whose_session_was_ended_while_it_waited_is_sent_again,
    a_storm_makes_no_answer_untrue,
];

#[async_trait::async_trait]
impl Wired for Place {
    fn another(&self) -> Self {
        Self::new(&self.url)
    }

    async fn whole(&self) -> Result<Store> {
        let builder = self.builder().collections([storm::COLLECTION]);
        let store = builder.connect().await?;
        store.setup().await?;
        Ok(store.into())
    }

    async fn behind(&self, seed: u64) -> std::result::Result<(Proxy, Store), Failure> {
        self.open().await?;
        let (proxy, url) = self.proxy(seed).await?;
        let builder = self.builder().collections([storm::COLLECTION]);
        let store = Store::from(builder.url(url).connect().await?);
        write(&store, "warm", 0).await?;
        Ok((proxy, store))
    }

    async fn at(&self, address: &str) -> Result<Store> {
        let builder = self.builder().acquire_timeout(Duration::from_millis(300));
        let url = format!("postgres://store:hunter2@{address}/db");
        Ok(builder.url(url).connect().await?.into())
    }
}

async fn without_a_connection_nothing_was_sent(place: Place) -> End {
    let (proxy, store) = place.behind(0).await?;
    proxy.set_down(true);
    // The first call uses the old connection, so the server may have received it.
    for _ in 0..3 {
        number(&store, "a")
            .await
            .expect_err("the server was stopped");
    }
    let error = write(&store, "a", 2)
        .await
        .expect_err("the server was stopped");
    assert_eq!(
        (error.kind(), error.retry()),
        (ErrorKind::Unavailable, Retry::Safe),
        "{error:?}"
    );
    Ok(())
}

async fn a_dropped_call_leaves_a_clean_pool(place: Place) -> End {
    place.open().await?;
    let store = Store::from(place.builder().max_connections(2).connect().await?);
    for i in 0..300u64 {
        let mut two = put(&store, "a", Expect::Any, i)?;
        two.put(key("b"), Expect::Any, store_core::Body::json(i)?)?;
        let commit = store.records().commit(&two);
        // From not at all to nearly always done.
        let _ = tokio::time::timeout(Duration::from_micros(i * 10), commit).await;
        if i % 3 == 0 {
            let _ = tokio::time::timeout(Duration::from_micros(i), number(&store, "a")).await;
        }
        if i % 10 == 0 {
            // One statement sees one moment.
            let both = [key("a"), key("b")];
            let partition = partition();
            let both = both.each_ref().map(|key| key.at(&partition));
            let found = store.records().get_many(&both).await?;
            let versions: Vec<_> = found
                .iter()
                .flatten()
                .map(|record| record.version())
                .collect();
            assert!(
                versions.is_empty() || versions.len() == 2,
                "a commit by half"
            );
            assert!(
                versions.windows(2).all(|pair| pair[0] == pair[1]),
                "a commit by half"
            );
        }
    }
    write(&store, "a", 1).await?;
    let open: i64 = place
        .ask(
            "SELECT count(*) FROM pg_stat_activity
             WHERE state LIKE 'idle in transaction%' AND query LIKE '%{schema}%'",
        )
        .await?;
    assert_eq!(open, 0);
    Ok(())
}

async fn a_commit_that_waits_too_long_times_out(place: Place) -> End {
    let postgres = place.open().await?;
    let mut holder = PgConnection::connect(&place.url).await?;
    let mut transaction = holder.begin().await?;
    let open = Store::from(&postgres);
    let mut held = put(&open, "a", Expect::Any, 1)?;
    held.check(key("b"), Expect::Any)?;
    postgres.within(&mut transaction).commit(&held).await?;

    let short = Duration::from_millis(100);
    let ours = Store::from(place.builder().timeout(short).connect().await?);
    let error = write(&ours, "a", 2)
        .await
        .expect_err("the partition is held");
    assert_eq!(
        (error.kind(), error.retry()),
        (ErrorKind::Timeout, Retry::Ambiguous)
    );
    assert_eq!(
        number(&ours, "a").await?,
        None,
        "a read does not wait for a lock"
    );

    let servers = Store::from(place.builder().statement_timeout(short).connect().await?);
    let error = write(&servers, "a", 3)
        .await
        .expect_err("the partition is held");
    assert_eq!(
        (error.kind(), error.retry()),
        (ErrorKind::Timeout, Retry::Safe),
        "{error:?}"
    );
    transaction.rollback().await?;
    write(&servers, "a", 4).await?;
    assert!(
        servers
            .records()
            .get(key("a").at(&partition()))
            .await?
            .is_some()
    );
    Ok(())
}

/// Ends the sessions of the store that this place's test opened under `name`.
async fn end_sessions(place: &Place, name: &str) -> Result<i64, store_postgres::sqlx::Error> {
    place
        .ask(&format!(
            "SELECT count(*) FILTER (WHERE pg_terminate_backend(pid, 10000))
             FROM pg_stat_activity
             WHERE application_name = '{name}'"
        ))
        .await
}

/// A store whose sessions go by its schema's name.
async fn named(place: &Place) -> Result<(String, Store), Failure> {
    let name = place.schema.clone();
    let options: PgConnectOptions = place.url.parse()?;
    let builder = place.builder();
    let builder = builder.connect_options(options.application_name(&name));
    // One, so that there is one to end.
    let store = builder.max_connections(1).connect().await?;
    store.setup().await?;
    Ok((name, store.into()))
}

async fn a_session_that_the_server_ended_is_replaced(place: Place) -> End {
    let (name, store) = named(&place).await?;
    write(&store, "a", 1).await?;
    for round in 2..10 {
        assert!(end_sessions(&place, &name).await? > 0);
        // One idle session was ended, so at most one call may fail for it.
        match number(&store, "a").await {
            Ok(found) => assert_eq!(found, Some(round - 1)),
            Err(error) => assert_eq!(
                (error.kind(), error.retry()),
                (ErrorKind::Unavailable, Retry::Safe),
                "{error:?}"
            ),
        }
        write(&store, "a", round).await?;

        // An update that was sent into a dead session is looked into, and lands.
        let found = store.records().get(key("a").at(&partition())).await?;
        let update = put(&store, "a", &found.ok_or("just written")?, round)?;
        end_sessions(&place, &name).await?;
        store.records().commit(&update).await?;
    }
    Ok(())
}

async fn a_commit_whose_session_was_ended_while_it_waited_is_sent_again(place: Place) -> End {
    let (name, store) = named(&place).await?;
    let holding = place.open().await?;
    let waits = || {
        place.ask::<bool>(
            "SELECT EXISTS (SELECT FROM pg_stat_activity
             WHERE application_name = '{schema}' AND wait_event = 'advisory')",
        )
    };
    for applies_once in [false, true] {
        write(&store, "a", 1).await?;
        let found = store.records().get(key("a").at(&partition())).await?;
        let found = found.ok_or("just written")?;
        let batch = match applies_once {
            true => put(&store, "a", &found, 2)?,
            false => put(&store, "a", Expect::Any, 2)?,
        };
        let mut holder = PgConnection::connect(&place.url).await?;
        let mut transaction = holder.begin().await?;
        let held = put(&store, "held", Expect::Any, 1)?;
        holding.within(&mut transaction).commit(&held).await?;
        let committing = tokio::spawn({
            let store = store.clone();
            async move { store.records().commit(&batch).await }
        });
        while !waits().await? {}
        assert_eq!(end_sessions(&place, &name).await?, 1);
        // The server reported the end before any result, so nothing was written.
        while !waits().await? {
            assert!(!committing.is_finished(), "{:?}", committing.await);
        }
        transaction.commit().await?;
        committing.await??;
        assert_eq!(number(&store, "a").await?, Some(2));
    }
    Ok(())
}
