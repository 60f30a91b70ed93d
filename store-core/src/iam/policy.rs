//! Managed policies.

use serde::{Deserialize, Serialize};

use crate::body::{Format, Unknown};
use crate::clock::Timestamp;
use crate::entity::{
    Common, Entity, Family, Incarnation, Key, Provider, Tagged, Tags, TenantEntity,
};
use crate::error::{Error, Result};
use crate::key::Collection;
use crate::tenants::TenantPath;

/// What principals may do, kept once and attached to many.
///
/// The store fills in what it does for a [`User`](crate::iam::User), and keeps
/// the two counts and `update_date`: whatever an update sets them to, they stay
/// true.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    /// How this is written.
    #[serde(default)]
    pub format: Format<1>,
    /// The tenant that it belongs to.
    pub tenant_id: TenantPath,
    /// The name: unique in the tenant, never changed.
    pub policy_name: String,
    /// The id: unique in the tenant, never changed.
    pub policy_id: String,
    /// The ARN by which clients of its first provider know it.
    pub arn: String,
    /// The path, for lists by prefix.
    pub path: String,
    /// Which version of the document holds.
    pub default_version_id: String,
    /// The document. The store does not look into it.
    pub policy_document: String,
    /// To how many principals it is attached.
    pub attachment_count: u64,
    /// How many principals it bounds.
    pub permissions_boundary_usage_count: u64,
    /// Whether it may be attached.
    pub is_attachable: bool,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// When it was created.
    pub create_date: Timestamp,
    /// When it was last updated. Attaching is no update.
    pub update_date: Timestamp,
    /// Its tags.
    #[serde(default)]
    pub tags: Tags,
    /// Its own ARN.
    pub wami_arn: String,
    /// The clouds that it is mapped to.
    #[serde(default)]
    pub providers: Vec<Provider>,
    /// Which life of its name it is.
    pub incarnation: Incarnation,
    /// Fields that this version does not know.
    #[serde(flatten)]
    pub unknown: Unknown,
}

impl Policy {
    /// An attachable policy of this name and document, with the path `/`.
    pub fn new(tenant: &TenantPath, name: impl Into<String>, document: impl Into<String>) -> Self {
        Self {
            format: Format,
            tenant_id: tenant.clone(),
            policy_name: name.into(),
            policy_id: String::new(),
            arn: String::new(),
            path: "/".into(),
            default_version_id: "v1".into(),
            policy_document: document.into(),
            attachment_count: 0,
            permissions_boundary_usage_count: 0,
            is_attachable: true,
            description: None,
            create_date: Timestamp::EPOCH,
            update_date: Timestamp::EPOCH,
            tags: Tags::new(),
            wami_arn: String::new(),
            providers: Vec::new(),
            incarnation: Incarnation::NONE,
            unknown: Unknown::new(),
        }
    }

    /// This policy under another path.
    pub fn with_path(mut self, path: impl Into<String>) -> Self {
        self.path = path.into();
        self
    }

    /// Whether `arn` is one of its ARNs: its own or a provider's.
    pub fn is_known_as(&self, arn: &str) -> bool {
        self.wami_arn == arn || self.providers.iter().any(|provider| provider.arn == arn)
    }
}

/// Which policies a list shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PolicyFilter {
    /// Where they stem from.
    pub scope: PolicyScope,
    /// Only those that are attached to a principal.
    pub only_attached: bool,
}

/// Where policies stem from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PolicyScope {
    /// From anywhere.
    #[default]
    All,
    /// From the tenant alone: mapped to no provider.
    Local,
    /// From a provider: mapped to one at least.
    Provider,
}

impl Entity for Policy {
    type Key = Key<Self>;
    type Within = TenantPath;
    type Filter = PolicyFilter;

    fn key(&self) -> Key<Self> {
        Key::new(&self.tenant_id, &self.policy_name)
    }
}

impl TenantEntity for Policy {
    const FAMILY: Family = Family {
        kind: "policy",
        collection: Collection::new("iam_policies").cacheable(),
        id_prefix: "ANPA",
        quota: |quotas| quotas.max_policies,
        dependants: &[],
    };

    fn tenant_id(&self) -> &TenantPath {
        &self.tenant_id
    }

    fn name(&self) -> &str {
        &self.policy_name
    }

    fn id(&self) -> &str {
        &self.policy_id
    }

    fn path(&self) -> &str {
        &self.path
    }

    fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    fn common(&mut self) -> Common<'_> {
        Common {
            tenant_id: &mut self.tenant_id,
            name: &mut self.policy_name,
            id: &mut self.policy_id,
            path: &mut self.path,
            incarnation: &mut self.incarnation,
            arn: &mut self.arn,
            wami_arn: &mut self.wami_arn,
            providers: &mut self.providers,
            create_date: &mut self.create_date,
            tags: &mut self.tags,
        }
    }

    fn passes(&self, filter: &PolicyFilter) -> bool {
        let of_scope = match filter.scope {
            PolicyScope::All => true,
            PolicyScope::Local => self.providers.is_empty(),
            PolicyScope::Provider => !self.providers.is_empty(),
        };
        of_scope && (!filter.only_attached || self.attachment_count > 0)
    }

    fn check(&self) -> Result<()> {
        if self.policy_document.is_empty() {
            return Err(Error::invalid("a policy has no document; give it one"));
        }
        Ok(())
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
        if self.attachment_count > 0 {
            return Some("the policy is attached; detach it everywhere first");
        }
        if self.permissions_boundary_usage_count > 0 {
            return Some("the policy bounds a principal; take the boundary away first");
        }
        None
    }
}

impl Tagged for Policy {
    fn tags(&self) -> &Tags {
        &self.tags
    }

    fn tags_mut(&mut self) -> &mut Tags {
        &mut self.tags
    }
}
