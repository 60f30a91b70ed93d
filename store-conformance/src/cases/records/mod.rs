//! The record store's promises, R1 to R10.
//!
//! One file for each topic. Every case passes on any correct store on any server: it
//! moves the clock by hand, races through both handles, and does not depend on how
//! records are stored.

mod bodies;
mod changes;
mod commits;
mod expiry;
mod flags;
mod histories;
mod lifecycle;
mod model;
mod names;
mod races;
mod replies;
mod rewrites;
mod scans;
mod tools;

use std::sync::Arc;

use store_core::RecordStore;

use crate::harness::Over;
use crate::suite::{Case, Suite};

use self::tools::Given;

pub(super) use self::changes::WATCHED;
pub use self::flags::change_stored_flags;
pub use self::histories::Race;
pub(super) use self::model::compare;

/// The suite over a backend.
pub fn over(backend: &Arc<Over>) -> Vec<Suite> {
    vec![Suite::new("records", Arc::clone(backend) as Given, cases())]
}

/// The cases, for a harness of your own.
pub fn cases() -> Vec<Case<dyn RecordStore>> {
    [
        names::cases(),
        expiry::cases(),
        commits::cases(),
        scans::cases(),
        bodies::cases(),
        rewrites::cases(),
        flags::cases(),
        lifecycle::cases(),
        races::cases(),
        histories::cases(),
        replies::cases(),
        changes::cases(),
        model::cases(),
    ]
    .concat()
}
