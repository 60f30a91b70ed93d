//! The step `features`: crates compile without each other's contracts.

use crate::backends::BACKENDS;
use crate::{Result, process};

/// The contracts, each of which is a feature of every crate.
const CONTRACTS: &[&str] = &["api-keys", "blobs", "identity", "limits", "lti"];

/// Checks core and every backend without any contract, core with each of them
/// alone, and the backends with those that they implement themselves.
pub fn features() -> Result {
    check("store-core", &[])?;
    for contract in CONTRACTS {
        check("store-core", &[contract])?;
    }
    for backend in BACKENDS {
        for features in [&[][..], &["blobs"], &["limits"]] {
            check(backend.package, features)?;
        }
    }
    Ok(())
}

fn check(package: &str, features: &[&str]) -> Result {
    process::run(process::cargo().args([
        "check",
        "--quiet",
        "--no-default-features",
        "--package",
        package,
        "--features",
        &features.join(","),
    ]))
}
