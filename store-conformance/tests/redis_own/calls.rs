//! What calls cost, and what a store reports about its server.

use store_conformance::servers::{Options, redis};
use store_core::{Batch, Body, Durability, ErrorKind, Expect, Store};
use store_redis::RedisStore;
use store_redis::redis::{Client, cmd};

use crate::own::calls::*;
use crate::{End, Place, key, number, partition, tests};

tests![
    every_primitive_is_one_request,
    a_limit_is_deleted_by_one_request,
    there_is_nothing_to_sweep,
    a_borrowed_client_stays_open,
    a_closed_store_is_closed_for_all_clones,
    durability_is_reported_as_the_server_is_configured,
    a_server_that_evicts_is_refused,
    a_record_is_readable_with_other_tools,
];

async fn a_borrowed_client_stays_open(place: Place) -> End {
    let client = Client::open(&*place.url)?;
    let store = RedisStore::from_client(client.clone()).await?;
    store.close().await?;
    store.close().await?;
    let error = number(&Store::from(&store), "a").await.expect_err("closed");
    assert_eq!(error.kind(), ErrorKind::Closed);
    let mut connection = client.get_multiplexed_async_connection().await?;
    let pong: String = cmd("PING").query_async(&mut connection).await?;
    assert_eq!(pong, "PONG");
    Ok(())
}

async fn a_closed_store_is_closed_for_all_clones(place: Place) -> End {
    let store = place.builder().connect().await?;
    let clone = store.clone();
    store.close().await?;
    for closed in [Store::from(&store), Store::from(&clone)] {
        let error = number(&closed, "a").await.expect_err("closed");
        assert_eq!(error.kind(), ErrorKind::Closed);
    }
    let error = clone.setup().await.expect_err("closed");
    assert_eq!(error.kind(), ErrorKind::Closed);
    Ok(())
}

async fn durability_is_reported_as_the_server_is_configured(_: Place) -> End {
    let server = tokio::task::block_in_place(|| redis::killable(&Options::from_env()))?;
    let place = Place::new(server.url());
    for (settings, expected) in [
        (&[("appendonly", "no"), ("save", "")], Durability::Process),
        (
            &[("appendonly", "no"), ("save", "60 1")],
            Durability::Restart,
        ),
        (
            &[("appendonly", "yes"), ("appendfsync", "everysec")],
            Durability::Restart,
        ),
        (
            &[("appendonly", "yes"), ("appendfsync", "always")],
            Durability::Crash,
        ),
    ] {
        for (name, value) in settings {
            let mut command = cmd("CONFIG");
            command.arg("SET").arg(name).arg(value);
            place.ask::<()>(&command).await?;
        }
        let reported = place.open().await?.records().capabilities().durability;
        assert_eq!(reported, expected, "{settings:?}");
    }
    Ok(())
}

async fn a_server_that_evicts_is_refused(_: Place) -> End {
    let server = tokio::task::block_in_place(|| redis::killable(&Options::from_env()))?;
    let place = Place::new(server.url());
    let opened = place.builder().connect().await?;
    opened.setup().await?;
    let store = Store::from(&opened);
    store.records().ping().await?;
    for policy in ["allkeys-lru", "volatile-ttl"] {
        let mut command = cmd("CONFIG");
        command.arg("SET").arg("maxmemory-policy").arg(policy);
        place.ask::<()>(&command).await?;
        let by_connect = place.builder().connect().await.map(drop);
        let by_ping = store.records().ping().await.map(drop);
        for refused in [by_connect, by_ping] {
            let error = refused.expect_err("it evicts records");
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.message().contains(policy), "{error}");
        }
    }
    let mut command = cmd("CONFIG");
    command.arg("SET").arg("maxmemory-policy").arg("noeviction");
    place.ask::<()>(&command).await?;
    store.records().ping().await?;
    Ok(())
}

async fn a_record_is_readable_with_other_tools(place: Place) -> End {
    let store = place.open().await?;
    let mut batch = Batch::new(partition(), store.now());
    batch.put(key("a"), Expect::Any, Body::replacement("text")?)?;
    store.records().commit(&batch).await?;
    let mut command = cmd("GET");
    command.arg(format!("{}:{{p}}:things:a", place.namespace));
    let stored: String = place.ask(&command).await?;
    let version = batch.version();
    assert_eq!(
        stored,
        format!("j1 {version} ----------.--------- \"text\"")
    );
    Ok(())
}
