//! The trait that stores keys.

use async_trait::async_trait;
use serde_json::{Map, Value};

use crate::api_keys::{ApiKey, KeyData, KeyEntry, KeyId};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::page::{Items, Page, PageRequest, paged};
use crate::record::Version;

/// What a store knows about a key. `Err` beside it means that there is no
/// answer: an outage is never `Unknown`.
#[must_use]
#[derive(Clone, Debug, PartialEq)]
pub enum Lookup {
    /// It works.
    Active(KeyEntry),
    /// It was disabled. A key that is expired too is disabled first.
    Disabled(KeyEntry),
    /// It has expired.
    Expired(KeyEntry),
    /// There is no such key.
    Unknown,
}

impl Lookup {
    /// What to answer for `entry` at `now`.
    pub fn of(entry: KeyEntry, now: Timestamp) -> Self {
        if !entry.data().enabled {
            Self::Disabled(entry)
        } else if entry.data().is_expired(now) {
            Self::Expired(entry)
        } else {
            Self::Active(entry)
        }
    }

    /// The key, whether it works or not; `None` if it is unknown.
    pub fn entry(&self) -> Option<&KeyEntry> {
        match self {
            Self::Active(entry) | Self::Disabled(entry) | Self::Expired(entry) => Some(entry),
            Self::Unknown => None,
        }
    }

    /// True if the key works.
    pub fn is_active(&self) -> bool {
        matches!(self, Self::Active(_))
    }
}

/// Names a key for a change: by its secret, or by its public id when the
/// secret is no longer known.
#[derive(Clone, Copy, Debug)]
pub enum KeyRef<'a> {
    /// By the secret.
    Secret(&'a ApiKey),
    /// By the public id.
    Id(&'a KeyId),
}

impl<'a> From<&'a ApiKey> for KeyRef<'a> {
    fn from(key: &'a ApiKey) -> Self {
        Self::Secret(key)
    }
}

impl<'a> From<&'a KeyId> for KeyRef<'a> {
    fn from(id: &'a KeyId) -> Self {
        Self::Id(id)
    }
}

/// A query for one page of keys.
#[derive(Clone, Debug)]
pub struct ListKeys {
    tenant: Option<String>,
    page: PageRequest,
}

impl ListKeys {
    /// The keys of one tenant, in an order that is stable but not specified.
    pub fn of_tenant(tenant: impl Into<String>) -> Self {
        Self::new(Some(tenant.into()))
    }

    /// All keys, those without a tenant included. A key that exists throughout
    /// is delivered at least once.
    pub fn all() -> Self {
        Self::new(None)
    }

    fn new(tenant: Option<String>) -> Self {
        Self {
            tenant,
            page: PageRequest::new(),
        }
    }

    paged!();

    /// The tenant whose keys are listed; `None` for all.
    pub fn tenant(&self) -> Option<&str> {
        self.tenant.as_deref()
    }
}

/// A change to a key's data. It may run again when another process was faster, so
/// it must not do anything but change the data.
pub type ChangeKey<'a> = &'a (dyn Fn(&mut KeyData) -> Result<()> + Send + Sync);

/// Stores API keys. Implement [`get_key`](Self::get_key) over the table or
/// service that you have, and everything that only reads works; implement the
/// rest to let keys be managed through it.
///
/// # What an implementer promises
/// - A key that is disabled, expired, unknown, or that cannot be looked up now
///   gets four different answers; the last one is an error.
/// - A key whose data does not say whether it is enabled is enabled.
/// - Data is stored as it was given, fields of the application's own included.
///   Stored data of an odd form is an error or permits nothing; it never panics.
/// - Every change is atomic, and seen by every later call of any client.
/// - No key is stored, shown or logged in clear.
/// - Looking up keys that do not exist leaves nothing behind.
///
/// An operation that is not offered is refused with `Unsupported`: the default.
///
/// The suite in `store-conformance` proves all of this for any implementation.
#[async_trait]
pub trait ApiKeyStore: Send + Sync {
    /// What is known about `key`. [`Lookup::of`] decides between active,
    /// disabled and expired.
    ///
    /// # Errors
    /// Whenever there is no answer: `Unavailable`, `Timeout`, `Corrupt` …
    async fn get_key(&self, key: &ApiKey) -> Result<Lookup>;

    /// Like [`ApiKeyStore::get_key`] by public id.
    ///
    /// # Errors
    /// As [`ApiKeyStore::get_key`].
    async fn get_by_id(&self, id: &KeyId) -> Result<Lookup> {
        let _ = id;
        Err(not_offered("look up a key by its id"))
    }

    /// Stores a new key.
    ///
    /// # Errors
    /// `AlreadyExists` if the key is there, disabled or expired ones included:
    /// it is not changed. `InvalidInput` for a [weak
    /// key](ApiKey::require_strong) or [wrong data](KeyData::check).
    async fn insert(&self, key: &ApiKey, data: KeyData) -> Result<KeyEntry> {
        let _ = (key, data);
        Err(not_offered("insert keys"))
    }

    /// Changes a key's data by compare-and-swap, without losing a concurrent change;
    /// disabled and expired keys too. Returns the key as it was left. A change that
    /// leaves the data equal writes nothing.
    ///
    /// With `only_if`, changes it only in the state of that version.
    ///
    /// # Errors
    /// `NotFound` for an unknown key: a deleted key is never restored.
    /// `Conflict` if `only_if` does not match. `InvalidInput` for [wrong
    /// data](KeyData::check). Whatever `change` returns. Nothing is written then.
    async fn update_key(
        &self,
        key: KeyRef<'_>,
        only_if: Option<Version>,
        change: ChangeKey<'_>,
    ) -> Result<KeyEntry> {
        let _ = (key, only_if, change);
        Err(not_offered("update keys"))
    }

