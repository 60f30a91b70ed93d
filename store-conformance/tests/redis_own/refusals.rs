//! Servers that are busy or full, or hold another program's values.

use std::time::Duration;

use store_conformance::servers::{Options, redis};
use store_core::{Batch, Body, ErrorKind, Expect, Retry, Scan, Store};
use store_redis::redis::cmd;
use tokio::task::block_in_place;
use tokio::time::timeout;

use crate::own::{is_corrupt_in_every_read, is_reported_as_not_there};
use crate::{End, Place, THINGS, key, number, partition, tests, write};

tests![
    a_port_where_nothing_listens_is_reported_without_waiting,
    a_collection_scan_on_a_busy_server_may_be_repeated,
    a_value_of_another_type_is_corrupt_alone_and_among_others,
    a_full_server_lets_records_be_disabled_and_deleted,
];

const DEADLINE: Duration = Duration::from_secs(20);

async fn a_collection_scan_on_a_busy_server_may_be_repeated(_: Place) -> End {
    let server = block_in_place(|| redis::killable(&Options::from_env()))?;
    let place = Place::new(server.url());
    let store = place.open().await?;
    write(&store, "a", 1).await?;
    let mut limit = cmd("CONFIG");
    limit.arg("SET").arg("busy-reply-threshold").arg(1);
    place.ask::<()>(&limit).await?;
    let mut connection = place.connection().await?;
    let endless = tokio::spawn(async move {
        let mut endless = cmd("EVAL");
        endless.arg("while true do end").arg(0);
        endless.query_async::<()>(&mut connection).await
    });
    let scan = Scan::collection(THINGS, "");
    let refused = async {
        loop {
            match store.records().scan(&scan).await {
                Err(error) if error.kind() != ErrorKind::Timeout => return error,
                _ => {}
            }
        }
    };
    let error = timeout(DEADLINE, refused).await?;
    assert_eq!(
        (error.kind(), error.retry()),
        (ErrorKind::Unavailable, Retry::Safe),
        "{error:?}"
    );
    let mut kill = cmd("SCRIPT");
    place.ask::<()>(kill.arg("KILL")).await?;
    let _ = endless.await?;
    assert_eq!(store.records().scan(&scan).await?.items.len(), 1);
    Ok(())
}

async fn a_value_of_another_type_is_corrupt_alone_and_among_others(place: Place) -> End {
    let store = place.open().await?;
    write(&store, "a", 1).await?;
    let mut push = cmd("RPUSH");
    push.arg(format!("{}:{{p}}:things:foreign", place.namespace));
    place.ask::<()>(push.arg("x")).await?;
    is_corrupt_in_every_read(&store, "foreign").await
}

async fn a_full_server_lets_records_be_disabled_and_deleted(_: Place) -> End {
    let server = block_in_place(|| redis::killable(&Options::from_env()))?;
    let place = Place::new(server.url());
    let store: Store = place.open().await?;
    let body = |flag: bool| Body::json(format!("{} {flag}", "x".repeat(1000)));
    for id in ["a", "b"] {
        let mut batch = Batch::new(partition(), store.now());
        batch.put(key(id), Expect::Absent, body(true)?)?;
        store.records().commit(&batch).await?;
    }
    let mut full = cmd("CONFIG");
    full.arg("SET").arg("maxmemory").arg(1);
    place.ask::<()>(&full).await?;
    let refused = write(&store, "new", 1).await.expect_err("no memory");
    assert_eq!(
        (refused.kind(), refused.retry()),
        (ErrorKind::Unavailable, Retry::Safe)
    );
    assert!(refused.message().contains("deleting"), "{refused}");
    // An update that adds a few bytes.
    let mut disable = Batch::new(partition(), store.now());
    disable.put(key("a"), Expect::Present, body(false)?)?;
    store.records().commit(&disable).await?;
    let mut grow = Batch::new(partition(), store.now());
    grow.put(key("a"), Expect::Present, Body::json("x".repeat(2000))?)?;
    let refused = store.records().commit(&grow).await;
    assert_eq!(
        refused.expect_err("no memory").kind(),
        ErrorKind::Unavailable
    );
    let p = partition();
    let found = store.records().get(key("a").at(&p)).await?;
    let text = found.ok_or("it was disabled")?.decode::<String>()?;
    assert!(text.ends_with("false"));
    let mut delete = Batch::new(partition(), store.now());
    delete.delete(key("b"), Expect::Present)?;
    store.records().commit(&delete).await?;
    assert!(store.records().get(key("b").at(&p)).await?.is_none());
    assert_eq!(number(&store, "new").await?, None);
    Ok(())
}

async fn a_port_where_nothing_listens_is_reported_without_waiting(_: Place) -> End {
    is_reported_as_not_there(Place::new("redis://127.0.0.1:1").builder().connect()).await
}
