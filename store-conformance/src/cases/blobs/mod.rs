//! Streamed objects: promises 40 to 50.
//!
//! One file a theme. Every case holds for any right implementation of
//! [`BlobStore`] that gives readers a grace of under a day and writes a lease of
//! under a day, stores at most 1 MiB of content with its object's metadata,
//! and at most 5 MiB of an open write in the writer's own memory; contents are a
//! few MiB at most.

mod adapters;
mod flaky;
mod model;
mod names;
mod order;
mod outage;
mod reads;
mod reclaim;
mod stored;
pub(crate) mod tools;
mod writes;

use std::sync::Arc;

use store_core::{BlobStore, Store};

use crate::harness::Over;
use crate::suite::{Case, Suite};

pub(super) use self::model::compare;
use self::tools::Given;

/// The suites over a backend.
pub fn over(backend: &Arc<Over>) -> Vec<Suite> {
    let whole = Arc::clone(backend.backend_harness());
    vec![
        Suite::new("blobs", Arc::clone(backend) as Given, cases()),
        Suite::new("blobs", whole, store_cases()),
    ]
}

/// The cases, for a harness of your own.
pub fn cases() -> Vec<Case<dyn BlobStore>> {
    [
        writes::cases(),
        order::cases(),
        reads::cases(),
        names::cases(),
        reclaim::cases(),
        adapters::cases(),
        model::cases(),
    ]
    .concat()
}

/// The cases that look behind a whole store's objects, at its records.
pub fn store_cases() -> Vec<Case<Store>> {
    [
        reclaim::store_cases(),
        outage::store_cases(),
        stored::store_cases(),
    ]
    .concat()
}
