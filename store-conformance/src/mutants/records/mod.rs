//! Bugs that break the promises of `records`.

mod bodies;
mod plain;

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use store_core::{ManualClock, Result, Store};

use self::plain::{Plain, Space};
use super::Mutant;
use crate::cases::records;
use crate::harness::{Harness, Opened, Over};
use crate::suite::Suite;

/// What is wrong with a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    MixesCollections,
    JoinsNamesWithAColon,
    FoldsCase,
    ReadsErrorsInNames,
    TrimsTrailingSpaces,
    ReadsExpired,
    ScansExpired,
    ExpectsExpired,
    KeepsTheFirstExpiry,
    RoundsExpiry,
    IgnoresAbsent,
    SkipsChecks,
    DeletesAnyway,
    ComparesHalfAVersion,
    SkipsUnchangedBodies,
    AppliesItemByItem,
    ChecksBeforeItLocks,
    AwaitsBetweenItems,
    HidesTheCurrentRecord,
    NamesOneFailure,
    CachesReads,
    DropsTheMissing,
    ScansInUtf16Order,
    ScansIgnoringCase,
    TakesPrefixesForPatterns,
    CountsInCursors,
    RepeatsTheCursor,
    TrustsCursors,
    GivesACursorToAFullPage,
    GivesEmptyPages,
    StoresBytesAsText,
    StoresNumbersAsFloats,
    PrintsNumbersInFull,
    CutsDeepValues,
    StoresOnlyChangedFields,
    MergesOnOverwrite,
    SweepsRenewed,
    SweepsByIdAlone,
    AnswersAfterClose,
    PrintsIds,
    AnnouncesBeforeItWrites,
    AnnouncesNoDelete,
    AnnouncesFailures,
    AnnouncesNoLargeRecords,
    DropsNoticesSilently,
    SharesNamespaces,
}

/// Opens plain stores with one flaw, or none.
struct Flawed {
    flaw: Option<Flaw>,
    /// Shared by all opens only if that is the flaw.
    shared: Arc<Mutex<Space>>,
}

impl Flawed {
    fn backend(flaw: Option<Flaw>) -> Arc<Over> {
        let shared = Arc::default();
        Arc::new(Over::new(Arc::new(Self { flaw, shared })))
    }
}

#[async_trait]
impl Harness<Store> for Flawed {
    fn backend(&self) -> String {
        "plain".into()
    }

    async fn open(&self, (): ()) -> Result<Opened<Store>> {
        let space = match self.flaw {
            Some(Flaw::SharesNamespaces) => Arc::clone(&self.shared),
            _ => Arc::default(),
        };
        let clock = ManualClock::default();
        let handle = || {
            let plain = Plain::new(Arc::clone(&space), clock.clone(), self.flaw);
            Arc::new(Store::new(Arc::new(plain)))
        };
        Ok(Opened::new(handle(), handle(), clock.clone()))
    }
}

/// A correct record store, for mutants of the contracts above it.
pub fn sound() -> Arc<Over> {
    Flawed::backend(None)
}

/// A mutant with this flaw, and the case that must kill it.
macro_rules! flaw {
    ($flaw:ident, $name:literal, $killed_by:literal) => {
        Mutant {
            name: $name,
            contract: "records",
            killed_by: $killed_by,
            suite: || suite(Flaw::$flaw),
        }
    };
}

fn suite(flaw: Flaw) -> Suite {
    records::over(&Flawed::backend(Some(flaw))).remove(0)
}

