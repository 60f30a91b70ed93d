//! The handle.

use std::sync::Arc;

use crate::entity::Listing;
use crate::error::Result;
use crate::scan::Page;
use crate::store::Store;
use crate::tenants::{Among, Quotas, RecordTenants, Tenant, TenantPath, TenantStore, Usage};

/// Tenants, over any store. Cheap to clone. See the [module](crate::tenants).
#[derive(Clone, Debug)]
pub struct Tenants {
    store: Arc<dyn TenantStore>,
}

impl Tenants {
    /// Tenants kept in `store`.
    pub fn new(store: impl Into<Store>) -> Self {
        let records = Arc::clone(store.into().records());
        Self::over(Arc::new(RecordTenants::new(records)))
    }

    /// Tenants kept by an implementation of your own.
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

    /// Changes a tenant in place, losing no other's change. New quotas bind it
    /// at once, and its descendants after [`Tenants::bind_quotas`] on them.
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

    /// Deletes a tenant. The path may be given again; the new tenant inherits nothing.
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

    /// The tenants right below `path`.
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

    /// The tenants above `path`, the root first, without itself.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn ancestors(&self, path: &TenantPath) -> Result<Vec<Arc<Tenant>>> {
        self.store.ancestors(path).await
    }

    /// What `path` may have, resolved up the tree.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn effective_quotas(&self, path: &TenantPath) -> Result<Quotas> {
        self.store.effective_quotas(path).await
    }

    /// What `path` has, without the tenants below it.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn usage(&self, path: &TenantPath) -> Result<Usage> {
        self.store.usage(path).await
    }

    /// What `path` and all below it have together; no snapshot.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn usage_with_descendants(&self, path: &TenantPath) -> Result<Usage> {
        self.store.usage_with_descendants(path).await
    }

    /// Makes an ancestor's changed quotas bind `path`.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn bind_quotas(&self, path: &TenantPath) -> Result<()> {
        self.store.bind_quotas(path).await
    }
}
