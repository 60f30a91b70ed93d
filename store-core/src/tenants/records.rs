//! Tenants stored as records.
//!
//! One tree is one partition. The id of a tenant's record is the path of its
//! parent, `:` and its own number, so that the ids of the children of `1/2`
//! start with `1/2:`, and those of deeper descendants with `1/2/`.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::backend::Attempts;
use crate::body::{Format, Unknown};
use crate::clock::Timestamp;
use crate::entity::{Edit, EntityStore, Incarnation, Listing, TenantPath};
use crate::error::{Error, ErrorKind, Result, Retry};
use crate::key::{Collection, Partition, RecordKey};
use crate::page::{Cursor, MAX_PAGE, Page};
use crate::record_store::RecordStore;
use crate::scan::Scan;
use crate::store::Store;
use crate::tenants::gate::{TenantGates, no_tenant};
use crate::tenants::store::resolve;
use crate::tenants::{Among, Quotas, Tenant, TenantStore, Usage};
use crate::transaction::{Transaction, transact};

pub(super) const NODES: Collection = Collection::new("tenants").cacheable();
pub(super) const ROSTERS: Collection = Collection::new("tenant_rosters");
const TREES: &str = "tenants/";

/// How many tenants there are directly below one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Roster {
    #[serde(default)]
    pub(crate) format: Format<1>,
    pub(crate) children: u64,
    #[serde(flatten)]
    pub(crate) unknown: Unknown,
}

/// The standard [`TenantStore`], over any record store. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RecordTenants {
    records: Arc<dyn RecordStore>,
    gates: TenantGates,
}

impl RecordTenants {
    /// Tenants in `store`, which also holds their identities.
    pub fn new(store: impl Into<Store>) -> Self {
        let store = store.into();
        Self {
            records: Arc::clone(store.records()),
            gates: TenantGates::new(store),
        }
    }

    /// These tenants, with their identities in another store.
    pub fn with_identities_in(mut self, store: impl Into<Store>) -> Self {
        self.gates = TenantGates::new(store);
        self
    }

    /// Marks the tenant, so that no process opens its gate any more.
    async fn mark(&self, path: &TenantPath) -> Result<Tenant> {
        let (node, roster) = (node_key(path)?, roster_key(path)?);
        let mark = Incarnation::unique();
        transact(&*self.records, &tree(path)?, |tx| {
            tx.need([&node, &roster])?;
            let mut tenant = read_node(tx, &node)?;
            let children = tx.read::<Roster>(&roster)?.map_or(0, |r| r.children);
            if children > 0 {
                return Err(Error::new(
                    ErrorKind::InUse,
                    format!("there are {children} tenants below this one; delete them first"),
                ));
            }
            tenant.deleting = Some(mark);
            tx.put(&node, tenant.clone())?;
            Ok(tenant)
        })
        .await
    }

    /// Removes the mark, unless another deletion has set its own.
    async fn unmark(&self, marked: &Tenant) -> Result<()> {
        let node = node_key(&marked.id)?;
        transact(&*self.records, &tree(&marked.id)?, |tx| {
            let Some(tenant) = tx.read::<Tenant>(&node)? else {
                return Ok(());
            };
            if tenant.deleting == marked.deleting {
                let mut tenant = (*tenant).clone();
                tenant.deleting = None;
                tx.put(&node, tenant)?;
            }
            Ok(())
        })
        .await
    }

    /// Deletes the marked tenant; false if another deletion has set its own mark.
    async fn drop_node(&self, marked: &Tenant) -> Result<bool> {
        let path = &marked.id;
        let (node, roster) = (node_key(path)?, roster_key(path)?);
        let above = path.parent().as_ref().map(roster_key).transpose()?;
        transact(&*self.records, &tree(path)?, |tx| {
            tx.need([&node, &roster].into_iter().chain(&above))?;
            if read_node(tx, &node)?.deleting != marked.deleting {
                return Ok(false);
            }
            tx.delete(&node)?;
            tx.delete(&roster)?;
            if let Some(above) = &above {
                count_child(tx, above, -1)?;
            }
            Ok(true)
        })
        .await
    }
}

