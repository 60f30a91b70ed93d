//! The handle.

use std::sync::Arc;

use crate::entity::{EntityStoreExt, Listing, TenantPath};
use crate::error::Result;
use crate::page::{Items, Page};
use crate::store::Store;
use crate::tenants::{Among, Quotas, RecordTenants, Tenant, TenantStore, Usage};

/// Tenants, over any store. Cheap to clone. See the [module](crate::tenants).
#[derive(Clone, Debug)]
pub struct Tenants {
    store: Arc<dyn TenantStore>,
}

impl Tenants {
    /// Tenants in `store`, which also holds their identities. If another store
    /// does, use [`RecordTenants::with_identities_in`].
    pub fn new(store: impl Into<Store>) -> Self {
        Self::over(Arc::new(RecordTenants::new(store)))
    }

    /// Tenants of an implementation of your own.
    pub fn over(store: Arc<dyn TenantStore>) -> Self {
        Self { store }
    }

    /// The implementation.
    pub fn store(&self) -> &Arc<dyn TenantStore> {
        &self.store
    }

    /// Creates a tenant, below its parent if its path has one.
    ///
    /// # Errors
    /// `AlreadyExists` if the path is taken; `NotFound` without the parent;
    /// `PermissionDenied` or `LimitExceeded` if a tenant above does not allow it.
    pub async fn create(&self, tenant: Tenant) -> Result<Arc<Tenant>> {
        self.store.create(tenant).await
    }

    /// The tenant at `path`.
    ///
    /// # Errors
    /// The store's own.
    pub async fn get(&self, path: &TenantPath) -> Result<Option<Arc<Tenant>>> {
        self.store.get(path).await
    }

    /// Changes a tenant in place, losing no concurrent change. New quotas bind it
    /// when this returns, and its descendants after [`Tenants::bind_quotas`] on
    /// them.
    ///
    /// # Errors
    /// `NotFound`; those of `edit`.
    pub async fn update(
        &self,
        path: &TenantPath,
        edit: impl Fn(&mut Tenant) -> Result<()> + Send + Sync,
    ) -> Result<Arc<Tenant>> {
        self.store.update(path, &edit).await
    }

    /// Deletes a tenant. The path may be used again; the new tenant inherits
    /// nothing.
    ///
    /// # Errors
    /// `NotFound`; `InUse` while there are tenants below it or identities in it.
    pub async fn delete(&self, path: &TenantPath) -> Result<()> {
        self.store.delete(path).await
    }

    /// All tenants of all trees, in no order.
    ///
    /// # Errors
    /// As [`EntityStore::list`](crate::entity::EntityStore::list).
    pub async fn list(&self, listing: &Listing<Tenant>) -> Result<Page<Arc<Tenant>>> {
        self.store.list(&Among::All, listing).await
    }

    /// The tenants of this page and of all after it. See [`Self::list`].
    pub fn list_stream(&self, listing: Listing<Tenant>) -> Items<'_, Arc<Tenant>> {
        self.store.list_stream(&Among::All, listing)
    }

    /// The tenants directly below `path`.
    ///
    /// # Errors
    /// As [`EntityStore::list`](crate::entity::EntityStore::list).
    pub async fn children(
        &self,
        path: &TenantPath,
        listing: &Listing<Tenant>,
    ) -> Result<Page<Arc<Tenant>>> {
        self.store
            .list(&Among::Children(path.clone()), listing)
            .await
    }

    /// The tenants of this page and of all after it. See [`Self::children`].
    pub fn children_stream(
        &self,
        path: &TenantPath,
        listing: Listing<Tenant>,
    ) -> Items<'_, Arc<Tenant>> {
        self.store
            .list_stream(&Among::Children(path.clone()), listing)
    }

    /// The tenants below `path` at any depth.
    ///
    /// # Errors
    /// As [`EntityStore::list`](crate::entity::EntityStore::list).
    pub async fn descendants(
        &self,
        path: &TenantPath,
        listing: &Listing<Tenant>,
    ) -> Result<Page<Arc<Tenant>>> {
        self.store
            .list(&Among::Descendants(path.clone()), listing)
            .await
    }

    /// The tenants of this page and of all after it. See [`Self::descendants`].
    pub fn descendants_stream(
        &self,
        path: &TenantPath,
        listing: Listing<Tenant>,
    ) -> Items<'_, Arc<Tenant>> {
        self.store
            .list_stream(&Among::Descendants(path.clone()), listing)
    }

    /// The tenants above `path`, the root first, without the tenant itself.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn ancestors(&self, path: &TenantPath) -> Result<Vec<Arc<Tenant>>> {
        self.store.ancestors(path).await
    }

    /// The quotas of `path`, resolved up the tree.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn effective_quotas(&self, path: &TenantPath) -> Result<Quotas> {
        self.store.effective_quotas(path).await
    }

    /// What `path` uses, without the tenants below it.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn usage(&self, path: &TenantPath) -> Result<Usage> {
        self.store.usage(path).await
    }

    /// What `path` and all tenants below it use together; not a snapshot.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn usage_with_descendants(&self, path: &TenantPath) -> Result<Usage> {
        self.store.usage_with_descendants(path).await
    }

    /// Makes the changed quotas of an ancestor binding for `path`.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn bind_quotas(&self, path: &TenantPath) -> Result<()> {
        self.store.bind_quotas(path).await
    }
}
