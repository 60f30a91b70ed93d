//! Bugs in how the standard implementation stores objects in records. Each is a
//! layer that does to the records what the bug would.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;
use store_core::blobs::{BLOB_CHUNKS, BLOB_RECLAIM, BLOBS};
use store_core::layers::RecordLayer;
use store_core::{
    Batch, Body, Change, Collection, Committed, Expect, Record, RecordRef, RecordStore, Records,
    Result, Scan, Store,
};

use crate::cases::blobs;
use crate::harness::{Harness, Opened, Over};
use crate::mutants::{Mutant, sound};
use crate::suite::Suite;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    RemovesNotesBeforeContent,
    DropsUnknownFields,
    HidesUnreadableNotes,
    FreesOneCommitOfChunks,
}

#[derive(Debug)]
struct Flawed {
    inner: Arc<dyn RecordStore>,
    flaw: Flaw,
}

/// Whether the batch changes only records of this collection, and so that `change`
/// is true of each.
fn all(batch: &Batch, collection: Collection, change: impl Fn(&Change) -> bool) -> bool {
    let matches = |item: &store_core::batch::Item| {
        item.key().collection() == collection && change(item.change())
    };
    batch.items().iter().all(matches)
}

impl Flawed {
    /// Removes the notes of the content whose chunks are in this partition.
    async fn remove_notes(&self, chunks: &str) -> Result<()> {
        let generation = chunks.split('.').next().unwrap_or_default();
        let page = self.inner.scan(&Scan::collection(BLOB_RECLAIM, "")).await?;
        for note in page.items {
            if note.key().id().contains(generation) {
                let now = self.inner.clock().now();
                let mut batch = Batch::new(note.partition().clone(), now);
                batch.delete(note.key().clone(), Expect::Any)?;
                self.inner.commit(&batch).await?;
            }
        }
        Ok(())
    }
}

/// Removes the fields of a newer release that the cases add.
fn strip(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.remove("from_a_newer_release");
            fields.values_mut().for_each(strip);
        }
        Value::Array(items) => items.iter_mut().for_each(strip),
        _ => {}
    }
}

/// The record as a release reads it that drops what it does not know.
fn stripped(record: &Record) -> Result<Record> {
    let mut value = (*record.decode::<Value>()?).clone();
    strip(&mut value);
    let copy = Record::new(
        record.partition().clone(),
        record.key().clone(),
        record.version(),
        record.expires_at(),
        Body::json(value)?,
    );
    Ok(match record.token() {
        Some(token) => copy.with_token(token.clone()),
        None => copy,
    })
}

#[async_trait]
impl RecordLayer for Flawed {
    fn inner(&self) -> &dyn RecordStore {
        &*self.inner
    }

    async fn get(&self, at: RecordRef<'_>) -> Result<Option<Record>> {
        let found = self.inner.get(at).await?;
        match self.flaw {
            Flaw::DropsUnknownFields if at.collection() == BLOBS => {
                found.map(|record| stripped(&record)).transpose()
            }
            _ => Ok(found),
        }
    }

    async fn commit(&self, batch: &Batch) -> Result<Committed> {
        let frees = all(batch, BLOB_CHUNKS, |change| {
            matches!(change, Change::Delete)
        });
        match self.flaw {
            Flaw::RemovesNotesBeforeContent if frees => {
                self.remove_notes(batch.partition().as_str()).await?;
            }
            // The ids of a partition's first hundred chunks are below 0x640.
            Flaw::FreesOneCommitOfChunks
                if frees
                    && batch
                        .items()
                        .iter()
                        .all(|item| item.key().id() >= "00000640") =>
            {
                return Ok(Committed::new());
            }
            _ => {}
        }
        self.inner.commit(batch).await
    }

    async fn scan(&self, scan: &Scan) -> Result<Records> {
        let mut page = self.inner.scan(scan).await?;
        if self.flaw == Flaw::HidesUnreadableNotes && scan.in_collection() == BLOB_RECLAIM {
            let is_readable = |record: &Record| {
                let value = record.decode::<Value>();
                value.is_ok_and(|value| value["format"] == 1 && value["reason"] != "moved")
            };
            page.items.retain(is_readable);
        }
        Ok(page)
    }
}

/// Opens stores whose records have a flaw.
struct Harnessed(Flaw);

#[async_trait]
impl Harness<Store> for Harnessed {
    fn backend(&self) -> String {
        format!("{:?}", self.0)
    }

    async fn open(&self, (): ()) -> Result<Opened<Store>> {
        let opened = sound().backend_harness().open(()).await?;
        let handle = |store: &Store| {
            let inner = Arc::clone(store.records());
            let flaw = self.0;
            Arc::new(Store::new(Arc::new(Flawed { inner, flaw })))
        };
        let (first, second) = (handle(&opened.first), handle(&opened.second));
        Ok(Opened::new(first, second, opened.clock))
    }
}

fn suite(flaw: Flaw) -> Suite {
    blobs::over(&Arc::new(Over::new(Arc::new(Harnessed(flaw))))).remove(1)
}

/// A mutant with this flaw, and the case that must kill it.
macro_rules! flaw {
    ($flaw:ident, $name:literal, $killed_by:literal) => {
        Mutant {
            name: $name,
            contract: "blobs",
            killed_by: $killed_by,
            suite: || suite(Flaw::$flaw),
        }
    };
}

pub(super) fn mutants() -> Vec<Mutant> {
    vec![
        flaw!(
            RemovesNotesBeforeContent,
            "removes a note before the content that it names",
            "an_outage_at_any_step_of_a_sweep_frees_nothing_in_use_and_leaves_nothing"
        ),
        flaw!(
            RemovesNotesBeforeContent,
            "removes the note of an aborted write of which a chunk may still arrive",
            "a_chunk_that_arrives_after_an_abort_is_freed"
        ),
        flaw!(
            DropsUnknownFields,
            "drops fields of a newer release when it rewrites an object's record",
            "fields_of_a_newer_release_survive_every_step_of_an_object"
        ),
        flaw!(
            HidesUnreadableNotes,
            "skips notes of a newer release without an error",
            "a_sweep_reports_notes_of_a_newer_release_and_frees_the_others"
        ),
        flaw!(
            FreesOneCommitOfChunks,
            "frees no more chunks of a partition than one commit takes",
            "content_of_more_chunks_than_a_commit_takes_is_freed_whole"
        ),
    ]
}
