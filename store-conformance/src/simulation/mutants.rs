//! Stores with a bug that some schedule of a scenario must show.

use std::fmt;
use std::sync::Arc;

use store_core::Store;

use super::scenarios::Scenario;
use crate::harness::Harness;
use crate::mutants::{forgetful_of, leaving};

/// A bug below a scenario.
pub struct Mutant {
    /// What it does wrong, as a short name.
    pub name: &'static str,
    /// The scenario that must fail, by the name of its contract and its own.
    pub killed_by: (&'static str, &'static str),
    harness: fn() -> Arc<dyn Harness<Store>>,
}

impl Mutant {
    /// The store with the bug.
    pub fn harness(&self) -> Arc<dyn Harness<Store>> {
        (self.harness)()
    }

    /// The scenario that must fail on it.
    pub fn scenario(&self) -> Option<&'static Scenario> {
        super::scenarios::ALL
            .iter()
            .find(|one| (one.contract, one.name) == self.killed_by)
    }
}

impl fmt::Debug for Mutant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Mutant").field(&self.name).finish()
    }
}

/// Commits that expect nothing of this collection: checked first, written later.
macro_rules! forgets {
    ($collection:literal, $name:literal, $scenario:literal) => {
        Mutant {
            name: $name,
            killed_by: ("identity", $scenario),
            harness: || Arc::clone(forgetful_of($collection).backend_harness()),
        }
    };
}

/// Commits that delete nothing of this collection.
macro_rules! leaves {
    ($collection:literal, $name:literal, $scenario:literal) => {
        Mutant {
            name: $name,
            killed_by: ("identity", $scenario),
            harness: || Arc::clone(leaving($collection).backend_harness()),
        }
    };
}

/// All of them.
pub fn all() -> Vec<Mutant> {
    vec![
        forgets!(
            "iam_rosters",
            "what a principal holds is changed without expecting what was read",
            "relations_agree_and_nothing_outlives_its_owner"
        ),
        forgets!(
            "iam_policies",
            "an attachment is counted without expecting what was read",
            "relations_agree_and_nothing_outlives_its_owner"
        ),
        forgets!(
            "iam_users",
            "a user is changed without expecting that it still exists",
            "relations_agree_and_nothing_outlives_its_owner"
        ),
        forgets!(
            "iam_groups",
            "a user joins a group without expecting that it still exists",
            "relations_agree_and_nothing_outlives_its_owner"
        ),
        leaves!(
            "iam_inline_policies",
            "a deletion leaves inline policies",
            "relations_agree_and_nothing_outlives_its_owner"
        ),
        leaves!(
            "iam_access_keys",
            "a deletion leaves access keys",
            "relations_agree_and_nothing_outlives_its_owner"
        ),
        forgets!(
            "tenant_state",
            "a quota is checked before the commit",
            "a_quota_is_exact_at_every_moment"
        ),
        forgets!(
            "tenant_state",
            "a gate is opened without expecting what was read",
            "tenants_and_their_identities_agree"
        ),
        forgets!(
            "tenants",
            "a tenant is created without expecting that its parent still exists",
            "tenants_and_their_identities_agree"
        ),
        forgets!(
            "tenant_rosters",
            "tenants are counted without expecting what was read",
            "tenants_and_their_identities_agree"
        ),
    ]
}
