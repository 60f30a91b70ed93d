//! Groups.

use serde::{Deserialize, Serialize};

use crate::body::{Format, Unknown};
use crate::clock::Timestamp;
use crate::entity::{
    Common, Entity, Family, Incarnation, Key, Provider, Tagged, Tags, TenantEntity,
};
use crate::iam::Principal;
use crate::iam::dependants::{ATTACHED, INLINE, MEMBERS};
use crate::key::Collection;
use crate::tenants::TenantPath;

/// Users that share policies.
///
/// The store fills in what it does for a [`User`](crate::iam::User).
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// How this is written.
    #[serde(default)]
    pub format: Format<1>,
    /// The tenant that it belongs to.
    pub tenant_id: TenantPath,
    /// The name: unique in the tenant, changed only by a rename.
    pub group_name: String,
    /// The id: unique in the tenant, never changed.
    pub group_id: String,
    /// The ARN by which clients of its first provider know it.
    pub arn: String,
    /// The path, for lists by prefix.
    pub path: String,
    /// When it was created.
    pub create_date: Timestamp,
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

impl Group {
    /// A group of this name, with the path `/` and nobody in it.
    pub fn new(tenant: &TenantPath, name: impl Into<String>) -> Self {
        Self {
            format: Format,
            tenant_id: tenant.clone(),
            group_name: name.into(),
            group_id: String::new(),
            arn: String::new(),
            path: "/".into(),
            create_date: Timestamp::EPOCH,
            tags: Tags::new(),
            wami_arn: String::new(),
            providers: Vec::new(),
            incarnation: Incarnation::NONE,
            unknown: Unknown::new(),
        }
    }

    /// This group under another path.
    pub fn with_path(mut self, path: impl Into<String>) -> Self {
        self.path = path.into();
        self
    }
}

impl Entity for Group {
    type Key = Key<Self>;
    type Within = TenantPath;
    type Filter = ();

    fn key(&self) -> Key<Self> {
        Key::new(&self.tenant_id, &self.group_name)
    }
}

impl TenantEntity for Group {
    const FAMILY: Family = Family {
        kind: "group",
        collection: Collection::new("iam_groups").cacheable(),
        id_prefix: "AGPA",
        quota: |quotas| quotas.max_groups,
        dependants: &[ATTACHED, INLINE, MEMBERS],
    };

    fn tenant_id(&self) -> &TenantPath {
        &self.tenant_id
    }

    fn name(&self) -> &str {
        &self.group_name
    }

    fn id(&self) -> &str {
        &self.group_id
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
            name: &mut self.group_name,
            id: &mut self.group_id,
            path: &mut self.path,
            incarnation: &mut self.incarnation,
            arn: &mut self.arn,
            wami_arn: &mut self.wami_arn,
            providers: &mut self.providers,
            create_date: &mut self.create_date,
            tags: &mut self.tags,
        }
    }
}

impl Principal for Group {}

impl Tagged for Group {
    fn tags(&self) -> &Tags {
        &self.tags
    }

    fn tags_mut(&mut self) -> &mut Tags {
        &mut self.tags
    }
}
