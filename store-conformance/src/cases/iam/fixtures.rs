//! What the cases begin with, and opening it.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use store_core::entity::{EntityStore, Key, Meta, WithPath};
use store_core::iam::{
    Family, Group, IamStore, Policy, RecordEntities, Role, TenantEntity, User, tenant_entity,
};
use store_core::secret::KeyRing;
use store_core::tenants::{Tenant, TenantPath, Tenants};
use store_core::{Collection, Result, Store};

use crate::harness::{Harness, Opened, Over};

/// A family that the cases can make samples of.
pub trait Sample: TenantEntity + WithPath + PartialEq {
    /// An entity of this name in `tenant`, with whatever else it needs.
    fn sample(tenant: &TenantPath, name: &str) -> Self;
}

impl Sample for User {
    fn sample(tenant: &TenantPath, name: &str) -> Self {
        Self::new(name).in_tenant(tenant)
    }
}

impl Sample for Group {
    fn sample(tenant: &TenantPath, name: &str) -> Self {
        Self::new(name).in_tenant(tenant)
    }
}

impl Sample for Role {
    fn sample(tenant: &TenantPath, name: &str) -> Self {
        Self::new(name, "{}").in_tenant(tenant)
    }
}

impl Sample for Policy {
    fn sample(tenant: &TenantPath, name: &str) -> Self {
        Self::new(name, "{}").in_tenant(tenant)
    }
}

/// Where badges are.
pub const BADGES: Collection = Collection::new("badges");

/// A family that is only described, as one of an application would be: what the
/// cases of all families run over on every backend.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Badge {
    /// The fields that every entity has.
    #[serde(flatten)]
    pub meta: Meta,
    /// A field of its own.
    pub color: String,
}

tenant_entity!(Badge: WithPath, Principal);

impl TenantEntity for Badge {
    const FAMILY: Family = Family::new("badge", BADGES, "BADG");
}

impl Sample for Badge {
    fn sample(tenant: &TenantPath, name: &str) -> Self {
        let badge = Self {
            meta: Meta::new(name),
            color: "red".into(),
        };
        badge.in_tenant(tenant)
    }
}

/// What an [`EntityStore`] must hold when a case begins.
#[derive(Clone, Debug)]
pub struct Fixtures<E> {
    /// The tenants, those above before those below.
    pub tenants: Vec<Tenant>,
    /// Entities of theirs.
    pub entities: Vec<E>,
}

/// What an [`IamStore`] must hold when a case begins.
#[derive(Clone, Debug, Default)]
pub struct Everything {
    /// The tenants, those above before those below.
    pub tenants: Vec<Tenant>,
    /// Users of theirs.
    pub users: Vec<User>,
    /// Groups of theirs.
    pub groups: Vec<Group>,
    /// Policies of theirs, not attached to any principal.
    pub policies: Vec<Policy>,
}

impl Everything {
    /// These users, groups and policies of tenant `1`, by name. The id of a policy
    /// is its name, so that its ARN is known.
    pub fn named(users: &[&str], groups: &[&str], policies: &[&str]) -> Self {
        let tenant = path("1");
        Self {
            tenants: vec![Tenant::new(&tenant, "one")],
            users: samples(&tenant, users),
            groups: samples(&tenant, groups),
            policies: policies.iter().map(|name| policy(&tenant, name)).collect(),
        }
    }
}

/// A policy whose id is its name.
pub(super) fn policy(tenant: &TenantPath, name: &str) -> Policy {
    Policy::sample(tenant, name).with_id(name)
}

/// The key ring of every handle that the cases open.
pub(crate) fn ring() -> KeyRing {
    KeyRing::new("conformance", *b"thirty-two bytes for conformance").expect("a good key")
}

fn samples<E: Sample>(tenant: &TenantPath, names: &[&str]) -> Vec<E> {
    names.iter().map(|name| E::sample(tenant, name)).collect()
}

/// The path of this text, which must be one.
pub fn path(text: &str) -> TenantPath {
    text.parse().expect("a path written in a case is right")
}

/// The key of `name` in tenant `1`.
pub fn key<E>(name: &str) -> Key<E> {
    Key::new(&path("1"), name)
}

/// A store of one family, holding these names in tenant `1`.
pub(super) async fn holding<E: Sample>(
    harness: &Arc<dyn Harness<dyn EntityStore<E>, Fixtures<E>>>,
    names: &[&str],
) -> Result<Opened<dyn EntityStore<E>>> {
    let tenant = path("1");
    harness
        .open(Fixtures {
            tenants: vec![Tenant::new(&tenant, "one")],
            entities: samples(&tenant, names),
        })
        .await
}

/// Creates tenants in a store through the standard implementation.
pub(crate) async fn load_tenants(store: &Store, tenants: Vec<Tenant>) -> Result<()> {
    let handle = Tenants::new(store);
    for tenant in tenants {
        handle.create(tenant).await?;
    }
    Ok(())
}

async fn load<E: TenantEntity>(store: &RecordEntities, entities: Vec<E>) -> Result<()> {
    for entity in entities {
        store.create(entity).await?;
    }
    Ok(())
}

fn entities(store: &Arc<Store>) -> Arc<RecordEntities> {
    Arc::new(RecordEntities::new(&**store, &ring()))
}

#[async_trait]
impl<E: Sample> Harness<dyn EntityStore<E>, Fixtures<E>> for Over {
    fn backend(&self) -> String {
        self.backend_harness().backend()
    }

    fn server(&self) -> String {
        self.backend_harness().server()
    }

    async fn open(&self, fixtures: Fixtures<E>) -> Result<Opened<dyn EntityStore<E>>> {
        let opened = self.backend_harness().open(()).await?;
        load_tenants(&opened.first, fixtures.tenants).await?;
        load(&entities(&opened.first), fixtures.entities).await?;
        Ok(opened.map(|store| entities(store) as Arc<dyn EntityStore<E>>))
    }

    fn unsupported(&self) -> Vec<&'static str> {
        self.backend_harness().unsupported()
    }
}

#[async_trait]
impl Harness<dyn IamStore, Everything> for Over {
    fn backend(&self) -> String {
        self.backend_harness().backend()
    }

    fn server(&self) -> String {
        self.backend_harness().server()
    }

    async fn open(&self, fixtures: Everything) -> Result<Opened<dyn IamStore>> {
        let opened = self.backend_harness().open(()).await?;
        load_tenants(&opened.first, fixtures.tenants).await?;
        let iam = entities(&opened.first);
        load(&iam, fixtures.users).await?;
        load(&iam, fixtures.groups).await?;
        load(&iam, fixtures.policies).await?;
        Ok(opened.map(|store| entities(store) as Arc<dyn IamStore>))
    }

    fn most_tasks(&self) -> usize {
        self.backend_harness().most_tasks()
    }

    fn unsupported(&self) -> Vec<&'static str> {
        self.backend_harness().unsupported()
    }
}
