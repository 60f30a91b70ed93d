//! Inserting, changing, deleting and re-digesting keys.

use std::sync::Arc;

use crate::api_keys::data::{KeyData, KeyEntry, StoredKey};
use crate::api_keys::key::ApiKey;
use crate::api_keys::records::names::{
    StoredHint, StoredId, id_at, key_at, new_id, partition_of, random_text,
};
use crate::api_keys::records::{RecordApiKeys, entry};
use crate::api_keys::store::{ChangeKey, KeyRef, no_such_key};
use crate::backend::Attempts;
use crate::batch::{Batch, Expect};
use crate::body::{Body, Format, Unknown};
use crate::error::{Error, ErrorKind, Result};
use crate::hint::Hint;
use crate::record::{Record, Version};

impl RecordApiKeys {
    pub(super) async fn insert_key(&self, key: &ApiKey, data: KeyData) -> Result<KeyEntry> {
        key.require_strong()?;
        data.check(None)?;
        self.ring.register().await?;
        let now = self.now();
        let stored = Arc::new(StoredKey {
            format: Format,
            id: new_id(key)?,
            created_at: now,
            hint: data.tenant.is_some().then(random_text),
            data,
            unknown: Unknown::new(),
        });
        let collect_at = self.collect_at(&stored.data);
        let digests = self.digester.all(key.expose().as_bytes());
        let mut batch = Batch::new(partition_of(key)?, now);
        let body = Body::shared(Arc::clone(&stored))?;
        batch.put_until(key_at(&digests[0])?, Expect::Absent, body, collect_at)?;
        for older in &digests[1..] {
            batch.check(key_at(older)?, Expect::Absent)?;
        }
        let pointer = StoredId::body(digests[0].as_str())?;
        batch.put_until(id_at(&stored.id)?, Expect::Absent, pointer, collect_at)?;

        let hint = self.write_hint(&stored).await?;
        match self.records.commit(&batch).await {
            Ok(_) => Ok(KeyEntry::stored(stored, Some(batch.version()))),
            Err(error) => {
                self.withdraw(hint, &error).await;
                Err(if error.is(ErrorKind::Conflict) {
                    Error::already_exists(
                        "this API key exists already and was left as it is; \
                         update it, or delete it first",
                    )
                } else {
                    error
                })
            }
        }
    }

    pub(super) async fn change(
        &self,
        key: KeyRef<'_>,
        only_if: Option<Version>,
        change: ChangeKey<'_>,
    ) -> Result<KeyEntry> {
        let mut found = self.locate(key).await?;
        let mut attempts = Attempts::new();
        loop {
            let record = found.ok_or_else(no_such_key)?;
            if only_if.is_some_and(|version| version != record.version()) {
                return Err(changed_since());
            }
            let before = record.decode::<StoredKey>()?;
            let mut next = (*before).clone();
            change(&mut next.data)?;
            if next.data == before.data {
                return entry(&record);
            }
            next.data.check(Some(&before.data))?;
            let conflict = match self.replace(&record, &before, next).await {
                Ok(entry) => return Ok(entry),
                Err(error) => attempts.lost(error).await?,
            };
            // The conflict returned the current record; a read could be answered
            // by a cache. If there is none, the key was deleted or re-digested.
            let current = conflict
                .as_ref()
                .and_then(|conflict| conflict.item(0)?.current());
            found = match current {
                Some(now) if now.decode::<StoredKey>()?.id == before.id => Some(now.clone()),
                _ => self.locate(key).await?,
            };
        }
    }

    /// One attempt to write `next` where `before` was read as `record`.
    async fn replace(
        &self,
        record: &Record,
        before: &StoredKey,
        mut next: StoredKey,
    ) -> Result<KeyEntry> {
        let collect_at = self.collect_at(&next.data);
        let rehomed = next.data.tenant != before.data.tenant || collect_at != record.expires_at();
        if rehomed {
            // A new name for each attempt, so that taking back what a lost race
            // wrote never removes the winner's hint.
            next.hint = next.data.tenant.is_some().then(random_text);
        }
        let next = Arc::new(next);
        let mut batch = Batch::new(record.partition().clone(), self.now());
        let body = Body::shared(Arc::clone(&next))?;
        batch.put_until(record.key().clone(), record, body, collect_at)?;
        if collect_at != record.expires_at() {
            let pointer = StoredId::body(record.id())?;
            batch.put_until(id_at(&next.id)?, Expect::Present, pointer, collect_at)?;
        }
        if !rehomed {
            self.records.commit(&batch).await?;
        } else {
            let hint = self.write_hint(&next).await?;
            if let Err(error) = self.records.commit(&batch).await {
                self.withdraw(hint, &error).await;
                return Err(error);
            }
            if let Some(hint) = before.hint()? {
                hint.remove(&*self.records).await;
            }
        }
        Ok(KeyEntry::stored(next, Some(batch.version())))
    }

    /// Re-digests a key that was digested under an older key of the ring, so
    /// that the older one can be left out once all keys have moved. One commit;
    /// the key's id and data stay, its version changes. Returns whether there
    /// was something to do. Disabled and expired keys move too.
    ///
    /// # Errors
    /// `NotFound` for an unknown key; the store's own.
    pub async fn redigest(&self, key: &ApiKey) -> Result<bool> {
        let digest = self.digester.current(key.expose().as_bytes());
        self.ring.register().await?;
        let mut attempts = Attempts::new();
        loop {
            let record = self.find(key).await?.ok_or_else(no_such_key)?;
            if self.is_current(key, &record)? {
                return Ok(false);
            }
            let id = &record.decode::<StoredKey>()?.id;
            let until = record.expires_at();
            let mut batch = Batch::new(record.partition().clone(), self.now());
            batch.delete(record.key().clone(), &record)?;
            batch.put_until(
                key_at(&digest)?,
                Expect::Absent,
                record.body().clone(),
                until,
            )?;
            let pointer = StoredId::body(digest.as_str())?;
            batch.put_until(id_at(id)?, Expect::Present, pointer, until)?;
            match self.records.commit(&batch).await {
                Ok(_) => return Ok(true),
                Err(error) => attempts.lost(error).await?,
            };
        }
    }

    /// Whether `record` is digested under the ring's current key.
    pub(super) fn is_current(&self, key: &ApiKey, record: &Record) -> Result<bool> {
        let current = self.digester.current(key.expose().as_bytes());
        Ok(record.id() == current.as_str())
    }

    async fn write_hint(&self, key: &StoredKey) -> Result<Option<Hint>> {
        let Some(hint) = key.hint()? else {
            return Ok(None);
        };
        let body = Body::json(StoredHint {
            format: Format,
            id: key.id.clone(),
            hint: key.hint.clone().unwrap_or_default(),
            written_at: self.now(),
            unknown: Unknown::new(),
        })?;
        let expires_at = self.collect_at(&key.data);
        hint.write(&*self.records, body, expires_at).await?;
        Ok(Some(hint))
    }

    async fn withdraw(&self, hint: Option<Hint>, error: &Error) {
        if let Some(hint) = hint {
            hint.withdraw(&*self.records, error).await;
        }
    }
}

fn changed_since() -> Error {
    Error::new(
        ErrorKind::Conflict,
        "the API key was changed since that version was read and nothing was written; \
         read it again and decide again",
    )
}
