//! The tool's own keys: they are few, so they share a partition.

use std::cmp::Reverse;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::RecordLti;
use crate::batch::{Batch, Expect};
use crate::body::{Body, Format, Unknown};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::key::{Collection, Partition, RecordKey, bounded};
use crate::lti::keys::{NewToolKey, PublicJwk, SigningKey, ToolKey};
use crate::page::Page;
use crate::record::Record;
use crate::scan::Scan;
use crate::secret::Sealed;
use crate::update::{Decided, RecordStoreExt};

pub(super) const KEYS: Collection = Collection::new("lti_keys").cacheable();
/// The name of the sealed field.
const PRIVATE_KEY: &str = "private_key";

#[derive(Clone, Serialize, Deserialize)]
struct StoredKey {
    format: Format<1>,
    kid: String,
    public: PublicJwk,
    private_key: Sealed,
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
        let at = key.at(&partition);
        let private_key = new.private_key.open(&self.ring, at, PRIVATE_KEY)?;
        let private_key = Sealed::seal(&self.ring, at, PRIVATE_KEY, &private_key)?;
        let body = Body::json(StoredKey {
            format: Format,
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

    /// The keys that can be decoded, the newest first, and those that cannot.
    async fn stored_keys(&self) -> Result<Page<(Record, Arc<StoredKey>)>> {
        let first = Scan::partition(KEYS, partition()?);
        let (mut scan, mut found) = (first.clone(), Page::last(Vec::new()));
        loop {
            let page = self.records().scan(&scan).await?;
            let next = page.next.clone();
            let page = page.decode(
                |record| record.id().to_owned(),
                |record| Ok((record.clone(), record.decode::<StoredKey>()?)),
            )?;
            found.items.extend(page.items);
            found.unreadable.extend(page.unreadable);
            match &next {
                Some(next) => scan = first.clone().after(next)?,
                None => break,
            }
        }
        // The order of two keys added at the same time is stable.
        let order = |key: &StoredKey| (key.created_at, key.kid.clone());
        found.items.sort_by_key(|(_, key)| Reverse(order(key)));
        Ok(found)
    }

    pub(super) async fn all_keys(&self) -> Result<Page<ToolKey>> {
        self.stored_keys().await?.try_map(|(_, key)| {
            let (kid, public) = (key.kid.clone(), key.public.clone());
            Ok(ToolKey::new(kid, public, key.active, key.created_at))
        })
    }

    /// A key that cannot be decoded does not prevent another from signing.
    pub(super) async fn newest_key(&self) -> Result<Option<SigningKey>> {
        let keys = self.stored_keys().await?;
        let Some((record, newest)) = keys.items.into_iter().find(|(_, key)| key.active) else {
            return match keys.unreadable.into_iter().next() {
                Some(unreadable) => Err(unreadable.into_error()),
                None => Ok(None),
            };
        };
        let private_key = newest
            .private_key
            .open(&self.ring, record.at(), PRIVATE_KEY)?;
        Ok(Some(SigningKey {
            kid: newest.kid.clone(),
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
        let private_key = held
            .private_key
            .reseal(&self.ring, record.at(), PRIVATE_KEY)?;
        if private_key == held.private_key {
            return Ok(None);
        }
        let resealed = StoredKey {
            private_key,
            ..(*held).clone()
        };
        Body::json(resealed).map(Some)
    }
}
