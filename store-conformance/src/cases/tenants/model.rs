//! Random calls, compared with a plain map of tenants.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use store_core::entity::{Incarnation, Listing};
use store_core::tenants::{Among, QuotaMode, Quotas, Tenant, TenantPath, TenantStore};
use store_core::{Clock, Error, ErrorKind, Page, PageRequest, Result};

use super::{Fixtures, Trees};
use crate::case;
use crate::cases::iam::path;
use crate::cases::model::{Model, Random, after_forged, all_pages, failure, for_each_seed, run};
use crate::harness::Opened;
use crate::suite::{Case, CaseResult};

pub(super) fn cases() -> Vec<Case<dyn TenantStore, Fixtures>> {
    vec![case!(
        random_calls_are_answered_as_by_a_map_of_tenants,
        "12",
        "21",
        "28",
        "29"
    )]
}

async fn random_calls_are_answered_as_by_a_map_of_tenants(given: Trees) -> CaseResult {
    for_each_seed(|seed, calls| compare(&given, seed, calls)).await
}

/// Makes `calls` random calls that follow from `seed`.
pub(crate) async fn compare(given: &Trees, seed: u64, calls: usize) -> CaseResult {
    let model = Tree {
        opened: given.open(Vec::new()).await?,
        tenants: BTreeMap::new(),
        used: Vec::new(),
    };
    run(model, seed, calls).await
}

/// Paths of which one begins as another does without being below it.
const PATHS: [&str; 8] = [
    "1", "1/2", "1/2/3", "1/2/3/4", "1/23", "1/23/3", "10", "10/2",
];

struct Tree {
    opened: Opened<dyn TenantStore>,
    tenants: BTreeMap<TenantPath, Arc<Tenant>>,
    /// The incarnations of all tenants that ever existed.
    used: Vec<Incarnation>,
}

/// A random setting of a tenant's limits or name.
fn change(random: &mut Random, tenant: &mut Tenant) {
    match random.below(6) {
        0 => tenant.can_create_sub_tenants = random.chance(60),
        1 => tenant.max_child_depth = random.below(4) as u32,
        2 => {
            tenant.quota_mode = QuotaMode::Override;
            let mut quotas = Quotas::default();
            quotas.max_sub_tenants = random.chance(70).then(|| random.below(3) as u64);
            tenant.quotas = quotas;
        }
        3 => tenant.quota_mode = QuotaMode::Inherited,
        4 => tenant.name = random.pick(&["", "renamed", "☃"]).into(),
        _ => {}
    }
}

#[async_trait]
impl Model for Tree {
    async fn call(&mut self, random: &mut Random) -> CaseResult {
        match random.below(20) {
            0..7 => self.create(random).await,
            7..10 => self.read(random).await,
            10..13 => self.update(random).await,
            13..15 => self.delete(random).await,
            15..18 => self.list(random).await,
            18 => self.forge(random).await,
            _ => {
                random.advance(&self.opened.clock, std::time::Duration::from_secs(1));
                Ok(())
            }
        }
    }
}

impl Tree {
    fn children(&self, of: &TenantPath) -> usize {
        let children = self.tenants.keys();
        children
            .filter(|path| path.parent().as_ref() == Some(of))
            .count()
    }

    /// The tenants above, the root first; `None` if one is missing.
    fn above(&self, path: &TenantPath) -> Option<Vec<&Arc<Tenant>>> {
        let above = path.ancestors();
        above.iter().map(|path| self.tenants.get(path)).collect()
    }

    /// The quotas that hold at the last of `lineage`.
    fn quotas(lineage: &[&Arc<Tenant>]) -> Quotas {
        let own = |tenant: &&&Arc<Tenant>| tenant.quota_mode == QuotaMode::Override;
        let nearest = lineage.iter().rev().find(own).or(lineage.first());
        nearest.map_or_else(Quotas::default, |tenant| tenant.quotas.clone())
    }

    /// Why a tenant at `path` must not be created.
    fn refusal(&self, path: &TenantPath) -> Option<ErrorKind> {
        if self.tenants.contains_key(path) {
            return Some(ErrorKind::AlreadyExists);
        }
        let Some(above) = self.above(path) else {
            return Some(ErrorKind::NotFound);
        };
        let parent = above.last()?;
        if !parent.can_create_sub_tenants {
            return Some(ErrorKind::PermissionDenied);
        }
        let depth = path.depth();
        let deep = above
            .iter()
            .any(|t| depth - t.id.depth() > t.max_child_depth as usize);
        let most = Self::quotas(&above).max_sub_tenants;
        let full = most.is_some_and(|most| self.children(&parent.id) as u64 >= most);
        (deep || full).then_some(ErrorKind::LimitExceeded)
    }

    async fn create(&mut self, random: &mut Random) -> CaseResult {
        let path = path(random.pick(&PATHS));
        let mut tenant = Tenant::new(&path, "new");
        if random.chance(40) {
            change(random, &mut tenant);
        }
        random.note(format!("create {path}: {:?}", tenant.name));
        let answer = random.handle(&self.opened).create(tenant.clone()).await;
        let refusal = match tenant.name.is_empty() {
            true => Some(ErrorKind::InvalidInput),
            false => self.refusal(&path),
        };
        assert_eq!(failure(&answer), refusal);
        if refusal.is_some() {
            return Ok(());
        }
        let created = answer?;
        assert!(
            !self.used.contains(&created.incarnation),
            "an incarnation is reused"
        );
        self.used.push(created.incarnation);
        tenant.incarnation = created.incarnation;
        tenant.created_at = self.opened.clock.now();
        assert_eq!(*created, tenant);
        self.tenants.insert(path, created);
        Ok(())
    }

