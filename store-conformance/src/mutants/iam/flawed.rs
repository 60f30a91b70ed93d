//! Identities with one flaw in the code around a correct store.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use store_core::entity::{Edit, EntityLayer, EntityStore, EntityStoreExt, Key, Listing};
use store_core::iam::{
    AttachedPolicy, Group, IamLayer, IamStore, MembershipLayer, MembershipStore, Policy, Principal,
    PrincipalLayer, PrincipalStore, RecordEntities, TenantEntity, User, Work,
};
use store_core::layers::Layered;
use store_core::page::{Page, PageRequest};
use store_core::tenants::{Tenant, TenantPath};
use store_core::{
    Batch, Body, Collection, Error, ErrorKind, Expect, Partition, RecordKey, RecordStore, Result,
    Store,
};

use crate::cases::iam::{Everything, Fixtures, Sample, load_tenants, ring};
use crate::harness::{Harness, Opened};
use crate::mutants::sound;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    Nothing,
    CreateOverwrites,
    UpdateResurrects,
    UpdateDropsUnknown,
    TakesPrefixesForPatterns,
    IgnoresCursors,
    SortsIgnoringCase,
    FoldsCase,
    CutsLongNames,
    LeafIsTheTenant,
    DeleteKeepsWhatIsUnderTheName,
    DeleteForgetsCounts,
    RenameCopies,
    RenameLeavesTheOld,
    RenameOverwrites,
    DeletesAttachedPolicies,
    AttachesForeign,
    TellsForeignApart,
    CountsTwice,
    JoinsAcrossTenants,
    TransactsOneByOne,
    UpdateTakesCounts,
}

/// One handle.
#[derive(Debug)]
pub(super) struct Flawed {
    inner: RecordEntities,
    records: Arc<dyn RecordStore>,
    flaw: Flaw,
    /// What was under a deleted name.
    remembered: Arc<Mutex<HashMap<String, Vec<String>>>>,
    /// What a cache in front would still have.
    seen: Arc<Mutex<HashMap<String, serde_json::Value>>>,
}

impl Flawed {
    fn has(&self, flaw: Flaw) -> bool {
        self.flaw == flaw
    }

    /// The name as this store sees it.
    fn key<E: TenantEntity>(&self, key: &Key<E>) -> Key<E> {
        let name = self.name(key.name());
        Key::new(&self.tenant(key.tenant()), name)
    }

    fn name(&self, name: &str) -> String {
        match self.flaw {
            Flaw::FoldsCase => name.to_lowercase(),
            Flaw::CutsLongNames => name.chars().take(200).collect(),
            _ => name.to_owned(),
        }
    }

    fn tenant(&self, tenant: &TenantPath) -> TenantPath {
        if self.has(Flaw::LeafIsTheTenant) {
            return TenantPath::root(tenant.number());
        }
        tenant.clone()
    }

    /// An entity as this store stores it.
    fn stored<E: TenantEntity>(&self, mut entity: E) -> E {
        let (tenant, name) = (
            self.tenant(&entity.meta().tenant_id),
            self.name(entity.name()),
        );
        entity.meta_mut().tenant_id = tenant;
        entity.meta_mut().name = name;
        entity
    }

    /// An entity as it was asked for.
    fn shown<E: TenantEntity>(&self, entity: Arc<E>, key: &Key<E>) -> Arc<E> {
        let mut entity = (*entity).clone();
        entity.meta_mut().tenant_id = key.tenant().clone();
        Arc::new(entity)
    }

    /// Changes a policy's count without the store.
    async fn bump(&self, tenant: &TenantPath, policy: &str, by: i64) -> Result<()> {
        let partition = Partition::new(format!("iam/{tenant}"))?;
        let key = RecordKey::new(Collection::new("iam_policies").cacheable(), policy)?;
        let Some(record) = self.records.get(key.at(&partition)).await? else {
            return Ok(());
        };
        let mut policy = (*record.decode::<Policy>()?).clone();
        policy.attachment_count = policy.attachment_count.saturating_add_signed(by);
        let mut batch = Batch::new(partition, self.records.clock().now());
        batch.put(key, Expect::Any, Body::json(policy)?)?;
        self.records.commit(&batch).await.map(drop)
    }

