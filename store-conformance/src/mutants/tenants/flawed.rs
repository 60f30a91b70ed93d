//! Tenants with one flaw in the code around a correct store.

use std::sync::Arc;

use async_trait::async_trait;
use store_core::entity::{Edit, EntityLayer, EntityStore, EntityStoreExt, Incarnation, Listing};
use store_core::iam::Identity;
use store_core::layers::Layered;
use store_core::page::Page;
use store_core::tenants::{
    Among, Quotas, RecordTenants, Tenant, TenantLayer, TenantPath, TenantStore, Usage,
};
use store_core::{
    Batch, Body, Collection, Error, ErrorKind, Expect, Partition, RecordKey, RecordStore, Result,
    Store,
};
use tokio::sync::Barrier;

use crate::cases::iam::{load_tenants, ring};
use crate::cases::tenants::Fixtures;
use crate::harness::{Harness, Opened};
use crate::mutants::sound;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    Nothing,
    AncestryByText,
    AncestorsFromBelow,
    MakesParents,
    DeletesBelow,
    OwnQuotasOnly,
    RootQuotasOnly,
    IgnoresCursors,
    ListsOneTree,
    UpdateForges,
    DropsTheNode,
    CountsLeaves,
    BindsNothing,
    ExpectsNoParent,
}

/// One handle.
#[derive(Debug)]
struct Flawed {
    inner: RecordTenants,
    records: Arc<dyn RecordStore>,
    flaw: Flaw,
    /// Where a creation and the deletion that it misses meet, so that they
    /// always do.
    meeting: Arc<Barrier>,
}

impl Flawed {
    fn has(&self, flaw: Flaw) -> bool {
        self.flaw == flaw
    }

    /// Writes or deletes the node alone, without the store.
    async fn write(&self, path: &TenantPath, node: Option<Tenant>) -> Result<()> {
        let root = path.ancestors().first().unwrap_or(path).clone();
        let above = path.parent().map(|p| p.to_string()).unwrap_or_default();
        let key = RecordKey::new(
            Collection::new("tenants").cacheable(),
            format!("{above}:{}", path.number()),
        )?;
        let partition = Partition::new(format!("tenants/{root}"))?;
        let mut batch = Batch::new(partition, self.records.clock().now());
        match node {
            Some(node) => batch.put(key, Expect::Any, Body::json(node)?)?,
            None => batch.delete(key, Expect::Any)?,
        };
        self.records.commit(&batch).await.map(drop)
    }
}

impl Layered for Flawed {
    type Inner = RecordTenants;

    fn inner(&self) -> &RecordTenants {
        &self.inner
    }
}

#[async_trait]
impl EntityLayer<Tenant> for Flawed {
    async fn create(&self, tenant: Tenant) -> Result<Arc<Tenant>> {
        if self.has(Flaw::MakesParents) {
            for above in tenant.id.ancestors() {
                if self.inner.get(&above).await?.is_none() {
                    self.inner.create(Tenant::new(&above, "made up")).await?;
                }
            }
        }
        if self.has(Flaw::ExpectsNoParent) && tenant.id.depth() == 3 {
            let above = tenant.id.parent().expect("it is not a root");
            let above = self.inner.get(&above).await?;
            above.ok_or_else(|| Error::not_found("no such tenant"))?;
            // Between these two, the parent is deleted.
            self.meeting.wait().await;
            self.meeting.wait().await;
            let path = tenant.id.clone();
            self.write(&path, Some(tenant.clone())).await?;
            return Ok(Arc::new(tenant));
        }
        self.inner.create(tenant).await
    }

    async fn update(&self, path: &TenantPath, edit: Edit<'_, Tenant>) -> Result<Arc<Tenant>> {
        if self.has(Flaw::BindsNothing) {
            // The gate is what binds; the node alone is only a word.
            let found = self.inner.get(path).await?;
            let mut node = (*found.ok_or_else(|| Error::not_found("no such tenant"))?).clone();
            edit(&mut node)?;
            self.write(path, Some(node.clone())).await?;
            return Ok(Arc::new(node));
        }
        let updated = self.inner.update(path, edit).await?;
        if self.has(Flaw::UpdateForges) {
            let mut forged = (*updated).clone();
            forged.incarnation = Incarnation::unique();
            self.write(path, Some(forged)).await?;
        }
        Ok(updated)
    }

