//! LTI launches.
//!
//! The cases run over any implementation of [`LtiStore`](store_core::lti::LtiStore), with
//! its record types. They load their platforms and deployments through the harness, and
//! need only the four required methods of the trait, unless a case declares more. The
//! example `own_lti` of this crate runs them over an implementation of those four. Over a
//! backend they run with [`Campus`] and [`Placement`], as an application would have them.

mod deployments;
pub(crate) mod fixtures;
mod interference;
mod jwks;
mod keys;
mod launches;
mod model;
mod model_secrets;
mod nonces;
mod own_types;
pub(crate) mod records;
mod registrations;
mod tokens;
mod upserts;

use std::sync::Arc;

use store_core::ErrorKind;

use crate::harness::Over;
use crate::suite::{CaseResult, Suite};

pub use fixtures::{Cases, Fixtures, Given, Platform, Site, load};
pub(super) use model::compare;
pub(super) use model_secrets::compare as compare_secrets;
pub use own_types::{Campus, Placement};

/// Needs of cases that an implementation may decline to meet: see
/// [`Case::needs`](crate::Case::needs). What it declines must be `Unsupported`.
pub mod needs {
    /// Managing registrations and deployments through the trait.
    pub const MANAGE: &str = "lti.manage";
    /// Storing private keys sealed, and opening them to sign.
    pub const SEALED_KEYS: &str = "lti.sealed_keys";
    /// The tool's own keys.
    pub const KEYS: &str = "lti.keys";
    /// Caching the keys of platforms.
    pub const JWKS: &str = "lti.jwks";
    /// Storing access tokens.
    pub const TOKENS: &str = "lti.tokens";
}

/// The suite over a backend.
pub fn over(backend: &Arc<Over>) -> Vec<Suite> {
    vec![
        Suite::new(
            "lti",
            Arc::clone(backend) as Given<Campus, Placement>,
            cases(),
        ),
        Suite::new(
            "lti",
            Arc::clone(backend.backend_harness()),
            records::cases(),
        ),
    ]
}

/// The cases, for a harness of your own and the record types that it has.
pub fn cases<R: Platform, D: Site>() -> Cases<R, D> {
    [
        nonces::cases(),
        registrations::cases(),
        deployments::cases(),
        launches::cases(),
        upserts::cases(),
        keys::cases(),
        jwks::cases(),
        tokens::cases(),
        model::cases(),
        model_secrets::cases(),
    ]
    .concat()
}

/// A longer version of the case with racing launches, for a soak: `rounds` rounds of
/// `tasks` launches.
///
/// # Errors
/// The store's.
///
/// # Panics
/// If a promise is broken.
pub async fn race_launches<R: Platform, D: Site>(
    harness: Given<R, D>,
    rounds: usize,
    tasks: usize,
) -> CaseResult {
    nonces::race(harness, rounds, tasks).await
}

/// Asserts that a declined call is refused.
fn refused<T: std::fmt::Debug>(answer: store_core::Result<T>) -> CaseResult {
    let error = answer.expect_err("it was declared unsupported");
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    Ok(())
}
