//! Bugs that break the promises of `api_keys`.

mod flawed;
mod records;

use std::sync::Arc;

use async_trait::async_trait;
use store_core::api_keys::ApiKeyStore;
use store_core::{Result, Store};
use tokio::sync::OnceCell;

use self::flawed::Flawed;
use super::{Mutant, sound};
use crate::cases::api_keys::{Fixtures, cases};
use crate::harness::{Harness, Opened, Over};
use crate::suite::Suite;

/// What is wrong with a store of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    TakesDisabledForUnknown,
    TakesExpiredForUnknown,
    LetsExpiryGoFirst,
    TakesAnOutageForUnknown,
    TakesSilenceForDisabled,
    ExpiresLate,
    SkipsEnabledOnCacheHits,
    KeepsHitsForEver,
    KeepsMissesForEver,
    SplitsScopes,
    TurnsNumbersIntoScopes,
    ReadsOneScopeWithoutItsList,
    ReadsPermissionsByPosition,
    DropsNulls,
    TurnsNumbersIntoFloats,
    IgnoresCase,
    SharesNamespaces,
    PrintsSecrets,
    InsertsOverHeldKeys,
    InsertsWhatItFoundUnknown,
    TakesWeakKeys,
    LosesChanges,
    LeavesDisabledKeysAlone,
    InsertsWhatItCannotChange,
    SavesWhatItRead,
    ChangesByInsertingAnew,
    IgnoresVersions,
    MakesVersionsOfContent,
    WritesRefusedChanges,
    DeletesByDisabling,
    RefusesToDeleteTwice,
    DerivesIdsFromSecrets,
    IgnoresIds,
    ListsByPrefix,
    ListsTheEnabled,
    CountsInCursors,
    GivesACursorToAFullPage,
    KeepsUnknownKeys,
    NamesTheFirstTenantForEver,
    MovesKeysWithoutTheirFields,
}

/// Opens stores with one flaw.
struct Sabotaged {
    flaw: Flaw,
    below: Arc<Over>,
    /// What opens share that should not.
    shared: OnceCell<Opened<Store>>,
}

#[async_trait]
impl Harness<dyn ApiKeyStore, Fixtures> for Sabotaged {
    fn backend(&self) -> String {
        "sabotaged".into()
    }

    async fn open(&self, mut fixtures: Fixtures) -> Result<Opened<dyn ApiKeyStore>> {
        if self.flaw == Flaw::SharesNamespaces {
            return self.open_shared(fixtures).await;
        }
        if self.flaw == Flaw::TakesSilenceForDisabled {
            let keys = fixtures.keys.into_iter();
            fixtures.keys = keys.map(flawed::say_disabled).collect();
        }
        let opened = Harness::<dyn ApiKeyStore, Fixtures>::open(&*self.below, fixtures).await?;
        let clock = opened.clock.clone();
        Ok(opened.map(|store| {
            let flawed = Flawed::new(Arc::clone(store), clock.clone(), self.flaw);
            Arc::new(flawed) as Arc<dyn ApiKeyStore>
        }))
    }
}

impl Sabotaged {
    async fn open_shared(&self, fixtures: Fixtures) -> Result<Opened<dyn ApiKeyStore>> {
        let open = || self.below.backend_harness().open(());
        let shared = self.shared.get_or_try_init(open).await?;
        let store = flawed::standard(&shared.first)?;
        for fixture in &fixtures.keys {
            let data = fixture.data(shared.first.now());
            store.insert(fixture.key(), data).await?;
        }
        Ok(Opened::new(store.clone(), store, shared.clock.clone()))
    }
}

fn suite(flaw: Flaw) -> Suite {
    let (below, shared) = (sound(), OnceCell::new());
    let sabotaged = Sabotaged {
        flaw,
        below,
        shared,
    };
    Suite::new("api_keys", Arc::new(sabotaged), cases())
}

/// A mutant with this flaw, and the case that must catch it.
macro_rules! flaw {
    ($flaw:ident, $name:literal, $killed_by:literal) => {
        Mutant {
            name: $name,
            contract: "api_keys",
            killed_by: $killed_by,
            suite: || suite(Flaw::$flaw),
        }
    };
}

/// All of them.
pub fn all() -> Vec<Mutant> {
    [lookups(), changes(), lists(), records::all()].concat()
}

