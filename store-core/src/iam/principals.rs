//! What principals have, within a transaction: policies and memberships.

use crate::body::{Format, Unknown};
use crate::entity::policy_name_of;
use crate::entity::{TenantEntity, check_name};
use crate::error::{Error, ErrorKind, Result};
use crate::iam::dependants::{
    ATTACHED, Attachment, INLINE, InlinePolicy, JOINED, MEMBERS, Membership,
};
use crate::iam::layout::{dependant_key, entity_key, roster_key};
use crate::iam::transaction::{TenantTransaction, absent, no_policy};
use crate::iam::{Group, Policy, Principal, User};

impl TenantTransaction<'_> {
    /// Attaches a policy of the tenant. Attaching it again changes nothing.
    ///
    /// # Errors
    /// `NotFound` without the principal or the policy, another tenant's
    /// included; `LimitExceeded`; `PermissionDenied` if it is not attachable.
    pub fn attach<P: Principal>(&mut self, name: &str, policy_arn: &str) -> Result<()> {
        let policy_name = policy_name_of(policy_arn).ok_or_else(no_policy)?;
        let keys = [entity_key::<P>(name)?, entity_key::<Policy>(&policy_name)?];
        self.raw().need(&keys)?;
        let principal = self.get::<P>(name)?.ok_or_else(absent::<P>)?;
        let policy = self.policy(policy_arn)?.ok_or_else(no_policy)?;
        if !policy.is_attachable {
            return Err(Error::new(
                ErrorKind::PermissionDenied,
                "the policy is not attachable",
            ));
        }
        let roster = roster_key(principal.incarnation())?;
        let key = dependant_key(&ATTACHED, principal.incarnation(), &policy_name)?;
        self.raw().need([&key, &roster])?;
        if self.raw().exists(&key)? {
            return Ok(());
        }
        self.roster(&*principal)?;
        self.count_dependant(&roster, &ATTACHED, 1)?;
        self.count_attachment(&policy_name, 1)?;
        let attachment = Attachment {
            format: Format,
            policy_name,
            unknown: Unknown::new(),
        };
        self.raw().put(&key, attachment)
    }

    /// Detaches a policy. One that is not attached changes nothing.
    ///
    /// # Errors
    /// `NotFound` without the principal or the policy, another tenant's included.
    pub fn detach<P: Principal>(&mut self, name: &str, policy_arn: &str) -> Result<()> {
        let policy_name = policy_name_of(policy_arn).ok_or_else(no_policy)?;
        let keys = [entity_key::<P>(name)?, entity_key::<Policy>(&policy_name)?];
        self.raw().need(&keys)?;
        let principal = self.get::<P>(name)?.ok_or_else(absent::<P>)?;
        self.policy(policy_arn)?.ok_or_else(no_policy)?;
        let roster = roster_key(principal.incarnation())?;
        let key = dependant_key(&ATTACHED, principal.incarnation(), &policy_name)?;
        self.raw().need([&key, &roster])?;
        if self.raw().exists(&key)? {
            self.raw().delete(&key)?;
            self.count_dependant(&roster, &ATTACHED, -1)?;
            self.count_attachment(&policy_name, -1)?;
        }
        Ok(())
    }

    /// Gives a principal a policy of its own, or another document to one that
    /// it has.
    ///
    /// # Errors
    /// `NotFound` without the principal; `LimitExceeded`.
    pub fn put_inline<P: Principal>(&mut self, name: &str, policy: InlinePolicy) -> Result<()> {
        check_name(&policy.policy_name)?;
        let principal = self.get::<P>(name)?.ok_or_else(absent::<P>)?;
        let roster = roster_key(principal.incarnation())?;
        let key = dependant_key(&INLINE, principal.incarnation(), &policy.policy_name)?;
        self.raw().need([&key, &roster])?;
        self.roster(&*principal)?;
        if !self.raw().exists(&key)? {
            self.count_dependant(&roster, &INLINE, 1)?;
        }
        self.raw().put(&key, policy)
    }

    /// Takes a policy of its own from a principal. An absent one changes nothing.
    ///
    /// # Errors
    /// `NotFound` without the principal.
    pub fn delete_inline<P: Principal>(&mut self, name: &str, policy_name: &str) -> Result<()> {
        let principal = self.get::<P>(name)?.ok_or_else(absent::<P>)?;
        let roster = roster_key(principal.incarnation())?;
        let key = dependant_key(&INLINE, principal.incarnation(), policy_name)?;
        self.raw().need([&key, &roster])?;
        if self.raw().exists(&key)? {
            self.raw().delete(&key)?;
            self.count_dependant(&roster, &INLINE, -1)?;
        }
        Ok(())
    }

    /// Puts a user into a group. Doing so again changes nothing.
    ///
    /// # Errors
    /// `NotFound` without both; `LimitExceeded`.
    pub fn add_member(&mut self, group: &str, user: &str) -> Result<()> {
        self.membership(group, user, true)
    }

    /// Takes a user out of a group. One who is not in it changes nothing.
    ///
    /// # Errors
    /// `NotFound` without both.
    pub fn remove_member(&mut self, group: &str, user: &str) -> Result<()> {
        self.membership(group, user, false)
    }

    fn membership(&mut self, group: &str, user: &str, wanted: bool) -> Result<()> {
        let keys = [entity_key::<Group>(group)?, entity_key::<User>(user)?];
        self.raw().need(&keys)?;
        let group = self.get::<Group>(group)?.ok_or_else(absent::<Group>)?;
        let user = self.get::<User>(user)?.ok_or_else(absent::<User>)?;
        let (group, user) = (group.incarnation(), user.incarnation());
        let joined = dependant_key(&JOINED, user, &group.to_string())?;
        let member = dependant_key(&MEMBERS, group, &user.to_string())?;
        let (groups, members) = (roster_key(user)?, roster_key(group)?);
        self.raw().need([&joined, &member, &groups, &members])?;
        if self.raw().exists(&joined)? == wanted {
            return Ok(());
        }
        let by = if wanted { 1 } else { -1 };
        self.count_dependant(&groups, &JOINED, by)?;
        self.count_dependant(&members, &MEMBERS, by)?;
        if !wanted {
            self.raw().delete(&joined)?;
            return self.raw().delete(&member);
        }
        let membership = Membership {
            format: Format,
            user,
            group,
            unknown: Unknown::new(),
        };
        self.raw().put(&joined, membership.clone())?;
        self.raw().put(&member, membership)
    }
}
