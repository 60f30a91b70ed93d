//! Users.

use serde::{Deserialize, Serialize};

use crate::backend::view::{Column, Kind};
use crate::clock::Timestamp;
use crate::entity::Meta;
use crate::iam::access_key::ACCESS_KEYS;
use crate::iam::{Family, TenantEntity, tenant_entity};
use crate::key::Collection;

/// A person or a program that acts in a tenant.
///
/// It dereferences to its [`Meta`]: `user.name`, `user.id`, `user.tags` …
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct User {
    /// The fields that every entity has.
    #[serde(flatten)]
    pub meta: Meta,
    /// When it last signed in with a password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_last_used: Option<Timestamp>,
    /// The ARN of the policy that bounds the permissions that it can be given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permissions_boundary: Option<String>,
}

impl User {
    /// A user of this name, with the path `/`.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            meta: Meta::new(name),
            password_last_used: None,
            permissions_boundary: None,
        }
    }
}

tenant_entity!(User: WithPath, Principal);

impl TenantEntity for User {
    const FAMILY: Family = Family::new("user", Collection::new("iam_users").cacheable(), "AIDA")
        .quota(|quotas| quotas.max_users)
        .owning(&[ACCESS_KEYS])
        .shown_as(
            "users",
            &[
                Column::field(
                    "permissions_boundary",
                    Kind::Text,
                    "The ARN of the policy that bounds the permissions.",
                ),
                Column::field(
                    "password_last_used",
                    Kind::Time,
                    "When a password was last used.",
                ),
            ],
        );

    fn boundary(&self) -> Option<&str> {
        self.permissions_boundary.as_deref()
    }
}
