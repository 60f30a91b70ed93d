//! The trait that stores LTI data.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;

use super::deployment::{Deployable, Deployment};
use super::keys::{NewToolKey, SigningKey, ToolKey};
use super::registration::{Registerable, Registration};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::page::{Items, Page, PageRequest};
use crate::secret::Secret;

/// Stores what LTI launches need. Implement the first four methods and launches
/// work; the others manage what those read, and are `Unsupported` by default.
///
/// `R` and `D` are the application's own records; see [`Registerable`].
///
/// # What an implementer promises
/// - **No answer is an error.** `Err` means that there is no answer; what does
///   not exist is `None`. An outage is never an absence, nor a nonce unknown.
/// - **Names** are compared byte by byte: neither issuers, client ids,
///   deployment ids nor nonces are trimmed, folded or normalised, and no
///   character in one lets it reach another's record.
/// - **A lookup by issuer alone** gives the same registration every time: the
///   one made the issuer's default, else the one with the smallest client id in
///   bytewise order.
/// - **A deployment** belongs to its registration, issuer and client id
///   together, and is deleted with it, even if one of the same name
///   is created later.
/// - **A nonce** is accepted once, however many calls race on it through however
///   many handles, and never after [`NonceLifetime::valid`], swept or not. For
///   [`NonceLifetime::retained`] longer, used, expired and unknown are
///   distinguished. It belongs to the issuer: the client id seen at login and the one
///   seen at launch may differ.
/// - **Secrets** are stored sealed, and no `Debug`, error or trace shows one.
///
/// The suite in `store-conformance` proves all of this for any implementation.
#[async_trait]
pub trait LtiStore<R: Registerable = Registration, D: Deployable = Deployment>:
    Send + Sync + fmt::Debug
{
    /// The registration of this tool with `issuer` under `client_id`; without
    /// one, which some platforms leave out of a login, the issuer's default.
    /// Both come from the network: any text is legal and may be unknown.
    async fn get_registration(
        &self,
        issuer: &str,
        client_id: Option<&str>,
    ) -> Result<Option<Arc<R>>>;

    /// The deployment `deployment_id` of `registration`. The id comes from the
    /// network: any text is legal and may be unknown.
    async fn get_deployment(
        &self,
        registration: &Registration,
        deployment_id: &str,
    ) -> Result<Option<Arc<D>>>;

    /// Stores `nonce`, made for a login with `registration`, so that it is
    /// accepted once within [`NonceLifetime::valid`].
    ///
    /// # Errors
    /// `AlreadyExists` if it was stored for this issuer before, used or not:
    /// make another. `InvalidInput` if it is not 1 to [`MAX_NONCE`] bytes
    /// without control characters.
    async fn store_nonce(&self, nonce: &str, registration: &Registration) -> Result<()>;

    /// Uses `nonce` up, and says whether this call is the one that did. Ask
    /// after the launch's signature was verified and before anything else;
    /// whatever fails later, it stays used.
    ///
    /// # Errors
    /// Only where there is no answer. After one the nonce may or may not be used
    /// up: refuse the launch and let the person log in again.
    async fn validate_nonce(&self, nonce: &str, registration: &Registration) -> Result<NonceCheck>;

    /// How long nonces are valid and retained here.
    fn nonce_lifetime(&self) -> NonceLifetime {
        NonceLifetime::default()
    }

    /// Creates the registration that `record` stands for, and returns it as
    /// stored: its private key is sealed from then on. Use this to register a
    /// platform. Issuer and client id are all that distinguishes platforms, and
    /// several installations of one product may hand out the same pair, so a
    /// second platform of the same names must not take the place of the first.
    ///
    /// # Errors
    /// `AlreadyExists` if there is a registration of this issuer and client id:
    /// it is left as it was.
    async fn register(&self, record: R) -> Result<Arc<R>> {
        let _ = record;
        Err(unsupported("register"))
    }

    /// Creates the registration that `record` stands for, or replaces it whole,
    /// and returns it as stored. Concurrent calls leave one row, of one of them.
    /// A stored registration that cannot be decoded is replaced.
    ///
    /// # Errors
    /// `Conflict` if the stored registration has another `auth_endpoint` or
    /// `jwks_uri`: it may be another platform. Nothing is written; call
    /// [`change_endpoints`](Self::change_endpoints) if the platform has moved.
    async fn upsert_registration(&self, record: R) -> Result<Arc<R>> {
        let _ = record;
        Err(unsupported("upsert_registration"))
    }

    /// Replaces the registration that `record` stands for, its `auth_endpoint`
    /// and `jwks_uri` included. Its deployments stay and belong to the
    /// holder of the keys at the new `jwks_uri`: call this only if the platform has
    /// moved.
    ///
    /// # Errors
    /// `NotFound` if there is no registration of this issuer and client id.
    async fn change_endpoints(&self, record: R) -> Result<Arc<R>> {
        let _ = record;
        Err(unsupported("change_endpoints"))
    }

    /// Deletes a registration with its deployments and tokens, whether or not
    /// they can be decoded; says whether there was one. If it fails part-way,
    /// the rest is out of reach, and is removed when it is called again.
    async fn delete_registration(&self, issuer: &str, client_id: &str) -> Result<bool> {
        let _ = (issuer, client_id);
        Err(unsupported("delete_registration"))
    }

    /// Makes this registration the answer for its issuer alone, instead of any
    /// other.
    ///
    /// # Errors
    /// `NotFound` if it is not stored.
    async fn set_default_registration(&self, issuer: &str, client_id: &str) -> Result<()> {
        let _ = (issuer, client_id);
        Err(unsupported("set_default_registration"))
    }

    /// A page of registrations of `issuer`, or of all issuers.
    /// Those of one issuer are in order of client id, if the ids are short enough to be
    /// stored as they are; those of all issuers are in no order. One that cannot be
    /// decoded is reported in [`Page::unreadable`] as `ISSUER CLIENT_ID`, and can be
    /// deleted or replaced.
    async fn list_registrations(
        &self,
        issuer: Option<&str>,
        page: &PageRequest,
    ) -> Result<Page<Arc<R>>> {
        let _ = (issuer, page);
        Err(unsupported("list_registrations"))
    }

    /// Creates or replaces a deployment of `registration`, whole. Concurrent
    /// calls leave one row, of one of them.
    ///
    /// # Errors
    /// `NotFound` if the registration is not stored.
    async fn upsert_deployment(&self, registration: &Registration, record: D) -> Result<Arc<D>> {
        let _ = (registration, record);
        Err(unsupported("upsert_deployment"))
    }

    /// Deletes a deployment; says whether there was one.
    async fn delete_deployment(
        &self,
        registration: &Registration,
        deployment_id: &str,
    ) -> Result<bool> {
        let _ = (registration, deployment_id);
        Err(unsupported("delete_deployment"))
    }

    /// A page of deployments of `registration`. A page may be
    /// shorter, even empty, and still have a cursor. One that cannot be decoded
    /// is reported in [`Page::unreadable`] by its id.
    async fn list_deployments(
        &self,
        registration: &Registration,
        page: &PageRequest,
    ) -> Result<Page<Arc<D>>> {
        let _ = (registration, page);
        Err(unsupported("list_deployments"))
    }

    /// What to sign a message to this platform with: the registration's own
    /// [`ToolJwk`](super::ToolJwk), else the newest active key of the store,
    /// else nothing. By default, the registration's own key if it is in clear.
    async fn signing_key(&self, registration: &Registration) -> Result<Option<SigningKey>> {
        let Some(key) = registration.tool_jwk() else {
            return Ok(None);
        };
        let private_key = key.private_key.clear();
        let private_key = private_key.ok_or_else(|| unsupported("signing_key"))?;
        Ok(Some(SigningKey {
            kid: key.kid.clone(),
            private_key: private_key.clone(),
        }))
    }

    /// Adds a key, active from now on.
    ///
    /// # Errors
    /// `AlreadyExists` if there is one of this id, active or not.
    async fn add_key(&self, key: NewToolKey) -> Result<()> {
        let _ = key;
        Err(unsupported("add_key"))
    }

    /// All keys, the newest first, retired ones included, on one page. One that
    /// cannot be decoded is reported in [`Page::unreadable`] by its id.
    async fn list_keys(&self) -> Result<Page<ToolKey>> {
        Err(unsupported("list_keys"))
    }

    /// Retires a key or activates it again.
    ///
    /// # Errors
    /// `NotFound` if there is none of this id.
    async fn set_key_active(&self, kid: &str, active: bool) -> Result<()> {
        let _ = (kid, active);
        Err(unsupported("set_key_active"))
    }

    /// Deletes a key for good; says whether there was one.
    async fn delete_key(&self, kid: &str) -> Result<bool> {
        let _ = kid;
        Err(unsupported("delete_key"))
    }

    /// Caches the keys that a platform publishes at `jwks_uri` for
    /// `max_age`, at most [`MAX_JWKS_AGE`]. A `max_age` of zero caches
    /// nothing, and removes what was cached.
    async fn cache_jwks(&self, jwks_uri: &str, jwks: Value, max_age: Duration) -> Result<()> {
        let _ = (jwks_uri, jwks, max_age);
        Err(unsupported("cache_jwks"))
    }

    /// A platform's keys, if they are cached and still fresh. Fetch them
    /// again if not, or if a launch names a key that is not among them.
    async fn cached_jwks(&self, jwks_uri: &str) -> Result<Option<Arc<CachedJwks>>> {
        let _ = jwks_uri;
        Err(unsupported("cached_jwks"))
    }

    /// Stores an access token until it expires, sealed: for this issuer and
    /// client id and exactly these scopes, in any order.
    async fn store_token(
        &self,
        registration: &Registration,
        scopes: &[&str],
        token: AccessToken,
    ) -> Result<()> {
        let _ = (registration, scopes, token);
        Err(unsupported("store_token"))
    }

    /// The access token for this issuer and client id and exactly these scopes,
    /// if one is stored. Never one that has expired.
    async fn get_token(
        &self,
        registration: &Registration,
        scopes: &[&str],
    ) -> Result<Option<AccessToken>> {
        let _ = (registration, scopes);
        Err(unsupported("get_token"))
    }
}

