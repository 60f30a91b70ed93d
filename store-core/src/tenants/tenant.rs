//! A tenant, and what it may have.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::body::{Format, Unknown};
use crate::clock::Timestamp;
use crate::entity::{Entity, Incarnation, Provider};
use crate::error::{Error, Result};
use crate::tenants::{MAX_DEPTH, TenantPath};

/// A company, a department, a team: who owns identities.
///
/// `parent_id`, `arn`, `created_at` and `incarnation` are the store's to fill
/// in; what is set there at creation is ignored, and they never change.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tenant {
    /// How this is written.
    #[serde(default)]
    pub format: Format<1>,
    /// Where it is in its tree.
    pub id: TenantPath,
    /// The tenant above it.
    #[serde(default)]
    pub parent_id: Option<TenantPath>,
    /// What people call it.
    pub name: String,
    /// The organization that it stands for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organization: Option<String>,
    /// What sort of tenant it is, in the application's own words.
    #[serde(default)]
    pub tenant_type: String,
    /// Its account at each cloud.
    #[serde(default)]
    pub provider_accounts: BTreeMap<String, String>,
    /// Its ARN.
    #[serde(default)]
    pub arn: String,
    /// The clouds that it is mapped to.
    #[serde(default)]
    pub providers: Vec<Provider>,
    /// When it was created.
    #[serde(default)]
    pub created_at: Timestamp,
    /// Whether it may be used; the application's to act on.
    #[serde(default)]
    pub status: TenantStatus,
    /// What it may have: a root's, and any other's that does not inherit.
    #[serde(default)]
    pub quotas: Quotas,
    /// Whether it inherits its quotas.
    #[serde(default)]
    pub quota_mode: QuotaMode,
    /// How many levels there may be below it.
    pub max_child_depth: u32,
    /// Whether there may be tenants right below it.
    pub can_create_sub_tenants: bool,
    /// Who administers it.
    #[serde(default)]
    pub admin_principals: Vec<String>,
    /// The application's own.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
    /// How it is billed; the application's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub billing_info: Option<serde_json::Value>,
    /// Which life of its path it is.
    #[serde(default)]
    pub incarnation: Incarnation,
    /// Set while it is being deleted: by whom, so to say. Deleting it again
    /// finishes the work.
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
            arn: String::new(),
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

    pub(super) fn check(&self) -> Result<()> {
        if self.name.is_empty() || self.name.len() > 1024 {
            return Err(Error::invalid("a tenant's name is 1 to 1024 bytes long"));
        }
        Ok(())
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
    /// All of all trees: in no order, and at least once.
    All,
    /// Those right below this one, in bytewise order of path.
    Children(TenantPath),
    /// Those below this one at any depth, in an order that never changes.
    Descendants(TenantPath),
}

/// Whether a tenant may be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TenantStatus {
    /// It may.
    #[default]
    Active,
    /// Not for now.
    Suspended,
}

/// Where a tenant's quotas come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum QuotaMode {
    /// From the tenant above; a root's are its own.
    #[default]
    Inherited,
    /// They are its own.
    Override,
}

/// What a tenant may have; `None` is no bound. Enforced by the store, except
/// for `api_rate_limit`, which is for the application's rate limiter.
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
    /// Tenants right below it.
    #[serde(default)]
    pub max_sub_tenants: Option<u64>,
    /// Calls a second.
    #[serde(default)]
    pub api_rate_limit: Option<u64>,
    /// Fields that this version does not know.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// How much of each family there is. Reads like a map from a family's name
/// (`user`, `group`, `policy`, `tenant` …) to a number.
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

    /// Each family of which there are any.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.counts.iter().map(|(kind, &count)| (&**kind, count))
    }

    /// True if there is nothing at all.
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
