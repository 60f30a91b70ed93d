//! Bugs that break the promises of `blobs`.

mod records;
mod shelf;

use std::sync::Arc;

use async_trait::async_trait;
use store_core::{ManualClock, Result, Store};

use self::shelf::Shelf;
use super::{Mutant, sound};
use crate::cases::blobs;
use crate::harness::{Harness, Opened, Over};
use crate::suite::Suite;

/// What is wrong with a store of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    TearsMetadataFromContent,
    PublishesOnDrop,
    PublishesWhatIsAborted,
    LetsTheLastCommitWin,
    ForgetsDeletes,
    WritesInPlace,
    EndsWhereContentIsGone,
    FollowsTheNewest,
    FreesAtOnce,
    CutsOneByteAtABorder,
    JoinsNamesWithAColon,
    ChecksWhenItBegins,
    ForgetsVersions,
    NeverReclaims,
    NeverRenews,
    FreesWhatWasPublished,
    CommitsWhatWasReclaimed,
    DropsTheNegativeFlag,
    TakesEmptyForMissing,
    ListsOpenWrites,
    CountsInCursors,
    TakesAnOutageForAMiss,
    TrustsTheSource,
    LeavesDroppedWrites,
    HidesWhatWaits,
    CountsTwice,
    ForgetsOtherFirstWrites,
    ExpiresPublications,
}

/// Opens shelves with one flaw, or none.
struct Shelves(Option<Flaw>);

#[async_trait]
impl Harness<Store> for Shelves {
    fn backend(&self) -> String {
        "shelf".into()
    }

    async fn open(&self, (): ()) -> Result<Opened<Store>> {
        let records = sound().backend_harness().open(()).await?;
        let (state, clock) = (Arc::default(), ManualClock::default());
        let handle = || {
            let shelf = Shelf {
                state: Arc::clone(&state),
                clock: clock.clone(),
                flaw: self.0,
            };
            Arc::new((*records.first).clone().with_blobs(Arc::new(shelf)))
        };
        Ok(Opened::new(handle(), handle(), clock.clone()))
    }
}

fn suites(flaw: Option<Flaw>) -> Vec<Suite> {
    blobs::over(&Arc::new(Over::new(Arc::new(Shelves(flaw)))))
}

/// The cases over the shelf without a flaw: it passes them all, so what they
/// ask for is no more than the contract, and the mutants' faults are their own.
pub fn sound_blobs() -> Suite {
    suites(None).remove(0)
}

/// A mutant with this flaw, and the case that must kill it.
macro_rules! flaw {
    ($flaw:ident, $name:literal, $killed_by:literal) => {
        flaw!($flaw, $name, $killed_by, 0)
    };
    ($flaw:ident, $name:literal, $killed_by:literal, $suite:literal) => {
        Mutant {
            name: $name,
            contract: "blobs",
            killed_by: $killed_by,
            suite: || suites(Some(Flaw::$flaw)).remove($suite),
        }
    };
}

/// All of them.
pub fn all() -> Vec<Mutant> {
    let mut all = vec![
        flaw!(
            TearsMetadataFromContent,
            "stores content and metadata in two records",
            "content_and_metadata_never_mix"
        ),
        flaw!(
            PublishesOnDrop,
            "publishes when a sink is dropped",
            "a_dropped_sink_publishes_nothing"
        ),
        flaw!(
            PublishesWhatIsAborted,
            "publishes half an object when its write is given up",
            "a_source_that_fails_half_way_publishes_nothing"
        ),
        flaw!(
            LetsTheLastCommitWin,
            "lets a late stale commit replace a newer object",
            "a_late_stale_commit_loses"
        ),
        flaw!(
            ForgetsDeletes,
            "lets a write bring back what was deleted while it was open",
            "a_delete_does_not_wait_for_open_writes_and_they_lose"
        ),
        flaw!(
            WritesInPlace,
            "takes the old object away when a write begins",
            "the_old_value_is_readable_while_a_write_is_open"
        ),
        flaw!(
            EndsWhereContentIsGone,
            "takes content that was freed for the end of the object",
            "a_reader_outlived_by_its_content_never_gets_short_data"
        ),
        flaw!(
            FollowsTheNewest,
            "continues reading in the object that replaced the opened one",
            "a_reader_survives_overwrite_and_delete"
        ),
        flaw!(
            FreesAtOnce,
            "frees replaced content under its readers",
            "a_reader_survives_overwrite_and_delete"
        ),
        flaw!(
            CutsOneByteAtABorder,
            "loses a byte of a range that ends at the border of a chunk",
            "ranges_are_exact_at_every_border_of_chunks"
        ),
        flaw!(
            JoinsNamesWithAColon,
            "joins bucket and key with a colon",
            "odd_names_never_collide"
        ),
        flaw!(
            ChecksWhenItBegins,
            "decides at begin whether an object may be created",
            "create_only_never_replaces_an_object"
        ),
        flaw!(
            ForgetsVersions,
            "takes any object for the one that is to be replaced",
            "if_unchanged_replaces_only_the_object_it_names"
        ),
        flaw!(
            NeverReclaims,
            "never frees abandoned writes",
            "an_abandoned_write_is_reclaimed"
        ),
        flaw!(
            NeverRenews,
            "takes a long write for an abandoned one",
            "a_write_in_progress_is_not_reclaimed"
        ),
        flaw!(
            FreesWhatWasPublished,
            "reclaims a write that was published",
            "a_write_in_progress_is_not_reclaimed"
        ),
        flaw!(
            CommitsWhatWasReclaimed,
            "publishes a write whose content was reclaimed",
            "a_write_that_was_reclaimed_can_not_commit"
        ),
        flaw!(
            DropsTheNegativeFlag,
            "forgets that an entry is negative",
            "metadata_is_published_with_the_content"
        ),
        flaw!(
            TakesEmptyForMissing,
            "takes an empty object for none",
            "a_zero_byte_object_is_an_object"
        ),
        flaw!(
            ListsOpenWrites,
            "lists objects that are still being written",
            "a_list_shows_what_is_published_and_no_more"
        ),
        flaw!(
            CountsInCursors,
            "counts in cursors, so that a delete shifts the next page",
            "a_list_continues_after_its_last_object_was_deleted"
        ),
        flaw!(
            TrustsTheSource,
            "publishes content other than what was promised",
            "content_other_than_promised_publishes_nothing"
        ),
        flaw!(
            LeavesDroppedWrites,
            "leaves a dropped write's content to the sweep",
            "a_dropped_sink_frees_its_content"
        ),
        flaw!(
            HidesWhatWaits,
            "reports nothing of content that is due later",
            "a_sweep_reports_when_the_next_content_is_due"
        ),
        flaw!(
            CountsTwice,
            "counts content in two sweeps",
            "two_sweeps_at_once_count_each_content_once"
        ),
        flaw!(
            TakesAnOutageForAMiss,
            "says that there is no object when it cannot look",
            "after_close_every_call_is_refused",
            1
        ),
        flaw!(
            ForgetsOtherFirstWrites,
            "forgets the open first write of an object when another one begins",
            "two_first_writes_that_are_open_together_are_ordered"
        ),
        flaw!(
            ExpiresPublications,
            "lets content expire after it was published",
            "a_publication_is_readable_long_after_it_was_made"
        ),
    ];
    all.extend(records::mutants());
    all
}
