//! Mutants: stores with one bug each. The suite must kill each one with a case whose
//! name says what is wrong.

mod altered;
mod api_keys;
mod blobs;
mod iam;
mod limits;
mod lti;
mod records;
mod store;
mod tenants;

pub use blobs::sound_blobs;
pub use iam::sound as sound_iam;
pub(crate) use iam::{forgetful_of, leaving};
pub use limits::sound as sound_limits;
pub use lti::sound as sound_lti;
pub use records::sound;
pub use tenants::sound as sound_tenants;

use crate::suite::Suite;

/// A store with one bug.
#[derive(Clone, Copy, Debug)]
pub struct Mutant {
    /// What it does wrong, in a few words.
    pub name: &'static str,
    /// The contract whose promise it breaks.
    pub contract: &'static str,
    /// The case that must fail on it.
    pub killed_by: &'static str,
    /// The contract's suite over it.
    pub suite: fn() -> Suite,
}

/// All of them.
pub fn all() -> Vec<Mutant> {
    [
        records::all(),
        store::all(),
        limits::all(),
        blobs::all(),
        api_keys::all(),
        tenants::all(),
        iam::all(),
        lti::all(),
    ]
    .concat()
}
