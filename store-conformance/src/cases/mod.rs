//! The cases, one file a contract.

pub mod api_keys;
pub mod blobs;
pub mod iam;
pub mod limits;
pub mod lti;
pub mod records;
pub mod tenants;

use std::sync::Arc;

use store_core::Store;

use crate::harness::{Harness, Over};
use crate::suite::Suite;

/// Every contract's cases over one backend.
pub fn all(backend: Arc<dyn Harness<Store>>) -> Vec<Suite> {
    let over = Arc::new(Over::new(backend));
    let contracts = [
        records::over,
        limits::over,
        blobs::over,
        api_keys::over,
        tenants::over,
        iam::over,
        lti::over,
    ];
    contracts.iter().flat_map(|suites| suites(&over)).collect()
}
