//! How a family of a tenant's entities describes itself.

use std::fmt::Debug;

use crate::clock::Timestamp;
use crate::entity::{Entity, Incarnation, Key, Provider, Tags};
use crate::error::Result;
use crate::iam::TenantTransaction;
use crate::key::Collection;
use crate::record::Record;
use crate::tenants::{Quotas, TenantPath};

/// What the standard implementation knows of a family. Data, declared once.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// Its name in ARNs, in usage and in messages: `user`.
    pub kind: &'static str,
    /// Where its records are.
    pub collection: Collection,
    /// What generated ids begin with.
    pub id_prefix: &'static str,
    /// The tenant's quota that bounds how many there are.
    pub quota: fn(&Quotas) -> Option<u64>,
    /// What lives under one of its principals and goes with it; empty if it is
    /// no principal.
    pub dependants: &'static [Dependant],
}

/// Something that lives under a principal's incarnation: attachments, inline
/// policies, memberships, later access keys. How many there are is counted in
/// the principal's roster.
#[derive(Clone, Copy, Debug)]
pub struct Dependant {
    /// Its name in the roster's counts.
    pub kind: &'static str,
    /// Where its records are, each id beginning with the incarnation and `/`.
    pub collection: Collection,
    /// The most that one principal has.
    pub limit: Option<u64>,
    /// How many of a deleted principal are removed in one commit: so few that
    /// the records that `unlink` touches stay within a commit's items and bytes.
    pub swept_at_once: usize,
    /// Mends what else the record counts in, when its principal is gone. The
    /// record itself is removed by the caller.
    pub unlink: fn(&mut TenantTransaction<'_>, &Record) -> Result<()>,
}

/// The fields that every family has, lent to the store that fills them in.
#[derive(Debug)]
pub struct Common<'a> {
    /// The tenant.
    pub tenant_id: &'a mut TenantPath,
    /// The name within the tenant.
    pub name: &'a mut String,
    /// The id; made by the store if it is empty at creation.
    pub id: &'a mut String,
    /// The path; `/` if it is empty at creation.
    pub path: &'a mut String,
    /// Which life of the name.
    pub incarnation: &'a mut Incarnation,
    /// The ARN by which clients of the first provider know it.
    pub arn: &'a mut String,
    /// The ARN that is its own.
    pub wami_arn: &'a mut String,
    /// The clouds that it is mapped to.
    pub providers: &'a mut Vec<Provider>,
    /// When it was created.
    pub create_date: &'a mut Timestamp,
    /// The tags.
    pub tags: &'a mut Tags,
}

/// An entity of a tenant, described for the standard implementation,
/// [`RecordEntities`](crate::iam::RecordEntities).
pub trait TenantEntity: Entity<Key = Key<Self>, Within = TenantPath> {
    /// The family.
    const FAMILY: Family;

    /// The tenant that it belongs to.
    fn tenant_id(&self) -> &TenantPath;

    /// Its name within the tenant.
    fn name(&self) -> &str;

    /// Its id.
    fn id(&self) -> &str;

    /// Its path.
    fn path(&self) -> &str;

    /// Which life of its name it is.
    fn incarnation(&self) -> Incarnation;

    /// The fields that the store fills in.
    fn common(&mut self) -> Common<'_>;

    /// The ARN of the policy that bounds it, if it is a principal that has one.
    fn boundary(&self) -> Option<&str> {
        None
    }

    /// Whether a list with this filter shows it.
    fn passes(&self, filter: &Self::Filter) -> bool {
        let _ = filter;
        true
    }

    /// Refuses what the family does not allow, before any I/O.
    ///
    /// # Errors
    /// `InvalidInput` or `LimitExceeded`, saying what to change.
    fn check(&self) -> Result<()> {
        Ok(())
    }

    /// Called on what is about to be written: sets the fields that the store
    /// keeps (counts, dates) from what was stored `before`, if anything.
    fn settle(&mut self, before: Option<&Self>, now: Timestamp) {
        let _ = (before, now);
    }

    /// Whether others still use it, so that it must not be deleted; the text
    /// says what to do.
    fn in_use(&self) -> Option<&'static str> {
        None
    }
}
