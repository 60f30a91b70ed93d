//! Identities stored as records.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use crate::backend::event;
use crate::entity::{
    DEFAULT_INSTANCE, Edit, EntityStore, Incarnation, Key, Listing, TenantPath, check_name,
    partition,
};
use crate::error::{Error, ErrorKind, Result};
use crate::iam::checks::{PolicyName, absent, policy_named_by, verified};
use crate::iam::hints::hint_of;
use crate::iam::layout::{
    ChosenId, MEMBERS, Membership, Roster, entity_key, held, id_key, inline_key, roster_key, under,
};
use crate::iam::transaction::Effects;
use crate::iam::{
    AttachedPolicy, Entities, Group, IamStore, InlinePolicy, MembershipStore, Policy, Principal,
    PrincipalStore, TenantEntity, TenantTransaction, User, Work,
};
use crate::key::RecordKey;
use crate::page::{Page, PageRequest};
use crate::record_store::RecordStore;
use crate::scan::Scan;
use crate::secret::KeyRing;
use crate::store::Store;
use crate::tenants::{RecordTenants, TenantGates, TenantStore};
use crate::transaction::transact;

/// How often a closed gate is opened for one call.
const OPENINGS: usize = 3;

/// The standard implementation, for every family, over any store. Cheap to clone.
#[derive(Clone)]
pub struct RecordEntities {
    store: Store,
    ring: KeyRing,
    tenants: Arc<dyn TenantStore>,
    gates: TenantGates,
    instance: Arc<str>,
}

impl fmt::Debug for RecordEntities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordEntities")
            .field("store", &self.store)
            .field("instance", &self.instance)
            .finish_non_exhaustive()
    }
}

impl RecordEntities {
    /// Identities in `store`, which also holds the tenants. Secrets are sealed
    /// with `ring`.
    pub fn new(store: impl Into<Store>, ring: &KeyRing) -> Self {
        let store = store.into();
        Self {
            ring: ring.clone(),
            tenants: Arc::new(RecordTenants::new(&store)),
            gates: TenantGates::new(&store),
            instance: DEFAULT_INSTANCE.into(),
            store,
        }
    }

    /// These identities, with the tenants in `tenants`.
    pub fn with_tenants(mut self, tenants: Arc<dyn TenantStore>) -> Self {
        self.tenants = tenants;
        self
    }

    /// These identities, with ARNs that name this instance.
    ///
    /// # Errors
    /// `InvalidInput` if it is empty or contains `:` or `/`.
    pub fn with_instance(mut self, instance: &str) -> Result<Self> {
        check_name(instance)?;
        if instance.contains([':', '/']) {
            return Err(Error::invalid(
                "the name of an instance contains neither `:` nor `/`, so that ARNs can be parsed",
            ));
        }
        self.instance = instance.into();
        Ok(self)
    }

    /// One family of a tenant's entities, which may be a family of your own.
    pub fn family<E: TenantEntity>(&self, tenant: &TenantPath) -> Entities<E, Self> {
        Entities::new(Arc::new(self.clone()), tenant)
    }

    pub(super) fn records(&self) -> &dyn RecordStore {
        &**self.store.records()
    }

    pub(super) fn ring(&self) -> &KeyRing {
        &self.ring
    }

    pub(super) fn instance(&self) -> &str {
        &self.instance
    }

