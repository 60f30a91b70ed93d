//! A backend of your own: implement four methods, and all contracts work.
//!
//! This one stores its records in one ordered map behind one lock. It is a minimal
//! correct store that you can copy as a starting point. `main` runs the whole suite over
//! it, as your own test program would:
//!
//! ```text
//! cargo run -p store-conformance --example own_backend
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use store_conformance::{Harness, Opened, cases};
use store_core::error::FailedItem;
use store_core::{
    Batch, Change, Clock, Committed, Conflict, Error, ManualClock, Record, RecordRef, RecordStore,
    Records, Result, Scan, Scope, Store,
};

/// Collection, partition, id. A tuple, so that no character in one part can be read as
/// the end of another; Rust compares text bytewise.
type Name = (&'static str, String, String);

fn name(at: RecordRef<'_>) -> Name {
    (
        at.collection().name(),
        at.partition().into(),
        at.id().into(),
    )
}

struct MyStore {
    records: Mutex<BTreeMap<Name, Record>>,
    /// Injected, so that tests can advance the time. The default is the system clock.
    clock: ManualClock,
}

impl MyStore {
    fn records(&self) -> MutexGuard<'_, BTreeMap<Name, Record>> {
        self.records.lock().expect("nothing panics under this lock")
    }
}

/// Stored data is never printed; a derived `Debug` would print it.
impl fmt::Debug for MyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MyStore").finish_non_exhaustive()
    }
}

#[async_trait]
impl RecordStore for MyStore {
    async fn get(&self, at: RecordRef<'_>) -> Result<Option<Record>> {
        let found = self.records().get(&name(at)).cloned();
        // An expired record is absent, whether it was removed or not.
        Ok(found.filter(|record| !record.is_expired(self.clock.now())))
    }

    async fn get_many(&self, at: &[RecordRef<'_>]) -> Result<Vec<Option<Record>>> {
        let mut found = Vec::with_capacity(at.len());
        for at in at {
            found.push(self.get(*at).await?);
        }
        Ok(found)
    }

    async fn scan(&self, scan: &Scan) -> Result<Records> {
        let now = self.clock.now();
        // A cursor contains the name of the last record of its page, so that the list can
        // continue even after that record was deleted. No name contains a NUL.
        let after = scan.position_text()?.and_then(|text| text.split_once('\0'));
        let place = |record: &Record| {
            (
                record.partition().as_str().to_owned(),
                record.id().to_owned(),
            )
        };
        let after = after.map(|(partition, id)| (partition.to_owned(), id.to_owned()));
        // One more than requested, to find out whether this page is the last.
        let mut items: Vec<Record> = self
            .records()
            .values()
            .filter(|record| record.key().collection() == scan.in_collection())
            .filter(|record| match scan.scope() {
                Scope::Partition(partition) => record.partition() == partition,
                Scope::Partitions(prefix) => record.partition().as_str().starts_with(prefix),
            })
            .filter(|record| record.id().starts_with(scan.prefix()))
            .filter(|record| !record.is_expired(now))
            .filter(|record| after.as_ref().is_none_or(|after| place(record) > *after))
            .take(scan.page_size() + 1)
            .cloned()
            .collect();
        let more = items.len() > scan.page_size();
        items.truncate(scan.page_size());
        let next = items.last().filter(|_| more).map(|last| {
            let (partition, id) = place(last);
            scan.cursor(format!("{partition}\0{id}"))
        });
        Ok(Records::new(items, next))
    }

    async fn commit(&self, batch: &Batch) -> Result<Committed> {
        // Under one lock, first check all items, then apply all changes.
        let mut records = self.records();
        let mut failed = Vec::new();
        for (index, item) in batch.items().iter().enumerate() {
            let current = records.get(&name(batch.at(index)));
            // The time of the batch decides, so that a retry has the same result.
            let current = current.filter(|record| !record.is_expired(batch.now()));
            if !item.expect().holds(current) {
                failed.push(FailedItem::new(index, batch.at(index), current.cloned()));
            }
        }
        if !failed.is_empty() {
            return Err(Error::from_conflict(Conflict::new(failed)));
        }
        for (index, item) in batch.items().iter().enumerate() {
            match (item.change(), batch.record(index)) {
                (Change::Delete, _) => drop(records.remove(&name(batch.at(index)))),
                (_, Some(put)) => drop(records.insert(name(batch.at(index)), put)),
                _ => {} // a check
            }
        }
        Ok(Committed::new())
    }

    fn clock(&self) -> &dyn Clock {
        &self.clock
    }
}

/// How the suite opens it: a new namespace with two handles.
struct Mine;

#[async_trait]
impl Harness<Store> for Mine {
    fn backend(&self) -> String {
        "mine".into()
    }

    async fn open(&self, (): ()) -> Result<Opened<Store>> {
        let clock = ManualClock::default();
        let records = Mutex::default();
        let mine: Arc<dyn RecordStore> = Arc::new(MyStore {
            records,
            clock: clock.clone(),
        });
        let handle = || Arc::new(Store::new(Arc::clone(&mine)));
        Ok(Opened::new(handle(), handle(), clock))
    }

    fn unsupported(&self) -> Vec<&'static str> {
        // There is nothing to close, and no change notices: the suite asserts that it
        // stays open, and that a request for notices is refused.
        vec!["close", "change notice"]
    }
}

fn main() -> ExitCode {
    store_conformance::main(cases::all(Arc::new(Mine)))
}
