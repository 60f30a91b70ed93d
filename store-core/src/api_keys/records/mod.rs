//! Keys as records.
//!
//! A key is two records in one partition, changed together: the key itself,
//! named by a keyed digest of its secret, and one that leads from its public id
//! to it. The partition is chosen by 16 bits of an unkeyed hash of the secret,
//! so it stays when the ring rotates. A third record, a hint in the tenant's
//! partition, lets a tenant's keys be listed: written before the key, removed
//! after it, and believed only if the key names that very hint. So a hint that
//! a crash left behind lists nothing.

mod list;
mod names;
mod readable;
mod revoke;
mod ring;
mod write;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::api_keys::data::{KeyData, KeyEntry, KeyId};
use crate::api_keys::key::ApiKey;
use crate::api_keys::store::{ApiKeyStore, ChangeKey, KeyRef, ListKeys, Lookup};
use crate::backend::{Attempts, event};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::key::{Partition, RecordRef};
use crate::page::Page;
use crate::record::{Record, Version};
use crate::record_store::RecordStore;
use crate::scan::Scan;
use crate::secret::{Digester, KeyRing};

pub use names::{API_KEY_HINTS, API_KEY_IDS, API_KEYS};
use names::{PURPOSE, StoredId, id_at, key_at, partition_of, partition_of_id};
use readable::id_of;
pub(crate) use ring::KEY_RINGS;
use ring::RingCheck;

/// How long an expired key still answers `Expired` before it is collected.
const KEEP_EXPIRED: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// API keys over any record store. Cheap to clone.
///
/// A look-up is one request; while the ring holds more than one key, a look-up
/// of an unknown key is two.
#[derive(Clone)]
pub struct RecordApiKeys {
    records: Arc<dyn RecordStore>,
    digester: Arc<Digester>,
    ring: RingCheck,
    keep_expired: Option<Duration>,
    redigest_on_use: bool,
}

impl RecordApiKeys {
    /// Keys in `records`, digested under `ring`.
    pub fn new(records: Arc<dyn RecordStore>, ring: &KeyRing) -> Self {
        let digester = Arc::new(Digester::new(ring, PURPOSE));
        Self {
            ring: RingCheck::new(Arc::clone(&records), &digester),
            records,
            digester,
            keep_expired: Some(KEEP_EXPIRED),
            redigest_on_use: false,
        }
    }

    /// How long an expired key still answers `Expired`; afterwards it is
    /// collected and `Unknown`. 30 days if never called; `None` for ever. Holds
    /// for keys that are written from now on.
    pub fn keep_expired(mut self, keep: Option<Duration>) -> Self {
        self.keep_expired = keep;
        self
    }

    /// Whether a look-up that finds a key under an older key of the ring
    /// [re-digests](Self::redigest) it in passing. Off if never called.
    ///
    /// Only the client that presents a key knows its secret, so no job can re-digest
    /// all keys: turn this on to let a rotation finish by itself, at the cost of
    /// one write the first time that each key is used. If that write fails the
    /// look-up answers all the same.
    pub fn redigest_on_use(mut self, on: bool) -> Self {
        self.redigest_on_use = on;
        self
    }

    /// The record of `key` under whichever key of the ring it was digested.
    async fn find(&self, key: &ApiKey) -> Result<Option<Record>> {
        let partition = partition_of(key)?;
        let digests = self.digester.all(key.expose().as_bytes());
        let names = digests.iter().map(key_at).collect::<Result<Vec<_>>>()?;
        if let [name] = &names[..] {
            return self.records.get(name.at(&partition)).await;
        }
        let at: Vec<_> = names.iter().map(|name| name.at(&partition)).collect();
        // Reads are no snapshot: a key that moved from one digest to another
        // between them is under neither. It moves once, so look twice.
        for _ in 0..2 {
            let found = self.records.get_many(&at).await?;
            if let Some(record) = found.into_iter().flatten().next() {
                return Ok(Some(record));
            }
        }
        Ok(None)
    }

