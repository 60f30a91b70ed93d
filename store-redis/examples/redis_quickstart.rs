//! Issues an API key, checks it, and limits its owner's requests.
//!
//! `KEY_RING=… cargo run -p store-redis --example redis_quickstart -- redis://host`
//!
//! `KEY_RING` is the text that `KeyRing::generate().to_text()` gives once. Every
//! process that uses the store needs the same one.

use store_core::api_keys::{ApiKeys, KeyData};
use store_core::limits::{Quota, RateLimiter};
use store_core::secret::KeyRing;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args()
        .nth(1)
        .ok_or("name the server: redis://…")?;
    let store = store_redis::RedisStore::connect(url).await?; // the only line that names a backend
    store.setup().await?;

    let keys = ApiKeys::new(&store, &KeyRing::from_env("KEY_RING")?);
    let reader = KeyData::new()
        .with_tenant("acme")
        .permit("reports", ["read"]);
    let (key, _) = keys.issue(reader).await?; // shown once, stored as a digest
    let access = keys.authorize(&key, "reports", "delete").await?;
    println!("may delete: {}", access.is_granted());

    let limiter = RateLimiter::new(&store, Quota::per_second(10)?);
    println!("{}", limiter.take("acme", 1).await?);
    Ok(())
}