    async fn delete(&self, path: &TenantPath) -> Result<()> {
        if self.has(Flaw::ExpectsNoParent) && path.depth() == 2 {
            self.meeting.wait().await;
            let answer = self.inner.delete(path).await;
            self.meeting.wait().await;
            return answer;
        }
        match self.inner.delete(path).await {
            Err(error) if error.is(ErrorKind::InUse) && self.has(Flaw::DeletesBelow) => {
                let below = Among::Descendants(path.clone());
                let mut below = self.inner.list_all(&below, Listing::new()).await?;
                below.sort_by_key(|tenant| std::cmp::Reverse(tenant.id.depth()));
                for tenant in below {
                    self.inner.delete(&tenant.id).await?;
                }
                self.inner.delete(path).await
            }
            Err(error) if error.is(ErrorKind::InUse) && self.has(Flaw::DropsTheNode) => {
                self.write(path, None).await
            }
            answer => answer,
        }
    }

    async fn list(&self, among: &Among, listing: &Listing<Tenant>) -> Result<Page<Arc<Tenant>>> {
        match (self.flaw, among) {
            (Flaw::AncestryByText, Among::Descendants(path)) => {
                let all = self.inner.list_all(&Among::All, Listing::new()).await?;
                let below = |tenant: &Arc<Tenant>| {
                    tenant.id != *path && tenant.id.as_str().starts_with(path.as_str())
                };
                Ok(Page::last(all.into_iter().filter(below).collect()))
            }
            (Flaw::IgnoresCursors, _) => {
                let first = Listing::new().limit(listing.page_request().size())?;
                self.inner.list(among, &first).await
            }
            (Flaw::ListsOneTree, Among::All) => {
                let page = self.inner.list(among, listing).await?;
                let of_one = |tenant: &Arc<Tenant>| tenant.id.numbers().next() == Some(1);
                Ok(Page::new(
                    page.items.into_iter().filter(of_one).collect(),
                    page.next,
                ))
            }
            _ => self.inner.list(among, listing).await,
        }
    }
}

#[async_trait]
impl TenantLayer for Flawed {
    async fn ancestors(&self, path: &TenantPath) -> Result<Vec<Arc<Tenant>>> {
        let mut ancestors = self.inner.ancestors(path).await?;
        if self.has(Flaw::AncestorsFromBelow) {
            ancestors.reverse();
        }
        Ok(ancestors)
    }

    async fn effective_quotas(&self, path: &TenantPath) -> Result<Quotas> {
        let effective = self.inner.effective_quotas(path).await?;
        let of = match self.flaw {
            Flaw::OwnQuotasOnly => path.clone(),
            Flaw::RootQuotasOnly => path.ancestors().first().unwrap_or(path).clone(),
            _ => return Ok(effective),
        };
        let tenant = self.inner.get(&of).await?;
        Ok(tenant.map_or(effective, |tenant| tenant.quotas.clone()))
    }

    async fn usage_with_descendants(&self, path: &TenantPath) -> Result<Usage> {
        if self.has(Flaw::CountsLeaves) {
            return self.inner.usage(path).await;
        }
        self.inner.usage_with_descendants(path).await
    }
}

/// Opens flawed stores.
pub(super) struct Sabotaged(pub(super) Flaw);

impl Sabotaged {
    async fn open_with(&self, tenants: Fixtures) -> Result<Opened<Store>> {
        let opened = sound().backend_harness().open(()).await?;
        load_tenants(&opened.first, tenants).await?;
        Ok(opened)
    }

    fn flawed(&self, store: &Store, meeting: &Arc<Barrier>) -> Arc<dyn TenantStore> {
        let records = Arc::clone(store.records());
        Arc::new(Flawed {
            inner: RecordTenants::new(store),
            records,
            flaw: self.0,
            meeting: Arc::clone(meeting),
        })
    }
}

#[async_trait]
impl Harness<dyn TenantStore, Fixtures> for Sabotaged {
    fn backend(&self) -> String {
        format!("{:?}", self.0)
    }

    async fn open(&self, fixtures: Fixtures) -> Result<Opened<dyn TenantStore>> {
        let opened = self.open_with(fixtures).await?;
        let meeting = Arc::new(Barrier::new(2));
        Ok(opened.map(|store| self.flawed(store, &meeting)))
    }
}

#[async_trait]
impl Harness<Identity, Fixtures> for Sabotaged {
    fn backend(&self) -> String {
        format!("{:?}", self.0)
    }

    async fn open(&self, fixtures: Fixtures) -> Result<Opened<Identity>> {
        let opened = self.open_with(fixtures).await?;
        let meeting = Arc::new(Barrier::new(2));
        Ok(opened.map(|store| {
            let identity = Identity::new(&**store, &ring());
            Arc::new(identity.with_tenants(self.flawed(store, &meeting)))
        }))
    }
}
