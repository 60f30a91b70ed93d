//! Registrations: all of an issuer share a partition, so that its default can
//! change atomically with them.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, de};

use super::RecordLti;
use super::readable;
use crate::backend::Attempts;
use crate::batch::{Batch, Expect};
use crate::body::{Body, Format, Unknown};
use crate::error::{Error, ErrorKind, Result};
use crate::key::{Collection, Partition, RecordKey, bounded};
use crate::lti::keys::SigningKey;
use crate::lti::registration::{Registerable, Registration, ToolJwk};
use crate::page::{Page, PageRequest};
use crate::record::{Record, Version};
use crate::scan::Scan;
use crate::secret::KeyRing;
use crate::update::{Decided, RecordStoreExt};

pub(super) const REGISTRATIONS: Collection = Collection::new("lti_registrations").cacheable();
/// The id of an issuer's default.
pub(super) const DEFAULT: &str = "default";
pub(super) const DEFAULTS: Collection = Collection::new("lti_defaults").cacheable();
/// The name of the sealed field.
const PRIVATE_KEY: &str = "private_key";

/// The application's record, with the names it is found under and what distinguishes
/// this registration from a later one of the same names.
#[derive(Serialize, Deserialize)]
#[serde(bound(deserialize = "R: Registerable + DeserializeOwned"))]
pub(super) struct StoredRegistration<R> {
    format: Format<1>,
    issuer: String,
    client_id: String,
    pub(super) incarnation: Version,
    #[serde(deserialize_with = "sealed")]
    record: Arc<R>,
    #[serde(flatten)]
    unknown: Unknown,
}

/// Reads a record whose private key, if it has one, is sealed: clear text in a
/// store was written without the key ring.
fn sealed<'de, R, D>(deserializer: D) -> Result<Arc<R>, D::Error>
where
    R: Registerable + DeserializeOwned,
    D: Deserializer<'de>,
{
    let mut record = R::deserialize(deserializer)?;
    match record.private_key() {
        Some(key) if key.sealed().is_none() => Err(de::Error::custom("a stored key is not sealed")),
        _ => Ok(Arc::new(record)),
    }
}

/// How a registration is written.
#[derive(Clone, Copy)]
pub(super) enum Write {
    /// Only if there is none.
    Create,
    /// In any case, but without changing its endpoints.
    Upsert,
    /// Only if there is one, with its endpoints.
    Move,
}

fn exists() -> Error {
    Error::already_exists(
        "there is a registration of this issuer and client id, and it was left as it was; \
         update it with upsert_registration, or delete it first",
    )
}

fn missing() -> Error {
    Error::not_found("there is no registration of this issuer and client id; create it first")
}

/// Refuses to put one platform in the place of another.
fn same_platform(held: &Registration, new: &Registration) -> Result<()> {
    let same = held.auth_endpoint() == new.auth_endpoint() && held.jwks_uri() == new.jwks_uri();
    if same {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Conflict,
        "the stored registration of this issuer and client id has another auth_endpoint or \
         jwks_uri, so it may be another platform; nothing was written, and change_endpoints \
         replaces them if the platform has moved",
    ))
}

/// The registration that a lookup by issuer alone finds.
#[derive(Serialize, Deserialize)]
struct StoredDefault {
    format: Format<1>,
    issuer: String,
    client_id: String,
    #[serde(flatten)]
    unknown: Unknown,
}

/// Where a registration is stored.
pub(super) struct Place {
    pub(super) partition: Partition,
    pub(super) key: RecordKey,
}

impl Place {
    pub(super) fn of(issuer: &str, client_id: &str) -> Result<Self> {
        Ok(Self {
            partition: Partition::new(bounded(issuer))?,
            key: RecordKey::new(REGISTRATIONS, bounded(client_id))?,
        })
    }
}

fn default_key() -> Result<RecordKey> {
    RecordKey::new(DEFAULTS, DEFAULT)
}

