//! The contract for tenants.

use std::sync::Arc;

use async_trait::async_trait;

use crate::entity::TenantPath;
use crate::entity::{EntityStore, EntityStoreExt, Listing};
use crate::error::{Error, Result};
use crate::tenants::gate::no_tenant;
use crate::tenants::{Among, QuotaMode, Quotas, Tenant, Usage};

/// Stores tenants.
///
/// In addition to the promises of [`EntityStore`]: a tenant other than a root
/// needs its parent, which must allow it (`can_create_sub_tenants`,
/// `max_child_depth`, the quota `max_sub_tenants`); a tenant with tenants below
/// it, or with identities, is not deleted.
#[async_trait]
pub trait TenantStore: EntityStore<Tenant> {
    /// The tenants above `path`, the root first, without the tenant itself.
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

    /// The quotas of `path`, resolved up the tree: those of the nearest tenant,
    /// itself first, that does not inherit them, else those of the root.
    ///
    /// # Errors
    /// `NotFound` if there is no such tenant.
    async fn effective_quotas(&self, path: &TenantPath) -> Result<Quotas> {
        let mut lineage = self.ancestors(path).await?;
        lineage.push(self.get(path).await?.ok_or_else(no_tenant)?);
        Ok(resolve(&lineage))
    }

    /// The tenant at `path` and its effective quotas.
    ///
    /// # Errors
    /// `NotFound` if there is no such tenant.
    async fn with_quotas(&self, path: &TenantPath) -> Result<(Arc<Tenant>, Quotas)> {
        let tenant = self.get(path).await?.ok_or_else(no_tenant)?;
        Ok((tenant, self.effective_quotas(path).await?))
    }

    /// What `path` uses, without the tenants below it.
    ///
    /// # Errors
    /// `NotFound` if there is no such tenant.
    async fn usage(&self, path: &TenantPath) -> Result<Usage> {
        let _ = path;
        Err(Error::unsupported(
            "this store of tenants does not count identities; count them in the application",
        ))
    }

    /// What `path` and all tenants below it use together. The counts of each
    /// tenant are exact; the sum is not a snapshot.
    ///
    /// # Errors
    /// `NotFound` if there is no such tenant.
    async fn usage_with_descendants(&self, path: &TenantPath) -> Result<Usage> {
        let mut sum = self.usage(path).await?;
        let below = Among::Descendants(path.clone());
        for tenant in self.list_all(&below, Listing::new()).await? {
            match self.usage(&tenant.id).await {
                Ok(usage) => sum.merge(&usage),
                // It was deleted in the meantime.
                Err(error) if error.is(crate::ErrorKind::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(sum)
    }

    /// Makes the [effective quotas](Self::effective_quotas) of `path` binding.
    /// When a tenant's own quotas change, this happens by itself; when those of
    /// an ancestor change, they bind a descendant only after this call.
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
