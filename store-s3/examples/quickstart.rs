//! The README's lines: issue a key, check it, limit whoever holds it.
//!
//! `cargo run -p store-s3 --example quickstart -- s3://bucket/prefix?region=…`

use store_s3::S3Store;
use store_s3::core::api_keys::{ApiKeys, KeyData};
use store_s3::core::limits::{Quota, RateLimiter};
use store_s3::core::secret::KeyRing;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args()
        .nth(1)
        .ok_or("where is the bucket? s3://…")?;
    let store = S3Store::connect(url).await?; // the one line that names a backend
    store.setup().await?;

    let keys = ApiKeys::new(&store, &KeyRing::random());
    let reader = KeyData::new()
        .with_tenant("acme")
        .permit("reports", ["read"]);
    let (key, _) = keys.issue(reader).await?; // shown once, kept as a digest
    for action in ["read", "delete"] {
        let access = keys.authorize(&key, "reports", action).await?;
        println!("may {action}: {}", access.is_granted());
    }

    let limiter = RateLimiter::new(&store, Quota::per_second(10)?.with_burst(2)?);
    for _ in 0..3 {
        println!("{}", limiter.take("acme", 1).await?);
    }
    Ok(())
}
