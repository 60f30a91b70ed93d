//! A sound store whose records are altered on the way to or from a contract, as a mistake
//! in the code of the contract would alter them.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Map, Value};
use store_core::batch::Item;
use store_core::layers::RecordLayer;
use store_core::{
    Batch, Body, Change, Committed, Error, Record, RecordRef, RecordStore, Records, Result, Scan,
    Store, Timestamp,
};

use crate::harness::{Harness, Opened};
use crate::mutants::sound;

/// What a store alters.
#[derive(Clone, Copy)]
enum Alteration {
    /// A record that is read; `None` hides it.
    Read(fn(Record) -> Option<Record>),
    /// A batch that is committed.
    Commit(fn(&Batch) -> Result<Batch>),
}

struct Altered {
    store: Arc<dyn RecordStore>,
    alteration: Alteration,
}

impl Altered {
    fn read(&self, record: Record) -> Option<Record> {
        match self.alteration {
            Alteration::Read(alter) => alter(record),
            Alteration::Commit(_) => Some(record),
        }
    }
}

impl fmt::Debug for Altered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Altered").field(&self.store).finish()
    }
}

#[async_trait]
impl RecordLayer for Altered {
    fn inner(&self) -> &dyn RecordStore {
        &*self.store
    }

    async fn get(&self, at: RecordRef<'_>) -> Result<Option<Record>> {
        let found = self.store.get(at).await?;
        Ok(found.and_then(|record| self.read(record)))
    }

    /// No answer without `get`, which alters it.
    fn get_now(&self, _: RecordRef<'_>) -> Option<Result<Option<Record>>> {
        None
    }

    async fn get_many(&self, at: &[RecordRef<'_>]) -> Result<Vec<Option<Record>>> {
        let found = self.store.get_many(at).await?.into_iter();
        let read = |record: Option<Record>| record.and_then(|record| self.read(record));
        Ok(found.map(read).collect())
    }

    async fn scan(&self, scan: &Scan) -> Result<Records> {
        let page = self.store.scan(scan).await?;
        let items = page.items.into_iter();
        let items = items.filter_map(|record| self.read(record)).collect();
        Ok(Records::new(items, page.next))
    }

    async fn commit(&self, batch: &Batch) -> Result<Committed> {
        match self.alteration {
            Alteration::Read(_) => self.store.commit(batch).await,
            Alteration::Commit(alter) => self.store.commit(&alter(batch)?).await,
        }
    }
}

struct Altering {
    alteration: Alteration,
    /// Whether the second handle is sound.
    first_only: bool,
}

#[async_trait]
impl Harness<Store> for Altering {
    fn backend(&self) -> String {
        "altered".into()
    }

    async fn open(&self, (): ()) -> Result<Opened<Store>> {
        let mut opened = sound().backend_harness().open(()).await?;
        let altered = |store: &Store| {
            let store = Arc::clone(store.records());
            let alteration = self.alteration;
            Arc::new(Store::new(Arc::new(Altered { store, alteration })))
        };
        opened.first = altered(&opened.first);
        if !self.first_only {
            opened.second = altered(&opened.second);
        }
        Ok(opened)
    }
}

/// A backend whose records are read as `alter` makes them; `None` hides one.
pub(super) fn reading(alter: fn(Record) -> Option<Record>) -> Arc<dyn Harness<Store>> {
    Arc::new(Altering {
        alteration: Alteration::Read(alter),
        first_only: false,
    })
}

/// A backend whose first handle commits what `alter` makes of each batch. The second one
/// is sound, for what a case writes itself.
pub(super) fn committing(alter: fn(&Batch) -> Result<Batch>) -> Arc<dyn Harness<Store>> {
    Arc::new(Altering {
        alteration: Alteration::Commit(alter),
        first_only: true,
    })
}

/// The batch with these items of it, each with another change.
pub(super) fn rewritten(batch: &Batch, alter: impl Fn(&Item) -> Option<Change>) -> Result<Batch> {
    let mut altered = Batch::new(batch.partition().clone(), batch.now());
    for item in batch.items() {
        if let Some(change) = alter(item) {
            altered.item(item.key().clone(), item.expect(), change)?;
        }
    }
    Ok(altered)
}

/// The change of this item, never to expire.
pub(super) fn unexpiring(item: &Item) -> Change {
    match item.change() {
        Change::Put { body, .. } => Change::Put {
            body: body.clone(),
            expires_at: None::<Timestamp>,
        },
        change => change.clone(),
    }
}

/// The record with other JSON.
pub(super) fn edited(
    record: &Record,
    edit: impl FnOnce(&mut Map<String, Value>) -> Result<()>,
) -> Result<Record> {
    let body = record.decode::<Value>()?;
    let Value::Object(mut fields) = (*body).clone() else {
        return Err(Error::corrupt("the record is no JSON object"));
    };
    edit(&mut fields)?;
    Ok(Record::new(
        record.partition().clone(),
        record.key().clone(),
        record.version(),
        record.expires_at(),
        Body::replacement(fields)?,
    ))
}
