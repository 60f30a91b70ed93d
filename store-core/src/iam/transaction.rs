//! Operations on a tenant's identities, collected into one commit.

use std::fmt;
use std::sync::Arc;

use crate::body::{Format, Unknown};
use crate::clock::Timestamp;
use crate::entity::{Incarnation, TenantPath, check_name, partition};
use crate::error::{Error, ErrorKind, Result};
use crate::iam::checks::{
    PolicyName, absent, check, equal, has_chosen_id, no_policy, policy_named_by, verified,
};
use crate::iam::family::Sealer;
use crate::iam::layout::{ChosenId, Roster, entity_key, id_key, roster_key};
use crate::iam::{Owned, Policy, Principal, RecordEntities, TenantEntity};
use crate::key::RecordKey;
use crate::tenants::{Counters, Gate, Quotas, gate_key, no_tenant, usage_key};
use crate::transaction::Transaction;

/// What a commit asks for outside the partition.
#[derive(Debug, Default)]
pub(super) struct Effects {
    /// The gate was closed or missing, which ended the attempt.
    pub(super) gate_closed: bool,
    /// Deleted principals of which something remains to be removed.
    pub(super) left: Vec<Incarnation>,
    /// Names of deleted credentials, whose hints are to be removed.
    pub(super) credentials: Vec<String>,
}

/// Several operations on the identities of one tenant, all or nothing.
///
/// See [`iam`](crate::iam) for an example and
/// [`transaction`](crate::transaction) for the rules: the closure that receives
/// it calls nothing else, returns the errors that it gets, and may run many
/// times. A transaction touches at most 100 records; creating a user touches
/// four, two of which are the same for all.
pub struct TenantTransaction<'t> {
    pub(super) tx: &'t mut Transaction,
    pub(super) tenant: &'t TenantPath,
    pub(super) effects: &'t mut Effects,
    entities: &'t RecordEntities,
}

impl fmt::Debug for TenantTransaction<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TenantTransaction")
            .field("tenant", self.tenant)
            .finish_non_exhaustive()
    }
}

impl<'t> TenantTransaction<'t> {
    pub(super) fn new(
        tx: &'t mut Transaction,
        tenant: &'t TenantPath,
        effects: &'t mut Effects,
        entities: &'t RecordEntities,
    ) -> Self {
        *effects = Effects::default();
        Self {
            tx,
            tenant,
            effects,
            entities,
        }
    }

    /// The tenant.
    pub fn tenant(&self) -> &TenantPath {
        self.tenant
    }

    /// The time of this attempt.
    pub fn now(&self) -> Timestamp {
        self.tx.now()
    }

    /// The entity of this name.
    ///
    /// # Errors
    /// One that the closure must return.
    pub fn get<E: TenantEntity>(&mut self, name: &str) -> Result<Option<Arc<E>>> {
        let found = self.tx.read::<E>(&entity_key::<E>(name)?)?;
        found.map(|entity| verified(entity, name)).transpose()
    }

    /// The entity of this id.
    ///
    /// # Errors
    /// One that the closure must return.
    pub fn get_by_id<E: TenantEntity>(&mut self, id: &str) -> Result<Option<Arc<E>>> {
        if let Some(incarnation) = Incarnation::from_id(E::FAMILY.id_prefix, id) {
            let found = self.get_by_incarnation::<E>(incarnation)?;
            if found.as_ref().is_some_and(|entity| entity.id() == id) {
                return Ok(found);
            }
        }
        match self.tx.read::<ChosenId>(&id_key::<E>(id)?)? {
            Some(chosen) => self.get_by_incarnation(chosen.incarnation),
            None => Ok(None),
        }
    }

    fn get_by_incarnation<E: TenantEntity>(
        &mut self,
        incarnation: Incarnation,
    ) -> Result<Option<Arc<E>>> {
        let roster = self.tx.read::<Roster>(&roster_key(incarnation)?)?;
        match roster.filter(|roster| roster.kind == E::FAMILY.kind) {
            Some(roster) => self.get(&roster.name),
            None => Ok(None),
        }
    }