    /// The record of the key with this public id, decodable or not.
    async fn find_by_id(&self, id: &KeyId) -> Result<Option<Record>> {
        let Some(partition) = partition_of_id(id) else {
            return Ok(None);
        };
        let pointer = id_at(id)?;
        let mut attempts = Attempts::new();
        loop {
            let Some(found) = self.records.get(pointer.at(&partition)).await? else {
                return Ok(None);
            };
            let Ok(stored) = found.decode::<StoredId>() else {
                return self.search(partition, id).await;
            };
            let Ok(at) = RecordRef::new(partition.as_str(), API_KEYS, &stored.digest) else {
                return self.search(partition, id).await;
            };
            // Absent or another key: it was re-digested or deleted since, and
            // the next attempt sees which.
            if let Some(record) = self.records.get(at).await?
                && id_of(&record).is_none_or(|found| found == *id)
            {
                return Ok(Some(record));
            }
            let more = attempts.failed().await;
            more.map_err(|error| error.with_key(pointer.at(&partition)))?;
        }
    }

    /// The key with this id among the few of its partition, for an id whose
    /// pointer cannot be read.
    async fn search(&self, partition: Partition, id: &KeyId) -> Result<Option<Record>> {
        let first = Scan::partition(API_KEYS, partition);
        let mut scan = first.clone();
        loop {
            let page = self.records.scan(&scan).await?;
            let mut records = page.items.into_iter();
            if let Some(found) = records.find(|record| id_of(record).as_ref() == Some(id)) {
                return Ok(Some(found));
            }
            match &page.next {
                Some(next) => scan = first.clone().after(next)?,
                None => return Ok(None),
            }
        }
    }

    async fn locate(&self, key: KeyRef<'_>) -> Result<Option<Record>> {
        match key {
            KeyRef::Secret(key) => self.find(key).await,
            KeyRef::Id(id) => self.find_by_id(id).await,
        }
    }

    fn now(&self) -> Timestamp {
        self.records.clock().now()
    }

    /// When the records of a key are collected.
    fn collect_at(&self, data: &KeyData) -> Option<Timestamp> {
        let keep = self.keep_expired?;
        data.expires_at.map(|at| at + keep)
    }
}

#[async_trait]
impl ApiKeyStore for RecordApiKeys {
    async fn get_key(&self, key: &ApiKey) -> Result<Lookup> {
        let Some(record) = self.find(key).await? else {
            self.ring.check().await?;
            return Ok(Lookup::Unknown);
        };
        if self.redigest_on_use && !self.is_current(key, &record)? {
            // The answer stands whatever becomes of it.
            let moved = self.redigest(key).await;
            event::ignore("could not move an API key to the current digest key", moved);
        }
        Ok(Lookup::of(entry(&record)?, self.now()))
    }

    async fn get_by_id(&self, id: &KeyId) -> Result<Lookup> {
        let found = self.find_by_id(id).await?;
        found.map_or(Ok(Lookup::Unknown), |record| {
            Ok(Lookup::of(entry(&record)?, self.now()))
        })
    }

    async fn insert(&self, key: &ApiKey, data: KeyData) -> Result<KeyEntry> {
        self.insert_key(key, data).await
    }

    async fn update_key(
        &self,
        key: KeyRef<'_>,
        only_if: Option<Version>,
        change: ChangeKey<'_>,
    ) -> Result<KeyEntry> {
        self.change(key, only_if, change).await
    }

    async fn disable_key(&self, key: KeyRef<'_>) -> Result<KeyEntry> {
        self.disable_any(key).await
    }

    async fn delete_key(&self, key: KeyRef<'_>) -> Result<()> {
        self.remove(key).await
    }

    async fn list(&self, query: &ListKeys) -> Result<Page<KeyEntry>> {
        self.list_keys(query).await
    }
}

fn entry(record: &Record) -> Result<KeyEntry> {
    Ok(KeyEntry::stored(record.decode()?, Some(record.version())))
}

impl fmt::Debug for RecordApiKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordApiKeys")
            .field("records", &self.records)
            .field("ring", &self.digester)
            .finish_non_exhaustive()
    }
}
