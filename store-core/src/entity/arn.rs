//! ARNs: the global names of entities.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::body::Unknown;
use crate::entity::TenantPath;
use crate::error::{Error, Result};

/// A cloud that an entity is mapped to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Provider {
    /// The name of the cloud, as it stands in ARNs: `aws`, `gcp` …
    pub name: String,
    /// The account there.
    pub account: String,
    /// The entity's ARN there, if it does not follow from its path and name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub native_arn: Option<String>,
    /// Fields that this version does not know.
    #[serde(flatten)]
    pub unknown: Unknown,
}

impl Provider {
    /// A mapping to `account` at the cloud `name`.
    pub fn new(name: impl Into<String>, account: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            account: account.into(),
            ..Self::default()
        }
    }

    /// The ARN at this cloud of the resource of this kind, path and name.
    pub fn arn(&self, kind: &str, path: &str, name: &str) -> String {
        if let Some(arn) = &self.native_arn {
            return arn.clone();
        }
        let (cloud, account, name) = (&self.name, &self.account, resource_name(name));
        format!("arn:{cloud}:iam::{account}:{kind}{path}{name}")
    }
}

/// The ARN of an entity, in WAMI's form. It is computed when it is asked for,
/// never stored.
///
/// `arn:wami:SERVICE:TENANT:wami:INSTANCE:KIND/ID`, or with a cloud mapping
/// `arn:wami:SERVICE:TENANT:wami:INSTANCE:CLOUD:ACCOUNT[:REGION]:KIND/ID`. It
/// ends in the entity's id, so that a rename does not change it. Parsing and
/// printing lose nothing.
///
/// ```
/// use store_core::entity::Arn;
/// # fn main() -> store_core::Result<()> {
/// let text = "arn:wami:iam:5/7:wami:999888777:aws:223344556677:global:user/77557755";
/// let arn: Arn = text.parse()?;
/// assert_eq!((arn.tenant.as_str(), &*arn.instance, &*arn.id), ("5/7", "999888777", "77557755"));
/// assert_eq!(arn.cloud.as_ref().unwrap().region.as_deref(), Some("global"));
/// assert_eq!(arn.to_string(), text);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[doc(alias("amazon resource name"))]
pub struct Arn {
    /// The service: `iam`, `sts` …
    pub service: String,
    /// The tenant.
    pub tenant: TenantPath,
    /// The instance.
    pub instance: String,
    /// The cloud mapping, if there is one.
    pub cloud: Option<Cloud>,
    /// The kind of resource: `user` …
    pub kind: String,
    /// The id of the resource.
    pub id: String,
}

/// The cloud mapping in an [`Arn`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Cloud {
    /// The name of the cloud: `aws` …
    pub name: String,
    /// The account there.
    pub account: String,
    /// The region there; in WAMI's newer form `global` for a service without one.
    pub region: Option<String>,
}

impl fmt::Display for Arn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (service, tenant, instance) = (&self.service, &self.tenant, &self.instance);
        write!(f, "arn:wami:{service}:{tenant}:wami:{instance}:")?;
        if let Some(cloud) = &self.cloud {
            write!(f, "{}:{}:", cloud.name, cloud.account)?;
            if let Some(region) = &cloud.region {
                write!(f, "{region}:")?;
            }
        }
        write!(f, "{}/{}", self.kind, self.id)
    }
}

