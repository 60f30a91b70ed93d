//! A server that is killed repeatedly while it works.

use store_conformance::crash::survive;
use store_conformance::servers::dynamodb;
use store_core::{ErrorKind, Retry, Store};
use tokio::task::block_in_place;

use crate::own::crash_plan;
use crate::{End, Place, number, tests, write};

tests![
    a_restarted_server_is_used_again,
    nothing_acknowledged_is_lost_and_nothing_is_there_by_half,
];

async fn a_restarted_server_is_used_again(_: Place) -> End {
    let mut server = block_in_place(dynamodb::killable)?;
    let place = Place::new(server.url());
    let store: Store = place.open().await?;
    for round in 0..3 {
        write(&store, "a", round).await?;
        assert!(block_in_place(|| server.kill()));
        let error = number(&store, "a")
            .await
            .expect_err("the server was killed");
        assert_eq!(
            (error.kind(), error.retry()),
            (ErrorKind::Unavailable, Retry::Safe)
        );
        block_in_place(|| server.restart())?;
        assert_eq!(number(&store, "a").await?, Some(round));
    }
    Ok(())
}

async fn nothing_acknowledged_is_lost_and_nothing_is_there_by_half(_: Place) -> End {
    let mut server = block_in_place(dynamodb::killable)?;
    let store = Place::new(server.url()).open().await?;
    let figures = survive(&store, &mut server, crash_plan()?).await?;
    println!("{}: {figures}", server.origin());
    Ok(())
}
