//! The handle that applications hold.

use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::api_keys::access::{Access, Rules, decide};
use crate::api_keys::key::key_in_header;
use crate::api_keys::{
    ApiKey, ApiKeyStore, ApiKeyStoreExt, KeyData, KeyEntry, KeyFormat, KeyRef, ListKeys, Lookup,
    RecordApiKeys,
};
use crate::error::Result;
use crate::page::{Items, Page};
use crate::record::Version;
use crate::secret::KeyRing;
use crate::store::Store;

/// API keys: issued, authenticated, authorized, managed. Cheap to clone.
///
/// See the [module](crate::api_keys) for an example.
#[doc(alias = "bearer")]
#[doc(alias = "middleware")]
#[derive(Clone)]
pub struct ApiKeys {
    store: Arc<dyn ApiKeyStore>,
    /// The first one is issued; all are recognised.
    formats: Vec<KeyFormat>,
    rules: Option<Arc<dyn Rules>>,
}

impl ApiKeys {
    /// Keys in `store`, digested under `ring`.
    pub fn new(store: impl Into<Store>, ring: &KeyRing) -> Self {
        let records = Arc::clone(store.into().records());
        Self::over(Arc::new(RecordApiKeys::new(records, ring)))
    }

    /// Keys in a store of your own.
    pub fn over(store: Arc<dyn ApiKeyStore>) -> Self {
        Self {
            store,
            formats: vec![KeyFormat::default()],
            rules: None,
        }
    }

    /// This handle with another format of generated keys. `key_…` if never called.
    pub fn with_format(mut self, format: KeyFormat) -> Self {
        self.formats[0] = format;
        self
    }

    /// This handle, recognising keys of one more format, such as that of keys
    /// that were issued before the prefix was changed: mistyped ones are refused
    /// by their checksum. Keys of a format that is not named are looked up all
    /// the same, mistyped or not.
    pub fn with_older_format(mut self, format: KeyFormat) -> Self {
        self.formats.push(format);
        self
    }

    /// This handle with rules that are evaluated before a key's own permissions.
    pub fn with_rules(mut self, rules: impl Rules + 'static) -> Self {
        self.rules = Some(Arc::new(rules));
        self
    }

    /// This handle over another store, for one call or one route; format and
    /// rules stay.
    pub fn with_store(&self, store: Arc<dyn ApiKeyStore>) -> Self {
        Self {
            store,
            ..self.clone()
        }
    }

    /// The store.
    pub fn store(&self) -> &Arc<dyn ApiKeyStore> {
        &self.store
    }

    /// Generates and inserts a key. The secret is returned only here and is not
    /// stored: show it to the person or program that will use it.
    ///
    /// # Errors
    /// As [`ApiKeyStore::insert`].
    #[doc(alias("create", "generate"))]
    pub async fn issue(&self, data: KeyData) -> Result<(ApiKey, KeyEntry)> {
        let key = self.formats[0].generate();
        let entry = self.store.insert(&key, data).await?;
        Ok((key, entry))
    }

    /// Inserts a key that was chosen elsewhere.
    ///
    /// # Errors
    /// `InvalidInput` if it starts as a generated one and is none; else as
    /// [`ApiKeyStore::insert`].
    pub async fn insert(&self, key: &ApiKey, data: KeyData) -> Result<KeyEntry> {
        self.parse(key.expose())?;
        self.store.insert(key, data).await
    }

    /// The key of this text. One that starts as generated keys do must have
    /// their checksum.
    ///
    /// # Errors
    /// `InvalidInput` for what cannot be a key, without a query.
    pub fn parse(&self, text: &str) -> Result<ApiKey> {
        match self.formats.iter().find(|format| format.claims(text)) {
            Some(format) => format.parse(text),
            None => ApiKey::parse(text),
        }
    }

    /// What is known about `key`.
    ///
    /// # Errors
    /// As [`ApiKeyStore::get_key`].
    pub async fn authenticate(&self, key: &ApiKey) -> Result<Lookup> {
        self.store.get_key(key).await
    }

