//! The README's lines: issue a key, check it, limit whoever holds it.
//!
//! `cargo run -p store-memory --example quickstart`

use store_memory::MemoryStore;
use store_memory::core::api_keys::{ApiKeys, KeyData};
use store_memory::core::limits::{Quota, RateLimiter};
use store_memory::core::secret::KeyRing;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let store = MemoryStore::new(); // the one line that names a backend

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
