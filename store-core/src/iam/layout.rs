//! Where a tenant's identities are kept: all in one partition.
//!
//! | collection | id | what |
//! |---|---|---|
//! | `tenant_state` | `gate`, `usage` | see [`tenants`](crate::tenants) |
//! | the family's | the name | the entity |
//! | `iam_ids` | kind `/` id | that the id is taken |
//! | `iam_rosters` | incarnation | a principal's name, and how much depends on it |
//! | `iam_attachments` | incarnation `/` policy's name | a managed policy of a principal |
//! | `iam_inline_policies` | incarnation `/` name | a policy of its own |
//! | `iam_memberships`, `iam_members` | user's `/` group's incarnation, and reverse | a membership |
//! | `iam_leftovers` | incarnation | a deleted principal with something left to remove |
//!
//! A name that is too long is kept as its digest (see
//! [`key::bounded`](crate::key::bounded)), and in full in the body.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::body::{Format, Unknown};
use crate::entity::{Dependant, Incarnation, TenantEntity};
use crate::error::{Error, ErrorKind, Result};
use crate::key::{Collection, MAX_NAME, Partition, RecordKey, bounded, bounded_to};
use crate::tenants::TenantPath;

const IDS: Collection = Collection::new("iam_ids");
const ROSTERS: Collection = Collection::new("iam_rosters").single_use();
pub(super) const LEFTOVERS: Collection = Collection::new("iam_leftovers").single_use();

/// Those that are no family's and no dependant's.
pub(crate) const COLLECTIONS: &[Collection] = &[IDS, ROSTERS, LEFTOVERS];

/// The partition of a tenant's identities.
pub(crate) fn partition(tenant: &TenantPath) -> Result<Partition> {
    Partition::new(format!("iam/{tenant}"))
}

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

/// What ids of dependants of `of` begin with.
pub(super) fn under(of: Incarnation) -> String {
    format!("{of}/")
}

pub(super) fn dependant_key(
    dependant: &Dependant,
    of: Incarnation,
    name: &str,
) -> Result<RecordKey> {
    let prefix = under(of);
    let name = bounded_to(name, MAX_NAME - prefix.len());
    RecordKey::new(dependant.collection, format!("{prefix}{name}"))
}

/// That an id is taken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct TakenId {
    #[serde(default)]
    pub(super) format: Format<1>,
    pub(super) id: String,
    pub(super) incarnation: Incarnation,
    #[serde(flatten)]
    pub(super) unknown: Unknown,
}

/// A principal's present name, and how many of each dependant it has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Roster {
    #[serde(default)]
    pub(super) format: Format<1>,
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) counts: BTreeMap<String, u64>,
    #[serde(flatten)]
    pub(super) unknown: Unknown,
}

impl Roster {
    /// Counts one more, unless that would be too many, or one less.
    pub(super) fn count(&mut self, dependant: &Dependant, by: i64) -> Result<()> {
        let held = self.counts.get(dependant.kind).copied().unwrap_or(0);
        let count = held.saturating_add_signed(by);
        if by > 0 && dependant.limit.is_some_and(|limit| count > limit) {
            return Err(Error::new(
                ErrorKind::LimitExceeded,
                format!(
                    "one principal has at most {held} of the kind `{}`; remove one first",
                    dependant.kind
                ),
            ));
        }
        self.counts.insert(dependant.kind.into(), count);
        self.counts.retain(|_, count| *count > 0);
        Ok(())
    }
}

/// A deleted principal of which something is left to remove.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Leftover {
    #[serde(default)]
    pub(super) format: Format<1>,
    pub(super) incarnation: Incarnation,
    /// Of which dependants something may be left.
    pub(super) kinds: Vec<String>,
    #[serde(flatten)]
    pub(super) unknown: Unknown,
}