fn count_child(tx: &mut Transaction, roster: &RecordKey, by: i64) -> Result<u64> {
    let mut held = tx
        .read::<Roster>(roster)?
        .map_or_else(Roster::default, |r| (*r).clone());
    held.children = held.children.saturating_add_signed(by);
    let children = held.children;
    tx.put(roster, held)?;
    Ok(children)
}

/// Refuses one more tenant below the last of `above` (the root first), if one of
/// them does not allow it.
fn allow(above: &[Arc<Tenant>], children: u64) -> Result<()> {
    let Some(parent) = above.last() else {
        return Ok(());
    };
    if !parent.can_create_sub_tenants {
        return Err(Error::new(
            ErrorKind::PermissionDenied,
            "the tenant above does not allow tenants below it; set its can_create_sub_tenants",
        ));
    }
    let too_deep = above
        .iter()
        .rev()
        .zip(1..)
        .any(|(tenant, levels)| tenant.max_child_depth < levels);
    if too_deep {
        return Err(Error::new(
            ErrorKind::LimitExceeded,
            "a tenant above allows fewer levels below it; raise its max_child_depth",
        ));
    }
    if resolve(above)
        .max_sub_tenants
        .is_some_and(|max| children > max)
    {
        return Err(Error::new(
            ErrorKind::LimitExceeded,
            "the tenant above has as many tenants below it as its quota max_sub_tenants allows; \
             delete one or raise the quota",
        ));
    }
    Ok(())
}

#[async_trait]
impl EntityStore<Tenant> for RecordTenants {
    async fn create(&self, mut tenant: Tenant) -> Result<Arc<Tenant>> {
        tenant.check()?;
        tenant.parent_id = tenant.id.parent();
        tenant.incarnation = Incarnation::unique();
        tenant.deleting = None;
        let path = tenant.id.clone();
        let node = node_key(&path)?;
        let above: Vec<RecordKey> = path
            .ancestors()
            .iter()
            .map(node_key)
            .collect::<Result<_>>()?;
        let roster = path.parent().as_ref().map(roster_key).transpose()?;
        transact(&*self.records, &tree(&path)?, |tx| {
            tx.need([&node].into_iter().chain(&above).chain(&roster))?;
            if tx.exists(&node)? {
                return Err(Error::already_exists(
                    "there is a tenant at this path already; choose another number",
                ));
            }
            let lineage = above
                .iter()
                .map(|key| {
                    let found = tx.read::<Tenant>(key)?;
                    found.filter(|t| t.deleting.is_none()).ok_or_else(no_tenant)
                })
                .collect::<Result<Vec<_>>>()?;
            if let Some(roster) = &roster {
                let children = count_child(tx, roster, 1)?;
                allow(&lineage, children)?;
            }
            let mut created = tenant.clone();
            if created.created_at == Timestamp::EPOCH {
                created.created_at = tx.now();
            }
            let created = Arc::new(created);
            tx.put_shared(&node, Arc::clone(&created))?;
            Ok(created)
        })
        .await
    }

    async fn get(&self, path: &TenantPath) -> Result<Option<Arc<Tenant>>> {
        let found = self.records.get(node_key(path)?.at(&tree(path)?)).await?;
        found.map(|record| record.decode()).transpose()
    }

