//! TRIPS.md says what goes over the wire to S3.

use std::path::Path;

use store_conformance::proxy::{self, Proxy};
use store_conformance::trips::{count, settle};
use store_core::Store;

use crate::{End, Place, harness, tests};

tests![the_table_says_what_goes_over_the_wire];

async fn the_table_says_what_goes_over_the_wire(place: Place) -> End {
    let proxy = Proxy::start(harness::address(&place.url), Some(proxy::http), 0).await?;
    let url = format!("http://{}", proxy.address());
    let store = Store::from(place.builder_at(&url).connect().await?);
    let counted = count(&store, &|| proxy.requests()).await?;
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("TRIPS.md");
    Ok(settle(&file, "s3", &counted)?)
}