    async fn erase(&self, tenant: &TenantPath, collection: Collection, id: &str) -> Result<()> {
        let partition = Partition::new(format!("iam/{tenant}"))?;
        let mut batch = Batch::new(partition, self.records.clock().now());
        batch.delete(RecordKey::new(collection, id)?, Expect::Any)?;
        self.records.commit(&batch).await.map(drop)
    }

    /// The ARNs of what is attached to a user, if it is one.
    async fn attached_to<E: TenantEntity>(&self, key: &Key<E>) -> Vec<AttachedPolicy> {
        let user = Key::<User>::new(key.tenant(), key.name());
        let page =
            PrincipalStore::<User>::attached_policies(&self.inner, &user, &PageRequest::new())
                .await;
        page.map(|page| page.items).unwrap_or_default()
    }
}

/// `LIKE` as a database would match it.
fn like(text: &[char], pattern: &[char]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some(('%', rest)) => (0..=text.len()).any(|skip| like(&text[skip..], rest)),
        Some(('_', rest)) => !text.is_empty() && like(&text[1..], rest),
        Some((c, rest)) => text.first() == Some(c) && like(&text[1..], rest),
    }
}

fn is_like(text: &str, prefix: &str) -> bool {
    let pattern: Vec<char> = prefix.chars().chain(['%']).collect();
    like(&text.chars().collect::<Vec<_>>(), &pattern)
}

impl Layered for Flawed {
    type Inner = RecordEntities;

    fn inner(&self) -> &RecordEntities {
        &self.inner
    }
}

#[async_trait]
impl<E: TenantEntity> EntityLayer<E> for Flawed {
    async fn create(&self, entity: E) -> Result<Arc<E>> {
        let key = entity.key();
        let stored = self.stored(entity);
        let json = serde_json::to_value(&stored).expect("it is plain data");
        let name = key.name().to_owned();
        self.seen.lock().expect("no panics").insert(name, json);
        let created = match self.inner.create(stored.clone()).await {
            Err(error)
                if error.is(ErrorKind::AlreadyExists) && self.has(Flaw::CreateOverwrites) =>
            {
                EntityStore::<E>::delete(&self.inner, &stored.key()).await?;
                self.inner.create(stored).await?
            }
            answer => answer?,
        };
        if self.has(Flaw::DeleteKeepsWhatIsUnderTheName) {
            let old = self
                .remembered
                .lock()
                .expect("no panics")
                .remove(key.name());
            let user = Key::<User>::new(key.tenant(), key.name());
            for arn in old.unwrap_or_default() {
                self.inner.attach_policy(&user, &arn).await?;
            }
        }
        Ok(self.shown(created, &key))
    }

    async fn get(&self, key: &Key<E>) -> Result<Option<Arc<E>>> {
        let found = EntityStore::<E>::get(&self.inner, &self.key(key)).await?;
        Ok(found.map(|entity| self.shown(entity, key)))
    }

    async fn get_by_id(&self, tenant: &TenantPath, id: &str) -> Result<Option<Arc<E>>> {
        self.inner.get_by_id(&self.tenant(tenant), id).await
    }

    async fn update(&self, key: &Key<E>, edit: Edit<'_, E>) -> Result<Arc<E>> {
        let flaw = self.flaw;
        let flawed = |entity: &mut E| {
            edit(entity)?;
            if flaw == Flaw::UpdateDropsUnknown {
                // As a struct without a place for them would.
                let mut json = serde_json::to_value(&*entity).expect("it is plain data");
                if let Some(fields) = json.as_object_mut() {
                    fields.remove("favourite_colour");
                }
                *entity = serde_json::from_value(json).expect("it was one");
            }
            Ok(())
        };
        let own = self.key(key);
        match EntityStore::<E>::update(&self.inner, &own, &flawed).await {
            Err(error) if error.is(ErrorKind::NotFound) && self.has(Flaw::UpdateResurrects) => {
                let seen = self
                    .seen
                    .lock()
                    .expect("no panics")
                    .get(key.name())
                    .cloned();
                match seen.map(serde_json::from_value::<E>) {
                    Some(Ok(entity)) => self.inner.create(entity).await,
                    _ => Err(error),
                }
            }
            Ok(_) if self.has(Flaw::UpdateTakesCounts) && E::FAMILY.kind() == "policy" => {
                self.bump(key.tenant(), key.name(), 69).await?;
                let found = EntityStore::<E>::get(&self.inner, key).await?;
                found.ok_or_else(|| Error::corrupt("it was there"))
            }
            answer => Ok(self.shown(answer?, key)),
        }
    }