    async fn update(&self, path: &TenantPath, edit: Edit<'_, Tenant>) -> Result<Arc<Tenant>> {
        let node = node_key(path)?;
        let (updated, bind) = transact(&*self.records, &tree(path)?, |tx| {
            let before = tx.read::<Tenant>(&node)?.ok_or_else(no_tenant)?;
            let mut after = (*before).clone();
            edit(&mut after)?;
            after.check()?;
            if after.id != before.id {
                return Err(Error::invalid(
                    "a tenant's path never changes; create another",
                ));
            }
            after.parent_id = before.parent_id.clone();
            after.incarnation = before.incarnation;
            after.created_at = before.created_at;
            after.deleting = before.deleting;
            if after == *before {
                // Perhaps this repeats an update whose binding failed.
                return Ok((before, true));
            }
            let bind = after.quotas != before.quotas || after.quota_mode != before.quota_mode;
            let after = Arc::new(after);
            tx.put_shared(&node, Arc::clone(&after))?;
            Ok((after, bind))
        })
        .await?;
        if bind && updated.deleting.is_none() {
            // The tenant is written; repeating the update binds the quotas too.
            self.bind_quotas(path)
                .await
                .map_err(|error| error.with_retry(Retry::Ambiguous))?;
        }
        Ok(updated)
    }

    async fn delete(&self, path: &TenantPath) -> Result<()> {
        let mut attempts = Attempts::new();
        loop {
            let marked = self.mark(path).await?;
            if let Err(error) = self.gates.close(path, marked.incarnation).await {
                if error.is(ErrorKind::InUse) {
                    self.unmark(&marked).await?;
                }
                return Err(error);
            }
            if self.drop_node(&marked).await? {
                return Ok(());
            }
            attempts.failed().await?;
        }
    }

    async fn list(&self, among: &Among, listing: &Listing<Tenant>) -> Result<Page<Arc<Tenant>>> {
        if !listing.prefix().is_empty() {
            return Err(Error::invalid(
                "tenants have no path to list by; list the children or descendants of a tenant",
            ));
        }
        let scan = |scan: Scan| scan.page(listing.page_request());
        let page = match among {
            Among::All => {
                self.records
                    .scan(&scan(Scan::collection(NODES, TREES))?)
                    .await?
            }
            Among::Children(path) => self.records.scan(&scan(below(path, ':')?)?).await?,
            Among::Descendants(path) => self.descendants(path, listing).await?,
        };
        page.try_map(|record| record.decode())
    }
}

impl RecordTenants {
    /// First the deeper descendants, then the children: two scans, one list. Its
    /// cursor is `/` or `:`, for the scan that it continues, and the cursor of
    /// that scan.
    async fn descendants(
        &self,
        path: &TenantPath,
        listing: &Listing<Tenant>,
    ) -> Result<Page<crate::Record>> {
        let query = below(path, ' ')?.page(listing.page_request())?;
        let position = query.position_text()?.unwrap_or("/");
        let mut deep = position.starts_with('/');
        let inner = position.get(1..).filter(|inner| !inner.is_empty());
        let mut inner = inner.map(str::parse::<Cursor>).transpose()?;
        let mut items = Vec::new();
        loop {
            let room = query.page_size() - items.len();
            let mut scan = below(path, if deep { '/' } else { ':' })?.limit(room.max(1))?;
            if let Some(cursor) = &inner {
                scan = scan.after(cursor)?;
            }
            let page = self.records.scan(&scan).await?;
            if room == 0 {
                // The page is full; this scan only finds out whether there is more.
                let next = (!page.items.is_empty()).then(|| query.cursor(":"));
                return Ok(Page::new(items, next));
            }
            items.extend(page.items);
            match page.next {
                Some(cursor) => {
                    let scan = if deep { '/' } else { ':' };
                    let next = Some(query.cursor(format!("{scan}{cursor}")));
                    return Ok(Page::new(items, next));
                }
                None if deep => (deep, inner) = (false, None),
                None => return Ok(Page::last(items)),
            }
        }
    }
}

#[async_trait]
impl TenantStore for RecordTenants {
    async fn ancestors(&self, path: &TenantPath) -> Result<Vec<Arc<Tenant>>> {
        let mut lineage = lineage(&*self.records, path).await?;
        lineage.pop();
        Ok(lineage)
    }

    async fn effective_quotas(&self, path: &TenantPath) -> Result<Quotas> {
        Ok(resolve(&lineage(&*self.records, path).await?))
    }

