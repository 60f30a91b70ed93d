//! Tenants.
//!
//! [`cases`] run over any [`TenantStore`]; [`identity_cases`] are about what
//! tenants mean for the identities in them, and need both handles.

mod deletion;
mod model;
mod quotas;
mod tree;

use std::sync::Arc;

use async_trait::async_trait;
use store_core::Result;
use store_core::iam::Identity;
use store_core::tenants::{RecordTenants, Tenant, TenantStore};

use crate::cases::iam::{load_tenants, ring};
use crate::harness::{Harness, Opened, Over};
use crate::suite::{Case, Suite};

pub(super) use model::compare;

/// What a [`TenantStore`] must hold when a case begins: those above first.
pub type Fixtures = Vec<Tenant>;

/// A harness of tenants.
type Trees = Arc<dyn Harness<dyn TenantStore, Fixtures>>;

/// A harness of tenants and their identities.
type Identities = Arc<dyn Harness<Identity, Fixtures>>;

/// The suites over a backend.
pub fn over(backend: &Arc<Over>) -> Vec<Suite> {
    vec![
        Suite::new("tenants", Arc::clone(backend) as Trees, cases()),
        Suite::new(
            "tenants",
            Arc::clone(backend) as Identities,
            identity_cases(),
        ),
    ]
}

/// The cases of a store of tenants, for a harness of your own.
pub fn cases() -> Vec<Case<dyn TenantStore, Fixtures>> {
    [tree::cases(), model::cases()].concat()
}

/// The cases of tenants and identities together, for a harness of your own.
pub fn identity_cases() -> Vec<Case<Identity, Fixtures>> {
    [quotas::cases(), deletion::cases()].concat()
}

#[async_trait]
impl Harness<dyn TenantStore, Fixtures> for Over {
    fn backend(&self) -> String {
        self.backend_harness().backend()
    }

    fn server(&self) -> String {
        self.backend_harness().server()
    }

    async fn open(&self, fixtures: Fixtures) -> Result<Opened<dyn TenantStore>> {
        let opened = self.backend_harness().open(()).await?;
        load_tenants(&opened.first, fixtures).await?;
        Ok(opened.map(|store| Arc::new(RecordTenants::new(&**store)) as Arc<dyn TenantStore>))
    }

    fn unsupported(&self) -> Vec<&'static str> {
        self.backend_harness().unsupported()
    }
}

#[async_trait]
impl Harness<Identity, Fixtures> for Over {
    fn backend(&self) -> String {
        self.backend_harness().backend()
    }

    fn server(&self) -> String {
        self.backend_harness().server()
    }

    async fn open(&self, fixtures: Fixtures) -> Result<Opened<Identity>> {
        let opened = self.backend_harness().open(()).await?;
        load_tenants(&opened.first, fixtures).await?;
        Ok(opened.map(|store| Arc::new(Identity::new(&**store, &ring()))))
    }

    fn unsupported(&self) -> Vec<&'static str> {
        self.backend_harness().unsupported()
    }
}
