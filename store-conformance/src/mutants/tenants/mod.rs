//! Bugs that break the promises of `tenants`.

mod flawed;

use std::sync::Arc;

use self::flawed::{Flaw, Sabotaged};
use super::Mutant;
use super::iam::forgetful_of;
use crate::cases::tenants;
use crate::suite::Suite;

/// A flaw in the code around tenants.
macro_rules! flaw {
    ($flaw:ident, $name:literal, $cases:ident, $killed_by:literal) => {
        Mutant {
            name: $name,
            contract: "tenants",
            killed_by: $killed_by,
            suite: || {
                Suite::new(
                    "tenants",
                    Arc::new(Sabotaged(Flaw::$flaw)),
                    tenants::$cases(),
                )
            },
        }
    };
}

/// A commit that does not expect what was read of a collection.
macro_rules! forgets {
    ($collection:literal, $name:literal, $cases:ident, $killed_by:literal) => {
        Mutant {
            name: $name,
            contract: "tenants",
            killed_by: $killed_by,
            suite: || Suite::new("tenants", forgetful_of($collection), tenants::$cases()),
        }
    };
}

/// The stores without a flaw.
pub fn sound() -> Vec<Suite> {
    let sound = || Arc::new(Sabotaged(Flaw::Nothing));
    vec![
        Suite::new("tenants", sound(), tenants::cases()),
        Suite::new("tenants", sound(), tenants::identity_cases()),
    ]
}

/// All of them.
pub fn all() -> Vec<Mutant> {
    vec![
        flaw!(
            AncestryByText,
            "1/2 is an ancestor of 1/23",
            cases,
            "ancestry_goes_by_whole_numbers"
        ),
        flaw!(
            AncestorsFromBelow,
            "ancestors are returned leaf first",
            cases,
            "ancestors_come_root_first_without_oneself"
        ),
        flaw!(
            MakesParents,
            "a missing parent is created",
            cases,
            "a_tenant_needs_those_above_it"
        ),
        flaw!(
            DeletesBelow,
            "a deletion deletes the tenants below too",
            cases,
            "a_tenant_with_tenants_below_is_not_deleted"
        ),
        flaw!(
            OwnQuotasOnly,
            "quotas are not inherited",
            cases,
            "quotas_resolve_up_the_tree"
        ),
        flaw!(
            RootQuotasOnly,
            "quotas are not overridden",
            cases,
            "quotas_resolve_up_the_tree"
        ),
        flaw!(
            IgnoresCursors,
            "each page is the first",
            cases,
            "tenants_are_listed_without_gap_or_repeat"
        ),
        flaw!(
            ListsOneTree,
            "the list of all is of one tree",
            cases,
            "every_tree_is_in_the_list_of_all"
        ),
        flaw!(
            UpdateForges,
            "an update replaces the incarnation",
            cases,
            "an_update_keeps_a_tenant_in_its_place"
        ),
        flaw!(
            DropsTheNode,
            "a tenant is deleted over its users",
            identity_cases,
            "a_tenant_with_identities_is_not_deleted"
        ),
        flaw!(
            CountsLeaves,
            "usage leaves out what is below",
            identity_cases,
            "usage_is_what_is_really_there"
        ),
        flaw!(
            BindsNothing,
            "a changed quota never binds",
            identity_cases,
            "a_changed_quota_binds_at_the_documented_moment"
        ),
        flaw!(
            ExpectsNoParent,
            "the parent is looked up before the commit, and not expected by it",
            cases,
            "no_race_leaves_a_tenant_without_its_parent"
        ),
        forgets!(
            "tenant_rosters",
            "the quota of tenants is checked before the commit",
            cases,
            "a_quota_of_tenants_holds_under_a_race"
        ),
        forgets!(
            "tenants",
            "a tenant is created where one is",
            cases,
            "of_many_who_create_one_path_one_wins"
        ),
        forgets!(
            "tenant_state",
            "the quota is checked before the commit",
            identity_cases,
            "a_quota_holds_under_a_race"
        ),
    ]
}
