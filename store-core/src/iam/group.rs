//! Groups.

use serde::{Deserialize, Serialize};

use crate::entity::{Entity, Key, Meta, TenantPath, WithPath};
use crate::iam::family::tenant_entity;
use crate::iam::{Family, Principal, TenantEntity};
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

tenant_entity!(Group);

impl Entity for Group {
    type Key = Key<Self>;
    type Within = TenantPath;
    type Filter = ();

    fn key(&self) -> Key<Self> {
        self.meta.key()
    }
}

impl TenantEntity for Group {
    const FAMILY: Family = Family::new("group", Collection::new("iam_groups").cacheable(), "AGPA")
        .quota(|quotas| quotas.max_groups)
        .principal()
        .with_members();

    fn meta(&self) -> &Meta {
        &self.meta
    }

    fn meta_mut(&mut self) -> &mut Meta {
        &mut self.meta
    }
}

impl WithPath for Group {}

impl Principal for Group {}
