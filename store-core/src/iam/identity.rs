//! Tenants and identities together.

use std::sync::Arc;

use crate::error::Result;
use crate::iam::{Iam, RecordEntities};
use crate::secret::KeyRing;
use crate::store::Store;
use crate::tenants::{RecordTenants, TenantStore, Tenants};

/// Tenants and the identities in them.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct Identity {
    /// Users, groups, roles, policies and credentials.
    pub iam: Iam,
    /// The tenants.
    pub tenants: Tenants,
    entities: RecordEntities,
    store: Store,
}

impl Identity {
    /// Tenants and identities in `store`. Secrets are sealed with `ring`.
    pub fn new(store: impl Into<Store>, ring: &KeyRing) -> Self {
        let store = store.into();
        let entities = RecordEntities::new(&store, ring);
        Self {
            iam: Iam::of(entities.clone()),
            tenants: Tenants::new(&store),
            entities,
            store,
        }
    }

    /// These identities, with the tenants in another store.
    pub fn with_tenants_in(self, store: impl Into<Store>) -> Self {
        let tenants = RecordTenants::new(store).with_identities_in(&self.store);
        self.with_tenants(Arc::new(tenants))
    }

    /// These identities, with the tenants of an implementation of your own. It
    /// must use the [`TenantGates`](crate::tenants::TenantGates) of the store
    /// that holds the identities.
    pub fn with_tenants(mut self, tenants: Arc<dyn TenantStore>) -> Self {
        self.entities = self.entities.with_tenants(Arc::clone(&tenants));
        self.iam = Iam::of(self.entities.clone());
        self.tenants = Tenants::over(tenants);
        self
    }

    /// These identities, with ARNs that name this instance.
    ///
    /// # Errors
    /// `InvalidInput` if it is empty or contains `:` or `/`.
    pub fn with_instance(mut self, instance: &str) -> Result<Self> {
        self.entities = self.entities.with_instance(instance)?;
        self.iam = Iam::of(self.entities.clone());
        Ok(self)
    }
}
