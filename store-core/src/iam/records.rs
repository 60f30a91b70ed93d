//! Identities kept as records.

use std::sync::Arc;

use async_trait::async_trait;

use crate::entity::{Edit, EntityStore, Key, Listing, TenantEntity, check_name};
use crate::error::{Error, ErrorKind, Result};
use crate::iam::dependants::{ATTACHED, Attachment, INLINE, JOINED, MEMBERS, Membership};
use crate::iam::layout::{Roster, dependant_key, entity_key, partition, roster_key, under};
use crate::iam::transaction::{Effects, absent, check, verified};
use crate::iam::{
    AttachedPolicy, Group, IamStore, InlinePolicy, MembershipStore, Paging, Policy, Principal,
    PrincipalStore, TenantTransaction, User, Work,
};
use crate::record_store::RecordStore;
use crate::scan::{Page, Records, Scan};
use crate::tenants::{self, TenantPath};
use crate::transaction::transact;

/// How often a shut gate is opened for one call.
const OPENINGS: usize = 3;

/// The standard implementation, for every family, over any record store. Cheap
/// to clone.
#[derive(Clone, Debug)]
pub struct RecordEntities {
    pub(super) records: Arc<dyn RecordStore>,
}

impl RecordEntities {
    /// Identities kept in `records`.
    pub fn new(records: Arc<dyn RecordStore>) -> Self {
        Self { records }
    }

