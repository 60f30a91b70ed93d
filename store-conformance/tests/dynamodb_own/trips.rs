//! TRIPS.md has the number of requests to DynamoDB.

use std::path::Path;

use store_conformance::proxy::{self, Message, Proxy};
use store_conformance::trips::{count, settle};

use crate::{End, Place, tests};

tests![the_table_says_what_goes_over_the_wire];

/// Requests, without those that continue a scan of the table: their number depends on the
/// order in which the table holds its items.
fn requests(bytes: &[u8]) -> Message {
    let holds = |text: &str| {
        bytes
            .windows(text.len())
            .any(|some| some == text.as_bytes())
    };
    match proxy::http(bytes) {
        Message::Request(length) if holds("_20120810.Scan") && holds("ExclusiveStartKey") => {
            Message::Other(length)
        }
        message => message,
    }
}

async fn the_table_says_what_goes_over_the_wire(place: Place) -> End {
    place.open().await?;
    let proxy = Proxy::start(place.address(), Some(requests), 0).await?;
    let endpoint = format!("http://{}", proxy.address());
    let builder = place.builder().endpoint(endpoint).scan_segments(1);
    let store = builder.connect().await?.into();
    let counted = count(&store, &|| proxy.requests()).await?;
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("TRIPS.md");
    Ok(settle(&file, "dynamodb", &counted)?)
}
