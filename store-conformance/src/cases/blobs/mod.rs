//! Streamed objects: promises 40 to 50.
//!
//! One file a theme. Every case holds for any right implementation of
//! [`BlobStore`] that gives readers a grace of under a day and writes a lease of
//! under a day; contents are a few MiB at most.

mod order;
mod tools;
mod writes;

use std::sync::Arc;

use store_core::BlobStore;

use crate::harness::Over;
use crate::suite::{Case, Suite};

use self::tools::Given;

/// The suites over a backend.
pub fn over(backend: &Arc<Over>) -> Vec<Suite> {
    vec![Suite::new("blobs", Arc::clone(backend) as Given, cases())]
}

/// The cases, for a harness of your own.
pub fn cases() -> Vec<Case<dyn BlobStore>> {
    [writes::cases(), order::cases()].concat()
}
