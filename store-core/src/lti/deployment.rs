//! Deployments: what LTI needs to know about a placement of the tool.

use serde::{Deserialize, Deserializer, Serialize, de};

use super::fields::required;
use super::registration::MAX_ID;
use crate::body::Unknown;
use crate::error::{Error, Result};

/// What an application stores for each deployment of a platform; see
/// [`Registerable`](super::Registerable).
pub trait Deployable: Send + Sync + 'static {
    /// The deployment that this stands for.
    ///
    /// # Errors
    /// `InvalidInput` if its fields are not those of a valid deployment.
    fn to_deployment(&self) -> Result<Deployment>;
}

/// One placement of the tool on a platform: a case-sensitive id of 1 to
/// [`MAX_ID`] printable ASCII characters, which is unique only within its
/// registration.
///
/// ```
/// use store_core::lti::Deployment;
/// assert!(Deployment::new("07940580-b309-415e-a37c-914d387c1150").is_ok());
/// assert!(Deployment::new("").is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Deployment {
    deployment_id: String,
    #[serde(flatten)]
    extra: Unknown,
}

impl Deployment {
    /// The deployment of this id.
    ///
    /// # Errors
    /// `InvalidInput` if the id has another form.
    pub fn new(deployment_id: impl Into<String>) -> Result<Self> {
        let deployment_id = deployment_id.into();
        if !is_deployment_id(&deployment_id) {
            return Err(Error::invalid(format!(
                "`deployment_id` must be 1 to {MAX_ID} printable ASCII characters"
            )));
        }
        Ok(Self {
            deployment_id,
            extra: Unknown::new(),
        })
    }

    /// This deployment with fields of the application's own.
    ///
    /// # Errors
    /// `InvalidInput` if one of them is named `deployment_id`.
    pub fn with_extra(mut self, extra: Unknown) -> Result<Self> {
        if extra.contains_key("deployment_id") {
            return Err(Error::invalid(
                "`deployment_id` is a field of its own and cannot be among the extra ones",
            ));
        }
        self.extra = extra;
        Ok(self)
    }

    /// The id.
    pub fn deployment_id(&self) -> &str {
        &self.deployment_id
    }

    /// The application's own fields.
    pub fn extra(&self) -> &Unknown {
        &self.extra
    }
}

impl Deployable for Deployment {
    fn to_deployment(&self) -> Result<Deployment> {
        Ok(self.clone())
    }
}

impl<'de> Deserialize<'de> for Deployment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut fields = Unknown::deserialize(deserializer)?;
        required(&mut fields, "deployment_id")
            .and_then(Self::new)
            .and_then(|deployment| deployment.with_extra(fields))
            .map_err(|e| de::Error::custom(e.message()))
    }
}

/// Whether a deployment can have this id at all.
pub(super) fn is_deployment_id(id: &str) -> bool {
    (1..=MAX_ID).contains(&id.len()) && id.bytes().all(|b| (b' '..=b'~').contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deployment_id_is_printable_ascii_of_bounded_length() {
        assert!(Deployment::new("d".repeat(255)).is_ok());
        for wrong in ["", "ä", "a\tb", &"d".repeat(256)] {
            assert!(Deployment::new(wrong).is_err());
        }
        let json = serde_json::json!({ "deployment_id": "1:abc", "site": 7 });
        let deployment: Deployment = serde_json::from_value(json.clone()).unwrap();
        assert_eq!(deployment.extra()["site"], 7);
        assert_eq!(serde_json::to_value(&deployment).unwrap(), json);
    }
}