    /// The policy of the tenant that `arn` names: its own ARN or that of a cloud.
    ///
    /// # Errors
    /// One that the closure must return.
    pub fn policy(&mut self, arn: &str) -> Result<Option<Arc<Policy>>> {
        let found = match policy_named_by(arn, self.tenant) {
            Some(PolicyName::Id(id)) => self.get_by_id::<Policy>(&id)?,
            Some(PolicyName::Name(name)) => self.get::<Policy>(&name)?,
            None => None,
        };
        Ok(found.filter(|policy| policy.is_known_as(arn)))
    }

    /// Creates an entity. See [`EntityStore::create`](crate::entity::EntityStore::create).
    ///
    /// # Errors
    /// `AlreadyExists` if its name or its id is taken; `LimitExceeded` over the
    /// tenant's quota; `NotFound` without the tenant.
    pub fn create<E: TenantEntity>(&mut self, entity: E) -> Result<Arc<E>> {
        if E::FAMILY.owned {
            return Err(Error::invalid(format!(
                "a {} belongs to a principal; create it for that principal",
                E::FAMILY.kind
            )));
        }
        let mut entity = entity;
        let keys = self.prepare(&mut entity)?;
        self.tx.need(&keys)?;
        self.insert(entity, &keys)
    }

    /// Creates a credential that the principal `owner` owns. It is deleted in the
    /// commit that deletes its owner.
    ///
    /// # Errors
    /// As [`TenantTransaction::create`]; `NotFound` without the owner;
    /// `LimitExceeded` if the owner has as many as the family allows;
    /// `InvalidInput` if the family of the owner does not list this one.
    pub fn create_owned<P: Principal, E: TenantEntity>(
        &mut self,
        owner: &str,
        entity: E,
    ) -> Result<Arc<E>> {
        let owned = P::FAMILY.owns.iter().find(|o| o.kind == E::FAMILY.kind);
        let owned: &Owned = owned.ok_or_else(|| {
            let (owner, kind) = (P::FAMILY.kind, E::FAMILY.kind);
            Error::invalid(format!(
                "a {owner} does not own entities of the kind {kind}"
            ))
        })?;
        let mut entity = entity;
        let keys = self.prepare(&mut entity)?;
        // Requested before the owner is, so that all are read in one round trip.
        let requested = self.tx.need(&keys);
        let owner = self.get::<P>(owner)?.ok_or_else(absent::<P>)?;
        let mut roster = self.roster(&*owner)?;
        requested?;
        roster.add(owned.kind, entity.name(), owned.limit)?;
        self.tx.put(&roster_key(owner.incarnation())?, roster)?;
        entity.meta_mut().owner = Some(owner.incarnation());
        self.insert(entity, &keys)
    }

    /// Checks a new entity and sets what the store sets; returns the keys that
    /// its creation reads, of which all but the gate and the usage must be absent.
    fn prepare<E: TenantEntity>(&mut self, entity: &mut E) -> Result<Vec<RecordKey>> {
        let incarnation = Incarnation::from_bytes(self.tx.fresh());
        let now = self.tx.now();
        let tenant = self.tenant;
        let meta = entity.meta_mut();
        if meta.tenant_id.is_unassigned() {
            meta.tenant_id = tenant.clone();
        }
        if meta.tenant_id != *tenant {
            return Err(Error::invalid(
                "the entity belongs to another tenant than the handle; use the handle of its tenant",
            ));
        }
        check(entity)?;
        let chosen = !entity.id().is_empty();
        let meta = entity.meta_mut();
        meta.incarnation = incarnation;
        meta.owner = None;
        self.entities.instance().clone_into(&mut meta.instance);
        if meta.create_date == Timestamp::EPOCH {
            meta.create_date = now;
        }
        if !chosen {
            meta.id = incarnation.to_id(E::FAMILY.id_prefix);
        }
        entity.settle(None, now);
        let mut keys = vec![gate_key(), usage_key(), entity_key::<E>(entity.name())?];
        if !E::FAMILY.owned {
            keys.push(roster_key(incarnation)?);
            if chosen {
                keys.push(id_key::<E>(entity.id())?);
                // A chosen id may look like one that was generated.
                let generated = Incarnation::from_id(E::FAMILY.id_prefix, entity.id());
                keys.extend(generated.map(roster_key).transpose()?);
            }
        }
        Ok(keys)
    }

