//! The contract for identities.

use std::sync::Arc;

use async_trait::async_trait;

use crate::entity::{EntityStore, Key, TenantPath};
use crate::error::{Error, Result};
use crate::iam::{
    AttachedPolicy, Group, InlinePolicy, Policy, RecordEntities, Role, TenantEntity,
    TenantTransaction, User,
};
use crate::page::{Page, PageRequest};

/// A family whose entities policies can be attached to.
pub trait Principal: TenantEntity {}

/// What every family of principals has in addition to [`EntityStore`]: renaming,
/// and policies.
///
/// # What an implementer promises
/// - A rename loses nothing and leaves nothing under the old name.
/// - The `attachment_count` of a policy is at all times the number of principals
///   that it is attached to; the policy is not deleted while that is not zero.
/// - Attaching is idempotent. A policy of another tenant and one that does not
///   exist get the same answer, `NotFound`.
#[async_trait]
pub trait PrincipalStore<P: Principal>: EntityStore<P> {
    /// Gives it another name in its tenant. `NotFound`; `AlreadyExists` if the
    /// new name is taken.
    async fn rename(&self, key: &Key<P>, to: &str) -> Result<Arc<P>>;

    /// Attaches a policy of its tenant.
    async fn attach_policy(&self, key: &Key<P>, arn: &str) -> Result<()>;

    /// Detaches a policy; one that is not attached changes nothing.
    async fn detach_policy(&self, key: &Key<P>, arn: &str) -> Result<()>;

    /// The policies attached to it, in bytewise order of name.
    async fn attached_policies(
        &self,
        key: &Key<P>,
        page: &PageRequest,
    ) -> Result<Page<AttachedPolicy>>;

    /// Gives it an inline policy, or replaces the document of one.
    async fn put_inline_policy(&self, key: &Key<P>, policy: InlinePolicy) -> Result<()>;

    /// Its inline policy of this name.
    async fn inline_policy(&self, key: &Key<P>, name: &str) -> Result<Option<Arc<InlinePolicy>>>;

    /// Deletes an inline policy; a missing one changes nothing.
    async fn delete_inline_policy(&self, key: &Key<P>, name: &str) -> Result<()>;

    /// The names of its inline policies, in bytewise order.
    async fn inline_policies(&self, key: &Key<P>, page: &PageRequest) -> Result<Page<String>>;
}

/// Which users are in which groups.
///
/// A membership needs a user and a group of one tenant; otherwise the answer is
/// `NotFound`, whether the other tenant has them or not.
#[async_trait]
pub trait MembershipStore: EntityStore<User> + EntityStore<Group> {
    /// Adds a user to a group; doing so again changes nothing.
    async fn add_member(&self, group: &Key<Group>, user: &Key<User>) -> Result<()>;

    /// Removes a user from a group; a user who is not a member changes nothing.
    async fn remove_member(&self, group: &Key<Group>, user: &Key<User>) -> Result<()>;

    /// The groups that a user is in, in a stable order.
    async fn groups_of(&self, user: &Key<User>, page: &PageRequest) -> Result<Page<Arc<Group>>>;

    /// The users that are in a group, in a stable order.
    async fn members_of(&self, group: &Key<Group>, page: &PageRequest) -> Result<Page<Arc<User>>>;
}

/// What [`IamStore::transact`] runs.
pub type Work<'a> = &'a (dyn Fn(&mut TenantTransaction<'_>) -> Result<()> + Send + Sync);

/// Users, groups, roles and policies. Other families have stores of their own,
/// such as [`CredentialStore`](crate::iam::CredentialStore), so that adding one
/// does not break an implementation of this.
#[async_trait]
pub trait IamStore:
    PrincipalStore<User>
    + PrincipalStore<Group>
    + PrincipalStore<Role>
    + EntityStore<Policy>
    + MembershipStore
{
    /// The policy of the tenant that `arn` names: its own ARN or that of a cloud.
    async fn policy_by_arn(&self, tenant: &TenantPath, arn: &str) -> Result<Option<Arc<Policy>>>;

    /// Several operations on one tenant, all or nothing.
    async fn transact(&self, tenant: &TenantPath, work: Work<'_>) -> Result<()> {
        let _ = (tenant, work);
        Err(Error::unsupported(
            "this store of identities does one operation at a time",
        ))
    }

    /// Completes interrupted deletions in the tenant; returns whether anything
    /// remained to be done. Every deletion completes itself; this is for what a
    /// crash left behind.
    async fn sweep(&self, tenant: &TenantPath) -> Result<bool> {
        let _ = tenant;
        Ok(false)
    }

    /// The standard implementation, if this is one: it stores any family.
    fn entities(&self) -> Option<&RecordEntities> {
        None
    }
}