/// Conveniences over any [`LtiStore`].
pub trait LtiStoreExt<R: Registerable, D: Deployable>: LtiStore<R, D> {
    /// The registrations of this page and of all after it. See
    /// [`LtiStore::list_registrations`].
    fn list_registrations_stream<'a>(
        &'a self,
        issuer: Option<&'a str>,
        page: PageRequest,
    ) -> Items<'a, Arc<R>> {
        page.stream(move |page| async move { self.list_registrations(issuer, &page).await })
    }

    /// The deployments of this page and of all after it. See
    /// [`LtiStore::list_deployments`].
    fn list_deployments_stream<'a>(
        &'a self,
        registration: &'a Registration,
        page: PageRequest,
    ) -> Items<'a, Arc<D>> {
        page.stream(move |page| async move { self.list_deployments(registration, &page).await })
    }
}

impl<R: Registerable, D: Deployable, S: LtiStore<R, D> + ?Sized> LtiStoreExt<R, D> for S {}

fn unsupported(operation: &'static str) -> Error {
    Error::unsupported(
        "this LTI store does not offer it; manage the data where the store reads it, \
         or use one that does, such as RecordLti",
    )
    .with_operation(operation)
}

/// The longest nonce, in bytes.
pub const MAX_NONCE: usize = 255;

