//! Bugs that break the promises of `lti`.

mod contract;
mod records;
mod table;

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use store_core::lti::{Deployment, LtiStore, Registration};
use store_core::{ManualClock, Result};

use self::table::{Table, Tables};
use super::Mutant;
use crate::cases::lti::{self, Fixtures, load, needs};
use crate::harness::{Harness, Opened};
use crate::suite::Suite;

/// What is wrong with a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    ChecksANonceThenMarksIt,
    DeletesAUsedNonce,
    BindsNoncesToTheClient,
    BindsNoncesToNobody,
    LeavesExpiryToTheSweeper,
    AsksForExpiryBeforeUse,
    ExpiresAMomentLate,
    StoresANonceAnew,
    ChecksANonceThenStoresIt,
    JoinsNamesWithAColon,
    CutsNoncesShort,
    MarksUnknownNonces,
    WantsOneRowPerIssuer,
    TakesTheIssuersFirstRow,
    TakesTheIssuersLastRow,
    IgnoresTheDefault,
    KeepsTheDefaultOfADeletedRow,
    FoldsRegistrationCase,
    DropsExtraFields,
    FoldsDeploymentCase,
    ScopesDeploymentsToTheIssuer,
    KeepsDeploymentsOfADeletedRow,
    InsertsWithoutAUniqueIndex,
    ReplacesWhatIsRegistered,
    MovesPlatformsSilently,
    MovesLoginsSilently,
    CreatesWhatItMoves,
    InsertsDeploymentsWithoutAUniqueIndex,
    MergesUpserts,
    CachesLookups,
    OrphansDeployments,
    RepeatsThePage,
    KeepsTokensByIssuer,
    IgnoresScopes,
    GivesExpiredTokens,
    KeepsTheFirstToken,
    KeepsTokensOfADeletedRow,
    PrintsTokens,
    RemembersAtMaxAgeZero,
    KeepsOlderJwksAtMaxAgeZero,
    BelievesAnyMaxAge,
    PublishesOneKey,
    SignsWithTheGreatestId,
    SignsWithARetiredKey,
    ReplacesAKeyOfTheSameId,
    UsesANonceBeforeTheDeploymentIsFound,
    MovesARegistrationOutOfItsDefault,
}

/// Opens tables with one flaw, or none.
struct Flawed(Option<Flaw>);

#[async_trait]
impl Harness<dyn LtiStore, Fixtures<Registration, Deployment>> for Flawed {
    fn backend(&self) -> String {
        "table".into()
    }

    async fn open(
        &self,
        fixtures: Fixtures<Registration, Deployment>,
    ) -> Result<Opened<dyn LtiStore>> {
        let tables = Arc::new(Mutex::new(Tables::default()));
        let clock = ManualClock::default();
        let handle = || -> Arc<dyn LtiStore> {
            Arc::new(Table::new(Arc::clone(&tables), clock.clone(), self.0))
        };
        let (first, second) = (handle(), handle());
        load(&*handle(), fixtures).await?;
        Ok(Opened::new(first, second, clock))
    }

    fn unsupported(&self) -> Vec<&'static str> {
        vec![needs::SEALED_KEYS]
    }
}

fn suite(flaw: Option<Flaw>) -> Suite {
    Suite::new("lti", Arc::new(Flawed(flaw)), lti::cases())
}

/// The suite over the table that the mutants of `lti` are made from, without a flaw. It
/// must pass.
pub fn sound() -> Suite {
    suite(None)
}

macro_rules! mutants {
    ($($flaw:ident: $case:literal),* $(,)?) => {
        vec![$(Mutant {
            name: stringify!($flaw),
            contract: "lti",
            killed_by: $case,
            suite: || suite(Some(Flaw::$flaw)),
        }),*]
    };
}

/// All of them.
pub fn all() -> Vec<Mutant> {
    [contract(), records::all()].concat()
}