    /// Makes a key stop working, for every client, and returns it as it was
    /// left. Unlike [`ApiKeyStore::update_key`] it also works on a key whose
    /// stored record cannot be decoded, where the store can.
    ///
    /// # Errors
    /// As [`ApiKeyStore::update_key`].
    async fn disable_key(&self, key: KeyRef<'_>) -> Result<KeyEntry> {
        self.update_key(key, None, &disabled).await
    }

    /// Deletes a key, also one whose stored record cannot be decoded. Deleting
    /// an unknown one is no error.
    ///
    /// # Errors
    /// The store's own.
    async fn delete_key(&self, key: KeyRef<'_>) -> Result<()> {
        let _ = key;
        Err(not_offered("delete keys"))
    }

    /// One page of keys, disabled and expired ones included. Neither skips nor
    /// repeats a key of a tenant that is there throughout. A key whose stored
    /// record cannot be decoded is reported in [`Page::unreadable`] under its
    /// id: it never hides the others, and can be disabled or deleted.
    ///
    /// # Errors
    /// `InvalidInput` for a page of zero or a cursor of another query.
    async fn list(&self, query: &ListKeys) -> Result<Page<KeyEntry>> {
        let _ = query;
        Err(not_offered("list keys"))
    }

    /// Drops what this handle may hold in memory about a key, so that the next
    /// answer is fresh. A store without a cache has nothing to do.
    ///
    /// # Errors
    /// The store's own.
    async fn invalidate(&self, key: KeyRef<'_>) -> Result<()> {
        let _ = key;
        Ok(())
    }
}

/// The change that [`ApiKeyStore::disable_key`] makes.
pub(super) fn disabled(data: &mut KeyData) -> Result<()> {
    data.enabled = false;
    Ok(())
}

fn not_offered(what: &str) -> Error {
    Error::unsupported(format!(
        "this API key store does not {what}; do it where the keys are stored"
    ))
}

/// Conveniences over any [`ApiKeyStore`].
#[async_trait]
pub trait ApiKeyStoreExt: ApiKeyStore {
    /// Changes a key. See [`ApiKeyStore::update_key`].
    ///
    /// # Errors
    /// As [`ApiKeyStore::update_key`].
    async fn update<'k, K, F>(&self, key: K, change: F) -> Result<KeyEntry>
    where
        K: Into<KeyRef<'k>> + Send,
        F: Fn(&mut KeyData) -> Result<()> + Send + Sync,
    {
        self.update_key(key.into(), None, &change).await
    }

    /// Changes a key if it is still as it was when `version` was read.
    ///
    /// # Errors
    /// `Conflict` if it is not; else as [`ApiKeyStore::update_key`].
    async fn update_if<'k, K, F>(&self, key: K, version: Version, change: F) -> Result<KeyEntry>
    where
        K: Into<KeyRef<'k>> + Send,
        F: Fn(&mut KeyData) -> Result<()> + Send + Sync,
    {
        self.update_key(key.into(), Some(version), &change).await
    }

    /// Sets the fields that `partial` names. See [`KeyData::merge`].
    ///
    /// # Errors
    /// As [`KeyData::merge`] and [`ApiKeyStore::update_key`].
    async fn merge<'k, K>(&self, key: K, partial: &Map<String, Value>) -> Result<KeyEntry>
    where
        K: Into<KeyRef<'k>> + Send,
    {
        self.update_key(key.into(), None, &|data| data.merge(partial))
            .await
    }

    /// Makes a key work again.
    ///
    /// # Errors
    /// As [`ApiKeyStore::update_key`].
    async fn enable<'k, K: Into<KeyRef<'k>> + Send>(&self, key: K) -> Result<KeyEntry> {
        self.update_key(key.into(), None, &|data| {
            data.enabled = true;
            Ok(())
        })
        .await
    }

    /// Makes a key stop working. See [`ApiKeyStore::disable_key`].
    ///
    /// # Errors
    /// As [`ApiKeyStore::update_key`].
    async fn disable<'k, K: Into<KeyRef<'k>> + Send>(&self, key: K) -> Result<KeyEntry> {
        self.disable_key(key.into()).await
    }

    /// The keys of this page and of all after it. See [`ApiKeyStore::list`].
    fn list_stream(&self, query: ListKeys) -> Items<'_, KeyEntry> {
        query.page_request().clone().stream(move |page| {
            let query = query.clone().page(page);
            async move { self.list(&query).await }
        })
    }

    /// Whether a key is enabled, expired or not.
    ///
    /// # Errors
    /// `NotFound` for an unknown key; the store's own.
    async fn is_enabled<'k, K: Into<KeyRef<'k>> + Send>(&self, key: K) -> Result<bool> {
        let found = match key.into() {
            KeyRef::Secret(key) => self.get_key(key).await?,
            KeyRef::Id(id) => self.get_by_id(id).await?,
        };
        let entry = found.entry().ok_or_else(no_such_key)?;
        Ok(entry.data().enabled)
    }
}

impl<S: ApiKeyStore + ?Sized> ApiKeyStoreExt for S {}

/// The error of a change to a key that does not exist.
pub fn no_such_key() -> Error {
    Error::not_found("there is no such API key; it was deleted or never inserted")
}
