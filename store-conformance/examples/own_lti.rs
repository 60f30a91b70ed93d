//! An LTI store with only four methods over its own tables. Its harness loads the
//! fixtures and declares which methods are not supported.

use std::collections::HashMap;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use store_conformance::cases::lti::{Fixtures, cases, needs};
use store_conformance::{Harness, Opened, Suite};
use store_core::lti::{Deployment, LtiStore, MAX_NONCE, NonceCheck, Registration};
use store_core::{Clock, Error, ManualClock, Result, Timestamp};

/// Nonces by issuer and nonce: when each expires, and whether it was used.
type Nonces = HashMap<(String, String), (Timestamp, bool)>;

#[derive(Debug)]
struct OwnTables {
    platforms: Vec<Arc<Registration>>,
    defaults: Vec<(String, String)>,
    deployments: Vec<(Registration, Arc<Deployment>)>,
    nonces: Mutex<Nonces>,
    clock: ManualClock,
}

fn key(nonce: &str, registration: &Registration) -> (String, String) {
    (registration.issuer().to_owned(), nonce.to_owned())
}

#[async_trait]
impl LtiStore for OwnTables {
    async fn get_registration(
        &self,
        issuer: &str,
        client_id: Option<&str>,
    ) -> Result<Option<Arc<Registration>>> {
        let of_issuer = || self.platforms.iter().filter(|p| p.issuer() == issuer);
        let default = self.defaults.iter().find(|(i, _)| i == issuer);
        let wanted = client_id.or(default.map(|(_, client)| &**client));
        Ok(match wanted {
            Some(client) => of_issuer().find(|p| p.client_id() == client).cloned(),
            None => of_issuer().min_by_key(|p| p.client_id()).cloned(),
        })
    }

    async fn get_deployment(
        &self,
        registration: &Registration,
        deployment_id: &str,
    ) -> Result<Option<Arc<Deployment>>> {
        let mut deployments = self.deployments.iter();
        let found = deployments.find(|(owner, deployment)| {
            owner.issuer() == registration.issuer()
                && owner.client_id() == registration.client_id()
                && deployment.deployment_id() == deployment_id
        });
        Ok(found.map(|(_, deployment)| Arc::clone(deployment)))
    }

    async fn store_nonce(&self, nonce: &str, registration: &Registration) -> Result<()> {
        if nonce.is_empty() || nonce.len() > MAX_NONCE || nonce.chars().any(char::is_control) {
            return Err(Error::invalid("make another nonce"));
        }
        let expires_at = self.clock.now() + self.nonce_lifetime().valid;
        let mut nonces = self.nonces.lock().expect("no panics");
        if nonces.contains_key(&key(nonce, registration)) {
            return Err(Error::already_exists("make another nonce"));
        }
        nonces.insert(key(nonce, registration), (expires_at, false));
        Ok(())
    }

    async fn validate_nonce(&self, nonce: &str, registration: &Registration) -> Result<NonceCheck> {
        let mut nonces = self.nonces.lock().expect("no panics");
        Ok(match nonces.get_mut(&key(nonce, registration)) {
            None => NonceCheck::Unknown,
            Some((_, true)) => NonceCheck::AlreadyUsed,
            Some((expires_at, _)) if *expires_at <= self.clock.now() => NonceCheck::Expired,
            Some((_, used)) => {
                *used = true;
                NonceCheck::Accepted
            }
        })
    }
}

struct Own;

#[async_trait]
impl Harness<dyn LtiStore, Fixtures<Registration, Deployment>> for Own {
    fn backend(&self) -> String {
        "own tables".into()
    }

    async fn open(
        &self,
        fixtures: Fixtures<Registration, Deployment>,
    ) -> Result<Opened<dyn LtiStore>> {
        let clock = ManualClock::default();
        let deployments = fixtures.deployments.into_iter();
        let tables: Arc<dyn LtiStore> = Arc::new(OwnTables {
            platforms: fixtures.registrations.into_iter().map(Arc::new).collect(),
            defaults: fixtures.defaults,
            deployments: deployments.map(|(r, d)| (r, Arc::new(d))).collect(),
            nonces: Mutex::default(),
            clock: clock.clone(),
        });
        Ok(Opened::new(Arc::clone(&tables), tables, clock))
    }

    fn unsupported(&self) -> Vec<&'static str> {
        vec![
            needs::MANAGE,
            needs::SEALED_KEYS,
            needs::KEYS,
            needs::JWKS,
            needs::TOKENS,
        ]
    }
}

fn main() -> ExitCode {
    store_conformance::main(vec![Suite::new("lti", Arc::new(Own), cases())])
}
