//! Record types as an application would have them.

use serde::{Deserialize, Serialize};
use store_core::Result;
use store_core::lti::{Deployable, Deployment, Registerable, Registration};
use store_core::secret::SecretField;

/// A platform as a company that serves many campuses stores it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Campus {
    /// The number of the customer.
    pub tenant: u64,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// The fields that LTI needs.
    pub platform: Registration,
}

impl From<Registration> for Campus {
    fn from(platform: Registration) -> Self {
        Self {
            tenant: u64::MAX,
            name: Some(format!("Campus of {}", platform.client_id())),
            platform,
        }
    }
}

impl Registerable for Campus {
    fn to_registration(&self) -> Result<Registration> {
        Ok(self.platform.clone())
    }

    fn private_key(&mut self) -> Option<&mut SecretField> {
        self.platform.private_key()
    }
}

/// A deployment as that company stores it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Placement {
    /// The course catalogue that it shows.
    pub catalogue: Vec<String>,
    /// The fields that LTI needs.
    pub deployment: Deployment,
}

impl From<Deployment> for Placement {
    fn from(deployment: Deployment) -> Self {
        Self {
            catalogue: vec!["maths".into(), "Übung".into()],
            deployment,
        }
    }
}

impl Deployable for Placement {
    fn to_deployment(&self) -> Result<Deployment> {
        Ok(self.deployment.clone())
    }
}