impl FromStr for Arn {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || {
            Error::invalid(
                "an ARN has the form arn:wami:SERVICE:TENANT:wami:INSTANCE:KIND/ID; \
                 check that it is complete",
            )
        };
        // The id comes last and may hold colons; what stands before it may not.
        let (head, id) = text.split_once('/').ok_or_else(wrong)?;
        let (head, id) = match head.matches(':').count() {
            // The first `/` belongs to the tenant's path: `5/7:wami:…:user/id`.
            0..=4 => {
                let rest = id.find(":wami:").ok_or_else(wrong)?;
                let end = id[rest..].find('/').ok_or_else(wrong)? + rest;
                (format!("{head}/{}", &id[..end]), &id[end + 1..])
            }
            _ => (head.to_owned(), id),
        };
        let parts: Vec<&str> = head.split(':').collect();
        let ["arn", "wami", service, tenant, "wami", instance, rest @ ..] = &*parts else {
            return Err(wrong());
        };
        let (cloud, kind) = match rest {
            [kind] => (None, kind),
            [name, account, kind] => (Some((name, account, None)), kind),
            [name, account, region, kind] => (Some((name, account, Some(region))), kind),
            _ => return Err(wrong()),
        };
        if id.is_empty() || parts.iter().any(|part| part.is_empty()) {
            return Err(wrong());
        }
        Ok(Self {
            service: (*service).into(),
            tenant: tenant.parse()?,
            instance: (*instance).into(),
            cloud: cloud.map(|(name, account, region)| Cloud {
                name: (*name).into(),
                account: (*account).into(),
                region: region.map(|region| (*region).into()),
            }),
            kind: (*kind).into(),
            id: id.into(),
        })
    }
}

impl Serialize for Arn {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Arn {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse()
            .map_err(|_| de::Error::custom("expected an ARN of WAMI's form"))
    }
}

/// A name as the last part of a cloud's ARN: `/` and `%` are escaped as in a
/// URL, so that a path and a name cannot be mistaken for each other.
pub fn resource_name(name: &str) -> String {
    name.replace('%', "%25").replace('/', "%2F")
}

/// The name of the resource that a cloud's ARN names, if it is of this kind.
/// The entity found under the name must be compared with the ARN.
pub(crate) fn name_in_cloud_arn(arn: &str, kind: &str) -> Option<String> {
    let resource = arn.strip_prefix("arn:")?.splitn(5, ':').nth(4)?;
    let path_and_name = resource.strip_prefix(kind)?.strip_prefix('/')?;
    let name = path_and_name.rsplit('/').next()?;
    (!name.is_empty()).then(|| name.replace("%2F", "/").replace("%25", "%"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arns_are_printed_as_they_were_parsed() {
        for text in [
            "arn:wami:iam:0:wami:999888777:user/root",
            "arn:wami:iam:12345678/87654321/99999999:wami:999888777:user/77557755",
            "arn:wami:iam:1/2:wami:999888777:aws:223344556677:user/77557755",
            "arn:wami:iam:1/2:wami:999888777:aws:223344556677:us-east-1:user/77557755",
            "arn:wami:sts:18446744073709551615:wami:main:session/a/b:c/d",
            "arn:wami:iam:1:wami:main:gcp:1:global:policy/ä *%2F[_\\",
        ] {
            let arn: Arn = text.parse().expect(text);
            assert_eq!(arn.to_string(), text);
        }
    }

    #[test]
    fn what_is_not_an_arn_is_refused() {
        for text in [
            "",
            "plain",
            "arn:wami:iam:1/2",
            "arn:wami:iam:1:policy/read",
            "arn:aws:iam::123456789012:policy/read",
            "arn:wami:iam:007:wami:main:user/a",
            "arn:wami:iam:1:wami::user/a",
            "arn:wami:iam:1:wami:main:user/",
            "arn:wami:iam:1:wami:main:user",
            "arn:wami:iam:1:wami:main:a:b:c:d:user/x",
        ] {
            assert!(text.parse::<Arn>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_name_is_read_back_from_a_clouds_arn() {
        let provider = Provider::new("aws", "123456789012");
        for name in ["plain", "a/b", "50%", "a%2Fb", "x:y", "policy/z", "ä *[_\\"] {
            for path in ["/", "/team:a/"] {
                let arn = provider.arn("policy", path, name);
                assert_eq!(
                    name_in_cloud_arn(&arn, "policy").as_deref(),
                    Some(name),
                    "{arn}"
                );
                assert_eq!(name_in_cloud_arn(&arn, "user"), None);
            }
        }
        for arn in ["", "plain", "arn:aws:iam::1:policy/", "arn:aws:iam"] {
            assert_eq!(name_in_cloud_arn(arn, "policy"), None);
        }
    }
}
