//! Operations on a tenant's identities, collected into one commit.

use std::fmt;
use std::sync::Arc;

use data_encoding::BASE32_NOPAD;

use crate::body::{Format, Unknown};
use crate::clock::Timestamp;
use crate::entity::{
    Dependant, Incarnation, TenantEntity, check_name, check_path, check_tags, derive_arns,
    policy_name_of,
};
use crate::error::{Error, ErrorKind, Result};
use crate::iam::layout::{Leftover, Roster, TakenId, entity_key, id_key, leftover_key, roster_key};
use crate::iam::{Policy, Principal};
use crate::key::RecordKey;
use crate::tenants::{Counters, Gate, TenantPath, gate_key, no_tenant, usage_key};
use crate::transaction::Transaction;

/// What the commit asks for outside the partition.
#[derive(Debug, Default)]
pub(super) struct Effects {
    /// The gate was shut or missing, which ended the attempt.
    pub(super) gate_shut: bool,
    /// Principals that leave something to sweep.
    pub(super) left: Vec<Leftover>,
}

/// Several operations on one tenant's identities, all or nothing.
///
/// See [`Iam`](crate::iam::Iam) for an example and
/// [`transaction`](crate::transaction) for the rules: the closure that gets
/// this does nothing but talk to it, returns the errors that it meets, and may
/// run many times. At most 100 records are touched: creating a user takes five,
/// two of which are the same for all.
pub struct TenantTransaction<'t> {
    tx: &'t mut Transaction,
    tenant: &'t TenantPath,
    effects: &'t mut Effects,
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
    ) -> Self {
        *effects = Effects::default();
        Self {
            tx,
            tenant,
            effects,
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

    /// The records below, for a [`Dependant`]'s `unlink`.
    pub fn raw(&mut self) -> &mut Transaction {
        self.tx
    }

    /// The entity of this name.
    ///
    /// # Errors
    /// One that the closure must return.
    pub fn get<E: TenantEntity>(&mut self, name: &str) -> Result<Option<Arc<E>>> {
        read(self.tx, name)
    }

    /// Creates an entity. See [`EntityStore::create`](crate::entity::EntityStore::create).
    ///
    /// # Errors
    /// `AlreadyExists` if its name or its id is taken; `LimitExceeded` over the
    /// tenant's quota; `NotFound` without the tenant.
    pub fn create<E: TenantEntity>(&mut self, entity: E) -> Result<Arc<E>> {
        let mut entity = entity;
        if entity.tenant_id() != self.tenant {
            return Err(Error::invalid(
                "the entity is of another tenant than the transaction",
            ));
        }
        check(&mut entity)?;
        self.stamp(&mut entity);
        let name = entity_key::<E>(entity.name())?;
        let id = id_key::<E>(entity.id())?;
        let roster = roster_key(entity.incarnation())?;
        let roster = (!E::FAMILY.dependants.is_empty()).then_some(roster);
        let (gate, usage) = (gate_key(), usage_key());
        self.tx
            .need([&name, &id, &gate, &usage].into_iter().chain(&roster))?;
        if self.tx.exists(&name)? {
            return Err(Error::already_exists(
                "the name is taken in this tenant; choose another",
            ));
        }
        if self.tx.exists(&id)? {
            return Err(Error::already_exists(
                "the id is taken in this tenant; leave it empty to be given one",
            ));
        }
        self.count::<E>(1)?;
        self.shift_boundary(None, entity.boundary())?;
        if let Some(roster) = roster {
            self.tx.put(&roster, new_roster(&entity))?;
        }
        let taken = TakenId {
            format: Format,
            id: entity.id().into(),
            incarnation: entity.incarnation(),
            unknown: Unknown::new(),
        };
        self.tx.put(&id, taken)?;
        let entity = Arc::new(entity);
        self.tx.put_shared(&name, Arc::clone(&entity))?;
        Ok(entity)
    }

    /// Fills in what a new entity is given by its store.
    fn stamp<E: TenantEntity>(&mut self, entity: &mut E) {
        let (incarnation, id) = (self.tx.fresh(), self.tx.fresh());
        let now = self.tx.now();
        let common = entity.common();
        *common.incarnation = Incarnation::from_bytes(incarnation);
        *common.create_date = now;
        if common.id.is_empty() {
            *common.id = format!("{}{}", E::FAMILY.id_prefix, BASE32_NOPAD.encode(&id));
        }
        derive_arns(entity);
        entity.settle(None, now);
    }

    /// Counts one more or one less of the family in the tenant's usage. One
    /// more needs an open gate, and room in the quota.
    fn count<E: TenantEntity>(&mut self, by: i64) -> Result<()> {
        let (gate, usage) = (gate_key(), usage_key());
        let mut counters = match self.tx.read::<Counters>(&usage)? {
            Some(counters) => (*counters).clone(),
            None => Counters::default(),
        };
        counters.counts.add(E::FAMILY.kind, by);
        if by > 0 {
            let open = self.tx.read::<Gate>(&gate)?.filter(|gate| gate.open);
            let Some(gate) = open else {
                self.effects.gate_shut = true;
                return Err(no_tenant());
            };
            let max = (E::FAMILY.quota)(&gate.quotas);
            if max.is_some_and(|max| counters.counts.count(E::FAMILY.kind) > max) {
                return Err(Error::new(
                    ErrorKind::LimitExceeded,
                    format!(
                        "the tenant has as many of the kind `{}` as its quota allows; \
                         delete one or raise the quota",
                        E::FAMILY.kind
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
        check(&mut after)?;
        if after.tenant_id() != before.tenant_id()
            || after.name() != before.name()
            || after.id() != before.id()
        {
            return Err(Error::invalid(
                "an update changes neither tenant, name nor id; rename it, or create another",
            ));
        }
        let mut original = (*before).clone();
        *after.common().incarnation = before.incarnation();
        *after.common().create_date = *original.common().create_date;
        derive_arns(&mut after);
        after.settle(Some(&before), self.tx.now());
        if after == *before {
            return Ok(before);
        }
        self.shift_boundary(before.boundary(), after.boundary())?;
        let after = Arc::new(after);
        self.tx
            .put_shared(&entity_key::<E>(name)?, Arc::clone(&after))?;
        Ok(after)
    }

    /// Deletes an entity, with all that depends on it.
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
        let id = id_key::<E>(entity.id())?;
        let roster = roster_key(entity.incarnation())?;
        let principal = !E::FAMILY.dependants.is_empty();
        self.tx
            .need([&id].into_iter().chain(principal.then_some(&roster)))?;
        if principal {
            self.leave(entity.incarnation(), &roster)?;
        }
        self.count::<E>(-1)?;
        self.shift_boundary(entity.boundary(), None)?;
        self.tx.delete(&id)?;
        self.tx.delete(&key)
    }

    /// Notes what a deleted principal leaves behind, and ends its roster, so
    /// that nothing is added to it any more.
    fn leave(&mut self, incarnation: Incarnation, roster: &RecordKey) -> Result<()> {
        let held = self.tx.read::<Roster>(roster)?;
        let kinds: Vec<String> = held.iter().flat_map(|r| r.counts.keys().cloned()).collect();
        self.tx.delete(roster)?;
        if kinds.is_empty() {
            return Ok(());
        }
        let leftover = Leftover {
            format: Format,
            incarnation,
            kinds,
            unknown: Unknown::new(),
        };
        self.tx.put(&leftover_key(incarnation)?, leftover.clone())?;
        self.effects.left.push(leftover);
        Ok(())
    }

    /// Gives a principal another name. All that depends on it comes along, and
    /// nothing is left under the old name. Its own name changes nothing.
    ///
    /// # Errors
    /// `NotFound`; `AlreadyExists` if the new name is taken.
    pub fn rename<P: Principal>(&mut self, from: &str, to: &str) -> Result<Arc<P>> {
        check_name(to)?;
        let (old, new) = (entity_key::<P>(from)?, entity_key::<P>(to)?);
        self.tx.need([&old, &new])?;
        let before = self.get::<P>(from)?.ok_or_else(absent::<P>)?;
        if from == to {
            return Ok(before);
        }
        if self.tx.exists(&new)? {
            return Err(Error::already_exists(
                "the new name is taken in this tenant; choose another",
            ));
        }
        let roster = roster_key(before.incarnation())?;
        let mut held = self.roster::<P>(&before)?;
        held.name = to.into();
        self.tx.put(&roster, held)?;
        let mut after = (*before).clone();
        *after.common().name = to.into();
        derive_arns(&mut after);
        let after = Arc::new(after);
        self.tx.delete(&old)?;
        self.tx.put_shared(&new, Arc::clone(&after))?;
        Ok(after)
    }

    pub(super) fn roster<P: Principal>(&mut self, principal: &P) -> Result<Roster> {
        let key = roster_key(principal.incarnation())?;
        match self.tx.read::<Roster>(&key)? {
            Some(roster) => Ok((*roster).clone()),
            None => Err(Error::corrupt(
                "a principal has no roster; was it written by something else?",
            )),
        }
    }

    /// Counts one dependant more or less in a roster, if that is there.
    pub(super) fn count_dependant(
        &mut self,
        roster: &RecordKey,
        dependant: &Dependant,
        by: i64,
    ) -> Result<()> {
        if let Some(held) = self.tx.read::<Roster>(roster)? {
            let mut held = (*held).clone();
            held.count(dependant, by)?;
            self.tx.put(roster, held)?;
        }
        Ok(())
    }

    /// Moves a boundary from one policy to another, keeping both counts true.
    fn shift_boundary(&mut self, from: Option<&str>, to: Option<&str>) -> Result<()> {
        if from == to {
            return Ok(());
        }
        for (arn, by) in [(from, -1), (to, 1)] {
            let Some(arn) = arn else { continue };
            let found = self.policy(arn)?;
            let Some(policy) = found else {
                if by < 0 {
                    continue;
                }
                return Err(no_policy());
            };
            let mut policy = (*policy).clone();
            policy.permissions_boundary_usage_count = policy
                .permissions_boundary_usage_count
                .saturating_add_signed(by);
            let key = entity_key::<Policy>(&policy.policy_name)?;
            self.tx.put(&key, policy)?;
        }
        Ok(())
    }

    /// The tenant's policy that `arn` names.
    ///
    /// # Errors
    /// One that the closure must return.
    pub fn policy(&mut self, arn: &str) -> Result<Option<Arc<Policy>>> {
        let Some(name) = policy_name_of(arn) else {
            return Ok(None);
        };
        let found = self.get::<Policy>(&name)?;
        Ok(found.filter(|policy| policy.is_known_as(arn)))
    }
}

fn new_roster<E: TenantEntity>(entity: &E) -> Roster {
    Roster {
        format: Format,
        kind: E::FAMILY.kind.into(),
        name: entity.name().into(),
        counts: Default::default(),
        unknown: Unknown::new(),
    }
}

/// Reads an entity, and verifies that a digested name is the one asked for.
fn read<E: TenantEntity>(tx: &mut Transaction, name: &str) -> Result<Option<Arc<E>>> {
    let found = tx.read::<E>(&entity_key::<E>(name)?)?;
    found.map(|entity| verified(entity, name)).transpose()
}

pub(super) fn verified<E: TenantEntity>(entity: Arc<E>, name: &str) -> Result<Arc<E>> {
    if entity.name() != name {
        return Err(Error::corrupt(
            "an entity is stored under another's name; was it written by something else?",
        ));
    }
    Ok(entity)
}

/// Refuses what could never be stored.
pub(super) fn check<E: TenantEntity>(entity: &mut E) -> Result<()> {
    check_name(entity.name())?;
    check_path(entity.path())?;
    let common = entity.common();
    if common.id.len() > 255 || common.id.contains('\0') {
        return Err(Error::invalid(
            "an id is at most 255 bytes and holds no NUL",
        ));
    }
    check_tags(common.tags)?;
    entity.check()
}

pub(super) fn absent<E: TenantEntity>() -> Error {
    Error::not_found(format!(
        "there is no such {} in this tenant; check its name",
        E::FAMILY.kind
    ))
}

/// The one answer for a policy that is absent and for another tenant's.
pub(super) fn no_policy() -> Error {
    Error::not_found("there is no such policy in this tenant; check its ARN")
}
