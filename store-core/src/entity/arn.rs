//! ARNs: the names by which clouds know an entity.

use serde::{Deserialize, Serialize};

use crate::body::Unknown;
use crate::entity::TenantEntity;

/// One cloud that an entity is mapped to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Provider {
    /// The cloud, as it stands in ARNs: `aws`, `gcp` …
    pub name: String,
    /// The account there.
    pub account: String,
    /// The entity's ARN there; made by the store.
    #[serde(default)]
    pub arn: String,
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
}

/// Fills in the ARNs from tenant, path, name and providers. An entity without a
/// provider is known by its own ARN, one with some by the first one's.
pub(crate) fn derive_arns<E: TenantEntity>(entity: &mut E) {
    let common = entity.common();
    let resource = format!(
        "{}{}{}",
        E::FAMILY.kind,
        common.path,
        resource_name(common.name)
    );
    *common.wami_arn = format!("arn:wami:iam:{}:{resource}", common.tenant_id);
    for provider in common.providers.iter_mut() {
        provider.arn = format!("arn:{}:iam::{}:{resource}", provider.name, provider.account);
    }
    *common.arn = match common.providers.first() {
        Some(provider) => provider.arn.clone(),
        None => common.wami_arn.clone(),
    };
}

/// A name as the last part of an ARN: `/` and `%` are escaped as in a URL, so
/// that a path and a name are never mistaken for each other.
pub fn resource_name(name: &str) -> String {
    name.replace('%', "%25").replace('/', "%2F")
}

/// The name of the policy that an ARN names, whatever its cloud and account;
/// `None` if it is no policy's ARN. The policy found under the name must be
/// compared with the ARN.
pub fn policy_name_of(arn: &str) -> Option<String> {
    let mut parts = arn.splitn(6, ':');
    if parts.next() != Some("arn") {
        return None;
    }
    // The native form has one part less: no empty region.
    let rest: Vec<&str> = parts.collect();
    let resource = rest
        .iter()
        .position(|part| part.starts_with("policy/"))
        .map(|index| rest[index..].join(":"))?;
    let (_, name) = resource.rsplit_once('/')?;
    (!name.is_empty()).then(|| name.replace("%2F", "/").replace("%25", "%"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policys_name_is_read_back_from_its_arn() {
        for name in ["plain", "a/b", "50%", "a%2Fb", "x:y", "policy/z", "ä *[_\\"] {
            let escaped = resource_name(name);
            for arn in [
                format!("arn:wami:iam:1/2:policy/{escaped}"),
                format!("arn:wami:iam:1/2:policy/team:a/{escaped}"),
                format!("arn:aws:iam::123456789012:policy/{escaped}"),
            ] {
                assert_eq!(policy_name_of(&arn).as_deref(), Some(name), "{arn}");
            }
        }
        for arn in [
            "",
            "plain",
            "arn:wami:iam:1:user/ada",
            "arn:wami:iam:1:policy/",
        ] {
            assert_eq!(policy_name_of(arn), None);
        }
    }
}