fn lookups() -> Vec<Mutant> {
    vec![
        flaw!(
            TakesDisabledForUnknown,
            "looks for enabled keys only, so that a disabled one is unknown",
            "active_disabled_expired_and_unknown_are_four_answers"
        ),
        flaw!(
            TakesExpiredForUnknown,
            "lets the database drop a key the moment it expires",
            "active_disabled_expired_and_unknown_are_four_answers"
        ),
        flaw!(
            LetsExpiryGoFirst,
            "says expired of a key that was disabled",
            "active_disabled_expired_and_unknown_are_four_answers"
        ),
        flaw!(
            TakesAnOutageForUnknown,
            "answers unknown when its table cannot be reached",
            "an_outage_is_an_error_and_never_unknown"
        ),
        flaw!(
            TakesSilenceForDisabled,
            "reads a missing `enabled` as false",
            "a_key_is_enabled_unless_it_says_otherwise"
        ),
        flaw!(
            ExpiresLate,
            "lets a key live through the moment of its expiry",
            "a_key_expires_at_its_very_moment"
        ),
        flaw!(
            SkipsEnabledOnCacheHits,
            "does not look at `enabled` when it finds a key in its cache",
            "a_key_is_enabled_unless_it_says_otherwise"
        ),
        flaw!(
            KeepsHitsForEver,
            "never invalidates what another client may change",
            "a_disabled_key_stops_working_for_every_client_at_once"
        ),
        flaw!(
            KeepsMissesForEver,
            "remembers that a key was unknown",
            "a_new_key_is_known_to_every_client_at_once"
        ),
        flaw!(
            SplitsScopes,
            "stores scopes as one text and splits it at colons",
            "scopes_and_resources_match_exactly"
        ),
        flaw!(
            TurnsNumbersIntoScopes,
            "turns stored numbers into scopes of that text",
            "a_number_is_no_scope"
        ),
        flaw!(
            ReadsOneScopeWithoutItsList,
            "reads a text where a list of scopes belongs as one scope",
            "malformed_permissions_permit_nothing_and_say_so"
        ),
        flaw!(
            ReadsPermissionsByPosition,
            "reads an array of resource and scopes as a permission",
            "malformed_permissions_permit_nothing_and_say_so"
        ),
        flaw!(
            DropsNulls,
            "leaves out the application's fields that are null",
            "fields_of_the_application_are_returned_unchanged"
        ),
        flaw!(
            TurnsNumbersIntoFloats,
            "stores the application's numbers as floats",
            "fields_of_the_application_are_returned_unchanged"
        ),
        flaw!(
            IgnoresCase,
            "compares keys as its database's collation does",
            "a_key_is_found_by_its_exact_text_alone"
        ),
        flaw!(
            SharesNamespaces,
            "stores the keys of all namespaces in one table",
            "two_namespaces_never_see_each_other"
        ),
        flaw!(
            PrintsSecrets,
            "quotes the key in an error",
            "no_answer_shows_the_secret"
        ),
    ]
}

fn changes() -> Vec<Mutant> {
    vec![
        flaw!(
            InsertsOverHeldKeys,
            "inserts over a key that is there",
            "inserting_a_held_key_is_refused_and_leaves_it"
        ),
        flaw!(
            InsertsWhatItFoundUnknown,
            "looks whether a key is there, then writes it",
            "of_racing_inserts_one_wins"
        ),
        flaw!(
            TakesWeakKeys,
            "takes any key that is chosen",
            "weak_keys_are_refused"
        ),
        flaw!(
            LosesChanges,
            "reads, changes and writes without comparing",
            "concurrent_grants_lose_nothing"
        ),
        flaw!(
            LeavesDisabledKeysAlone,
            "changes enabled keys only",
            "a_change_works_on_a_disabled_and_an_expired_key"
        ),
        flaw!(
            InsertsWhatItCannotChange,
            "inserts a key that it was to change",
            "changing_an_unknown_key_is_not_found"
        ),
        flaw!(
            SavesWhatItRead,
            "saves a changed key even if it was deleted since it was read",
            "a_change_never_brings_a_deleted_key_back"
        ),
        flaw!(
            ChangesByInsertingAnew,
            "changes a key by deleting and inserting it",
            "a_merge_never_changes_what_the_key_is"
        ),
        flaw!(
            IgnoresVersions,
            "does not compare the version that a change is for",
            "an_update_if_of_another_version_is_a_conflict"
        ),
        flaw!(
            MakesVersionsOfContent,
            "makes a key's version of its content, so that it returns",
            "an_update_if_of_another_version_is_a_conflict"
        ),
        flaw!(
            WritesRefusedChanges,
            "writes what a refused change had changed by then",
            "a_refused_change_writes_nothing"
        ),
        flaw!(
            DeletesByDisabling,
            "disables keys that are to be deleted",
            "a_deleted_key_is_unknown_to_every_client_at_once"
        ),
        flaw!(
            RefusesToDeleteTwice,
            "fails to delete what is deleted already",
            "a_deleted_key_is_unknown_to_every_client_at_once"
        ),
        flaw!(
            DerivesIdsFromSecrets,
            "derives a key's id from its secret",
            "a_key_inserted_again_inherits_nothing"
        ),
        flaw!(
            IgnoresIds,
            "finds no key by its id",
            "a_key_is_managed_by_its_id_without_its_secret"
        ),
    ]
}

fn lists() -> Vec<Mutant> {
    vec![
        flaw!(
            ListsByPrefix,
            "lists the tenants whose name begins alike",
            "a_list_holds_the_keys_of_one_tenant_alone"
        ),
        flaw!(
            ListsTheEnabled,
            "lists enabled keys only",
            "a_list_shows_disabled_and_expired_keys"
        ),
        flaw!(
            CountsInCursors,
            "pages by offset",
            "pages_neither_skip_nor_repeat_while_keys_are_deleted"
        ),
        flaw!(
            GivesACursorToAFullPage,
            "promises more after an exactly full last page",
            "pages_hold_every_key_once"
        ),
        flaw!(
            KeepsUnknownKeys,
            "stores a row for every key that was looked up",
            "looking_keys_up_adds_none_to_the_lists"
        ),
        flaw!(
            NamesTheFirstTenantForEver,
            "leaves a key in its first tenant's list",
            "a_key_that_moves_changes_lists"
        ),
        flaw!(
            MovesKeysWithoutTheirFields,
            "drops the application's fields of a key that moves to another tenant",
            "random_calls_are_answered_as_by_a_map_of_keys"
        ),
    ]
}
