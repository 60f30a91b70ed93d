//! TRIPS.md says what the contracts cost over the wire.

use std::path::Path;

use store_conformance::trips::{count, settle};
use store_core::Store;

use crate::{End, Place, tests};

tests![the_table_says_what_goes_over_the_wire];

async fn the_table_says_what_goes_over_the_wire(place: Place) -> End {
    place.open().await?;
    let (proxy, url) = place.proxy(0).await?;
    // What opens a connection is no part of a call.
    let builder = place.builder().url(url);
    let store = Store::from(builder.connect().await?);
    let counted = count(&store, &|| proxy.requests()).await?;
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("TRIPS.md");
    Ok(settle(&file, "postgres", &counted)?)
}
