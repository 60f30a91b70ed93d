//! Bugs that break the promises of `iam`.

mod credentials;
mod flawed;
mod forgetful;

use std::sync::Arc;

use store_core::Result;
use store_core::secret::KeyRing;

use self::credentials::Keys;
use self::flawed::{Flaw, Sabotaged};
use super::Mutant;
use crate::cases::api_keys::rings::ring;
use crate::cases::iam::{self, rings};
use crate::suite::{Case, Suite};

use forgetful::{deleting_at_most, giving_up};

pub(crate) use forgetful::{forgetful_of, leaving};

/// A flaw that the cases of a store of users kill.
macro_rules! users {
    ($flaw:ident, $name:literal, $killed_by:literal) => {
        Mutant {
            name: $name,
            contract: "iam",
            killed_by: concat!("users::", $killed_by),
            suite: || Suite::new("iam", Arc::new(Sabotaged(Flaw::$flaw)), iam::user_cases()),
        }
    };
}

/// A flaw that the cases of all families together kill.
macro_rules! families {
    ($flaw:ident, $name:literal, $killed_by:literal) => {
        Mutant {
            name: $name,
            contract: "iam",
            killed_by: $killed_by,
            suite: || Suite::new("iam", Arc::new(Sabotaged(Flaw::$flaw)), iam::cases()),
        }
    };
}

/// A commit that does not expect what was read of a collection.
macro_rules! forgets {
    ($collection:literal, $name:literal, $cases:ident, $killed_by:literal) => {
        Mutant {
            name: $name,
            contract: "iam",
            killed_by: $killed_by,
            suite: || Suite::new("iam", forgetful_of($collection), iam::$cases()),
        }
    };
}

/// A flaw that the cases of access keys kill.
macro_rules! keys {
    ($flaw:ident, $name:literal, $killed_by:literal) => {
        Mutant {
            name: $name,
            contract: "iam",
            killed_by: $killed_by,
            suite: || {
                let flawed = Arc::new(Keys(credentials::Flaw::$flaw));
                Suite::new("iam", flawed, iam::access_key_cases())
            },
        }
    };
}

/// The ring of the first two names.
fn two_at_most(names: &[&str]) -> Result<KeyRing> {
    ring(&names[..names.len().min(2)])
}

/// The stores without a flaw.
pub fn sound() -> Vec<Suite> {
    let sound = || Arc::new(Sabotaged(Flaw::Nothing));
    vec![
        Suite::new("iam", sound(), iam::user_cases()),
        Suite::new("iam", sound(), iam::cases()),
    ]
}