    async fn delete(&self, key: &Key<E>) -> Result<()> {
        let own = self.key(key);
        let attached = self.attached_to(&own).await;
        match EntityStore::<E>::delete(&self.inner, &own).await {
            Err(error) if error.is(ErrorKind::InUse) && self.has(Flaw::DeletesAttachedPolicies) => {
                self.erase(key.tenant(), E::FAMILY.collection(), key.name())
                    .await
            }
            Ok(()) if self.has(Flaw::DeleteKeepsWhatIsUnderTheName) => {
                let arns = attached.into_iter().map(|policy| policy.policy_arn);
                let mut remembered = self.remembered.lock().expect("no panics");
                remembered.insert(key.name().into(), arns.collect());
                Ok(())
            }
            Ok(()) if self.has(Flaw::DeleteForgetsCounts) => {
                for policy in attached {
                    self.bump(key.tenant(), &policy.policy_name, 1).await?;
                }
                Ok(())
            }
            answer => answer,
        }
    }

    async fn list(&self, tenant: &TenantPath, listing: &Listing<E>) -> Result<Page<Arc<E>>> {
        let own = self.tenant(tenant);
        let everything = || Listing::<E>::new().filter(listing.family_filter().clone());
        match self.flaw {
            Flaw::TakesPrefixesForPatterns => {
                let all = self.inner.list_all(&own, everything()).await?;
                let items = all
                    .into_iter()
                    .filter(|e| is_like(&e.meta().path, listing.prefix()));
                Ok(Page::last(items.collect()))
            }
            Flaw::IgnoresCursors => {
                let first = everything().limit(listing.page_request().size())?;
                self.inner.list(&own, &first).await
            }
            Flaw::SortsIgnoringCase => {
                let mut all = self.inner.list_all(&own, everything()).await?;
                all.sort_by_key(|entity| entity.name().to_lowercase());
                Ok(Page::last(all))
            }
            Flaw::LeafIsTheTenant => {
                let page = self.inner.list(&own, listing).await?;
                let shown = |entity: Arc<E>| {
                    let key = Key::new(tenant, entity.name());
                    Ok(self.shown(entity, &key))
                };
                page.try_map(shown)
            }
            _ => self.inner.list(&own, listing).await,
        }
    }
}

#[async_trait]
impl<P: Principal> PrincipalLayer<P> for Flawed {
    async fn rename(&self, key: &Key<P>, to: &str) -> Result<Arc<P>> {
        let copy = async || {
            let found = EntityStore::<P>::get(&self.inner, key).await?;
            let mut copy = (*found.ok_or_else(|| Error::not_found("no such principal"))?).clone();
            copy.meta_mut().name = to.into();
            if self.has(Flaw::RenameLeavesTheOld) {
                copy.meta_mut().id.clear();
            }
            Ok::<P, Error>(copy)
        };
        match self.flaw {
            Flaw::RenameCopies => {
                let copy = copy().await?;
                EntityStore::<P>::delete(&self.inner, key).await?;
                self.inner.create(copy).await
            }
            Flaw::RenameLeavesTheOld => self.inner.create(copy().await?).await,
            Flaw::RenameOverwrites => {
                let target = Key::<P>::new(key.tenant(), to);
                if to != key.name() {
                    match EntityStore::<P>::delete(&self.inner, &target).await {
                        Err(error) if !error.is(ErrorKind::NotFound) => return Err(error),
                        _ => {}
                    }
                }
                self.inner.rename(key, to).await
            }
            _ => self.inner.rename(key, to).await,
        }
    }