/// Seals the private key of `record`, if it has one, for `place`.
fn seal<R: Registerable>(record: &mut R, ring: &KeyRing, place: &Place) -> Result<()> {
    match record.private_key() {
        Some(key) => key.seal(ring, place.key.at(&place.partition), PRIVATE_KEY),
        None => Ok(()),
    }
}

impl<R, D> RecordLti<R, D>
where
    R: Registerable + Serialize + DeserializeOwned,
{
    pub(super) fn stored(record: &Record) -> Result<Arc<StoredRegistration<R>>> {
        record.decode()
    }

    pub(super) async fn registration(
        &self,
        issuer: &str,
        client_id: &str,
    ) -> Result<Option<Arc<R>>> {
        let Place { partition, key } = Place::of(issuer, client_id)?;
        let Some(record) = self.records().get(key.at(&partition)).await? else {
            return Ok(None);
        };
        let stored = Self::stored(&record)?;
        let same = stored.issuer == issuer && stored.client_id == client_id;
        Ok(same.then(|| Arc::clone(&stored.record)))
    }

    /// Two reads: of the default, then of what it names or of the first one.
    pub(super) async fn default_registration(&self, issuer: &str) -> Result<Option<Arc<R>>> {
        let partition = Partition::new(bounded(issuer))?;
        let key = default_key()?;
        if let Some(record) = self.records().get(key.at(&partition)).await? {
            let default = record.decode::<StoredDefault>()?;
            let named = self.registration(issuer, &default.client_id).await?;
            if named.is_some() {
                return Ok(named);
            }
        }
        let first = Scan::partition(REGISTRATIONS, partition).limit(1)?;
        let page = self.records().scan(&first).await?;
        let Some(record) = page.items.first() else {
            return Ok(None);
        };
        let stored = Self::stored(record)?;
        Ok((stored.issuer == issuer).then(|| Arc::clone(&stored.record)))
    }

    pub(super) async fn put_registration(&self, mut record: R, write: Write) -> Result<Arc<R>> {
        let registration = record.to_registration()?;
        let (issuer, client_id) = (registration.issuer(), registration.client_id());
        let place = Place::of(issuer, client_id)?;
        seal(&mut record, &self.ring, &place)?;
        let record = Arc::new(record);
        let decide = |current: Option<&Record>| {
            let held = current.and_then(|current| Self::stored(current).ok());
            match (write, current) {
                (Write::Create, Some(_)) => return Err(exists()),
                (Write::Move, None) => return Err(missing()),
                (Write::Upsert, Some(_)) => {
                    if let Some(held) = &held {
                        same_platform(&held.record.to_registration()?, &registration)?;
                    }
                }
                _ => {}
            }
            let incarnation = match (&held, current) {
                (Some(held), _) => held.incarnation,
                (None, Some(current)) => readable::incarnation(current),
                (None, None) => Version::unique(),
            };
            let next = StoredRegistration {
                format: Format,
                issuer: issuer.to_owned(),
                client_id: client_id.to_owned(),
                incarnation,
                record: Arc::clone(&record),
                unknown: held.as_ref().map(|h| h.unknown.clone()).unwrap_or_default(),
            };
            let body = match held {
                Some(_) => Body::json(next)?,
                // There is none, or it cannot be decoded and all of it is replaced.
                None => Body::replacement(next)?,
            };
            Ok(Decided::Put(body, None, ()))
        };
        self.records()
            .update(&place.partition, &place.key, decide)
            .await?;
        Ok(record)
    }

    pub(super) async fn make_default(&self, issuer: &str, client_id: &str) -> Result<()> {
        let Place { partition, key } = Place::of(issuer, client_id)?;
        let body = Body::json(StoredDefault {
            format: Format,
            issuer: issuer.to_owned(),
            client_id: client_id.to_owned(),
            unknown: Unknown::new(),
        })?;
        let mut batch = Batch::new(partition, self.now());
        batch
            .check(key, Expect::Present)?
            .put(default_key()?, Expect::Any, body)?;
        match self.records().commit(&batch).await {
            Err(e) if e.is(ErrorKind::Conflict) => Err(missing()),
            other => other.map(|_| ()),
        }
    }

    pub(super) async fn remove_registration(&self, issuer: &str, client_id: &str) -> Result<bool> {
        let existed = self.unlink_registration(issuer, client_id).await?;
        self.clear_deployments(issuer, client_id).await?;
        self.delete_tokens(issuer, client_id).await?;
        Ok(existed)
    }

    /// Removes the registration, and the default if it names it, in one commit.
    async fn unlink_registration(&self, issuer: &str, client_id: &str) -> Result<bool> {
        let Place { partition, key } = Place::of(issuer, client_id)?;
        let default_key = default_key()?;
        let mut attempts = Attempts::new();
        loop {
            let refs = [key.at(&partition), default_key.at(&partition)];
            let found = self.records().get_many(&refs).await?;
            let [Some(record), default] = &found[..] else {
                return Ok(false);
            };
            let mut batch = Batch::new(partition.clone(), self.now());
            batch.delete(key.clone(), record)?;
            // A default that cannot be decoded is left to be set again.
            let names_it = default.as_ref().is_some_and(|default| {
                let default = default.decode::<StoredDefault>();
                default.is_ok_and(|default| default.client_id == client_id)
            });
            if names_it {
                batch.delete(default_key.clone(), default.as_ref())?;
            } else {
                batch.check(default_key.clone(), default.as_ref())?;
            }
            match self.records().commit(&batch).await {
                Ok(_) => return Ok(true),
                Err(error) => attempts.lost(error).await?,
            };
        }
    }

    pub(super) async fn page_of_registrations(
        &self,
        issuer: Option<&str>,
        page: &PageRequest,
    ) -> Result<Page<Arc<R>>> {
        let scan = match issuer {
            Some(issuer) => Scan::partition(REGISTRATIONS, Partition::new(bounded(issuer))?),
            None => Scan::collection(REGISTRATIONS, ""),
        }
        .page(page)?;
        let page = self.records().scan(&scan).await?;
        page.decode(readable::name, |record| {
            Ok(Arc::clone(&Self::stored(record)?.record))
        })
    }

    pub(super) fn open_own_key(
        &self,
        registration: &Registration,
        key: &ToolJwk,
    ) -> Result<SigningKey> {
        let place = Place::of(registration.issuer(), registration.client_id())?;
        let at = place.key.at(&place.partition);
        let Some(sealed) = key.private_key.sealed() else {
            return Err(Error::invalid(
                "the registration's private key is in clear text; pass the registration as the \
                 store returned it",
            ));
        };
        Ok(SigningKey {
            kid: key.kid.clone(),
            private_key: sealed.open(&self.ring, at, PRIVATE_KEY)?,
        })
    }

    /// The stored form with its key under the ring's current key; `None` if it
    /// is so already or has none.
    pub(super) fn resealed_registration(&self, record: &Record) -> Result<Option<Body>> {
        let held = Self::stored(record)?;
        // A copy to change: types need not be `Clone`, and a stored one holds
        // nothing that cannot be serialized.
        let copy = serde_json::to_value(&*held.record)
            .and_then(serde_json::from_value::<R>)
            .map_err(|_| Error::corrupt("a stored registration cannot be copied"))?;
        let mut copy = copy;
        let Some(key) = copy.private_key() else {
            return Ok(None);
        };
        let stale = key
            .sealed()
            .is_none_or(|sealed| sealed.key_id() != self.ring.current());
        if !stale {
            return Ok(None);
        }
        seal(
            &mut copy,
            &self.ring,
            &Place::of(&held.issuer, &held.client_id)?,
        )?;
        Body::json(StoredRegistration {
            format: Format,
            issuer: held.issuer.clone(),
            client_id: held.client_id.clone(),
            incarnation: held.incarnation,
            record: Arc::new(copy),
            unknown: held.unknown.clone(),
        })
        .map(Some)
    }
}