/// The longest time that a platform's keys are cached: a key that the
/// platform withdraws is believed no longer than this.
pub const MAX_JWKS_AGE: Duration = Duration::from_secs(24 * 3600);

/// The result of checking a nonce.
#[must_use = "a launch whose nonce was not accepted must be refused"]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NonceCheck {
    /// It was stored, is in time, and this call used it up.
    Accepted,
    /// It was used up before: this launch is a replay, or its form was sent twice.
    AlreadyUsed,
    /// It was stored but not used in time.
    Expired,
    /// It was never stored for this issuer, or was deleted since.
    Unknown,
}

impl NonceCheck {
    /// True if the launch may go on.
    pub fn is_accepted(self) -> bool {
        self == Self::Accepted
    }
}

/// How long a nonce lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NonceLifetime {
    /// For how long after it was stored it is accepted. 10 minutes by default.
    pub valid: Duration,
    /// For how much longer it is retained, so that used, expired and unknown
    /// are distinguished. One hour by default.
    pub retained: Duration,
}

impl Default for NonceLifetime {
    fn default() -> Self {
        Self {
            valid: Duration::from_secs(10 * 60),
            retained: Duration::from_secs(60 * 60),
        }
    }
}

/// The keys of a platform, as it published them.
#[derive(Clone, Debug, PartialEq)]
pub struct CachedJwks {
    /// The JSON Web Key Set.
    pub jwks: Value,
    /// When it was cached.
    pub cached_at: Timestamp,
    /// From this moment on it is no longer returned.
    pub fresh_until: Timestamp,
}

/// A token that a platform issued to this tool.
#[derive(Clone, Debug)]
pub struct AccessToken {
    /// The token.
    pub token: Secret,
    /// From this moment on it is no longer accepted.
    pub expires_at: Timestamp,
}