    async fn read(&mut self, random: &mut Random) -> CaseResult {
        let path = path(random.pick(&PATHS));
        random.note(format!("read {path}"));
        let store = random.handle(&self.opened);
        let held = self.tenants.get(&path);
        assert_eq!(store.get(&path).await?.as_ref(), held);
        let (ancestors, quotas) = (
            store.ancestors(&path).await,
            store.effective_quotas(&path).await,
        );
        let usage = store.usage(&path).await;
        let Some(held) = held else {
            let failures = [failure(&ancestors), failure(&quotas), failure(&usage)];
            assert_eq!(failures, [Some(ErrorKind::NotFound); 3]);
            return Ok(());
        };
        let mut lineage = self
            .above(&path)
            .ok_or("a tenant exists without its parent")?;
        assert_eq!(ancestors?.iter().collect::<Vec<_>>(), lineage);
        lineage.push(held);
        assert_eq!(quotas?, Self::quotas(&lineage));
        assert_eq!(usage?.count("tenant"), self.children(&path) as u64);
        Ok(())
    }

    async fn update(&mut self, random: &mut Random) -> CaseResult {
        let path = path(random.pick(&PATHS));
        let held = self.tenants.get(&path).cloned();
        let mut after = held
            .as_deref()
            .cloned()
            .unwrap_or(Tenant::new(&path, "none"));
        change(random, &mut after);
        let refuses = random.chance(10);
        random.note(format!("update {path}, the edit refuses: {refuses}"));
        let edit = |tenant: &mut Tenant| {
            *tenant = after.clone();
            match refuses {
                true => Err(Error::new(ErrorKind::PermissionDenied, "the edit refuses")),
                false => Ok(()),
            }
        };
        let answer = random.handle(&self.opened).update(&path, &edit).await;
        let refusal = match (&held, refuses, after.name.is_empty()) {
            (None, ..) => Some(ErrorKind::NotFound),
            (_, true, _) => Some(ErrorKind::PermissionDenied),
            (.., true) => Some(ErrorKind::InvalidInput),
            _ => None,
        };
        assert_eq!(failure(&answer), refusal);
        if refusal.is_none() {
            let updated = answer?;
            assert_eq!(*updated, after);
            self.tenants.insert(path, updated);
        }
        Ok(())
    }

    async fn delete(&mut self, random: &mut Random) -> CaseResult {
        let path = path(random.pick(&PATHS));
        random.note(format!("delete {path}"));
        let answer = random.handle(&self.opened).delete(&path).await;
        let refusal = match self.tenants.contains_key(&path) {
            false => Some(ErrorKind::NotFound),
            true => (self.children(&path) > 0).then_some(ErrorKind::InUse),
        };
        assert_eq!(failure(&answer), refusal);
        if refusal.is_none() {
            self.tenants.remove(&path);
        }
        Ok(())
    }

    /// A query, and the tenants that it covers.
    fn query(&self, random: &mut Random) -> (Among, Vec<Arc<Tenant>>) {
        let of = path(random.pick(&["1", "1/2", "1/23", "10", "3"]));
        let among = match random.below(3) {
            0 => Among::All,
            1 => Among::Children(of.clone()),
            _ => Among::Descendants(of.clone()),
        };
        let covered = |path: &TenantPath| match among {
            Among::All => true,
            Among::Children(_) => path.parent().as_ref() == Some(&of),
            Among::Descendants(_) => of.is_ancestor_of(path),
        };
        let tenants = self.tenants.iter().filter(|(path, _)| covered(path));
        let tenants = tenants.map(|(_, tenant)| Arc::clone(tenant)).collect();
        (among, tenants)
    }

    async fn list(&mut self, random: &mut Random) -> CaseResult {
        let (among, expected) = self.query(random);
        let limit = 1 + random.below(4);
        random.note(format!("list {among:?}, {limit} a page"));
        let store = random.handle(&self.opened);
        let mut found = all_pages(limit, |page| listed(&store, &among, page)).await?;
        if !matches!(among, Among::Children(_)) {
            found.sort_by(|a, b| a.id.cmp(&b.id));
        }
        if among == Among::All {
            found.dedup_by(|a, b| a.id == b.id);
        }
        assert_eq!(found, expected);
        Ok(())
    }

    async fn forge(&mut self, random: &mut Random) -> CaseResult {
        let (among, expected) = self.query(random);
        let store = random.handle(&self.opened);
        let Some(genuine) = listed(&store, &among, PageRequest::new().limit(1)?)
            .await?
            .next
        else {
            return Ok(());
        };
        let forged = random.forge(&genuine, &["1", "/", ":", "1/2:3", "1:2"])?;
        for tenant in after_forged(listed(&store, &among, PageRequest::new().after(forged)).await)?
        {
            assert!(
                expected.contains(&tenant),
                "a forged cursor shows {}",
                tenant.id
            );
        }
        Ok(())
    }
}

async fn listed(
    store: &Arc<dyn TenantStore>,
    among: &Among,
    page: PageRequest,
) -> Result<Page<Arc<Tenant>>> {
    store.list(among, &Listing::new().page(page)).await
}