fn contract() -> Vec<Mutant> {
    mutants! {
        ChecksANonceThenMarksIt: "racing_launches_with_one_nonce_accept_one",
        DeletesAUsedNonce: "a_used_nonce_is_not_reported_as_unknown",
        BindsNoncesToTheClient: "a_nonce_belongs_to_the_issuer_and_not_to_a_client",
        BindsNoncesToNobody: "another_issuer_cannot_use_a_nonce",
        LeavesExpiryToTheSweeper: "an_expired_nonce_is_refused_before_any_cleanup",
        AsksForExpiryBeforeUse: "a_used_nonce_stays_used_after_it_expired",
        ExpiresAMomentLate: "a_nonce_is_accepted_until_the_moment_it_expires",
        StoresANonceAnew: "a_nonce_is_stored_once_even_after_it_was_used",
        ChecksANonceThenStoresIt: "racing_stores_of_one_nonce_store_one",
        JoinsNamesWithAColon: "odd_nonces_and_issuers_never_collide",
        CutsNoncesShort: "nonces_that_differ_in_the_last_character_differ",
        MarksUnknownNonces: "validating_an_unknown_nonce_stores_nothing",
        WantsOneRowPerIssuer: "an_issuer_alone_gives_the_smallest_of_several_client_ids",
        TakesTheIssuersFirstRow: "an_issuer_alone_gives_the_smallest_of_several_client_ids",
        TakesTheIssuersLastRow: "an_issuer_alone_gives_the_smallest_of_several_client_ids",
        IgnoresTheDefault: "an_issuer_alone_gives_its_default",
        KeepsTheDefaultOfADeletedRow: "a_default_can_move_and_falls_back_when_deleted",
        FoldsRegistrationCase: "a_registration_is_found_by_exactly_its_names",
        DropsExtraFields: "records_of_an_application_are_returned_unchanged",
        FoldsDeploymentCase: "deployment_ids_are_case_sensitive",
        ScopesDeploymentsToTheIssuer: "a_deployment_belongs_to_its_registration_alone",
        KeepsDeploymentsOfADeletedRow: "deployments_are_deleted_with_their_registration",
        ReplacesWhatIsRegistered: "a_second_platform_never_replaces_the_first",
        MovesPlatformsSilently: "a_second_platform_never_replaces_the_first",
        MovesLoginsSilently: "a_second_platform_never_replaces_the_first",
        CreatesWhatItMoves: "a_second_platform_never_replaces_the_first",
        InsertsWithoutAUniqueIndex: "concurrent_upserts_of_a_registration_leave_one_row",
        InsertsDeploymentsWithoutAUniqueIndex: "concurrent_upserts_of_a_deployment_leave_one_row",
        MergesUpserts: "an_upsert_replaces_the_record_whole",
        CachesLookups: "an_upsert_replaces_the_record_whole",
        OrphansDeployments: "a_deployment_needs_a_registration_and_can_be_deleted",
        RepeatsThePage: "lists_return_every_row_once",
        KeepsTokensByIssuer: "tokens_of_different_issuers_and_clients_never_mix",
        IgnoresScopes: "a_token_is_for_exactly_its_scopes_in_any_order",
        GivesExpiredTokens: "an_expired_token_is_never_returned",
        KeepsTheFirstToken: "a_newer_token_replaces_an_older_one",
        KeepsTokensOfADeletedRow: "tokens_are_deleted_with_their_registration",
        PrintsTokens: "a_token_is_never_shown",
        RemembersAtMaxAgeZero: "a_max_age_of_zero_caches_nothing",
        KeepsOlderJwksAtMaxAgeZero: "a_max_age_of_zero_caches_nothing",
        BelievesAnyMaxAge: "a_platforms_keys_are_cached_for_a_day_at_most",
        PublishesOneKey: "rotation_publishes_the_old_key_until_it_is_retired",
        SignsWithTheGreatestId: "the_newest_active_key_signs",
        SignsWithARetiredKey: "the_newest_active_key_signs",
        ReplacesAKeyOfTheSameId: "racing_keys_of_one_id_add_one",
        UsesANonceBeforeTheDeploymentIsFound:
            "a_launch_of_an_unknown_deployment_does_not_use_the_nonce",
        MovesARegistrationOutOfItsDefault:
            "random_calls_are_answered_as_by_maps_of_registrations",
    }
}
