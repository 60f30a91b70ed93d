//! Users, groups, policies.
//!
//! [`user_cases`], [`group_cases`] and [`policy_cases`] run over any
//! [`EntityStore`] of the family, so that a person who serves users from a table
//! of his own can prove that alone. [`cases`] are about what families have to do
//! with each other, and run over any [`IamStore`].

mod crashes;
mod family;
mod fixtures;
mod inline;
mod lives;
mod memberships;
mod policies;
pub(crate) mod tools;
mod transactions;

use std::sync::Arc;

use store_core::entity::EntityStore;
use store_core::iam::IamStore;

use crate::harness::{Harness, Over};
use crate::suite::{Case, CaseResult, Suite};

pub use family::{group_cases, policy_cases, user_cases};
pub use fixtures::{Everything, Fixtures, Sample, key, path};

pub(crate) use fixtures::load_tenants;

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
    ]
    .concat()
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

/// The suites over a backend.
pub fn over(backend: &Arc<Over>) -> Vec<Suite> {
    vec![
        Suite::new("iam", of(backend), user_cases()),
        Suite::new("iam", of(backend), group_cases()),
        Suite::new("iam", of(backend), policy_cases()),
        Suite::new("iam", Arc::clone(backend) as Iam, cases()),
        Suite::new(
            "iam",
            Arc::clone(backend.backend_harness()),
            crashes::cases(),
        ),
    ]
}
