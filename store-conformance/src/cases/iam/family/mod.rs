//! The promises of [`EntityStore`], the same for every family.

mod changes;
mod lists;
mod names;

use std::sync::Arc;

use store_core::entity::EntityStore;
use store_core::iam::{Group, Policy, Role, User};

use super::fixtures::{Badge, Fixtures};
use crate::harness::Harness;
use crate::suite::Case;

/// A family's harness.
type Family<E> = Arc<dyn Harness<dyn EntityStore<E>, Fixtures<E>>>;

/// A family's cases.
type Cases<E> = Vec<Case<dyn EntityStore<E>, Fixtures<E>>>;

/// One list for all families: a case's name begins with the family's.
macro_rules! family {
    ($family:literal, $($module:ident::$name:ident $promises:tt),* $(,)?) => {
        vec![$(Case::new(
            concat!($family, "::", stringify!($name)),
            &$promises,
            |harness| Box::pin($module::$name(harness)),
        )),*]
    };
}

macro_rules! every_case {
    ($family:literal) => {
        family!(
            $family,
            changes::what_is_created_reads_back_as_it_was_returned [],
            changes::creating_a_held_name_is_refused ["12"],
            changes::an_absent_one_is_not_found ["12"],
            changes::of_many_who_create_one_name_one_wins ["13"],
            changes::an_update_loses_no_other ["30"],
            changes::an_update_that_changes_nothing_writes_nothing ["33"],
            changes::an_edit_that_fails_changes_nothing [],
            changes::an_update_changes_neither_name_nor_id [],
            changes::an_update_never_resurrects ["31"],
            changes::unknown_fields_survive_an_update [],
            changes::a_recreated_one_inherits_nothing ["23"],
            changes::an_id_is_unique [],
            changes::an_entity_is_found_by_its_id [],
            changes::tagging_is_idempotent ["25"],
            changes::fifty_tags_are_the_most [],
            lists::a_list_neither_skips_nor_repeats ["14"],
            lists::a_full_last_page_has_no_cursor ["16"],
            lists::a_list_continues_where_its_cursor_was_deleted ["17"],
            lists::a_page_size_of_zero_is_refused_and_a_huge_one_capped ["15"],
            lists::a_prefix_is_literal ["18"],
            lists::a_list_by_path_pages_without_gap ["14", "16"],
            lists::a_cursor_of_another_query_is_refused ["R5"],
            lists::names_sort_bytewise ["19"],
            names::odd_names_are_literal ["18", "47"],
            names::long_names_are_distinguished [],
            names::equal_names_in_two_tenants_are_two ["20", "21"],
            names::a_name_that_cannot_be_stored_is_refused [],
        )
    };
}

/// The cases of a store of users, for a harness of your own.
pub fn user_cases() -> Cases<User> {
    every_case!("users")
}

/// The cases of a store of groups, for a harness of your own.
pub fn group_cases() -> Cases<Group> {
    every_case!("groups")
}

/// The cases of a store of roles, for a harness of your own.
pub fn role_cases() -> Cases<Role> {
    every_case!("roles")
}

/// The cases over a family that is only described, for every backend.
pub fn badge_cases() -> Cases<Badge> {
    every_case!("badges")
}

/// The cases of a store of policies, for a harness of your own.
pub fn policy_cases() -> Cases<Policy> {
    every_case!("policies")
}