    fn insert<E: TenantEntity>(&mut self, mut entity: E, keys: &[RecordKey]) -> Result<Arc<E>> {
        let name = entity_key::<E>(entity.name())?;
        if self.tx.exists(&name)? {
            return Err(Error::already_exists(
                "the name is taken in this tenant; choose another",
            ));
        }
        for key in keys.iter().skip(3) {
            if self.tx.exists(key)? {
                return Err(Error::already_exists(
                    "the id is taken in this tenant; leave it empty to get a generated one",
                ));
            }
        }
        self.count(E::FAMILY.kind, 1, E::FAMILY.quota)?;
        self.shift_boundary(None, entity.boundary())?;
        if !E::FAMILY.owned {
            self.tx
                .put(&roster_key(entity.incarnation())?, Roster::of(&entity))?;
            if has_chosen_id(&entity) {
                let chosen = ChosenId {
                    format: Format,
                    id: entity.id().into(),
                    incarnation: entity.incarnation(),
                    unknown: Unknown::new(),
                };
                self.tx.put(&id_key::<E>(entity.id())?, chosen)?;
            }
        }
        self.seal(&mut entity)?;
        let entity = Arc::new(entity);
        self.tx.put_shared(&name, Arc::clone(&entity))?;
        Ok(entity)
    }

    fn seal<E: TenantEntity>(&self, entity: &mut E) -> Result<()> {
        let (key, partition) = (entity_key::<E>(entity.name())?, partition(self.tenant)?);
        entity.seal(&Sealer {
            ring: self.entities.ring(),
            at: key.at(&partition),
        })
    }

    /// Counts some more or fewer entities of a kind in the usage of the tenant.
    /// Counting more needs an open gate, and room in the quota.
    pub(super) fn count(
        &mut self,
        kind: &str,
        by: i64,
        quota: fn(&Quotas) -> Option<u64>,
    ) -> Result<()> {
        let (gate, usage) = (gate_key(), usage_key());
        let mut counters = match self.tx.read::<Counters>(&usage)? {
            Some(counters) => (*counters).clone(),
            None => Counters::default(),
        };
        counters.counts.add(kind, by);
        if by > 0 {
            let open = self.tx.read::<Gate>(&gate)?.filter(|gate| gate.open);
            let Some(gate) = open else {
                self.effects.gate_closed = true;
                return Err(no_tenant());
            };
            if let Some(max) = quota(&gate.quotas)
                && counters.counts.count(kind) > max
            {
                return Err(Error::new(
                    ErrorKind::LimitExceeded,
                    format!(
                        "the quota of the tenant allows {max} of the kind `{kind}`; \
                         delete one or raise the quota"
                    ),
                ));
            }
        }
        self.tx.put(&usage, counters)
    }

    /// Changes an entity in place. See [`EntityStore::update`](crate::entity::EntityStore::update).
    ///
    /// # Errors
    /// `NotFound`; those of `edit`; `InvalidInput` if it changes what never changes.
    pub fn update<E: TenantEntity>(
        &mut self,
        name: &str,
        edit: impl FnOnce(&mut E) -> Result<()>,
    ) -> Result<Arc<E>> {
        let before = self.get::<E>(name)?.ok_or_else(absent::<E>)?;
        let mut after = (*before).clone();
        edit(&mut after)?;
        check(&after)?;
        let (old, new) = (before.meta(), after.meta_mut());
        if new.tenant_id != old.tenant_id || new.name != old.name || new.id != old.id {
            return Err(Error::invalid(
                "an update changes neither tenant, name nor id; rename it, or create another",
            ));
        }
        new.incarnation = old.incarnation;
        new.create_date = old.create_date;
        new.instance.clone_from(&old.instance);
        new.owner = old.owner;
        after.settle(Some(&before), self.tx.now());
        if equal(&*before, &after) {
            return Ok(before);
        }
        self.shift_boundary(before.boundary(), after.boundary())?;
        self.seal(&mut after)?;
        let after = Arc::new(after);
        self.tx
            .put_shared(&entity_key::<E>(name)?, Arc::clone(&after))?;
        Ok(after)
    }

