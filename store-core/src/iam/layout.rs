//! Where a tenant's identities are stored: all in one partition.
//!
//! | collection | id | what |
//! |---|---|---|
//! | `tenant_state` | `gate`, `usage` | see [`tenants`](crate::tenants) |
//! | that of the family | the name | the entity |
//! | `iam_ids` | kind `/` id | leads from an id that the caller chose to its entity |
//! | `iam_rosters` | incarnation | the current name of an entity, and what a principal holds |
//! | `iam_inline_policies` | incarnation `/` name | the document of an inline policy |
//! | `iam_members` | group's `/` user's incarnation | a member of a group |
//! | `iam_leftovers` | incarnation | a deleted principal of which something remains |
//!
//! A generated id contains the incarnation, so it leads to the roster without a
//! record of its own. A name that is too long is stored as its digest (see
//! [`key::bounded`](crate::key::bounded)), and in full in the body.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::body::{Format, Unknown};
use crate::entity::Incarnation;
use crate::error::{Error, ErrorKind, Result};
use crate::iam::TenantEntity;
use crate::key::{Collection, MAX_NAME, RecordKey, bounded, bounded_to};

const IDS: Collection = Collection::new("iam_ids");
pub(super) const ROSTERS: Collection = Collection::new("iam_rosters").single_use();
pub(super) const INLINE_POLICIES: Collection = Collection::new("iam_inline_policies");
pub(super) const MEMBERS: Collection = Collection::new("iam_members");
pub(super) const LEFTOVERS: Collection = Collection::new("iam_leftovers").single_use();

/// Those that are not a family's.
pub(crate) const COLLECTIONS: &[Collection] = &[
    IDS,
    ROSTERS,
    INLINE_POLICIES,
    MEMBERS,
    LEFTOVERS,
    super::hints::HINTS,
];

/// The most managed policies that are attached to one principal.
pub const MAX_ATTACHED_POLICIES: usize = 20;

/// The most inline policies of one principal.
pub const MAX_INLINE_POLICIES: usize = 50;

/// The most groups of one user.
pub const MAX_GROUPS: usize = 100;

pub(super) fn entity_key<E: TenantEntity>(name: &str) -> Result<RecordKey> {
    RecordKey::new(E::FAMILY.collection, bounded(name))
}

pub(super) fn id_key<E: TenantEntity>(id: &str) -> Result<RecordKey> {
    RecordKey::new(IDS, bounded(&format!("{}/{id}", E::FAMILY.kind)))
}

pub(super) fn roster_key(of: Incarnation) -> Result<RecordKey> {
    RecordKey::new(ROSTERS, of.to_string())
}

pub(super) fn leftover_key(of: Incarnation) -> Result<RecordKey> {
    RecordKey::new(LEFTOVERS, of.to_string())
}

pub(super) fn inline_key(of: Incarnation, name: &str) -> Result<RecordKey> {
    let prefix = under(of);
    let name = bounded_to(name, MAX_NAME - prefix.len());
    RecordKey::new(INLINE_POLICIES, format!("{prefix}{name}"))
}

pub(super) fn member_key(group: Incarnation, user: Incarnation) -> Result<RecordKey> {
    RecordKey::new(MEMBERS, format!("{group}/{user}"))
}

/// What the ids of records that belong to `of` begin with.
pub(super) fn under(of: Incarnation) -> String {
    format!("{of}/")
}

/// Leads from an id that the caller chose to its entity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct ChosenId {
    #[serde(default)]
    pub(super) format: Format<1>,
    pub(super) id: String,
    pub(super) incarnation: Incarnation,
    #[serde(flatten)]
    pub(super) unknown: Unknown,
}

/// What a principal holds, by kind. All of it is bounded.
pub(super) type Held = BTreeMap<String, BTreeSet<String>>;

/// Kinds of what a principal holds, besides the kinds of its credentials.
pub(super) mod held {
    /// Names of attached policies.
    pub const POLICIES: &str = "attached_policies";
    /// Names of inline policies.
    pub const INLINE: &str = "inline_policies";
    /// Incarnations of groups.
    pub const GROUPS: &str = "groups";
}

/// The current name of an entity, and what it holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Roster {
    #[serde(default)]
    pub(super) format: Format<1>,
    pub(super) kind: String,
    pub(super) name: String,
    #[serde(default, skip_serializing_if = "Held::is_empty")]
    pub(super) held: Held,
    #[serde(flatten)]
    pub(super) unknown: Unknown,
}

impl Roster {
    pub(super) fn of<E: TenantEntity>(entity: &E) -> Self {
        Self {
            format: Format,
            kind: E::FAMILY.kind.into(),
            name: entity.name().into(),
            held: Held::new(),
            unknown: Unknown::new(),
        }
    }

    pub(super) fn holds(&self, kind: &str, name: &str) -> bool {
        self.held
            .get(kind)
            .is_some_and(|names| names.contains(name))
    }

    /// Adds a name of this kind, of which there may be `limit`.
    pub(super) fn add(&mut self, kind: &str, name: &str, limit: usize) -> Result<()> {
        let names = self.held.entry(kind.into()).or_default();
        if names.len() >= limit && !names.contains(name) {
            return Err(Error::new(
                ErrorKind::LimitExceeded,
                format!("one principal has at most {limit} of the kind `{kind}`; remove one first"),
            ));
        }
        names.insert(name.into());
        Ok(())
    }

    pub(super) fn remove(&mut self, kind: &str, name: &str) {
        if let Some(names) = self.held.get_mut(kind) {
            names.remove(name);
        }
        self.held.retain(|_, names| !names.is_empty());
    }

    /// The names of this kind, in order.
    pub(super) fn names(&self, kind: &str) -> impl Iterator<Item = &String> {
        names(&self.held, kind)
    }
}

/// The names of a kind, in order.
pub(super) fn names<'h>(held: &'h Held, kind: &str) -> impl Iterator<Item = &'h String> {
    held.get(kind).into_iter().flatten()
}

/// A deleted principal of which something remains to be removed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Leftover {
    #[serde(default)]
    pub(super) format: Format<1>,
    pub(super) incarnation: Incarnation,
    /// What it held.
    #[serde(default, skip_serializing_if = "Held::is_empty")]
    pub(super) held: Held,
    /// Whether it was a group, which may have members.
    #[serde(default)]
    pub(super) members: bool,
    #[serde(flatten)]
    pub(super) unknown: Unknown,
}

/// A user's membership of a group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Membership {
    #[serde(default)]
    pub(super) format: Format<1>,
    pub(super) user: Incarnation,
    pub(super) group: Incarnation,
    #[serde(flatten)]
    pub(super) unknown: Unknown,
}
