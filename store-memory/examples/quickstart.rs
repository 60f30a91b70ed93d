//! The README's example: issue a key, check it, limit its owner's requests.
//!
//! `cargo run -p store-memory --example quickstart`

use store_core::api_keys::{ApiKeys, KeyData};
use store_core::limits::{Quota, RateLimiter};
use store_core::secret::KeyRing;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // The only line that names a backend.
    let store = store_memory::MemoryStore::connect("memory://").await?;
    store.setup().await?;

    // On a server: KeyRing::from_env("KEY_RING")?, the same for every process.
    let keys = ApiKeys::new(&store, &KeyRing::generate());
    let reader = KeyData::new()
        .with_tenant("acme")
        .permit("reports", ["read"]);
    let (key, _) = keys.issue(reader).await?; // shown once, stored as a digest
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
