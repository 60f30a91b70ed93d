//! Users, groups, roles, policies and access keys.
//!
//! [`user_cases`], [`group_cases`], [`role_cases`] and [`policy_cases`] run over
//! any [`EntityStore`] of the family, so that an implementation that serves users
//! from a table of its own can be tested alone. [`cases`] are about the relations
//! between families, and run over any [`IamStore`].

mod access_keys;
mod crashes;
mod family;
mod fixtures;
mod inline;
mod lives;
mod memberships;
mod model;
mod owners;
mod policies;
pub(crate) mod rings;
pub(crate) mod tools;
mod transactions;

use std::sync::Arc;

use store_core::Store;
use store_core::entity::EntityStore;
use store_core::iam::{IamStore, Identity};
use store_core::tenants::Tenant;

use crate::harness::{Harness, Over};
use crate::suite::{Case, CaseResult, Suite};

pub use family::{badge_cases, group_cases, policy_cases, role_cases, user_cases};
pub use fixtures::{BADGES, Badge, Everything, Fixtures, Sample, key, path};

pub(crate) use fixtures::{load_tenants, ring};
pub(super) use model::compare;

/// Needs of cases that an implementation may decline to meet: see
/// [`Case::needs`]. What it declines must be `Unsupported`.
pub mod needs {
    /// Several operations as one commit.
    pub const TRANSACTIONS: &str = "iam.transactions";
}

/// A harness of all families together.
type Iam = Arc<dyn Harness<dyn IamStore, Everything>>;

/// Their cases.
type Cases = Vec<Case<dyn IamStore, Everything>>;

/// The cases of all families together, for a harness of your own.
pub fn cases() -> Vec<Case<dyn IamStore, Everything>> {
    [
        policies::cases(),
        inline::cases(),
        memberships::cases(),
        lives::cases(),
        transactions::cases(),
        model::cases(),
    ]
    .concat()
}

/// The cases of access keys, for a harness of your own.
pub fn access_key_cases() -> Vec<Case<Identity, Vec<Tenant>>> {
    access_keys::cases()
}

/// The cases of the standard implementation over a backend: they look at its
/// records, or cut its calls short.
pub(crate) fn record_cases() -> Vec<Case<Store>> {
    [crashes::cases(), owners::cases(), rings::cases()].concat()
}

/// A longer version of the case that races attachments, for a soak: `rounds`
/// rounds over `users` users.
///
/// # Errors
/// The store's.
///
/// # Panics
/// If a promise is broken.
pub async fn race_attachments(
    harness: Arc<dyn Harness<dyn IamStore, Everything>>,
    rounds: usize,
    users: usize,
) -> CaseResult {
    policies::race_attachments(harness, rounds, users).await
}

/// A harness of one family.
fn of<E: Sample>(backend: &Arc<Over>) -> Arc<dyn Harness<dyn EntityStore<E>, Fixtures<E>>> {
    Arc::clone(backend) as _
}

/// The suites over a backend. What all families have in common is the same code, so
/// it runs over one family here, and over each of them in [`families`].
pub fn over(backend: &Arc<Over>) -> Vec<Suite> {
    vec![
        Suite::new("iam", of(backend), badge_cases()),
        Suite::new("iam", Arc::clone(backend) as Iam, cases()),
        Suite::new(
            "iam",
            Arc::clone(backend) as Arc<dyn Harness<Identity, Vec<Tenant>>>,
            access_key_cases(),
        ),
        Suite::new("iam", Arc::clone(backend.backend_harness()), record_cases()),
    ]
}

/// The suites of each family of the library over a backend.
pub fn families(backend: &Arc<Over>) -> Vec<Suite> {
    vec![
        Suite::new("iam", of(backend), user_cases()),
        Suite::new("iam", of(backend), group_cases()),
        Suite::new("iam", of(backend), role_cases()),
        Suite::new("iam", of(backend), policy_cases()),
    ]
}
