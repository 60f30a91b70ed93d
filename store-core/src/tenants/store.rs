//! The contract for tenants.

use std::sync::Arc;

use async_trait::async_trait;

use crate::entity::{EntityStore, EntityStoreExt, Listing};
use crate::error::{Error, Result};
use crate::tenants::gate::no_tenant;
use crate::tenants::{Among, QuotaMode, Quotas, Tenant, TenantPath, Usage};

/// Keeps tenants.
///
/// Beyond [`EntityStore`]'s promises: a tenant other than a root needs its
/// parent, which must allow it (`can_create_sub_tenants`, `max_child_depth`,
/// the quota `max_sub_tenants`); a tenant with tenants below it, or with
/// identities, is not deleted.
#[async_trait]
pub trait TenantStore: EntityStore<Tenant> {
    /// The tenants above `path`, the root first, without itself.
    ///
    /// # Errors
    /// `NotFound` if there is no such tenant.
    async fn ancestors(&self, path: &TenantPath) -> Result<Vec<Arc<Tenant>>> {
        let mut found = Vec::new();
        for ancestor in path.ancestors() {
            found.push(self.get(&ancestor).await?.ok_or_else(no_tenant)?);
        }
        self.get(path).await?.ok_or_else(no_tenant)?;
        Ok(found)
    }

    /// What `path` may have, resolved up the tree: the quotas of the nearest
    /// tenant, itself first, that does not inherit them, else the root's.
    ///
    /// # Errors
    /// `NotFound` if there is no such tenant.
    async fn effective_quotas(&self, path: &TenantPath) -> Result<Quotas> {
        let mut lineage = self.ancestors(path).await?;
        lineage.push(self.get(path).await?.ok_or_else(no_tenant)?);
        Ok(resolve(&lineage))
    }

    /// What `path` has, without the tenants below it.
    ///
    /// # Errors
    /// `NotFound` if there is no such tenant.
    async fn usage(&self, path: &TenantPath) -> Result<Usage> {
        let _ = path;
        Err(Error::unsupported("this store of tenants counts nothing"))
    }

    /// What `path` and all tenants below it have together. Each tenant's counts
    /// are true, the sum is no snapshot.
    ///
    /// # Errors
    /// `NotFound` if there is no such tenant.
    async fn usage_with_descendants(&self, path: &TenantPath) -> Result<Usage> {
        let mut sum = self.usage(path).await?;
        let below = Among::Descendants(path.clone());
        for tenant in self.list_all(&below, Listing::new()).await? {
            match self.usage(&tenant.id).await {
                Ok(usage) => sum.merge(&usage),
                // Deleted meanwhile.
                Err(error) if error.is(crate::ErrorKind::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(sum)
    }

    /// Makes the quotas that [`effective_quotas`](Self::effective_quotas)
    /// tells bind `path`. A tenant's own change does so by itself; a changed
    /// ancestor's binds a descendant only after this.
    ///
    /// # Errors
    /// `NotFound` if there is no such tenant.
    async fn bind_quotas(&self, path: &TenantPath) -> Result<()> {
        self.get(path).await?.map(drop).ok_or_else(no_tenant)
    }
}

/// The quotas of the last of `lineage`, which begins with the root.
pub(crate) fn resolve(lineage: &[Arc<Tenant>]) -> Quotas {
    let nearest = lineage
        .iter()
        .rev()
        .find(|tenant| tenant.quota_mode == QuotaMode::Override)
        .or(lineage.first());
    nearest.map_or_else(Quotas::default, |tenant| tenant.quotas.clone())
}
