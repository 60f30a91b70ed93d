//! Policies and memberships of principals, within a transaction.

use std::fmt::Display;

use crate::body::{Format, Unknown};
use crate::entity::Incarnation;
use crate::error::{Error, ErrorKind, Result};
use crate::iam::checks::{absent, no_policy};
use crate::iam::layout::{
    Held, Leftover, MAX_ATTACHED_POLICIES, MAX_GROUPS, MAX_INLINE_POLICIES, Membership, entity_key,
    held, inline_key, leftover_key, member_key, names, roster_key,
};
use crate::iam::transaction::TenantTransaction;
use crate::iam::{Group, InlinePolicy, Policy, Principal, TenantEntity, User};
use crate::key::{RecordKey, bounded};

/// How many policies one commit rewrites: each may be as large as a body can be.
pub(super) const POLICIES_AT_ONCE: usize = 8;

/// How many other records one commit removes besides.
pub(super) const RECORDS_AT_ONCE: usize = 75;

impl TenantTransaction<'_> {
    /// Attaches a policy of the tenant. Attaching it again changes nothing.
    ///
    /// # Errors
    /// `NotFound` without the principal or the policy, which includes a policy of
    /// another tenant; `LimitExceeded`; `PermissionDenied` if it is not attachable.
    pub fn attach_policy<P: Principal>(&mut self, name: &str, arn: impl Display) -> Result<()> {
        // Both are requested before either is used: one round trip.
        let (principal, policy) = (self.get::<P>(name), self.policy(&arn.to_string()));
        let principal = principal?.ok_or_else(absent::<P>)?;
        let roster = self.roster(&*principal);
        let policy = policy?.ok_or_else(no_policy)?;
        let mut roster = roster?;
        if !policy.is_attachable {
            return Err(Error::new(
                ErrorKind::PermissionDenied,
                "the policy is not attachable; set is_attachable first",
            ));
        }
        if roster.holds(held::POLICIES, &policy.name) {
            return Ok(());
        }
        roster.add(held::POLICIES, &policy.name, MAX_ATTACHED_POLICIES)?;
        self.tx.put(&roster_key(principal.incarnation())?, roster)?;
        self.count_attachment(&policy.name, 1)
    }

    /// Detaches a policy. One that is not attached changes nothing.
    ///
    /// # Errors
    /// `NotFound` without the principal or the policy, which includes a policy of
    /// another tenant.
    pub fn detach_policy<P: Principal>(&mut self, name: &str, arn: impl Display) -> Result<()> {
        let (principal, policy) = (self.get::<P>(name), self.policy(&arn.to_string()));
        let principal = principal?.ok_or_else(absent::<P>)?;
        let roster = self.roster(&*principal);
        let policy = policy?.ok_or_else(no_policy)?;
        let mut roster = roster?;
        if !roster.holds(held::POLICIES, &policy.name) {
            return Ok(());
        }
        roster.remove(held::POLICIES, &policy.name);
        self.tx.put(&roster_key(principal.incarnation())?, roster)?;
        self.count_attachment(&policy.name, -1)
    }

    /// Gives a principal an inline policy, or replaces the document of one.
    ///
    /// # Errors
    /// `NotFound` without the principal; `LimitExceeded`; `InvalidInput` without
    /// a name or a document.
    pub fn put_inline_policy<P: Principal>(
        &mut self,
        name: &str,
        policy: InlinePolicy,
    ) -> Result<()> {
        policy.check()?;
        let principal = self.get::<P>(name)?.ok_or_else(absent::<P>)?;
        let roster_key = roster_key(principal.incarnation())?;
        let key = inline_key(principal.incarnation(), &policy.policy_name)?;
        self.tx.need([&key, &roster_key])?;
        let mut roster = self.roster(&*principal)?;
        if !roster.holds(held::INLINE, &policy.policy_name) {
            roster.add(held::INLINE, &policy.policy_name, MAX_INLINE_POLICIES)?;
            self.tx.put(&roster_key, roster)?;
        }
        self.tx.put(&key, policy)
    }

    /// Deletes an inline policy of a principal. A missing one changes nothing.
    ///
    /// # Errors
    /// `NotFound` without the principal.
    pub fn delete_inline_policy<P: Principal>(&mut self, name: &str, policy: &str) -> Result<()> {
        let principal = self.get::<P>(name)?.ok_or_else(absent::<P>)?;
        let roster_key = roster_key(principal.incarnation())?;
        let key = inline_key(principal.incarnation(), policy)?;
        self.tx.need([&key, &roster_key])?;
        let mut roster = self.roster(&*principal)?;
        if roster.holds(held::INLINE, policy) {
            roster.remove(held::INLINE, policy);
            self.tx.put(&roster_key, roster)?;
            self.tx.delete(&key)?;
        }
        Ok(())
    }

    /// Adds a user to a group. Doing so again changes nothing.
    ///
    /// # Errors
    /// `NotFound` without both; `LimitExceeded`.
    pub fn add_member(&mut self, group: &str, user: &str) -> Result<()> {
        self.membership(group, user, true)
    }

    /// Removes a user from a group. A user who is not a member changes nothing.
    ///
    /// # Errors
    /// `NotFound` without both.
    pub fn remove_member(&mut self, group: &str, user: &str) -> Result<()> {
        self.membership(group, user, false)
    }

    /// The roster of the user lists the group, and a record under the group lists
    /// the user. The group itself is only read, so that many users can join at
    /// the same time; its deletion makes the commit fail.
    fn membership(&mut self, group: &str, user: &str, wanted: bool) -> Result<()> {
        let (group, user) = (self.get::<Group>(group), self.get::<User>(user));
        let group = group?.ok_or_else(absent::<Group>)?.incarnation();
        let user = user?.ok_or_else(absent::<User>)?;
        let roster_key = roster_key(user.incarnation())?;
        let member = member_key(group, user.incarnation())?;
        self.tx.need([&roster_key, &member])?;
        let mut roster = self.roster(&*user)?;
        let name = group.to_string();
        if roster.holds(held::GROUPS, &name) == wanted {
            return Ok(());
        }
        if !wanted {
            roster.remove(held::GROUPS, &name);
            self.tx.put(&roster_key, roster)?;
            return self.tx.delete(&member);
        }
        roster.add(held::GROUPS, &name, MAX_GROUPS)?;
        self.tx.put(&roster_key, roster)?;
        let membership = Membership {
            format: Format,
            user: user.incarnation(),
            group,
            unknown: Unknown::new(),
        };
        self.tx.put(&member, membership)
    }

    /// Removes what a deleted entity held: its credentials in this commit, the
    /// rest too if one commit can hold it. Otherwise what remains is noted, to be
    /// removed right after.
    pub(super) fn release<E: TenantEntity>(&mut self, of: Incarnation, held: &Held) -> Result<()> {
        let mut credentials = Vec::new();
        for owned in E::FAMILY.owns {
            for name in names(held, owned.kind) {
                let key = RecordKey::new(owned.collection, bounded(name))?;
                credentials.push((owned.kind, name, key));
            }
        }
        let requested = self.tx.need(credentials.iter().map(|(_, _, key)| key));
        let policies = names(held, held::POLICIES).count();
        let others = names(held, held::INLINE).count() + names(held, held::GROUPS).count();
        let fits = policies <= POLICIES_AT_ONCE && others <= RECORDS_AT_ONCE;
        if fits {
            self.unlink(of, held)?;
        }
        requested?;
        for (kind, name, key) in credentials {
            self.tx.delete(&key)?;
            self.count(kind, -1, |_| None)?;
            self.effects.credentials.push(name.clone());
        }
        if fits && !E::FAMILY.members {
            return Ok(());
        }
        let leftover = Leftover {
            format: Format,
            incarnation: of,
            held: if fits { Held::new() } else { held.clone() },
            members: E::FAMILY.members,
            unknown: Unknown::new(),
        };
        self.tx.put(&leftover_key(of)?, leftover)?;
        self.effects.left.push(of);
        Ok(())
    }

    /// Removes the attachments, inline policies and memberships of a deleted
    /// principal.
    pub(super) fn unlink(&mut self, of: Incarnation, held: &Held) -> Result<()> {
        let mut removed = Vec::new();
        for name in names(held, held::INLINE) {
            removed.push(inline_key(of, name)?);
        }
        for group in names(held, held::GROUPS) {
            removed.push(member_key(group.parse()?, of)?);
        }
        let policies: Vec<&String> = names(held, held::POLICIES).collect();
        let rewritten = policies
            .iter()
            .map(|name| entity_key::<Policy>(name))
            .collect::<Result<Vec<_>>>()?;
        self.tx.need(removed.iter().chain(&rewritten))?;
        for key in removed {
            self.tx.delete(&key)?;
        }
        for name in policies {
            self.count_attachment(name, -1)?;
        }
        Ok(())
    }

    /// Counts one attachment more or less in the policy.
    fn count_attachment(&mut self, policy_name: &str, by: i64) -> Result<()> {
        let key = entity_key::<Policy>(policy_name)?;
        let Some(policy) = self.tx.read::<Policy>(&key)? else {
            return Ok(());
        };
        let mut policy = (*policy).clone();
        policy.attachment_count = policy.attachment_count.saturating_add_signed(by);
        self.tx.put(&key, policy)
    }
}
