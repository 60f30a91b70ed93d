//! The tool's own keys: few, so one partition holds them.

use serde::{Deserialize, Serialize};

use super::RecordLti;
use super::format::FormatOne;
use crate::batch::{Batch, Expect};
use crate::body::{Body, Unknown};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::key::{Collection, Partition, RecordKey, bounded};
use crate::lti::keys::{NewToolKey, PublicJwk, SigningKey, ToolKey};
use crate::record::Record;
use crate::scan::Scan;
use crate::secret::SecretField;
use crate::update::{Decided, RecordStoreExt};

pub(super) const KEYS: Collection = Collection::new("lti_keys").cacheable();
/// What a private key is sealed as.
const PRIVATE_KEY: &str = "private_key";

#[derive(Clone, Serialize, Deserialize)]
struct StoredKey {
    format: FormatOne,
    kid: String,
    public: PublicJwk,
    private_key: SecretField,
    active: bool,
    created_at: Timestamp,
    #[serde(flatten)]
    unknown: Unknown,
}

fn partition() -> Result<Partition> {
    Partition::new("tool")
}

fn key(kid: &str) -> Result<RecordKey> {
    RecordKey::new(KEYS, bounded(kid))
}

impl<R, D> RecordLti<R, D> {
    pub(super) async fn insert_key(&self, new: NewToolKey) -> Result<()> {
        let (partition, key, now) = (partition()?, key(&new.kid)?, self.now());
        let mut private_key = new.private_key;
        private_key.seal(&self.ring, key.at(&partition), PRIVATE_KEY)?;
        let body = Body::json(StoredKey {
            format: FormatOne,
            kid: new.kid,
            public: new.public,
            private_key,
            active: true,
            created_at: now,
            unknown: Unknown::new(),
        })?;
        let mut batch = Batch::new(partition, now);
        batch.put(key, Expect::Absent, body)?;
        match self.records().commit(&batch).await {
            Err(e) if e.is(ErrorKind::Conflict) => Err(Error::already_exists(
                "there is a key of this id; give every key an id of its own",
            )),
            other => other.map(|_| ()),
        }
    }

    async fn stored_keys(&self) -> Result<Vec<(Record, StoredKey)>> {
        let first = Scan::partition(KEYS, partition()?);
        let (mut scan, mut found) = (first.clone(), Vec::new());
        loop {
            let page = self.records().scan(&scan).await?;
            for record in page.items {
                let stored = record.decode::<StoredKey>()?;
                found.push((record, (*stored).clone()));
            }
            match &page.next {
                Some(next) => scan = first.clone().after(next)?,
                None => break,
            }
        }
        // The newest first; of two made at one moment always the same.
        found.sort_by(|(_, a), (_, b)| (b.created_at, &b.kid).cmp(&(a.created_at, &a.kid)));
        Ok(found)
    }

    pub(super) async fn all_keys(&self) -> Result<Vec<ToolKey>> {
        let public = |(_, key): (Record, StoredKey)| {
            ToolKey::new(key.kid, key.public, key.active, key.created_at)
        };
        Ok(self.stored_keys().await?.into_iter().map(public).collect())
    }

    pub(super) async fn newest_key(&self) -> Result<Option<SigningKey>> {
        let keys = self.stored_keys().await?;
        let Some((record, newest)) = keys.into_iter().find(|(_, key)| key.active) else {
            return Ok(None);
        };
        let private_key = newest
            .private_key
            .open(&self.ring, record.at(), PRIVATE_KEY)?;
        Ok(Some(SigningKey {
            kid: newest.kid,
            private_key,
        }))
    }

    pub(super) async fn mark_key(&self, kid: &str, active: bool) -> Result<()> {
        let (partition, key) = (partition()?, key(kid)?);
        let decide = |current: Option<&Record>| {
            let held = current.map(Record::decode::<StoredKey>).transpose()?;
            let Some(held) = held.filter(|held| held.kid == kid) else {
                return Err(Error::not_found("there is no key of this id; add it first"));
            };
            if held.active == active {
                return Ok(Decided::Keep(()));
            }
            let marked = StoredKey {
                active,
                ..(*held).clone()
            };
            Ok(Decided::Put(Body::json(marked)?, None, ()))
        };
        self.records().update(&partition, &key, decide).await
    }

    pub(super) async fn remove_key(&self, kid: &str) -> Result<bool> {
        let (partition, key) = (partition()?, key(kid)?);
        let decide = |current: Option<&Record>| {
            Ok(match current {
                Some(_) => Decided::Delete(true),
                None => Decided::Keep(false),
            })
        };
        self.records().update(&partition, &key, decide).await
    }

    /// The stored form under the ring's current key; `None` if it is so already.
    pub(super) fn resealed_key(&self, record: &Record) -> Result<Option<Body>> {
        let held = record.decode::<StoredKey>()?;
        let current = |key: &SecretField| {
            key.sealed()
                .is_some_and(|sealed| sealed.key_id() == self.ring.current())
        };
        if current(&held.private_key) {
            return Ok(None);
        }
        let mut resealed = (*held).clone();
        resealed
            .private_key
            .seal(&self.ring, record.at(), PRIVATE_KEY)?;
        Body::json(resealed).map(Some)
    }
}
