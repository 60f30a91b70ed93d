//! The contract over records.
//!
//! | collection | partition | id |
//! |---|---|---|
//! | `lti_registrations` | issuer | client id |
//! | `lti_defaults` | issuer | `default` |
//! | `lti_deployments` | issuer and client id | deployment id |
//! | `lti_nonces` | issuer and nonce | `nonce` |
//! | `lti_keys` | `tool` | key id |
//! | `lti_jwks` | JWKS URL | `jwks` |
//! | `lti_tokens` | issuer and client id | scopes |
//!
//! Names too long for a record are digested; the record holds the full ones,
//! and they are compared.

mod deployments;
mod jwks;
mod keys;
mod nonces;
mod readable;
mod registrations;
mod reseal;
mod tokens;
mod views;

pub use nonces::NONCES;
use registrations::Write;
pub use reseal::Resealed;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::deployment::{Deployable, Deployment};
use super::keys::{NewToolKey, SigningKey, ToolKey};
use super::registration::{Registerable, Registration};
use super::store::{AccessToken, CachedJwks, LtiStore, NonceCheck, NonceLifetime};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::key::{Collection, Partition, bounded, join};
use crate::page::{Page, PageRequest};
use crate::record_store::RecordStore;
use crate::secret::KeyRing;
use crate::store::Store;

pub(crate) use views::VIEWS;

/// All of the contract's collections.
pub(crate) const COLLECTIONS: &[Collection] = &[
    registrations::REGISTRATIONS,
    registrations::DEFAULTS,
    deployments::DEPLOYMENTS,
    nonces::NONCES,
    keys::KEYS,
    jwks::JWKS,
    tokens::TOKENS,
];

/// The [`LtiStore`] of every backend: over records, generic in the
/// application's own types.
///
/// Private keys and tokens are sealed with `ring`; everything else can be read
/// with the database's own tools.
///
/// ```
/// use store_core::lti::{LtiStore, NonceCheck, RecordLti, Registration};
/// use store_core::secret::KeyRing;
///
/// # #[tokio::main] async fn main() -> store_core::Result<()> {
/// let memory = store_memory::MemoryStore::new();
/// let lti: RecordLti = RecordLti::new(&memory, &KeyRing::generate());
/// let platform = Registration::from_json(r#"{
///     "issuer": "https://lms.example.edu",
///     "client_id": "42",
///     "auth_endpoint": "https://lms.example.edu/auth",
///     "jwks_uri": "https://lms.example.edu/jwks"
/// }"#)?;
/// let platform = lti.upsert_registration(platform).await?;
///
/// lti.store_nonce("n-0S6_WzA2Mj", &platform).await?;
/// assert_eq!(lti.validate_nonce("n-0S6_WzA2Mj", &platform).await?, NonceCheck::Accepted);
/// assert_eq!(lti.validate_nonce("n-0S6_WzA2Mj", &platform).await?, NonceCheck::AlreadyUsed);
/// # Ok(()) }
/// ```
pub struct RecordLti<R = Registration, D = Deployment> {
    store: Store,
    ring: KeyRing,
    lifetime: NonceLifetime,
    types: PhantomData<fn() -> (R, D)>,
}

impl<R, D> RecordLti<R, D> {
    /// Over this store's records, sealing with `ring`. Every process over one
    /// store needs the same ring.
    pub fn new(store: impl Into<Store>, ring: &KeyRing) -> Self {
        Self {
            store: store.into(),
            ring: ring.clone(),
            lifetime: NonceLifetime::default(),
            types: PhantomData,
        }
    }

    /// This store with another lifetime for the nonces that it will store.
    pub fn with_nonce_lifetime(mut self, lifetime: NonceLifetime) -> Self {
        self.lifetime = lifetime;
        self
    }

    fn records(&self) -> &dyn RecordStore {
        &**self.store.records()
    }

    fn now(&self) -> Timestamp {
        self.store.now()
    }
}

/// The partition of what belongs to one registration.
fn client_partition(issuer: &str, client_id: &str) -> Result<Partition> {
    Partition::new(bounded(&join(&[issuer, client_id])))
}

impl<R, D> Clone for RecordLti<R, D> {
    fn clone(&self) -> Self {
        Self {
            store: self.store.clone(),
            ring: self.ring.clone(),
            lifetime: self.lifetime,
            types: PhantomData,
        }
    }
}

