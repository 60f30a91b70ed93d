//! Users.

use serde::{Deserialize, Serialize};

use crate::body::{Format, Unknown};
use crate::clock::Timestamp;
use crate::entity::{
    Common, Entity, Family, Incarnation, Key, Provider, Tagged, Tags, TenantEntity,
};
use crate::iam::Principal;
use crate::iam::dependants::{ATTACHED, INLINE, JOINED};
use crate::key::Collection;
use crate::tenants::TenantPath;

/// A person or a program that acts in a tenant.
///
/// Make one with [`User::new`] and set what you like. The store fills in
/// `user_id` (unless you chose one), `arn`, `wami_arn`, `create_date` and
/// `incarnation`; none of them follows an update, and only the ARNs follow a
/// rename.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct User {
    /// How this is written.
    #[serde(default)]
    pub format: Format<1>,
    /// The tenant that it belongs to.
    pub tenant_id: TenantPath,
    /// The name: unique in the tenant, changed only by a rename.
    pub user_name: String,
    /// The id: unique in the tenant, never changed, not even by a rename.
    pub user_id: String,
    /// The ARN by which clients of its first provider know it.
    pub arn: String,
    /// The path, for lists by prefix.
    pub path: String,
    /// When it was created.
    pub create_date: Timestamp,
    /// When it last signed in with a password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_last_used: Option<Timestamp>,
    /// The ARN of the policy that bounds what others can grant it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permissions_boundary: Option<String>,
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

impl User {
    /// A user of this name, with the path `/` and nothing else.
    pub fn new(tenant: &TenantPath, name: impl Into<String>) -> Self {
        Self {
            format: Format,
            tenant_id: tenant.clone(),
            user_name: name.into(),
            user_id: String::new(),
            arn: String::new(),
            path: "/".into(),
            create_date: Timestamp::EPOCH,
            password_last_used: None,
            permissions_boundary: None,
            tags: Tags::new(),
            wami_arn: String::new(),
            providers: Vec::new(),
            incarnation: Incarnation::NONE,
            unknown: Unknown::new(),
        }
    }

    /// This user under another path.
    pub fn with_path(mut self, path: impl Into<String>) -> Self {
        self.path = path.into();
        self
    }
}

impl Entity for User {
    type Key = Key<Self>;
    type Within = TenantPath;
    type Filter = ();

    fn key(&self) -> Key<Self> {
        Key::new(&self.tenant_id, &self.user_name)
    }
}

impl TenantEntity for User {
    const FAMILY: Family = Family {
        kind: "user",
        collection: Collection::new("iam_users").cacheable(),
        id_prefix: "AIDA",
        quota: |quotas| quotas.max_users,
        dependants: &[ATTACHED, INLINE, JOINED],
    };

    fn tenant_id(&self) -> &TenantPath {
        &self.tenant_id
    }

    fn name(&self) -> &str {
        &self.user_name
    }

    fn id(&self) -> &str {
        &self.user_id
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
            name: &mut self.user_name,
            id: &mut self.user_id,
            path: &mut self.path,
            incarnation: &mut self.incarnation,
            arn: &mut self.arn,
            wami_arn: &mut self.wami_arn,
            providers: &mut self.providers,
            create_date: &mut self.create_date,
            tags: &mut self.tags,
        }
    }

    fn boundary(&self) -> Option<&str> {
        self.permissions_boundary.as_deref()
    }
}

impl Principal for User {}

impl Tagged for User {
    fn tags(&self) -> &Tags {
        &self.tags
    }

    fn tags_mut(&mut self) -> &mut Tags {
        &mut self.tags
    }
}