    /// Whether `key` may do `action` on `resource`.
    ///
    /// # Errors
    /// As [`ApiKeyStore::get_key`]; those of the rules.
    #[doc(alias("verify", "check"))]
    pub async fn authorize(&self, key: &ApiKey, resource: &str, action: &str) -> Result<Access> {
        let found = self.store.get_key(key).await?;
        decide(found, self.rules.as_deref(), resource, action).await
    }

    /// Like [`ApiKeys::authorize`] for what a client presented, if anything: the
    /// key, or the value of an `Authorization` header as
    /// [`ApiKey::from_header`] takes it. Without a key, or with what cannot be
    /// one, there is no query.
    ///
    /// # Errors
    /// As [`ApiKeys::authorize`]: every error means that there is no answer.
    pub async fn check(
        &self,
        presented: Option<&str>,
        resource: &str,
        action: &str,
    ) -> Result<Access> {
        let Some(text) = presented else {
            return Ok(Access::Missing);
        };
        match self.parse(key_in_header(text)) {
            Ok(key) => self.authorize(&key, resource, action).await,
            Err(_) => Ok(Access::BadFormat),
        }
    }

    /// See [`ApiKeyStoreExt::is_enabled`].
    ///
    /// # Errors
    /// As there.
    pub async fn is_enabled<'k>(&self, key: impl Into<KeyRef<'k>> + Send) -> Result<bool> {
        self.store.is_enabled(key).await
    }

    /// See [`ApiKeyStoreExt::enable`].
    ///
    /// # Errors
    /// As there.
    pub async fn enable<'k>(&self, key: impl Into<KeyRef<'k>> + Send) -> Result<KeyEntry> {
        self.store.enable(key).await
    }

    /// See [`ApiKeyStoreExt::disable`].
    ///
    /// # Errors
    /// As there.
    #[doc(alias("revoke"))]
    pub async fn disable<'k>(&self, key: impl Into<KeyRef<'k>> + Send) -> Result<KeyEntry> {
        self.store.disable(key).await
    }

    /// See [`ApiKeyStoreExt::update`].
    ///
    /// # Errors
    /// As there.
    pub async fn update<'k, F>(
        &self,
        key: impl Into<KeyRef<'k>> + Send,
        change: F,
    ) -> Result<KeyEntry>
    where
        F: Fn(&mut KeyData) -> Result<()> + Send + Sync,
    {
        self.store.update(key, change).await
    }

    /// See [`ApiKeyStoreExt::update_if`].
    ///
    /// # Errors
    /// As there.
    pub async fn update_if<'k, F>(
        &self,
        key: impl Into<KeyRef<'k>> + Send,
        version: Version,
        change: F,
    ) -> Result<KeyEntry>
    where
        F: Fn(&mut KeyData) -> Result<()> + Send + Sync,
    {
        self.store.update_if(key, version, change).await
    }

    /// See [`ApiKeyStoreExt::merge`].
    ///
    /// # Errors
    /// As there.
    pub async fn merge<'k>(
        &self,
        key: impl Into<KeyRef<'k>> + Send,
        partial: &Map<String, Value>,
    ) -> Result<KeyEntry> {
        self.store.merge(key, partial).await
    }

    /// See [`ApiKeyStore::delete_key`].
    ///
    /// # Errors
    /// As there.
    pub async fn delete<'k>(&self, key: impl Into<KeyRef<'k>>) -> Result<()> {
        self.store.delete_key(key.into()).await
    }

    /// See [`ApiKeyStore::list`].
    ///
    /// # Errors
    /// As there.
    pub async fn list(&self, query: &ListKeys) -> Result<Page<KeyEntry>> {
        self.store.list(query).await
    }

    /// See [`ApiKeyStoreExt::list_stream`].
    pub fn list_stream(&self, query: ListKeys) -> Items<'_, KeyEntry> {
        self.store.list_stream(query)
    }

    /// See [`ApiKeyStore::invalidate`].
    ///
    /// # Errors
    /// As there.
    pub async fn invalidate<'k>(&self, key: impl Into<KeyRef<'k>>) -> Result<()> {
        self.store.invalidate(key.into()).await
    }
}

impl fmt::Debug for ApiKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKeys")
            .field("formats", &self.formats)
            .field("rules", &self.rules.is_some())
            .finish_non_exhaustive()
    }
}
