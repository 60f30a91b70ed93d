//! The handle that applications use.

use std::fmt;
use std::sync::Arc;

use data_encoding::BASE64URL_NOPAD;
use serde_json::Value;

use super::deployment::{Deployable, Deployment};
use super::records::RecordLti;
use super::registration::{Registerable, Registration};
use super::store::{LtiStore, NonceCheck};
use crate::error::{Error, ErrorKind, Result, Retry};
use crate::secret::KeyRing;
use crate::store::Store;

/// LTI launches over an [`LtiStore`]: the two steps that must not go wrong, and
/// the store itself for everything else. Cheap to clone.
pub struct Lti<R: Registerable = Registration, D: Deployable = Deployment> {
    store: Arc<dyn LtiStore<R, D>>,
}

impl Lti {
    /// Over this store's records, with [`Registration`] and [`Deployment`] as
    /// they are. For types of your own see [`Lti::over`].
    pub fn new(store: impl Into<Store>, ring: &KeyRing) -> Self {
        Self::over(Arc::new(RecordLti::new(store, ring)))
    }
}

impl<R: Registerable, D: Deployable> Lti<R, D> {
    /// Over any implementation of the contract, with the record types that it has.
    pub fn over(store: Arc<dyn LtiStore<R, D>>) -> Self {
        Self { store }
    }

    /// The same, over another store: for one call, one route or one test.
    pub fn with_store(&self, store: Arc<dyn LtiStore<R, D>>) -> Self {
        Self::over(store)
    }

    /// The store: to manage registrations, deployments, keys and tokens.
    pub fn store(&self) -> &Arc<dyn LtiStore<R, D>> {
        &self.store
    }

    /// Begins a login that a platform initiated: finds the registration, makes
    /// a nonce of 256 random bits and stores it. `None` if this issuer, or
    /// this client id of it, is not registered: refuse the login.
    ///
    /// # Errors
    /// The store's. Nothing depends on it yet: try again if
    /// [`Error::retry`] is not `Never`.
    pub async fn begin_login(
        &self,
        issuer: &str,
        client_id: Option<&str>,
    ) -> Result<Option<Login<R>>> {
        let Some(record) = self.store.get_registration(issuer, client_id).await? else {
            return Ok(None);
        };
        let registration = record.to_registration()?;
        let nonce = make_nonce()?;
        self.store.store_nonce(&nonce, &registration).await?;
        Ok(Some(Login {
            record,
            registration,
            nonce,
        }))
    }

    /// Decides on a launch whose signature **was verified** against the
    /// platform's keys, and whose claims these are.
    ///
    /// The registration and the deployment are looked up first: a launch of an
    /// unknown one leaves the nonce as it was, so that the same launch can be
    /// accepted once the deployment was added. Using the nonce is the last step.
    ///
    /// # Errors
    /// The store's: there is no answer, and the nonce may or may not be used up.
    /// Refuse the launch and let the person log in again.
    pub async fn accept_launch(&self, claims: LaunchClaims<'_>) -> Result<Launch<R, D>> {
        let found = self
            .store
            .get_registration(claims.issuer, Some(claims.client_id));
        let Some(record) = found.await? else {
            return Ok(Launch::Refused(Refusal::UnknownPlatform));
        };
        let registration = record.to_registration()?;
        let found = self
            .store
            .get_deployment(&registration, claims.deployment_id);
        let Some(deployment) = found.await? else {
            return Ok(Launch::Refused(Refusal::UnknownDeployment));
        };
        let checked = self.store.validate_nonce(claims.nonce, &registration);
        Ok(match checked.await? {
            NonceCheck::Accepted => Launch::Accepted(Box::new(Accepted {
                record,
                registration,
                deployment,
            })),
            NonceCheck::AlreadyUsed => Launch::Refused(Refusal::NonceUsed),
            NonceCheck::Expired => Launch::Refused(Refusal::NonceExpired),
            NonceCheck::Unknown => Launch::Refused(Refusal::NonceUnknown),
        })
    }

    /// The JSON Web Key Set to publish: the public half of every active key,
    /// the newest first. A key that a registration has of its own
    /// ([`ToolJwk`](super::ToolJwk)) is not among them: publish it where that
    /// platform looks.
    ///
    /// # Errors
    /// The store's.
    pub async fn jwks(&self) -> Result<Value> {
        let keys = self.store.list_keys().await?;
        let active = keys.items.into_iter().filter(|key| key.active);
        let public: Vec<Value> = active
            .map(|key| Value::Object(key.public.members().clone()))
            .collect();
        Ok(serde_json::json!({ "keys": public }))
    }
}

fn make_nonce() -> Result<String> {
    let mut random = [0; 32];
    getrandom::fill(&mut random).map_err(|_| {
        Error::new(
            ErrorKind::Unavailable,
            "the operating system gave no random bytes; nothing was written, try again",
        )
        .with_retry(Retry::Safe)
    })?;
    Ok(BASE64URL_NOPAD.encode(&random))
}

impl<R: Registerable, D: Deployable> Clone for Lti<R, D> {
    fn clone(&self) -> Self {
        Self::over(Arc::clone(&self.store))
    }
}

impl<R: Registerable, D: Deployable> fmt::Debug for Lti<R, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lti").field(&self.store).finish()
    }
}

/// A login that began: send the person to the registration's `auth_endpoint`
/// with this nonce.
#[doc(alias("session", "state"))]
#[non_exhaustive]
#[derive(Debug)]
pub struct Login<R> {
    /// The application's own record.
    pub record: Arc<R>,
    /// The registration that it stands for.
    pub registration: Registration,
    /// The nonce to send.
    pub nonce: String,
}

/// What a verified launch claims.
#[derive(Clone, Copy, Debug)]
pub struct LaunchClaims<'a> {
    /// The claim `iss`.
    pub issuer: &'a str,
    /// The claim `aud`, or `azp` where there are several.
    pub client_id: &'a str,
    /// The claim `https://purl.imsglobal.org/spec/lti/claim/deployment_id`.
    pub deployment_id: &'a str,
    /// The claim `nonce`.
    pub nonce: &'a str,
}

/// The decision on a launch.
#[must_use = "a launch that was not accepted must be refused"]
#[derive(Debug)]
pub enum Launch<R, D> {
    /// Let the person in.
    Accepted(Box<Accepted<R, D>>),
    /// Do not let the person in.
    Refused(Refusal),
}

/// The platform and the deployment of an accepted launch.
#[non_exhaustive]
#[derive(Debug)]
pub struct Accepted<R, D> {
    /// The application's own record of the platform.
    pub record: Arc<R>,
    /// The registration that it stands for.
    pub registration: Registration,
    /// The application's own record of the deployment.
    pub deployment: Arc<D>,
}

/// Why a launch was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// No registration of this issuer and client id.
    UnknownPlatform,
    /// The nonce was used up before: a replay, or a form sent twice.
    NonceUsed,
    /// The login took too long; let the person log in again.
    NonceExpired,
    /// No login of ours began with this nonce.
    NonceUnknown,
    /// The platform has no such deployment. The nonce was not used: add the
    /// deployment and the same launch can still be accepted.
    UnknownDeployment,
}