/// All of them.
pub fn all() -> Vec<Mutant> {
    vec![
        flaw!(
            ReadsErrorsInNames,
            "mistakes a word in a name for an error of the server",
            "no_name_decides_what_an_error_is"
        ),
        flaw!(
            MixesCollections,
            "stores the records of all collections in one place",
            "collections_do_not_mix"
        ),
        flaw!(
            JoinsNamesWithAColon,
            "joins partition and id with a colon",
            "a_partition_and_an_id_never_run_into_each_other"
        ),
        flaw!(
            FoldsCase,
            "compares ids without regard to case",
            "no_two_ids_share_a_record"
        ),
        flaw!(
            TrimsTrailingSpaces,
            "ignores spaces at the end of an id",
            "no_two_ids_share_a_record"
        ),
        flaw!(
            SharesNamespaces,
            "shares one space between namespaces",
            "two_namespaces_never_see_each_other"
        ),
        flaw!(
            ReadsExpired,
            "shows an expired record until it is swept",
            "an_expired_record_is_absent_before_any_sweep"
        ),
        flaw!(
            ScansExpired,
            "lists expired records",
            "an_expired_record_is_absent_to_every_kind_of_read"
        ),
        flaw!(
            ExpectsExpired,
            "lets an expired record satisfy an expectation",
            "an_expired_record_is_absent_to_expectations"
        ),
        flaw!(
            KeepsTheFirstExpiry,
            "keeps the first expiry when a record is overwritten",
            "an_overwrite_moves_the_expiry"
        ),
        flaw!(
            RoundsExpiry,
            "rounds an expiry to milliseconds",
            "an_expiry_survives_to_the_nanosecond"
        ),
        flaw!(
            IgnoresAbsent,
            "overwrites a record that should be absent",
            "a_failed_expectation_writes_nothing"
        ),
        flaw!(
            SkipsChecks,
            "does not verify a check at commit",
            "every_expectation_means_what_it_says"
        ),
        flaw!(
            DeletesAnyway,
            "deletes whatever version is expected",
            "every_expectation_means_what_it_says"
        ),
        flaw!(
            ComparesHalfAVersion,
            "compares half of a version",
            "a_recreated_record_is_another_record"
        ),
        flaw!(
            SkipsUnchangedBodies,
            "skips a write of the same body, and its new version",
            "a_rewrite_with_the_same_body_is_a_new_version"
        ),
        flaw!(
            AppliesItemByItem,
            "applies a commit item by item until one fails",
            "a_failed_expectation_writes_nothing"
        ),
        flaw!(
            HidesTheCurrentRecord,
            "refuses without the current record",
            "a_conflict_names_exactly_what_failed"
        ),
        flaw!(
            NamesOneFailure,
            "names only the first failed item",
            "a_conflict_names_exactly_what_failed"
        ),
        flaw!(
            CachesReads,
            "answers from a cache that other writers do not empty",
            "a_write_is_seen_by_the_other_handle_immediately"
        ),
        flaw!(
            DropsTheMissing,
            "leaves missing records out of a read of several",
            "many_reads_keep_order_gaps_and_duplicates"
        ),
        flaw!(
            ScansInUtf16Order,
            "lists in the order of UTF-16",
            "a_scan_is_in_bytewise_order"
        ),
        flaw!(
            ScansIgnoringCase,
            "lists in the order of a collation",
            "a_scan_is_in_bytewise_order"
        ),
        flaw!(
            TakesPrefixesForPatterns,
            "treats a prefix as a LIKE pattern",
            "an_id_prefix_is_literal"
        ),
        flaw!(
            CountsInCursors,
            "counts records in its cursor",
            "a_cursor_outlives_its_record"
        ),
        flaw!(
            TrustsCursors,
            "continues from any position, even outside of the query",
            "a_forged_cursor_shows_nothing_outside_its_query"
        ),
        flaw!(
            RepeatsTheCursor,
            "begins a page with the last record of the page before",
            "pages_have_neither_gap_nor_repetition"
        ),
        flaw!(
            GivesACursorToAFullPage,
            "returns a cursor with a last page that is exactly full",
            "an_exactly_full_last_page_has_no_cursor"
        ),
        flaw!(
            GivesEmptyPages,
            "returns pages on which every record has expired",
            "expired_records_do_not_hide_others"
        ),
        flaw!(
            StoresBytesAsText,
            "stores bytes as text",
            "any_bytes_are_returned_unchanged"
        ),
        flaw!(
            PrintsNumbersInFull,
            "prints every digit of a number that was written with an exponent",
            "a_body_that_was_read_can_be_written_again"
        ),
        flaw!(
            StoresNumbersAsFloats,
            "reads every number as a float",
            "numbers_keep_every_digit"
        ),
        flaw!(
            CutsDeepValues,
            "stores null for a deeply nested value",
            "a_value_nested_to_the_bound_can_be_read"
        ),
        flaw!(
            StoresOnlyChangedFields,
            "stores the changed fields of an overwritten value alone",
            "a_rewrite_preserves_fields_that_the_type_does_not_know"
        ),
        flaw!(
            MergesOnOverwrite,
            "merges a value into the one that it replaces",
            "a_replacement_removes_every_field_it_does_not_have"
        ),
        flaw!(
            SweepsRenewed,
            "sweeps by a deadline that has moved",
            "a_sweep_never_takes_a_renewed_record"
        ),
        flaw!(
            SweepsByIdAlone,
            "sweeps every record that has the id of an expired one",
            "random_calls_are_answered_as_by_a_sorted_map"
        ),
        flaw!(
            AwaitsBetweenItems,
            "may be dropped between the items of a commit",
            "a_dropped_commit_is_wholly_done_or_wholly_not"
        ),
        flaw!(
            AnswersAfterClose,
            "answers `absent` after it was closed",
            "a_closed_store_answers_closed"
        ),
        flaw!(
            PrintsIds,
            "prints ids for debugging",
            "nothing_printed_holds_a_name_or_a_body"
        ),
        flaw!(
            AnnouncesBeforeItWrites,
            "announces a change before it is written",
            "a_change_can_be_read_when_its_notice_arrives"
        ),
        flaw!(
            AnnouncesNoDelete,
            "announces no deletes",
            "every_change_notifies_every_listener"
        ),
        flaw!(
            AnnouncesFailures,
            "announces commits that were refused",
            "what_did_not_change_causes_no_notice"
        ),
        flaw!(
            AnnouncesNoLargeRecords,
            "announces no record that it stores in parts",
            "a_large_record_causes_the_same_notices"
        ),
        flaw!(
            DropsNoticesSilently,
            "drops notices under load without announcing a gap",
            "a_missed_notice_is_reported_as_a_gap"
        ),
        flaw!(
            ChecksBeforeItLocks,
            "checks expectations before it takes the lock",
            "neither_of_two_checks_misses_the_others_write"
        ),
    ]
}