    async fn attach_policy(&self, key: &Key<P>, policy_arn: &str) -> Result<()> {
        let policy = self.inner.policy_by_arn(key.tenant(), policy_arn).await?;
        let policy = policy.map(|policy| policy.name.clone()).unwrap_or_default();
        let held = match self.flaw {
            Flaw::CountsTwice => {
                let page =
                    PrincipalStore::<P>::attached_policies(&self.inner, key, &PageRequest::new())
                        .await?;
                page.items
                    .iter()
                    .any(|attached| attached.policy_name == policy)
            }
            _ => false,
        };
        match self.inner.attach_policy(key, policy_arn).await {
            Err(error) if error.is(ErrorKind::NotFound) => {
                // The ARN names the tenant.
                let owner = policy_arn.split(':').nth(3).unwrap_or_default();
                let Ok(owner) = owner.parse::<TenantPath>() else {
                    return Err(error);
                };
                let foreign = self.inner.policy_by_arn(&owner, policy_arn).await?;
                match (self.flaw, foreign) {
                    (Flaw::AttachesForeign, Some(_)) => Ok(()),
                    (Flaw::TellsForeignApart, Some(_)) => Err(Error::new(
                        ErrorKind::PermissionDenied,
                        "the policy belongs to another tenant",
                    )),
                    _ => Err(error),
                }
            }
            Ok(()) if held => self.bump(key.tenant(), &policy, 1).await,
            answer => answer,
        }
    }
}

#[async_trait]
impl MembershipLayer for Flawed {
    async fn add_member(&self, group: &Key<Group>, user: &Key<User>) -> Result<()> {
        let answer = self.inner.add_member(group, user).await;
        if self.has(Flaw::JoinsAcrossTenants) && group.tenant() != user.tenant() {
            let found = EntityStore::<User>::get(&self.inner, user).await?;
            return found
                .map(drop)
                .ok_or_else(|| Error::not_found("no such user"));
        }
        answer
    }

    async fn members_of(&self, group: &Key<Group>, page: &PageRequest) -> Result<Page<Arc<User>>> {
        if self.has(Flaw::IgnoresCursors) {
            let first = PageRequest::new().limit(page.size())?;
            return self.inner.members_of(group, &first).await;
        }
        self.inner.members_of(group, page).await
    }
}

#[async_trait]
impl IamLayer for Flawed {
    async fn transact(&self, tenant: &TenantPath, work: Work<'_>) -> Result<()> {
        if self.has(Flaw::TransactsOneByOne) {
            // Writes what there is so far, whatever the rest says.
            return self
                .inner
                .transact(tenant, &|tx| match work(tx) {
                    Err(error) if error.is(ErrorKind::AlreadyExists) => Ok(()),
                    answer => answer,
                })
                .await
                .and(Err(Error::already_exists("something was there")));
        }
        self.inner.transact(tenant, work).await
    }
}

/// Opens flawed stores.
pub(super) struct Sabotaged(pub(super) Flaw);

impl Sabotaged {
    async fn open_with(&self, tenants: Vec<Tenant>) -> Result<Opened<Store>> {
        let opened = sound().backend_harness().open(()).await?;
        load_tenants(&opened.first, tenants).await?;
        Ok(opened)
    }

    fn flawed(&self, opened: Opened<Store>) -> Opened<Flawed> {
        let (remembered, seen) = (Arc::default(), Arc::default());
        opened.map(|store| {
            let records = Arc::clone(store.records());
            Arc::new(Flawed {
                inner: RecordEntities::new(&**store, &ring()),
                records,
                flaw: self.0,
                remembered: Arc::clone(&remembered),
                seen: Arc::clone(&seen),
            })
        })
    }
}

async fn load<E: TenantEntity>(store: &Flawed, entities: Vec<E>) -> Result<()> {
    for entity in entities {
        EntityStore::create(store, entity).await?;
    }
    Ok(())
}

#[async_trait]
impl<E: Sample> Harness<dyn EntityStore<E>, Fixtures<E>> for Sabotaged {
    fn backend(&self) -> String {
        format!("{:?}", self.0)
    }

    async fn open(&self, fixtures: Fixtures<E>) -> Result<Opened<dyn EntityStore<E>>> {
        let opened = self.flawed(self.open_with(fixtures.tenants).await?);
        load(&opened.first, fixtures.entities).await?;
        Ok(opened.map(|store| Arc::clone(store) as Arc<dyn EntityStore<E>>))
    }
}

#[async_trait]
impl Harness<dyn IamStore, Everything> for Sabotaged {
    fn backend(&self) -> String {
        format!("{:?}", self.0)
    }

    async fn open(&self, fixtures: Everything) -> Result<Opened<dyn IamStore>> {
        let opened = self.flawed(self.open_with(fixtures.tenants).await?);
        load(&opened.first, fixtures.users).await?;
        load(&opened.first, fixtures.groups).await?;
        load(&opened.first, fixtures.policies).await?;
        Ok(opened.map(|store| Arc::clone(store) as Arc<dyn IamStore>))
    }
}
