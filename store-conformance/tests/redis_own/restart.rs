//! Servers that are restarted, and killed while they are used.

use std::time::Duration;

use store_conformance::crash::survive;
use store_conformance::servers::{Options, Server, redis};
use store_core::{ErrorKind, Retry, Store};
use store_redis::redis::cmd;
use tokio::task::block_in_place;

use crate::own::crash_plan;
use crate::{End, Failure, Place, number, tests, write};

tests![
    a_restarted_server_is_found_again,
    a_server_that_does_not_answer_times_out,
    nothing_acknowledged_is_lost_and_nothing_is_there_by_half,
];

/// A separate server that loses nothing when it is killed.
fn durable() -> Result<Server, Failure> {
    Ok(block_in_place(|| {
        redis::killable(&Options::from_env().durable(true))
    })?)
}

async fn a_restarted_server_is_found_again(_: Place) -> End {
    let mut server = durable()?;
    let place = Place::new(server.url());
    let store = Store::from(place.builder().connect().await?);
    write(&store, "a", 0).await?;
    for round in 1..4 {
        assert!(block_in_place(|| server.kill()));
        let error = number(&store, "a").await.expect_err("it was killed");
        assert_eq!(
            (error.kind(), error.retry()),
            (ErrorKind::Unavailable, Retry::Safe)
        );
        block_in_place(|| server.restart())?;
        // It works, or reports the lost connection; and the next call works.
        match number(&store, "a").await {
            Ok(found) => assert_eq!(found, Some(round - 1)),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable),
        }
        assert_eq!(number(&store, "a").await?, Some(round - 1));
        // The restarted server does not know the scripts.
        write(&store, "a", round).await?;
    }
    Ok(())
}

async fn a_server_that_does_not_answer_times_out(_: Place) -> End {
    let server = durable()?;
    let place = Place::new(server.url());
    let builder = place.builder().timeout(Duration::from_millis(100));
    let store = Store::from(builder.connect().await?);
    write(&store, "a", 1).await?;
    let mut pause = cmd("CLIENT");
    pause.arg("PAUSE").arg(1_000);
    place.ask::<()>(&pause).await?;
    let error = number(&store, "a").await.expect_err("no reply arrives");
    assert_eq!(
        (error.kind(), error.retry()),
        (ErrorKind::Timeout, Retry::Safe)
    );
    let error = write(&store, "a", 2).await.expect_err("no reply arrives");
    assert_eq!(
        (error.kind(), error.retry()),
        (ErrorKind::Timeout, Retry::Ambiguous)
    );
    while number(&store, "a").await.is_err() {}
    // What was sent was run later.
    assert_eq!(number(&store, "a").await?, Some(2));
    Ok(())
}

async fn nothing_acknowledged_is_lost_and_nothing_is_there_by_half(_: Place) -> End {
    let mut server = durable()?;
    let place = Place::new(server.url());
    let store = place.open().await?;
    let figures = survive(&store, &mut server, crash_plan()?).await?;
    println!("{}: {figures}", server.origin());
    Ok(())
}