    /// Runs several operations on one tenant as one commit. `work` may run many
    /// times; see [`TenantTransaction`].
    ///
    /// # Errors
    /// Those of `work`, with nothing written; else as
    /// [`transact`](crate::transaction::transact()).
    pub async fn transaction<R, F>(&self, tenant: &TenantPath, work: F) -> Result<R>
    where
        R: Send,
        F: Fn(&mut TenantTransaction<'_>) -> Result<R> + Send + Sync,
    {
        let partition = partition(tenant)?;
        let mut effects = Effects::default();
        for _ in 0..OPENINGS {
            let answer = transact(&*self.records, &partition, |tx| {
                work(&mut TenantTransaction::new(tx, tenant, &mut effects))
            })
            .await;
            if answer.is_err() && effects.gate_shut {
                tenants::open(&*self.records, tenant).await?;
                continue;
            }
            if answer.is_ok() {
                for leftover in &effects.left {
                    // The deletion is done; whoever sweeps next finishes this.
                    let _ = self.sweep_one(tenant, leftover).await;
                }
            }
            return answer;
        }
        Err(crate::backend::contended())
    }

    /// One commit that neither creates nor deletes a principal.
    pub(super) async fn commit<F>(&self, tenant: &TenantPath, mut work: F) -> Result<()>
    where
        F: FnMut(&mut TenantTransaction<'_>) -> Result<()> + Send,
    {
        let mut effects = Effects::default();
        transact(&*self.records, &partition(tenant)?, |tx| {
            work(&mut TenantTransaction::new(tx, tenant, &mut effects))
        })
        .await
    }

    /// The principal's incarnation, for what lives under it.
    async fn principal<P: Principal>(&self, key: &Key<P>) -> Result<Arc<P>> {
        EntityStore::<P>::get(self, key)
            .await?
            .ok_or_else(absent::<P>)
    }

    /// One page of what lives under a principal.
    async fn under<P: Principal>(
        &self,
        key: &Key<P>,
        dependant: &crate::entity::Dependant,
        paging: &Paging,
    ) -> Result<Records> {
        let principal = self.principal(key).await?;
        let mut scan = Scan::partition(dependant.collection, partition(key.tenant())?)
            .id_prefix(under(principal.incarnation()))
            .limit(paging.page_size())?;
        if let Some(cursor) = paging.cursor() {
            scan = scan.after(cursor)?;
        }
        self.records.scan(&scan).await
    }

    /// The entities that these keys of rosters belong to now; those that are
    /// gone left out.
    async fn of_rosters<E: TenantEntity>(
        &self,
        tenant: &TenantPath,
        rosters: Vec<crate::RecordKey>,
    ) -> Result<Vec<Arc<E>>> {
        let partition = partition(tenant)?;
        let at: Vec<_> = rosters.iter().map(|key| key.at(&partition)).collect();
        let mut names = Vec::new();
        for record in self.records.get_many(&at).await?.iter().flatten() {
            let roster = record.decode::<Roster>()?;
            names.push((entity_key::<E>(&roster.name)?, roster));
        }
        let at: Vec<_> = names.iter().map(|(key, _)| key.at(&partition)).collect();
        let found = self.records.get_many(&at).await?;
        let mut entities = Vec::new();
        for (record, (_, roster)) in found.into_iter().zip(&names) {
            if let Some(record) = record {
                entities.push(verified(record.decode::<E>()?, &roster.name)?);
            }
        }
        Ok(entities)
    }
}

#[async_trait]
impl<E: TenantEntity> EntityStore<E> for RecordEntities {
    async fn create(&self, mut entity: E) -> Result<Arc<E>> {
        check(&mut entity)?;
        let tenant = entity.tenant_id().clone();
        self.transaction(&tenant, |tx| tx.create(entity.clone()))
            .await
    }

    async fn get(&self, key: &Key<E>) -> Result<Option<Arc<E>>> {
        let at = entity_key::<E>(key.name())?;
        let found = self.records.get(at.at(&partition(key.tenant())?)).await?;
        let decode = |record: crate::Record| verified(record.decode::<E>()?, key.name());
        found.map(decode).transpose()
    }

    async fn update(&self, key: &Key<E>, edit: Edit<'_, E>) -> Result<Arc<E>> {
        self.transaction(key.tenant(), |tx| tx.update(key.name(), edit))
            .await
    }

    async fn delete(&self, key: &Key<E>) -> Result<()> {
        let delete = async || {
            self.transaction(key.tenant(), |tx| tx.delete::<E>(key.name()))
                .await
        };
        match delete().await {
            // Perhaps only by what a crash left behind.
            Err(error) if error.is(ErrorKind::InUse) && self.sweep_all(key.tenant()).await? => {
                delete().await
            }
            answer => answer,
        }
    }

    async fn list(&self, tenant: &TenantPath, listing: &Listing<E>) -> Result<Page<Arc<E>>> {
        self.list_entities(tenant, listing).await
    }
}

#[async_trait]
impl<P: Principal> PrincipalStore<P> for RecordEntities {
    async fn rename(&self, key: &Key<P>, to: &str) -> Result<Arc<P>> {
        check_name(to)?;
        self.transaction(key.tenant(), |tx| tx.rename(key.name(), to))
            .await
    }

    async fn attach(&self, key: &Key<P>, policy_arn: &str) -> Result<()> {
        self.transaction(key.tenant(), |tx| tx.attach::<P>(key.name(), policy_arn))
            .await
    }

    async fn detach(&self, key: &Key<P>, policy_arn: &str) -> Result<()> {
        self.transaction(key.tenant(), |tx| tx.detach::<P>(key.name(), policy_arn))
            .await
    }

    async fn attached(&self, key: &Key<P>, paging: &Paging) -> Result<Page<AttachedPolicy>> {
        let page = self.under(key, &ATTACHED, paging).await?;
        let partition = partition(key.tenant())?;
        let keys = page
            .items
            .iter()
            .map(|record| entity_key::<Policy>(&record.decode::<Attachment>()?.policy_name))
            .collect::<Result<Vec<_>>>()?;
        let at: Vec<_> = keys.iter().map(|key| key.at(&partition)).collect();
        let mut items = Vec::new();
        for record in self.records.get_many(&at).await?.into_iter().flatten() {
            let policy = record.decode::<Policy>()?;
            items.push(AttachedPolicy::new(&policy.policy_name, &policy.arn));
        }
        Ok(Page::new(items, page.next))
    }

    async fn put_inline(&self, key: &Key<P>, policy: InlinePolicy) -> Result<()> {
        check_name(&policy.policy_name)?;
        if policy.policy_document.is_empty() {
            return Err(Error::invalid("a policy has no document; give it one"));
        }
        self.transaction(key.tenant(), |tx| {
            tx.put_inline::<P>(key.name(), policy.clone())
        })
        .await
    }

    async fn get_inline(&self, key: &Key<P>, name: &str) -> Result<Option<Arc<InlinePolicy>>> {
        let principal = self.principal(key).await?;
        let at = dependant_key(&INLINE, principal.incarnation(), name)?;
        let found = self.records.get(at.at(&partition(key.tenant())?)).await?;
        found.map(|record| record.decode()).transpose()
    }

    async fn delete_inline(&self, key: &Key<P>, name: &str) -> Result<()> {
        self.transaction(key.tenant(), |tx| tx.delete_inline::<P>(key.name(), name))
            .await
    }

    async fn list_inline(&self, key: &Key<P>, paging: &Paging) -> Result<Page<String>> {
        let page = self.under(key, &INLINE, paging).await?;
        page.try_map(|record| Ok(record.decode::<InlinePolicy>()?.policy_name.clone()))
    }
}

#[async_trait]
impl MembershipStore for RecordEntities {
    async fn add_member(&self, group: &Key<Group>, user: &Key<User>) -> Result<()> {
        one_tenant(group, user)?;
        self.transaction(group.tenant(), |tx| {
            tx.add_member(group.name(), user.name())
        })
        .await
    }

    async fn remove_member(&self, group: &Key<Group>, user: &Key<User>) -> Result<()> {
        one_tenant(group, user)?;
        self.transaction(group.tenant(), |tx| {
            tx.remove_member(group.name(), user.name())
        })
        .await
    }

    async fn groups_of(&self, user: &Key<User>, paging: &Paging) -> Result<Page<Arc<Group>>> {
        let page = self.under(user, &JOINED, paging).await?;
        let rosters = page
            .items
            .iter()
            .map(|record| roster_key(record.decode::<Membership>()?.group))
            .collect::<Result<_>>()?;
        Ok(Page::new(
            self.of_rosters(user.tenant(), rosters).await?,
            page.next,
        ))
    }

    async fn members_of(&self, group: &Key<Group>, paging: &Paging) -> Result<Page<Arc<User>>> {
        let page = self.under(group, &MEMBERS, paging).await?;
        let rosters = page
            .items
            .iter()
            .map(|record| roster_key(record.decode::<Membership>()?.user))
            .collect::<Result<_>>()?;
        Ok(Page::new(
            self.of_rosters(group.tenant(), rosters).await?,
            page.next,
        ))
    }
}

/// A user of another tenant and an absent one are the same answer.
fn one_tenant(group: &Key<Group>, user: &Key<User>) -> Result<()> {
    if group.tenant() != user.tenant() {
        return Err(absent::<User>());
    }
    Ok(())
}

#[async_trait]
impl IamStore for RecordEntities {
    async fn transact(&self, tenant: &TenantPath, work: Work<'_>) -> Result<()> {
        self.transaction(tenant, work).await
    }

    async fn sweep(&self, tenant: &TenantPath) -> Result<bool> {
        self.sweep_all(tenant).await
    }
}
