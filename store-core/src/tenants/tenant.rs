//! A tenant, and what it may have.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::body::{Format, Unknown};
use crate::clock::Timestamp;
use crate::entity::{Arn, MAX_DEPTH, TenantPath, check_name};
use crate::entity::{Entity, Incarnation, Provider};
use crate::error::Result;

/// A company, a department, a team: the owner of identities.
///
/// The store sets `parent_id` and `incarnation`, and `created_at` if the caller
/// leaves it at [`Timestamp::EPOCH`]; none of them changes after creation.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[doc(alias("organization", "workspace"))]
pub struct Tenant {
    /// The format that the record is written in.
    #[serde(default)]
    pub format: Format<1>,
    /// Its place in the tree.
    pub id: TenantPath,
    /// The tenant above it.
    #[serde(default)]
    pub parent_id: Option<TenantPath>,
    /// Its display name.
    pub name: String,
    /// The organization that it represents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organization: Option<String>,
    /// The type of tenant, as the application defines it.
    #[serde(default)]
    pub tenant_type: String,
    /// Its account at each cloud.
    #[serde(default)]
    pub provider_accounts: BTreeMap<String, String>,
    /// The clouds that it is mapped to.
    #[serde(default)]
    pub providers: Vec<Provider>,
    /// When it was created.
    #[serde(default)]
    pub created_at: Timestamp,
    /// Its status; the application decides what it means.
    #[serde(default)]
    pub status: TenantStatus,
    /// Its own quotas, for a root or a tenant that does not inherit.
    #[serde(default)]
    pub quotas: Quotas,
    /// Whether it inherits its quotas.
    #[serde(default)]
    pub quota_mode: QuotaMode,
    /// How many levels of tenants are allowed below it.
    pub max_child_depth: u32,
    /// Whether tenants may be created directly below it.
    pub can_create_sub_tenants: bool,
    /// The principals that administer it.
    #[serde(default)]
    pub admin_principals: Vec<String>,
    /// Data of the application.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
    /// Billing data of the application.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub billing_info: Option<serde_json::Value>,
    /// Identifies this life of the path.
    #[serde(default)]
    pub incarnation: Incarnation,
    /// Set while it is being deleted: identifies the deletion. Deleting it again
    /// completes an interrupted deletion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleting: Option<Incarnation>,
    /// Fields that this version does not know.
    #[serde(flatten)]
    pub unknown: Unknown,
}

impl Tenant {
    /// An active tenant that inherits its quotas and may have tenants below it.
    pub fn new(id: &TenantPath, name: impl Into<String>) -> Self {
        Self {
            format: Format,
            id: id.clone(),
            parent_id: id.parent(),
            name: name.into(),
            organization: None,
            tenant_type: String::new(),
            provider_accounts: BTreeMap::new(),
            providers: Vec::new(),
            created_at: Timestamp::EPOCH,
            status: TenantStatus::Active,
            quotas: Quotas::default(),
            quota_mode: QuotaMode::Inherited,
            max_child_depth: MAX_DEPTH as u32,
            can_create_sub_tenants: true,
            admin_principals: Vec::new(),
            metadata: BTreeMap::new(),
            billing_info: None,
            incarnation: Incarnation::NONE,
            deleting: None,
            unknown: Unknown::new(),
        }
    }

    /// This tenant with quotas of its own.
    pub fn with_quotas(mut self, quotas: Quotas) -> Self {
        self.quotas = quotas;
        self.quota_mode = QuotaMode::Override;
        self
    }

    /// Its ARN.
    pub fn arn(&self) -> Arn {
        Arn {
            service: "tenant".into(),
            tenant: self.id.clone(),
            instance: crate::entity::DEFAULT_INSTANCE.into(),
            cloud: None,
            kind: "tenant".into(),
            id: self.id.number().to_string(),
        }
    }

    pub(super) fn check(&self) -> Result<()> {
        check_name(&self.name)
    }
}

impl Entity for Tenant {
    type Key = TenantPath;
    type Within = Among;
    type Filter = ();

    fn key(&self) -> TenantPath {
        self.id.clone()
    }
}

/// Which tenants a list is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Among {
    /// All tenants of all trees: in no order, each at least once.
    All,
    /// Those directly below this one, in bytewise order of path.
    Children(TenantPath),
    /// Those below this one at any depth, in a stable order.
    Descendants(TenantPath),
}

/// The status of a tenant. The store does not act on it.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TenantStatus {
    /// Not set up yet.
    Pending,
    /// In use.
    #[default]
    Active,
    /// Not to be used for now.
    Suspended,
    /// Given up by the application, but not removed.
    Deleted,
}

/// Where a tenant's quotas come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum QuotaMode {
    /// From the tenant above; a root has its own.
    #[default]
    Inherited,
    /// The tenant has its own.
    Override,
}

/// Upper bounds for a tenant; `None` means no bound. The store enforces them,
/// except for `api_rate_limit`, which is meant for a rate limiter.
#[non_exhaustive]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Quotas {
    /// Users.
    #[serde(default)]
    pub max_users: Option<u64>,
    /// Roles.
    #[serde(default)]
    pub max_roles: Option<u64>,
    /// Policies.
    #[serde(default)]
    pub max_policies: Option<u64>,
    /// Groups.
    #[serde(default)]
    pub max_groups: Option<u64>,
    /// Access keys of all its users together.
    #[serde(default)]
    pub max_access_keys: Option<u64>,
    /// Tenants directly below it.
    #[serde(default)]
    pub max_sub_tenants: Option<u64>,
    /// Calls per second.
    #[serde(default)]
    pub api_rate_limit: Option<u64>,
    /// Fields that this version does not know.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// How many entities of each family there are: a map from the kind (`user`,
/// `group`, `policy`, `tenant` …) to a number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Usage {
    counts: BTreeMap<String, u64>,
}

impl Usage {
    /// How many there are of `kind`.
    pub fn count(&self, kind: &str) -> u64 {
        self.counts.get(kind).copied().unwrap_or(0)
    }

    /// Each kind of which there is at least one.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.counts.iter().map(|(kind, &count)| (&**kind, count))
    }

    /// True if there is nothing.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// Adds `by` of `kind`, which may be negative; never below zero.
    pub fn add(&mut self, kind: &str, by: i64) {
        let count = self.count(kind).saturating_add_signed(by);
        if count == 0 {
            self.counts.remove(kind);
        } else {
            self.counts.insert(kind.into(), count);
        }
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: &Self) {
        for (kind, count) in other.iter() {
            self.add(kind, i64::try_from(count).unwrap_or(i64::MAX));
        }
    }
}
