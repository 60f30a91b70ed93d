//! The server is killed in the middle of everything, with fsync on, and comes
//! back: what was acknowledged is there, nothing is there by half.

use std::time::Duration;

use store_conformance::crash::{COLLECTIONS, survive};
use store_conformance::servers::{Options, postgres};
use store_core::Store;

use crate::own::crash_plan;
use crate::{End, Place, tests};

tests![nothing_acknowledged_is_lost_and_nothing_is_there_by_half];

async fn nothing_acknowledged_is_lost_and_nothing_is_there_by_half(place: Place) -> End {
    let mut server = postgres::killable(&Options::from_env().durable(true))?;
    let store = place
        .builder()
        .url(server.url())
        .collections(COLLECTIONS)
        // The pool tries to connect for this long: longer than a restart takes.
        .acquire_timeout(Duration::from_secs(30))
        .connect()
        .await?;
    store.setup().await?;
    let figures = survive(&Store::from(store), &mut server, crash_plan()?).await?;
    println!("{}: {figures}", server.origin());
    Ok(())
}
