//! The cases, one file a contract.

pub mod api_keys;
pub mod blobs;
pub mod iam;
pub mod limits;
pub mod lti;
mod model;
pub mod records;
pub mod store;
pub mod tenants;

use std::sync::Arc;

use store_core::{Collection, Store};

use crate::harness::{Harness, Over};
use crate::suite::{CaseResult, Suite};

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

/// Makes `calls` random calls of each contract, which follow from `seed`, and compares
/// each answer with a plain model. For a soak: the cases make fewer calls.
///
/// # Errors
/// The first answer that differs, with the calls that led to it.
pub async fn compare_with_models(over: &Arc<Over>, seed: u64, calls: usize) -> CaseResult {
    records::compare(&(over.clone() as _), seed, calls).await?;
    limits::compare(&(over.clone() as _), seed, calls).await?;
    blobs::compare(&(over.clone() as _), seed, calls).await?;
    api_keys::compare(&(over.clone() as _), seed, calls).await?;
    tenants::compare(&(over.clone() as _), seed, calls).await?;
    iam::compare(&(over.clone() as _), seed, calls).await?;
    lti::compare::<lti::Campus, lti::Placement>(&(over.clone() as _), seed, calls).await?;
    lti::compare_secrets::<lti::Campus, lti::Placement>(&(over.clone() as _), seed, calls).await
}

/// The collections that the cases use in addition to those of the contracts, for a backend
/// whose collections must be declared.
pub fn collections() -> Vec<Collection> {
    let mut all = vec![records::WATCHED, iam::BADGES];
    all.extend(["things", "others", "things_more"].map(Collection::new));
    all
}
