//! What calls cost, and what a store says of its server.

use std::time::Duration;

use store_conformance::core::limits::{LimitKey, Quota, Quotas, Take};
use store_conformance::core::{Batch, Body, Durability, ErrorKind, Expect, Scan, Store};
use store_conformance::proxy::{self, Proxy};
use store_conformance::servers::{Options, redis};
use store_redis::RedisStore;
use store_redis::redis::{Client, cmd};

use crate::{End, Place, THINGS, key, number, other, partition, put, tests, write};

tests![
    every_primitive_is_one_request,
    a_lent_client_makes_connections_still,
    a_closed_store_is_closed_for_all_clones,
    durability_is_told_as_the_server_is_configured,
    a_server_that_evicts_is_refused,
    people_can_read_a_record,
];

async fn every_primitive_is_one_request(place: Place) -> End {
    let proxy = Proxy::start(place.address(), Some(proxy::redis), 0).await?;
    let url = format!("redis://{}", proxy.address());
    let opened = place.builder().url(url).connect().await?;
    opened.setup().await?;
    let store = Store::from(opened);
    let (records, partition) = (store.records(), partition());
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
        hundred.put(key(&format!("{i:03}")), Expect::Absent, Body::json(i)?)?;
        hundred.check(other(&format!("{i:03}")), Expect::Absent)?;
    }
    records.commit(&hundred).await?;
    count("commit of 100 in two collections");
    records.get(key("a").at(&partition)).await?;
    count("get");
    let (a, b) = (key("a"), other("b"));
    let elsewhere = store_conformance::core::Partition::new("elsewhere")?;
    records
        .get_many(&[a.at(&partition), b.at(&partition), a.at(&elsewhere)])
        .await?;
    count("get_many over two collections and two partitions");
    let scan = Scan::partition(THINGS, partition.clone()).limit(10)?;
    let page = records.scan(&scan).await?;
    count("page");
    records
        .scan(&scan.after(&page.next.ok_or("there are fifty")?)?)
        .await?;
    count("next page");
    for (what, quotas) in [("take", quotas(1)?), ("take of two quotas", quotas(2)?)] {
        for attempt in ["allowed", "denied"] {
            let take = Take::new(what, &quotas, 1, store.now())?;
            let decision = store.limits().take(&take).await?;
            assert_eq!(decision.is_allowed(), attempt == "allowed");
            count(what);
        }
    }
    store.limits().peek(LimitKey::new("take")?).await?;
    count("peek");
    store.limits().delete(LimitKey::new("take")?).await?;
    count("delete of a limit");
    records.ping().await?;
    count("ping");
    records.commit(&Batch::new(partition, store.now())).await?;
    records.get_many(&[]).await?;
    records.sweep(Duration::ZERO).await?;
    assert_eq!(proxy.requests(), 0, "nothing is to do");
    for (what, requests) in counted {
        assert_eq!(requests, 1, "{what}");
    }
    Ok(())
}

/// So many, of one token each.
fn quotas(count: u32) -> store_conformance::core::Result<Quotas> {
    let quota = |i| Quota::per_second(1)?.named(format!("q{i}"));
    Quotas::new((0..count).map(quota).collect::<Result<Vec<_>, _>>()?)
}

async fn a_lent_client_makes_connections_still(place: Place) -> End {
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

async fn durability_is_told_as_the_server_is_configured(_: Place) -> End {
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
        let told = place.open().await?.records().capabilities().durability;
        assert_eq!(told, expected, "{settings:?}");
    }
    Ok(())
}

async fn a_server_that_evicts_is_refused(_: Place) -> End {
    let server = tokio::task::block_in_place(|| redis::killable(&Options::from_env()))?;
    let place = Place::new(server.url());
    place.builder().connect().await?.setup().await?;
    for policy in ["allkeys-lru", "volatile-ttl"] {
        let mut command = cmd("CONFIG");
        command.arg("SET").arg("maxmemory-policy").arg(policy);
        place.ask::<()>(&command).await?;
        let store = place.builder().connect().await?;
        let error = store.setup().await.expect_err("it deletes records");
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.message().contains(policy), "{error}");
    }
    Ok(())
}

async fn people_can_read_a_record(place: Place) -> End {
    let store = place.open().await?;
    let mut batch = Batch::new(partition(), store.now());
    batch.put(key("a"), Expect::Any, Body::json("text")?)?;
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
