//! The README's example on a server: issue a key, check it, limit its owner's requests.
//! Each backend's `examples/BACKEND_quickstart.rs` is this program and the line that
//! names the backend.

use store_core::api_keys::{ApiKeys, KeyData};
use store_core::limits::{Quota, RateLimiter};
use store_core::secret::KeyRing;

use crate::Backend;

pub type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

#[tokio::main]
pub async fn main() -> Result {
    let url = std::env::args()
        .nth(1)
        .ok_or("pass the store's URL as an argument")?;
    let store = Backend::connect(url).await?;
    store.setup().await?;

    let keys = ApiKeys::new(&store, &ring()?);
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

/// The key ring. A service needs the same one in every process and after every restart,
/// because records that were written with it cannot be read with another.
fn ring() -> Result<KeyRing> {
    const NAME: &str = "KEY_RING";
    if std::env::var_os(NAME).is_some() {
        return Ok(KeyRing::from_env(NAME)?);
    }
    let ring = KeyRing::generate();
    println!("{NAME} is not set. This is a new one; set it before the next run:");
    println!("export {NAME}={}", ring.to_text().expose());
    Ok(ring)
}
