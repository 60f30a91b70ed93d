//! Layers over stores of tenants.

use std::sync::Arc;

use crate::entity::{EntityLayer, TenantPath};
use crate::error::Result;
use crate::layers::layered;
use crate::tenants::{Quotas, Tenant, TenantStore, Usage};

layered! {
    /// A layer over a [`TenantStore`], and by that a `TenantStore` itself. See the
    /// [module](crate::layers).
    [] TenantLayer as TenantLayer: [EntityLayer<Tenant>] over TenantStore;
    async fn ancestors['life1](path: &'life1 TenantPath) -> Result<Vec<Arc<Tenant>>>;
    async fn effective_quotas['life1](path: &'life1 TenantPath) -> Result<Quotas>;
    async fn with_quotas['life1](path: &'life1 TenantPath) -> Result<(Arc<Tenant>, Quotas)>;
    async fn usage['life1](path: &'life1 TenantPath) -> Result<Usage>;
    async fn usage_with_descendants['life1](path: &'life1 TenantPath) -> Result<Usage>;
    async fn bind_quotas['life1](path: &'life1 TenantPath) -> Result<()>;
}