impl<R, D> fmt::Debug for RecordLti<R, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordLti")
            .field("records", self.store.records())
            .field("ring", &self.ring)
            .field("lifetime", &self.lifetime)
            .finish()
    }
}

/// Each method is in the file of what it is about.
#[async_trait]
impl<R, D> LtiStore<R, D> for RecordLti<R, D>
where
    R: Registerable + Serialize + DeserializeOwned,
    D: Deployable + Serialize + DeserializeOwned,
{
    async fn get_registration(
        &self,
        issuer: &str,
        client_id: Option<&str>,
    ) -> Result<Option<Arc<R>>> {
        match client_id {
            Some(client_id) => self.registration(issuer, client_id).await,
            None => self.default_registration(issuer).await,
        }
    }

    async fn get_deployment(
        &self,
        registration: &Registration,
        deployment_id: &str,
    ) -> Result<Option<Arc<D>>> {
        self.deployment(registration, deployment_id).await
    }

    async fn store_nonce(&self, nonce: &str, registration: &Registration) -> Result<()> {
        self.save_nonce(nonce, registration.issuer()).await
    }

    async fn validate_nonce(&self, nonce: &str, registration: &Registration) -> Result<NonceCheck> {
        self.use_nonce(nonce, registration.issuer()).await
    }

    fn nonce_lifetime(&self) -> NonceLifetime {
        self.lifetime
    }

    async fn register(&self, record: R) -> Result<Arc<R>> {
        self.put_registration(record, Write::Create).await
    }

    async fn upsert_registration(&self, record: R) -> Result<Arc<R>> {
        self.put_registration(record, Write::Upsert).await
    }

    async fn change_endpoints(&self, record: R) -> Result<Arc<R>> {
        self.put_registration(record, Write::Move).await
    }

    async fn delete_registration(&self, issuer: &str, client_id: &str) -> Result<bool> {
        self.remove_registration(issuer, client_id).await
    }

    async fn set_default_registration(&self, issuer: &str, client_id: &str) -> Result<()> {
        self.make_default(issuer, client_id).await
    }

    async fn list_registrations(
        &self,
        issuer: Option<&str>,
        page: &PageRequest,
    ) -> Result<Page<Arc<R>>> {
        self.page_of_registrations(issuer, page).await
    }

    async fn upsert_deployment(&self, registration: &Registration, record: D) -> Result<Arc<D>> {
        self.put_deployment(registration, record).await
    }

    async fn delete_deployment(
        &self,
        registration: &Registration,
        deployment_id: &str,
    ) -> Result<bool> {
        self.remove_deployment(registration, deployment_id).await
    }

    async fn list_deployments(
        &self,
        registration: &Registration,
        page: &PageRequest,
    ) -> Result<Page<Arc<D>>> {
        self.page_of_deployments(registration, page).await
    }

    async fn signing_key(&self, registration: &Registration) -> Result<Option<SigningKey>> {
        match registration.tool_jwk() {
            Some(key) => self.open_own_key(registration, key).map(Some),
            None => self.newest_key().await,
        }
    }

    async fn add_key(&self, key: NewToolKey) -> Result<()> {
        self.insert_key(key).await
    }

    async fn list_keys(&self) -> Result<Page<ToolKey>> {
        self.all_keys().await
    }

    async fn set_key_active(&self, kid: &str, active: bool) -> Result<()> {
        self.mark_key(kid, active).await
    }

    async fn delete_key(&self, kid: &str) -> Result<bool> {
        self.remove_key(kid).await
    }

    async fn cache_jwks(&self, jwks_uri: &str, jwks: Value, max_age: Duration) -> Result<()> {
        self.save_jwks(jwks_uri, jwks, max_age).await
    }

    async fn cached_jwks(&self, jwks_uri: &str) -> Result<Option<Arc<CachedJwks>>> {
        self.find_jwks(jwks_uri).await
    }

    async fn store_token(
        &self,
        registration: &Registration,
        scopes: &[&str],
        token: AccessToken,
    ) -> Result<()> {
        self.save_token(registration, scopes, token).await
    }

    async fn get_token(
        &self,
        registration: &Registration,
        scopes: &[&str],
    ) -> Result<Option<AccessToken>> {
        self.find_token(registration, scopes).await
    }
}