    /// Runs several operations on one tenant as one commit. `work` may run many
    /// times; see [`TenantTransaction`].
    ///
    /// # Errors
    /// Those of `work`, with nothing written; otherwise as
    /// [`transact`](crate::transaction::transact()).
    pub async fn transaction<R, F>(&self, tenant: &TenantPath, work: F) -> Result<R>
    where
        R: Send,
        F: Fn(&mut TenantTransaction<'_>) -> Result<R> + Send + Sync,
    {
        let partition = partition(tenant)?;
        let mut effects = Effects::default();
        for _ in 0..OPENINGS {
            let answer = transact(self.records(), &partition, |tx| {
                work(&mut TenantTransaction::new(tx, tenant, &mut effects, self))
            })
            .await;
            if answer.is_err() && effects.gate_closed {
                self.gates.bind(&*self.tenants, tenant).await?;
                continue;
            }
            if answer.is_ok() {
                self.clean_up(tenant, &effects).await;
            }
            return answer;
        }
        Err(crate::backend::contended())
    }

    /// What follows a commit. The operation itself is done, so a failure here is
    /// not reported: a sweep completes it, and a stale hint is removed when it is
    /// next met.
    async fn clean_up(&self, tenant: &TenantPath, effects: &Effects) {
        for left in &effects.left {
            let swept = self.sweep_one(tenant, *left).await;
            event::ignore("could not delete what a deleted entity leaves", swept);
        }
        for name in &effects.credentials {
            if let Ok(hint) = hint_of(name) {
                hint.remove(self.records()).await;
            }
        }
    }

    /// One commit that neither creates nor deletes entities.
    pub(super) async fn commit<R, F>(&self, tenant: &TenantPath, mut work: F) -> Result<R>
    where
        R: Send,
        F: FnMut(&mut TenantTransaction<'_>) -> Result<R> + Send,
    {
        let mut effects = Effects::default();
        transact(self.records(), &partition(tenant)?, |tx| {
            work(&mut TenantTransaction::new(tx, tenant, &mut effects, self))
        })
        .await
    }

    async fn principal<P: Principal>(&self, key: &Key<P>) -> Result<Arc<P>> {
        EntityStore::<P>::get(self, key)
            .await?
            .ok_or_else(absent::<P>)
    }

    pub(super) async fn roster_of<P: Principal>(&self, key: &Key<P>) -> Result<Arc<Roster>> {
        let principal = self.principal(key).await?;
        let at = roster_key(principal.incarnation())?;
        let found = self.records().get(at.at(&partition(key.tenant())?)).await?;
        // Deleted since it was read.
        found.ok_or_else(absent::<P>)?.decode()
    }

    /// One page of the names of a kind that a principal holds.
    async fn held_page<P: Principal>(
        &self,
        key: &Key<P>,
        kind: &str,
        page: &PageRequest,
    ) -> Result<Page<String>> {
        let roster = self.roster_of(key).await?;
        // Only binds cursors to this list.
        let query = Scan::partition(P::FAMILY.collection, partition(key.tenant())?)
            .id_prefix(format!("{kind}/{}", key.name()));
        let query = query.page(page)?;
        let after = query.position_text()?;
        let mut rest = roster
            .names(kind)
            .skip_while(|name| after.is_some_and(|after| name.as_str() <= after));
        let items: Vec<String> = rest.by_ref().take(query.page_size()).cloned().collect();
        let next = match (rest.next(), items.last()) {
            (Some(_), Some(last)) => Some(query.cursor(last)),
            _ => None,
        };
        Ok(Page::new(items, next))
    }

    /// Reads several records of a tenant's partition in one round trip.
    pub(super) async fn read(
        &self,
        tenant: &TenantPath,
        keys: &[RecordKey],
    ) -> Result<Vec<Option<crate::Record>>> {
        let partition = partition(tenant)?;
        let at: Vec<_> = keys.iter().map(|key| key.at(&partition)).collect();
        match *at {
            [] => Ok(Vec::new()),
            [at] => Ok(vec![self.records().get(at).await?]),
            _ => self.records().get_many(&at).await,
        }
    }

    /// The current entities of these incarnations, without the deleted ones.
    async fn of_incarnations<E: TenantEntity>(
        &self,
        tenant: &TenantPath,
        incarnations: impl Iterator<Item = Result<Incarnation>>,
    ) -> Result<Vec<Arc<E>>> {
        let rosters = incarnations
            .map(|incarnation| roster_key(incarnation?))
            .collect::<Result<Vec<_>>>()?;
        let mut names = Vec::new();
        for record in self.read(tenant, &rosters).await?.iter().flatten() {
            let roster = record.decode::<Roster>()?;
            if roster.kind == E::FAMILY.kind {
                names.push(roster.name.clone());
            }
        }
        self.named(tenant, &names).await
    }

    /// The entities of these names, without those that do not exist.
    pub(super) async fn named<E: TenantEntity>(
        &self,
        tenant: &TenantPath,
        names: &[String],
    ) -> Result<Vec<Arc<E>>> {
        let keys = names
            .iter()
            .map(|name| entity_key::<E>(name))
            .collect::<Result<Vec<_>>>()?;
        let mut entities = Vec::new();
        for (record, name) in self.read(tenant, &keys).await?.into_iter().zip(names) {
            if let Some(record) = record {
                entities.push(verified(record.decode::<E>()?, name)?);
            }
        }
        Ok(entities)
    }
}

#[async_trait]
impl<E: TenantEntity> EntityStore<E> for RecordEntities {
    async fn create(&self, entity: E) -> Result<Arc<E>> {
        let tenant = entity.meta().tenant_id.clone();
        if tenant.is_unassigned() {
            return Err(Error::invalid(
                "the entity has no tenant; create it through the handle of a tenant, or set tenant_id",
            ));
        }
        self.transaction(&tenant, |tx| tx.create(entity.clone()))
            .await
    }

    async fn get(&self, key: &Key<E>) -> Result<Option<Arc<E>>> {
        let at = entity_key::<E>(key.name())?;
        let found = self.records().get(at.at(&partition(key.tenant())?)).await?;
        let decode = |record: crate::Record| verified(record.decode::<E>()?, key.name());
        found.map(decode).transpose()
    }

    async fn get_by_id(&self, tenant: &TenantPath, id: &str) -> Result<Option<Arc<E>>> {
        let generated = Incarnation::from_id(E::FAMILY.id_prefix, id);
        if let Some(incarnation) = generated {
            let found = self
                .of_incarnations::<E>(tenant, std::iter::once(Ok(incarnation)))
                .await?;
            if let Some(entity) = found.into_iter().find(|entity| entity.id() == id) {
                return Ok(Some(entity));
            }
        }
        let chosen = self.read(tenant, &[id_key::<E>(id)?]).await?;
        let Some(record) = chosen.into_iter().flatten().next() else {
            return Ok(None);
        };
        let incarnation = record.decode::<ChosenId>()?.incarnation;
        let found = self
            .of_incarnations::<E>(tenant, std::iter::once(Ok(incarnation)))
            .await?;
        Ok(found.into_iter().next())
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
            // Perhaps only by what an interrupted deletion left.
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
        self.transaction(key.tenant(), |tx| tx.rename(key.name(), to))
            .await
    }

    async fn attach_policy(&self, key: &Key<P>, arn: &str) -> Result<()> {
        self.transaction(key.tenant(), |tx| tx.attach_policy::<P>(key.name(), arn))
            .await
    }

    async fn detach_policy(&self, key: &Key<P>, arn: &str) -> Result<()> {
        self.transaction(key.tenant(), |tx| tx.detach_policy::<P>(key.name(), arn))
            .await
    }

    async fn attached_policies(
        &self,
        key: &Key<P>,
        page: &PageRequest,
    ) -> Result<Page<AttachedPolicy>> {
        let page = self.held_page(key, held::POLICIES, page).await?;
        let policies = self.named::<Policy>(key.tenant(), &page.items).await?;
        let shown = policies
            .iter()
            .map(|p| AttachedPolicy::new(&p.name, p.arn()));
        Ok(Page::new(shown.collect(), page.next))
    }

    async fn put_inline_policy(&self, key: &Key<P>, policy: InlinePolicy) -> Result<()> {
        self.transaction(key.tenant(), |tx| {
            tx.put_inline_policy::<P>(key.name(), policy.clone())
        })
        .await
    }

    async fn inline_policy(&self, key: &Key<P>, name: &str) -> Result<Option<Arc<InlinePolicy>>> {
        let principal = self.principal(key).await?;
        let at = inline_key(principal.incarnation(), name)?;
        let found = self.records().get(at.at(&partition(key.tenant())?)).await?;
        found.map(|record| record.decode()).transpose()
    }

    async fn delete_inline_policy(&self, key: &Key<P>, name: &str) -> Result<()> {
        self.transaction(key.tenant(), |tx| {
            tx.delete_inline_policy::<P>(key.name(), name)
        })
        .await
    }

    async fn inline_policies(&self, key: &Key<P>, page: &PageRequest) -> Result<Page<String>> {
        self.held_page(key, held::INLINE, page).await
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

    async fn groups_of(&self, user: &Key<User>, page: &PageRequest) -> Result<Page<Arc<Group>>> {
        let page = self.held_page(user, held::GROUPS, page).await?;
        let groups = page.items.iter().map(|group| group.parse());
        let groups = self.of_incarnations(user.tenant(), groups).await?;
        Ok(Page::new(groups, page.next))
    }

    async fn members_of(&self, group: &Key<Group>, page: &PageRequest) -> Result<Page<Arc<User>>> {
        let incarnation = self.principal(group).await?.incarnation();
        let scan = Scan::partition(MEMBERS, partition(group.tenant())?)
            .id_prefix(under(incarnation))
            .page(page)?;
        let page = self.records().scan(&scan).await?;
        let users = page.items.iter();
        let users = users.map(|record| Ok(record.decode::<Membership>()?.user));
        let users = self.of_incarnations(group.tenant(), users).await?;
        Ok(Page::new(users, page.next))
    }
}

/// A user of another tenant and one that does not exist get the same answer.
fn one_tenant(group: &Key<Group>, user: &Key<User>) -> Result<()> {
    if group.tenant() != user.tenant() {
        return Err(absent::<User>());
    }
    Ok(())
}

#[async_trait]
impl IamStore for RecordEntities {
    async fn policy_by_arn(&self, tenant: &TenantPath, arn: &str) -> Result<Option<Arc<Policy>>> {
        let found = match policy_named_by(arn, tenant) {
            Some(PolicyName::Id(id)) => EntityStore::<Policy>::get_by_id(self, tenant, &id).await?,
            Some(PolicyName::Name(name)) => {
                EntityStore::<Policy>::get(self, &Key::new(tenant, name)).await?
            }
            None => None,
        };
        Ok(found.filter(|policy| policy.is_known_as(arn)))
    }

    async fn transact(&self, tenant: &TenantPath, work: Work<'_>) -> Result<()> {
        self.transaction(tenant, work).await
    }

    async fn sweep(&self, tenant: &TenantPath) -> Result<bool> {
        self.sweep_all(tenant).await
    }

    fn entities(&self) -> Option<&RecordEntities> {
        Some(self)
    }
}
