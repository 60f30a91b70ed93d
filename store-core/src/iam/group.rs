//! Groups.

use serde::{Deserialize, Serialize};

use crate::entity::Meta;
use crate::iam::{Family, TenantEntity, tenant_entity};
use crate::key::Collection;

/// Users that share policies.
///
/// It dereferences to its [`Meta`]: `group.name`, `group.id`, `group.tags` …
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// The fields that every entity has.
    #[serde(flatten)]
    pub meta: Meta,
}

impl Group {
    /// A group of this name, with the path `/` and without members.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            meta: Meta::new(name),
        }
    }
}

tenant_entity!(Group: WithPath, Principal);

impl TenantEntity for Group {
    const FAMILY: Family = Family::new("group", Collection::new("iam_groups").cacheable(), "AGPA")
        .quota(|quotas| quotas.max_groups)
        .shown_as("groups", &[])
        .with_members();
}