    async fn with_quotas(&self, path: &TenantPath) -> Result<(Arc<Tenant>, Quotas)> {
        let lineage = lineage(&*self.records, path).await?;
        let quotas = resolve(&lineage);
        let tenant = lineage.into_iter().next_back().ok_or_else(no_tenant)?;
        Ok((tenant, quotas))
    }

    async fn usage(&self, path: &TenantPath) -> Result<Usage> {
        let usage = self.usage_of(std::slice::from_ref(path)).await?;
        usage.into_iter().next().flatten().ok_or_else(no_tenant)
    }

    async fn usage_with_descendants(&self, path: &TenantPath) -> Result<Usage> {
        let mut sum = self.usage(path).await?;
        let below = Among::Descendants(path.clone());
        let mut listing = Listing::new().limit(MAX_PAGE)?;
        loop {
            let page = self.list(&below, &listing).await?;
            let paths: Vec<_> = page.items.iter().map(|tenant| tenant.id.clone()).collect();
            // A tenant that was deleted in the meantime uses nothing.
            for usage in self.usage_of(&paths).await?.iter().flatten() {
                sum.merge(usage);
            }
            match page.next {
                Some(cursor) => listing = listing.after(cursor),
                None => return Ok(sum),
            }
        }
    }

    async fn bind_quotas(&self, path: &TenantPath) -> Result<()> {
        self.gates.bind(self, path).await
    }
}

impl RecordTenants {
    /// What each of these tenants of one tree uses, in two round trips; `None`
    /// for a tenant that does not exist.
    async fn usage_of(&self, paths: &[TenantPath]) -> Result<Vec<Option<Usage>>> {
        let Some(first) = paths.first() else {
            return Ok(Vec::new());
        };
        let tree = tree(first)?;
        let mut keys = Vec::with_capacity(2 * paths.len());
        for path in paths {
            keys.extend([node_key(path)?, roster_key(path)?]);
        }
        let at: Vec<_> = keys.iter().map(|key| key.at(&tree)).collect();
        let found = self.records.get_many(&at).await?;
        let counted = self.gates.usage(paths).await?;
        let mut all = Vec::with_capacity(paths.len());
        for (found, mut usage) in found.chunks(2).zip(counted) {
            let [node, roster] = found else { break };
            if let Some(roster) = roster {
                let children = roster.decode::<Roster>()?.children;
                usage.add("tenant", i64::try_from(children).unwrap_or(i64::MAX));
            }
            all.push(node.is_some().then_some(usage));
        }
        Ok(all)
    }
}

/// The tenant at `path` and those above it, the root first.
async fn lineage(records: &dyn RecordStore, path: &TenantPath) -> Result<Vec<Arc<Tenant>>> {
    let tree = tree(path)?;
    let mut keys: Vec<RecordKey> = path
        .ancestors()
        .iter()
        .map(node_key)
        .collect::<Result<_>>()?;
    keys.push(node_key(path)?);
    let at: Vec<_> = keys.iter().map(|key| key.at(&tree)).collect();
    let found = records.get_many(&at).await?;
    found
        .into_iter()
        .map(|record| record.ok_or_else(no_tenant)?.decode())
        .collect()
}

fn read_node(tx: &mut Transaction, node: &RecordKey) -> Result<Tenant> {
    let tenant = tx.read::<Tenant>(node)?.ok_or_else(no_tenant)?;
    Ok((*tenant).clone())
}

fn tree(path: &TenantPath) -> Result<Partition> {
    Partition::new(format!("{TREES}{}", path.tree()))
}

fn node_key(path: &TenantPath) -> Result<RecordKey> {
    let above = path.parent();
    let above = above.as_ref().map_or("", TenantPath::as_str);
    RecordKey::new(NODES, format!("{above}:{}", path.number()))
}

fn roster_key(path: &TenantPath) -> Result<RecordKey> {
    RecordKey::new(ROSTERS, path.as_str())
}

/// The tenants below `path`: its children after `:`, deeper ones after `/`.
fn below(path: &TenantPath, separator: char) -> Result<Scan> {
    Ok(Scan::partition(NODES, tree(path)?).id_prefix(format!("{path}{separator}")))
}
