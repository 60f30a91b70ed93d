//! Disabling and deleting keys, also those whose record cannot be decoded.

use std::sync::Arc;

use serde_json::Value;

use crate::api_keys::data::{KeyData, KeyEntry, KeyId, MAX_TENANT, StoredKey};
use crate::api_keys::records::RecordApiKeys;
use crate::api_keys::records::names::{API_KEY_IDS, StoredId, hint_of, id_at, new_id};
use crate::api_keys::records::readable::{Readable, id_of};
use crate::api_keys::store::{KeyRef, disabled, no_such_key};
use crate::backend::Attempts;
use crate::batch::{Batch, Expect};
use crate::body::{Body, Encoded, Format, Unknown};
use crate::error::{ErrorKind, Result};
use crate::hint::Hint;
use crate::record::Record;
use crate::scan::Scan;

/// Where the original text of a record that could not be decoded is preserved.
const ORIGINAL: &str = "unreadable";

impl RecordApiKeys {
    pub(super) async fn remove(&self, key: KeyRef<'_>) -> Result<()> {
        let mut attempts = Attempts::new();
        loop {
            let Some(record) = self.locate(key).await? else {
                return Ok(());
            };
            let ids = self.ids_of(key, &record).await?;
            let mut batch = Batch::new(record.partition().clone(), self.now());
            batch.delete(record.key().clone(), &record)?;
            for id in &ids {
                batch.delete(id_at(id)?, Expect::Any)?;
            }
            match self.records.commit(&batch).await {
                Ok(_) => {
                    if let Some(hint) = ids.first().and_then(|id| hint_in(&record, id)) {
                        hint.remove(&*self.records).await;
                    }
                    return Ok(());
                }
                Err(error) => attempts.lost(error).await?,
            };
        }
    }

    pub(super) async fn disable_any(&self, key: KeyRef<'_>) -> Result<KeyEntry> {
        let mut attempts = Attempts::new();
        loop {
            match self.change(key, None, &disabled).await {
                Err(error) if error.is(ErrorKind::Corrupt) => {}
                answer => return answer,
            }
            let record = self.locate(key).await?.ok_or_else(no_such_key)?;
            if record.decode::<StoredKey>().is_ok() {
                attempts.failed().await?;
                continue;
            }
            match self.replace_unreadable(key, &record).await {
                Err(error) => attempts.lost(error).await?,
                replaced => return replaced,
            };
        }
    }

    /// Replaces a record that cannot be decoded by a disabled key of the same
    /// id. Its original text is preserved in the field `unreadable`, if it fits.
    async fn replace_unreadable(&self, key: KeyRef<'_>, record: &Record) -> Result<KeyEntry> {
        let readable = Readable::of(record);
        let id = match (self.ids_of(key, record).await?.into_iter().next(), key) {
            (Some(id), _) => id,
            (None, KeyRef::Id(id)) => id.clone(),
            (None, KeyRef::Secret(key)) => new_id(key)?,
        };
        let mut data = KeyData::new().disabled();
        let tenant = readable.tenant();
        data.tenant = tenant
            .filter(|name| (1..=MAX_TENANT).contains(&name.len()))
            .map(str::to_owned);
        let created_at = readable
            .created_at()
            .map(|text| Value::from(text.to_owned()));
        let created_at = created_at.and_then(|text| serde_json::from_value(text).ok());
        let mut stored = StoredKey {
            format: Format,
            id,
            created_at: created_at.unwrap_or_else(|| self.now()),
            hint: readable.hint().map(str::to_owned),
            data,
            unknown: Unknown::new(),
        };
        if let Ok(Encoded::Json(json)) = record.body().encoded() {
            let text = String::from_utf8_lossy(&json).into_owned();
            stored.unknown.insert(ORIGINAL.into(), text.into());
        }
        let (stored, body) = match Body::replacement(stored.clone()) {
            Ok(body) => (Arc::new(stored), body),
            Err(_) => {
                // Escaped as text, the original is too long.
                stored.unknown = Unknown::new();
                let body = Body::replacement(stored.clone())?;
                (Arc::new(stored), body)
            }
        };
        let until = record.expires_at();
        let mut batch = Batch::new(record.partition().clone(), self.now());
        batch.put_until(record.key().clone(), record, body, until)?;
        let pointer = StoredId::body(record.id())?;
        batch.put_until(id_at(&stored.id)?, Expect::Any, pointer, until)?;
        self.records.commit(&batch).await?;
        Ok(KeyEntry::stored(stored, Some(batch.version())))
    }

    /// The ids under which `record` is found: the one that it names, or those
    /// of the pointers that lead to it.
    async fn ids_of(&self, key: KeyRef<'_>, record: &Record) -> Result<Vec<KeyId>> {
        if let Some(id) = id_of(record) {
            return Ok(vec![id]);
        }
        if let KeyRef::Id(id) = key {
            return Ok(vec![id.clone()]);
        }
        let first = Scan::partition(API_KEY_IDS, record.partition().clone());
        let (mut scan, mut ids) = (first.clone(), Vec::new());
        loop {
            let page = self.records.scan(&scan).await?;
            for pointer in &page.items {
                let leads_here = pointer
                    .decode::<StoredId>()
                    .is_ok_and(|pointer| pointer.digest == record.id());
                if leads_here {
                    ids.push(KeyId::new(pointer.id())?);
                }
            }
            match &page.next {
                Some(next) => scan = first.clone().after(next)?,
                None => return Ok(ids),
            }
        }
    }
}

/// The hint of a key's record, as far as it can be read.
fn hint_in(record: &Record, id: &KeyId) -> Option<Hint> {
    let hint = match record.decode::<StoredKey>() {
        Ok(stored) => stored.hint(),
        Err(_) => {
            let readable = Readable::of(record);
            hint_of(readable.tenant(), id, readable.hint())
        }
    };
    hint.ok()?
}
