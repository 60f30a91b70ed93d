//! TRIPS.md lists the requests to Redis.

use std::path::Path;

use store_conformance::proxy::{self, Proxy};
use store_conformance::servers::{Options, redis};
use store_conformance::trips::{count, settle};
use store_core::Store;
use tokio::task::block_in_place;

use crate::{End, Place, tests};

tests![the_table_says_what_goes_over_the_wire];

/// On a separate server, because the cost of a collection scan depends on the number of
/// all keys.
async fn the_table_says_what_goes_over_the_wire(_: Place) -> End {
    let server = block_in_place(|| redis::killable(&Options::from_env()))?;
    let place = Place::new(server.url());
    let proxy = Proxy::start(place.address(), Some(proxy::redis), 0).await?;
    let url = format!("redis://{}", proxy.address());
    let opened = place.builder().url(url).connect().await?;
    // A script that the server does not know is sent twice.
    opened.setup().await?;
    let store = Store::from(opened);
    let counted = count(&store, &|| proxy.requests()).await?;
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("TRIPS.md");
    Ok(settle(&file, "redis", &counted)?)
}