/// All of them.
pub fn all() -> Vec<Mutant> {
    vec![
        users!(
            CreateOverwrites,
            "create replaces what is there",
            "creating_a_held_name_is_refused"
        ),
        users!(
            UpdateResurrects,
            "update brings back what was deleted",
            "an_update_never_resurrects"
        ),
        users!(
            UpdateDropsUnknown,
            "update drops fields it does not know",
            "unknown_fields_survive_an_update"
        ),
        users!(
            TakesPrefixesForPatterns,
            "a path prefix is a LIKE pattern",
            "a_prefix_is_literal"
        ),
        users!(
            IgnoresCursors,
            "each page is the first",
            "a_list_neither_skips_nor_repeats"
        ),
        users!(
            SortsIgnoringCase,
            "names sort by a collation",
            "names_sort_bytewise"
        ),
        users!(
            FoldsCase,
            "names that differ only in case are one",
            "names_sort_bytewise"
        ),
        users!(
            CutsLongNames,
            "long names are cut",
            "long_names_are_distinguished"
        ),
        users!(
            LeafIsTheTenant,
            "a tenant is known by its leaf alone",
            "equal_names_in_two_tenants_are_two"
        ),
        families!(
            DeleteKeepsWhatIsUnderTheName,
            "dependants are keyed by name",
            "a_recreated_user_inherits_nothing"
        ),
        families!(
            DeleteForgetsCounts,
            "a deleted user's attachments stay counted",
            "a_deleted_principal_takes_everything_along"
        ),
        families!(
            RenameCopies,
            "a rename loses the attachments",
            "a_renamed_user_keeps_everything_and_leaves_nothing"
        ),
        families!(
            RenameLeavesTheOld,
            "a rename leaves the old name behind",
            "a_renamed_group_keeps_everything_and_leaves_nothing"
        ),
        families!(
            RenameOverwrites,
            "a rename replaces the entity that has the name",
            "a_rename_to_a_held_name_is_refused"
        ),
        families!(
            DeletesAttachedPolicies,
            "an attached policy is deleted",
            "an_attached_policy_is_not_deleted"
        ),
        families!(
            AttachesForeign,
            "another tenant's policy is attached",
            "a_foreign_policy_and_an_absent_one_are_one_answer"
        ),
        families!(
            TellsForeignApart,
            "a policy of another tenant gets an answer of its own",
            "a_foreign_policy_and_an_absent_one_are_one_answer"
        ),
        families!(
            CountsTwice,
            "attaching again counts again",
            "attaching_is_idempotent_and_counted"
        ),
        families!(
            UpdateTakesCounts,
            "an update overwrites the count",
            "an_update_leaves_the_counts_true"
        ),
        families!(
            JoinsAcrossTenants,
            "a user joins another tenant's group",
            "a_membership_needs_both_in_one_tenant"
        ),
        families!(
            TransactsOneByOne,
            "half a transaction is written",
            "a_transaction_is_all_or_nothing"
        ),
        forgets!(
            "iam_users",
            "create looks first and writes later",
            user_cases,
            "users::of_many_who_create_one_name_one_wins"
        ),
        forgets!(
            "iam_users",
            "update is read, change, write",
            user_cases,
            "users::an_update_loses_no_other"
        ),
        forgets!(
            "iam_ids",
            "ids are looked up before the commit",
            user_cases,
            "users::an_id_is_unique"
        ),
        forgets!(
            "iam_policies",
            "attachment counts are lost in races",
            cases,
            "an_attachment_count_is_true_after_any_race"
        ),
        forgets!(
            "iam_rosters",
            "the limit of attachments is checked first",
            cases,
            "a_principal_has_only_so_many_attachments"
        ),
        families!(
            IgnoresCursors,
            "each page of members is the first",
            "members_are_listed_without_gap_or_repeat"
        ),
        Mutant {
            name: "a deletion removes the first fifty things that a user owns",
            contract: "iam",
            killed_by: "a_user_that_owns_more_than_a_hundred_things_is_deleted",
            suite: || {
                let backend = deleting_at_most(50);
                let backend = Arc::clone(backend.backend_harness());
                Suite::new("iam", backend, iam::record_cases())
            },
        },
        Mutant {
            name: "access keys are opened under the first two keys of a ring",
            contract: "iam",
            killed_by: "an_access_key_authenticates_under_every_key_of_the_ring",
            suite: || {
                let case = Case::new(
                    "an_access_key_authenticates_under_every_key_of_the_ring",
                    &[],
                    |given| Box::pin(rings::authenticates(given, two_at_most)),
                );
                let backend = Arc::clone(super::sound().backend_harness());
                Suite::new("iam", backend, vec![case])
            },
        },
        Mutant {
            name: "a conflict ends the operation",
            contract: "iam",
            killed_by: "hundreds_of_tasks_create_users_in_one_group",
            suite: || Suite::new("iam", giving_up(), iam::cases()),
        },
        keys!(
            IgnoresStatus,
            "a disabled access key is used",
            "a_disabled_access_key_does_not_authenticate"
        ),
        keys!(
            AcceptsAnySecret,
            "the secret of an access key is not compared",
            "a_wrong_secret_and_an_unknown_key_are_refused_the_same_way"
        ),
        keys!(
            TellsUnknownKeysApart,
            "an unknown access key gets an answer of its own",
            "a_wrong_secret_and_an_unknown_key_are_refused_the_same_way"
        ),
        keys!(
            IgnoresOwners,
            "an access key is managed through another user",
            "an_access_key_is_managed_through_its_user_alone"
        ),
        Mutant {
            name: "a deletion leaves the access keys of a user",
            contract: "iam",
            killed_by: "deleting_a_user_deletes_its_access_keys",
            suite: || Suite::new("iam", leaving("iam_access_keys"), iam::access_key_cases()),
        },
        forgets!(
            "iam_rosters",
            "the limit of access keys is checked before the commit",
            access_key_cases,
            "a_user_has_only_two_access_keys"
        ),
        forgets!(
            "tenant_state",
            "the quota of access keys is checked before the commit",
            access_key_cases,
            "a_quota_of_access_keys_holds_under_a_race"
        ),
    ]
}