    /// Deletes an entity, with everything that depends on it.
    ///
    /// # Errors
    /// `NotFound`; `InUse` if others still use it.
    pub fn delete<E: TenantEntity>(&mut self, name: &str) -> Result<()> {
        let (key, usage) = (entity_key::<E>(name)?, usage_key());
        self.tx.need([&key, &usage])?;
        let entity = self.get::<E>(name)?.ok_or_else(absent::<E>)?;
        if let Some(why) = entity.in_use() {
            return Err(Error::new(ErrorKind::InUse, why));
        }
        if let Some(owner) = entity.meta().owner {
            self.disown::<E>(owner, name)?;
        } else {
            let roster = roster_key(entity.incarnation())?;
            let id = id_key::<E>(entity.id())?;
            let id = has_chosen_id(&*entity).then_some(&id);
            self.tx.need([&roster].into_iter().chain(id))?;
            if let Some(held) = self.tx.read::<Roster>(&roster)? {
                self.release::<E>(entity.incarnation(), &held.held)?;
            }
            self.tx.delete(&roster)?;
            if let Some(id) = id {
                self.tx.delete(id)?;
            }
        }
        self.count(E::FAMILY.kind, -1, E::FAMILY.quota)?;
        self.shift_boundary(entity.boundary(), None)?;
        self.tx.delete(&key)
    }

    /// Removes a deleted credential from the roster of its owner.
    fn disown<E: TenantEntity>(&mut self, owner: Incarnation, name: &str) -> Result<()> {
        let key = roster_key(owner)?;
        if let Some(roster) = self.tx.read::<Roster>(&key)? {
            let mut roster = (*roster).clone();
            roster.remove(E::FAMILY.kind, name);
            self.tx.put(&key, roster)?;
        }
        self.effects.credentials.push(name.into());
        Ok(())
    }

    /// Gives a principal another name. Everything that depends on it stays, and
    /// nothing remains under the old name. Renaming to the same name changes
    /// nothing.
    ///
    /// # Errors
    /// `NotFound`; `AlreadyExists` if the new name is taken; `InvalidInput` if
    /// the family does not allow the new name.
    pub fn rename<P: Principal>(&mut self, from: &str, to: &str) -> Result<Arc<P>> {
        check_name(to)?;
        let (old, new) = (entity_key::<P>(from)?, entity_key::<P>(to)?);
        self.tx.need([&old, &new])?;
        let before = self.get::<P>(from)?.ok_or_else(absent::<P>)?;
        if from == to {
            return Ok(before);
        }
        let mut after = (*before).clone();
        after.meta_mut().name = to.into();
        after.check()?;
        if self.tx.exists(&new)? {
            return Err(Error::already_exists(
                "the new name is taken in this tenant; choose another",
            ));
        }
        let mut roster = self.roster::<P>(&before)?;
        roster.name = to.into();
        self.tx.put(&roster_key(before.incarnation())?, roster)?;
        let after = Arc::new(after);
        self.tx.delete(&old)?;
        self.tx.put_shared(&new, Arc::clone(&after))?;
        Ok(after)
    }

    /// The roster of a principal.
    pub(super) fn roster<P: Principal>(&mut self, principal: &P) -> Result<Roster> {
        match self
            .tx
            .read::<Roster>(&roster_key(principal.incarnation())?)?
        {
            Some(roster) => Ok((*roster).clone()),
            None => Err(Error::corrupt(
                "a principal has no roster; was it written by another program?",
            )),
        }
    }

    /// Moves a boundary from one policy to another, with the counts of both.
    fn shift_boundary(&mut self, from: Option<&str>, to: Option<&str>) -> Result<()> {
        if from == to {
            return Ok(());
        }
        for (arn, by) in [(from, -1), (to, 1)] {
            let Some(arn) = arn else { continue };
            let Some(policy) = self.policy(arn)? else {
                if by < 0 {
                    continue;
                }
                return Err(no_policy());
            };
            let mut policy = (*policy).clone();
            policy.permissions_boundary_usage_count = policy
                .permissions_boundary_usage_count
                .saturating_add_signed(by);
            let key = entity_key::<Policy>(&policy.name)?;
            self.tx.put(&key, policy)?;
        }
        Ok(())
    }
}
