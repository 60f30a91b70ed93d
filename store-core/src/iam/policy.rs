//! Managed policies.

use serde::{Deserialize, Serialize};

use crate::backend::view::{Column, Kind};
use crate::clock::Timestamp;
use crate::entity::Meta;
use crate::error::Result;
use crate::iam::checks::check_document;
use crate::iam::{Family, PolicyFilter, TenantEntity, tenant_entity};
use crate::key::Collection;

const POLICIES: Collection = Collection::new("iam_policies").cacheable();

const COLUMNS: &[Column] = &[
    Column::field(
        "default_version_id",
        Kind::Text,
        "Which version of the document applies.",
    ),
    Column::field(
        "attachment_count",
        Kind::Number,
        "How many principals it is attached to.",
    ),
    Column::field(
        "is_attachable",
        Kind::Boolean,
        "Whether it may be attached.",
    ),
    Column::field("description", Kind::Text, "What it is for."),
    Column::field("policy_document", Kind::Text, "The document."),
    Column::field("update_date", Kind::Time, "When it was last updated."),
];

/// Permissions that are defined once and attached to many principals.
///
/// It dereferences to its [`Meta`]: `policy.name`, `policy.id`, `policy.tags` …
/// The store maintains the two counts and `update_date`, whatever an update sets
/// them to.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    /// The fields that every entity has.
    #[serde(flatten)]
    pub meta: Meta,
    /// Which version of the document applies.
    pub default_version_id: String,
    /// The document. The store does not interpret it.
    pub policy_document: String,
    /// How many principals it is attached to.
    pub attachment_count: u64,
    /// How many principals it bounds.
    pub permissions_boundary_usage_count: u64,
    /// Whether it may be attached.
    pub is_attachable: bool,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// When it was last updated. Attaching is not an update.
    pub update_date: Timestamp,
}

impl Policy {
    /// An attachable policy of this name and document, with the path `/`.
    pub fn new(name: impl Into<String>, document: impl Into<String>) -> Self {
        Self {
            meta: Meta::new(name),
            default_version_id: "v1".into(),
            policy_document: document.into(),
            attachment_count: 0,
            permissions_boundary_usage_count: 0,
            is_attachable: true,
            description: None,
            update_date: Timestamp::EPOCH,
        }
    }
}

tenant_entity!(Policy: WithPath; filter = PolicyFilter);

impl TenantEntity for Policy {
    const FAMILY: Family = Family::new("policy", POLICIES, "ANPA")
        .quota(|quotas| quotas.max_policies)
        .shown_as("policies", COLUMNS);

    fn passes(&self, filter: &PolicyFilter) -> bool {
        filter.includes(self)
    }

    fn check(&self) -> Result<()> {
        check_document(&self.policy_document)
    }

    fn settle(&mut self, before: Option<&Self>, now: Timestamp) {
        self.attachment_count = before.map_or(0, |b| b.attachment_count);
        self.permissions_boundary_usage_count =
            before.map_or(0, |b| b.permissions_boundary_usage_count);
        self.update_date = before.map_or(now, |b| b.update_date);
        if before.is_some_and(|before| before != self) {
            self.update_date = now;
        }
    }

    fn in_use(&self) -> Option<&'static str> {
        match (self.attachment_count, self.permissions_boundary_usage_count) {
            (0, 0) => None,
            (0, _) => Some("the policy bounds a principal; remove the boundary first"),
            _ => Some("the policy is attached; detach it everywhere first"),
        }
    }
}
