//! Roles.

use serde::{Deserialize, Serialize};

use crate::backend::view::{Column, Kind};
use crate::entity::Meta;
use crate::error::Result;
use crate::iam::checks::check_document;
use crate::iam::{Family, TenantEntity, tenant_entity};
use crate::key::Collection;

/// Permissions that a principal can assume for a time.
///
/// It dereferences to its [`Meta`]: `role.name`, `role.id`, `role.tags` …
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Role {
    /// The fields that every entity has.
    #[serde(flatten)]
    pub meta: Meta,
    /// Which principals may assume it. The store does not interpret the document.
    pub assume_role_policy_document: String,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The longest session, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_session_duration: Option<u32>,
    /// The ARN of the policy that bounds the permissions that it can be given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permissions_boundary: Option<String>,
}

impl Role {
    /// A role of this name and trust policy, with the path `/`.
    pub fn new(name: impl Into<String>, assume_role_policy_document: impl Into<String>) -> Self {
        Self {
            meta: Meta::new(name),
            assume_role_policy_document: assume_role_policy_document.into(),
            description: None,
            max_session_duration: None,
            permissions_boundary: None,
        }
    }
}

tenant_entity!(Role: WithPath, Principal);

impl TenantEntity for Role {
    const FAMILY: Family = Family::new("role", Collection::new("iam_roles").cacheable(), "AROA")
        .quota(|quotas| quotas.max_roles)
        .shown_as(
            "roles",
            &[
                Column::field(
                    "assume_role_policy_document",
                    Kind::Text,
                    "Which principals may assume it.",
                ),
                Column::field("description", Kind::Text, "What it is for."),
                Column::field(
                    "permissions_boundary",
                    Kind::Text,
                    "The ARN of the policy that bounds the permissions.",
                ),
            ],
        );

    fn boundary(&self) -> Option<&str> {
        self.permissions_boundary.as_deref()
    }

    fn check(&self) -> Result<()> {
        check_document(&self.assume_role_policy_document)
    }
}
