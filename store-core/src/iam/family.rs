//! How a family of a tenant's entities describes itself to the standard
//! implementation, [`RecordEntities`](crate::iam::RecordEntities).

use std::ops::DerefMut;

use crate::backend::view::{Column, Kind, RelatedField, Value, View};
use crate::clock::Timestamp;
use crate::entity::{Arn, Entity, Incarnation, Key, Meta, Tagged, Tags, TenantPath};
use crate::error::Result;
use crate::iam::layout::ROSTERS;
use crate::key::{Collection, RecordRef};
use crate::secret::{KeyRing, SecretField};
use crate::tenants::Quotas;

/// The columns of every family's view.
const COLUMNS: &[Column] = &[
    Column::field("tenant_id", Kind::Text, "The tenant that it belongs to."),
    Column::field("name", Kind::Text, "Its name."),
    Column::field("id", Kind::Text, "Its id, which never changes."),
    Column::new("path", Kind::Text, Value::FieldOr("path", "/"), "Its path."),
    Column::field("tags", Kind::Json, "Its tags."),
    Column::field("create_date", Kind::Time, "When it was created."),
    Column::field(
        "incarnation",
        Kind::Text,
        "Identifies this creation of the name; never used again.",
    ),
    Column::new(
        "owner",
        Kind::Text,
        Value::Related(&RelatedField {
            collection: ROSTERS,
            id: Value::Field("owner"),
            field: "name",
        }),
        "The name of the principal that owns it, if one does.",
    ),
];

/// The description of a family: data, declared once as a constant.
///
/// ```
/// use store_core::Collection;
/// use store_core::iam::Family;
///
/// const BADGES: Family = Family::new("badge", Collection::new("badges"), "BADG");
/// # let _ = BADGES;
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Family {
    pub(super) kind: &'static str,
    pub(super) collection: Collection,
    pub(super) id_prefix: &'static str,
    pub(super) quota: fn(&Quotas) -> Option<u64>,
    pub(super) members: bool,
    pub(super) owned: bool,
    pub(super) owns: &'static [Owned],
    plural: &'static str,
    columns: &'static [Column],
}

impl Family {
    /// A family of this kind: the name in ARNs, in usage and in messages. Its
    /// records are in `collection`, and generated ids begin with `id_prefix`.
    pub const fn new(kind: &'static str, collection: Collection, id_prefix: &'static str) -> Self {
        Self {
            kind,
            collection,
            id_prefix,
            quota: |_| None,
            members: false,
            owned: false,
            owns: &[],
            plural: "",
            columns: &[],
        }
    }

    /// The name of the family's view for people, and its columns besides those that all
    /// families have. An application's own family has no view.
    pub(super) const fn shown_as(
        mut self,
        plural: &'static str,
        columns: &'static [Column],
    ) -> Self {
        self.plural = plural;
        self.columns = columns;
        self
    }

    pub(crate) fn view(&self) -> View {
        let comment = "One row for each entity of the family.";
        let mut view = View::new(self.plural, self.collection, comment, &[]);
        view.columns = [COLUMNS, self.columns].concat().into();
        view
    }

    /// The quota of the tenant that bounds how many entities there are.
    pub const fn quota(mut self, quota: fn(&Quotas) -> Option<u64>) -> Self {
        self.quota = quota;
        self
    }

    /// Its entities are groups of users.
    pub(super) const fn with_members(mut self) -> Self {
        self.members = true;
        self
    }

    /// The credentials that its entities own.
    pub const fn owning(mut self, owned: &'static [Owned]) -> Self {
        self.owns = owned;
        self
    }

    /// Its entities belong to a principal, whose family lists this one with
    /// [`Family::owning`]. They are deleted in the commit that deletes their owner.
    pub const fn owned(mut self) -> Self {
        self.owned = true;
        self
    }

    /// The name in ARNs, in usage and in messages.
    pub const fn kind(&self) -> &'static str {
        self.kind
    }

    /// Where the records are.
    pub const fn collection(&self) -> Collection {
        self.collection
    }

    /// What generated ids begin with.
    pub const fn id_prefix(&self) -> &'static str {
        self.id_prefix
    }
}

