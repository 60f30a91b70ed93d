//! The fixtures of the cases, and how the cases open them.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use serde::Serialize;
use serde::de::DeserializeOwned;
use store_core::body::Unknown;
use store_core::lti::{
    Deployable, Deployment, LtiStore, RecordLti, Registerable, Registration, RegistrationParts,
};
use store_core::secret::KeyRing;
use store_core::{ManualClock, Result, Store};

use crate::harness::{Harness, Opened, Over};
use crate::suite::Case;

/// A type for registrations that the cases can make, and compare by its JSON.
pub trait Platform:
    Registerable + From<Registration> + Serialize + DeserializeOwned + fmt::Debug
{
}

impl<T: Registerable + From<Registration> + Serialize + DeserializeOwned + fmt::Debug> Platform
    for T
{
}

/// A type for deployments that the cases can make, and compare by its JSON.
pub trait Site: Deployable + From<Deployment> + Serialize + DeserializeOwned + fmt::Debug {}

impl<T: Deployable + From<Deployment> + Serialize + DeserializeOwned + fmt::Debug> Site for T {}

/// The content of a namespace before a case begins.
#[derive(Debug)]
pub struct Fixtures<R, D> {
    /// Registrations, to be inserted in this order.
    pub registrations: Vec<R>,
    /// Deployments, each with the registration it belongs to.
    pub deployments: Vec<(Registration, D)>,
    /// Issuers, each with the client id of its default registration.
    pub defaults: Vec<(String, String)>,
}

impl<R, D> Default for Fixtures<R, D> {
    fn default() -> Self {
        Self {
            registrations: Vec::new(),
            deployments: Vec::new(),
            defaults: Vec::new(),
        }
    }
}

impl<R: Platform, D: Site> Fixtures<R, D> {
    /// Only these registrations.
    pub(super) fn of(registrations: &[Registration]) -> Self {
        let registrations = registrations.iter().cloned().map(R::from).collect();
        Self {
            registrations,
            ..Self::default()
        }
    }

    /// With this deployment.
    pub(super) fn deployed(mut self, registration: &Registration, id: &str) -> Result<Self> {
        let deployment = D::from(Deployment::new(id)?);
        self.deployments.push((registration.clone(), deployment));
        Ok(self)
    }
}

/// Cases over any implementation.
pub type Cases<R, D> = Vec<Case<dyn LtiStore<R, D>, Fixtures<R, D>>>;

/// The harness of every case.
pub type Given<R, D> = Arc<dyn Harness<dyn LtiStore<R, D>, Fixtures<R, D>>>;

/// Over a backend, the standard implementation is tested.
#[async_trait]
impl<R: Platform, D: Site> Harness<dyn LtiStore<R, D>, Fixtures<R, D>> for Over {
    fn backend(&self) -> String {
        self.backend_harness().backend()
    }

    fn server(&self) -> String {
        self.backend_harness().server()
    }

    async fn open(&self, fixtures: Fixtures<R, D>) -> Result<Opened<dyn LtiStore<R, D>>> {
        let opened = self.backend_harness().open(()).await?;
        let ring = KeyRing::random();
        let opened = opened.map(|store: &Arc<Store>| {
            let lti = RecordLti::<R, D>::new(&**store, &ring);
            Arc::new(lti) as Arc<dyn LtiStore<R, D>>
        });
        load(&*opened.first, fixtures).await?;
        Ok(opened)
    }

    fn unsupported(&self) -> Vec<&'static str> {
        self.backend_harness().unsupported()
    }
}

/// Loads fixtures through the contract itself, for an implementation that offers
/// to manage them.
///
/// # Errors
/// The store's.
pub async fn load<R: Platform, D: Site>(
    lti: &dyn LtiStore<R, D>,
    fixtures: Fixtures<R, D>,
) -> Result<()> {
    for registration in fixtures.registrations {
        lti.upsert_registration(registration).await?;
    }
    for (registration, deployment) in fixtures.deployments {
        lti.upsert_deployment(&registration, deployment).await?;
    }
    for (issuer, client_id) in fixtures.defaults {
        lti.set_default_registration(&issuer, &client_id).await?;
    }
    Ok(())
}

/// An opened namespace.
pub(super) struct Tool<R: Platform, D: Site> {
    pub(super) first: Arc<dyn LtiStore<R, D>>,
    pub(super) second: Arc<dyn LtiStore<R, D>>,
    pub(super) clock: ManualClock,
    _guard: Option<Box<dyn Any + Send + Sync>>,
}

impl<R: Platform, D: Site> Tool<R, D> {
    pub(super) async fn open(harness: &Given<R, D>, fixtures: Fixtures<R, D>) -> Result<Self> {
        let Opened {
            first,
            second,
            clock,
            guard,
            ..
        } = harness.open(fixtures).await?;
        Ok(Self {
            first,
            second,
            clock,
            _guard: guard,
        })
    }

    /// Opens a namespace with these registrations.
    pub(super) async fn with(
        harness: &Given<R, D>,
        registrations: &[Registration],
    ) -> Result<Self> {
        Self::open(harness, Fixtures::of(registrations)).await
    }

    /// The handle of worker `number`: even and odd workers use different ones.
    pub(super) fn handle(&self, number: usize) -> Arc<dyn LtiStore<R, D>> {
        Arc::clone(if number.is_multiple_of(2) {
            &self.first
        } else {
            &self.second
        })
    }

    /// The client id that a lookup finds, by both handles.
    pub(super) async fn client(
        &self,
        issuer: &str,
        client_id: Option<&str>,
    ) -> Result<Option<String>> {
        let mut found = Vec::new();
        for handle in [&self.first, &self.second] {
            let record = handle.get_registration(issuer, client_id).await?;
            let registration = record.map(|record| record.to_registration()).transpose()?;
            if let Some(registration) = &registration {
                assert_eq!(registration.issuer(), issuer, "another issuer's");
            }
            found.push(registration.map(|r| r.client_id().to_owned()));
        }
        assert_eq!(found[0], found[1], "the handles disagree");
        Ok(found.swap_remove(0))
    }
}

/// A platform of this issuer and client id.
pub(crate) fn platform(issuer: &str, client_id: &str) -> Result<Registration> {
    Registration::new(parts(issuer, client_id))
}

pub(super) fn parts(issuer: &str, client_id: &str) -> RegistrationParts {
    RegistrationParts {
        issuer: issuer.to_owned(),
        client_id: client_id.to_owned(),
        auth_endpoint: "https://lms.example.edu/auth".to_owned(),
        jwks_uri: "https://lms.example.edu/jwks".to_owned(),
        ..RegistrationParts::default()
    }
}

/// The platform that most cases use.
pub(super) fn lms() -> Result<Registration> {
    platform("https://lms.example.edu", "tool-1")
}

/// Fields of every type of JSON.
pub(super) fn odd_fields() -> Unknown {
    let fields = serde_json::json!({
        "campus": "Nörd \"3\" \\ / \u{1f600}",
        "zero": 0,
        "negative": -7,
        "large": u64::MAX,
        "fraction": 0.1,
        "flags": [true, false, null],
        "nested": { "b": { "": "" }, "a": [[], {}] },
        "default": "not the store's own",
        "record": "nor this",
        "unknown": {},
        "incarnation": "nor that",
    });
    match fields {
        serde_json::Value::Object(fields) => fields,
        _ => Unknown::new(),
    }
}
