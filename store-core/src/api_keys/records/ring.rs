//! Notices a key ring that is not the one the stored keys were digested under.
//!
//! Under a wrong ring every key would be unknown, which looks like an answer
//! and is a configuration error. So a fingerprint of each ring key in use is
//! stored: a keyed digest, from which neither the key nor any API key follows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};

use crate::body::{Body, Format, Unknown};
use crate::error::{Error, ErrorKind, Result};
use crate::key::{Collection, Partition, RecordKey};
use crate::record::Record;
use crate::record_store::RecordStore;
use crate::secret::Digester;
use crate::update::{Decided, RecordStoreExt};

use super::RecordApiKeys;
use super::names::PURPOSE;

/// The fingerprints of key rings, one record for each purpose.
pub(crate) const KEY_RINGS: Collection = Collection::new("key_rings");

/// What is digested for a fingerprint. No API key holds a space.
const FINGERPRINT: &[u8] = b"fingerprint of this key";

#[derive(Clone, Serialize, Deserialize)]
struct StoredRing {
    format: Format<1>,
    /// By the name of each ring key, its fingerprint.
    fingerprints: BTreeMap<String, String>,
    #[serde(flatten)]
    unknown: Unknown,
}

/// Compares the ring with the fingerprints in the store: once for each handle,
/// when it first finds a key unknown or inserts one. Clones share the result.
#[derive(Clone)]
pub(super) struct RingCheck {
    records: Arc<dyn RecordStore>,
    /// Name and fingerprint of each ring key, the current one first.
    ring: Arc<[(String, String)]>,
    checked: Arc<AtomicBool>,
    registered: Arc<AtomicBool>,
}

impl RingCheck {
    pub(super) fn new(records: Arc<dyn RecordStore>, digester: &Digester) -> Self {
        let ring = digester
            .all(FINGERPRINT)
            .iter()
            .filter_map(|digest| digest.as_str().split_once('.'))
            .map(|(name, fingerprint)| (name.to_owned(), fingerprint.to_owned()))
            .collect();
        Self {
            records,
            ring,
            checked: Arc::default(),
            registered: Arc::default(),
        }
    }

    /// Refuses a ring that cannot have digested the stored keys. A store
    /// without fingerprints accepts any ring.
    pub(super) async fn check(&self) -> Result<()> {
        if self.checked.load(Ordering::Relaxed) {
            return Ok(());
        }
        let (partition, key) = place()?;
        if let Some(record) = self.records.get(key.at(&partition)).await? {
            self.compare(&*record.decode::<StoredRing>()?)?;
            self.checked.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// As [`RingCheck::check`], and stores the fingerprint of the current key.
    pub(super) async fn register(&self) -> Result<()> {
        if self.registered.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.write(|stored| self.compare(stored)).await
    }

    async fn write(&self, accept: impl Fn(&StoredRing) -> Result<()> + Send + Sync) -> Result<()> {
        let (partition, key) = place()?;
        let (current, fingerprint) = &self.ring[0];
        let decide = |record: Option<&Record>| {
            let mut stored = match record {
                Some(record) => (*record.decode::<StoredRing>()?).clone(),
                None => StoredRing {
                    format: Format,
                    fingerprints: BTreeMap::new(),
                    unknown: Unknown::new(),
                },
            };
            if record.is_some() {
                accept(&stored)?;
            }
            if stored.fingerprints.get(current) == Some(fingerprint) {
                return Ok(Decided::Keep(()));
            }
            let fingerprints = &mut stored.fingerprints;
            fingerprints.insert(current.clone(), fingerprint.clone());
            Ok(Decided::Put(Body::json(stored)?, None, ()))
        };
        self.records.update(&partition, &key, decide).await?;
        self.checked.store(true, Ordering::Relaxed);
        self.registered.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn compare(&self, stored: &StoredRing) -> Result<()> {
        let mut known = false;
        for (name, fingerprint) in &*self.ring {
            match stored.fingerprints.get(name) {
                Some(held) if held == fingerprint => known = true,
                Some(_) => {
                    return Err(wrong_ring(format!(
                        "the key {name:?} of the key ring is not the one of that name under which \
                     the stored API keys were digested"
                    )));
                }
                None => {}
            }
        }
        if known {
            return Ok(());
        }
        let names: Vec<_> = stored.fingerprints.keys().map(String::as_str).collect();
        Err(wrong_ring(format!(
            "the stored API keys were digested under the ring keys {names:?}, and this key ring \
             holds none of them"
        )))
    }
}

impl RecordApiKeys {
    /// Accepts this ring although no stored key was digested under it: to begin
    /// again after the former ring was lost. Keys of the former ring stay
    /// unknown; delete them by id.
    ///
    /// # Errors
    /// The store's own.
    pub async fn adopt_ring(&self) -> Result<()> {
        self.ring.write(|_| Ok(())).await
    }
}

fn place() -> Result<(Partition, RecordKey)> {
    Ok((
        Partition::new("key_rings")?,
        RecordKey::new(KEY_RINGS, PURPOSE)?,
    ))
}

fn wrong_ring(what: String) -> Error {
    Error::new(
        ErrorKind::Config,
        format!(
            "{what}; give this process the ring that the others use \
             (RecordApiKeys::adopt_ring begins again with another one)"
        ),
    )
}