/// A family of credentials as its owner's family lists it.
#[derive(Clone, Copy, Debug)]
pub struct Owned {
    pub(super) kind: &'static str,
    pub(super) collection: Collection,
    pub(super) limit: usize,
}

impl Owned {
    /// The family of this kind and collection; one principal owns at most `limit`.
    pub const fn new(kind: &'static str, collection: Collection, limit: usize) -> Self {
        Self {
            kind,
            collection,
            limit,
        }
    }
}

/// Seals secret fields of an entity that is about to be written.
#[derive(Debug)]
pub struct Sealer<'a> {
    pub(super) ring: &'a KeyRing,
    pub(super) at: RecordRef<'a>,
}

impl Sealer<'_> {
    /// Seals `secret`, the field called `field`.
    ///
    /// # Errors
    /// As [`SecretField::seal`].
    pub fn seal(&self, field: &str, secret: &mut SecretField) -> Result<()> {
        secret.seal(self.ring, self.at, field)
    }
}

/// An entity of a tenant, described for the standard implementation,
/// [`RecordEntities`](crate::iam::RecordEntities). The macro
/// [`tenant_entity!`](crate::iam::tenant_entity) implements the supertraits.
pub trait TenantEntity:
    Entity<Key = Key<Self>, Within = TenantPath> + DerefMut<Target = Meta>
{
    /// The family.
    const FAMILY: Family;

    /// The fields that every entity has.
    fn meta(&self) -> &Meta {
        self
    }

    /// The fields that every entity has, mutable.
    fn meta_mut(&mut self) -> &mut Meta {
        self
    }

    /// The ARN of the policy that bounds it, for a principal that has one.
    fn boundary(&self) -> Option<&str> {
        None
    }

    /// Whether it matches this filter of a list.
    fn passes(&self, filter: &Self::Filter) -> bool {
        let _ = filter;
        true
    }

    /// Rejects what the family does not allow, before any I/O.
    ///
    /// # Errors
    /// `InvalidInput` or `LimitExceeded`, saying what to change.
    fn check(&self) -> Result<()> {
        Ok(())
    }

    /// Called on an entity that is about to be written: sets the fields that the
    /// store maintains (counts, dates) from the stored entity, if there is one.
    fn settle(&mut self, before: Option<&Self>, now: Timestamp) {
        let _ = (before, now);
    }

    /// Why it must not be deleted, if others still use it: a text that says what
    /// to do.
    fn in_use(&self) -> Option<&'static str> {
        None
    }

    /// Seals its secret fields, if it has any.
    ///
    /// # Errors
    /// Those of `sealer`.
    fn seal(&mut self, sealer: &Sealer<'_>) -> Result<()> {
        let _ = sealer;
        Ok(())
    }

    /// The name, unique within the family and the tenant.
    fn name(&self) -> &str {
        &self.meta().name
    }

    /// The id, unique within the family and the tenant.
    fn id(&self) -> &str {
        &self.meta().id
    }

    /// Identifies this life of the name.
    fn incarnation(&self) -> Incarnation {
        self.meta().incarnation
    }

    /// Its ARN. It ends in the id, so a rename does not change it.
    fn arn(&self) -> Arn {
        let meta = self.meta();
        Arn {
            service: "iam".into(),
            tenant: meta.tenant_id.clone(),
            instance: meta.instance.clone(),
            cloud: None,
            kind: Self::FAMILY.kind.into(),
            id: meta.id.clone(),
        }
    }

    /// Its ARNs at the clouds that it is mapped to.
    fn provider_arns(&self) -> Vec<String> {
        let meta = self.meta();
        let providers = meta.providers.iter();
        providers
            .map(|provider| provider.arn(Self::FAMILY.kind, &meta.path, &meta.name))
            .collect()
    }

    /// Whether `arn` names it: its own or that of a cloud.
    fn is_known_as(&self, arn: &str) -> bool {
        self.arn().to_string() == arn || self.provider_arns().iter().any(|own| own == arn)
    }
}

impl<E: TenantEntity> Tagged for E {
    fn tags(&self) -> &Tags {
        &self.meta().tags
    }

    fn tags_mut(&mut self) -> &mut Tags {
        &mut self.meta_mut().tags
    }
}
