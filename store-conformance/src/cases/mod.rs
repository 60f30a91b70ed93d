//! The cases, one file a contract.

pub mod api_keys;
pub mod blobs;
pub mod iam;
pub mod limits;
pub mod lti;
pub mod records;
pub mod store;
pub mod tenants;

use std::sync::Arc;

use store_core::{Collection, Store};

use crate::harness::{Harness, Over};
use crate::suite::Suite;

/// Every contract's cases over one backend.
pub fn all(backend: Arc<dyn Harness<Store>>) -> Vec<Suite> {
    let over = Arc::new(Over::new(backend));
    let contracts = [
        records::over,
        store::over,
        limits::over,
        blobs::over,
        api_keys::over,
        tenants::over,
        iam::over,
        lti::over,
    ];
    contracts.iter().flat_map(|suites| suites(&over)).collect()
}

/// The cases of each family of identities over one backend. [`all`] has them for one
/// family: what families have in common is the same code.
pub fn families(backend: Arc<dyn Harness<Store>>) -> Vec<Suite> {
    iam::families(&Arc::new(Over::new(backend)))
}

/// The collections of their own that the cases use, beside those of the
/// contracts, for a backend that must know them beforehand.
pub fn collections() -> Vec<Collection> {
    let mut all = vec![records::WATCHED, iam::BADGES];
    all.extend(["things", "others", "things_more"].map(Collection::new));
    all
}
