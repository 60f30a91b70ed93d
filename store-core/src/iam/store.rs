//! The contract for identities.

use std::sync::Arc;

use async_trait::async_trait;

use crate::entity::{EntityStore, Key, TenantEntity, policy_name_of};
use crate::error::{Error, Result};
use crate::iam::{AttachedPolicy, Group, InlinePolicy, Policy, TenantTransaction, User};
use crate::scan::{Cursor, MAX_PAGE, Page};
use crate::tenants::TenantPath;

/// A family whose entities policies are attached to.
pub trait Principal: TenantEntity {}

/// Which page of a list that has nothing else to choose.
#[derive(Clone, Debug)]
pub struct Paging {
    limit: usize,
    after: Option<Cursor>,
}

impl Default for Paging {
    fn default() -> Self {
        Self {
            limit: 100,
            after: None,
        }
    }
}

impl Paging {
    /// The first page, of up to 100.
    pub fn new() -> Self {
        Self::default()
    }

    /// At most this many; more than [`MAX_PAGE`] means [`MAX_PAGE`].
    ///
    /// # Errors
    /// `InvalidInput` for zero.
    pub fn limit(mut self, limit: usize) -> Result<Self> {
        if limit == 0 {
            return Err(Error::invalid(
                "a page of zero was asked for; ask for at least one",
            ));
        }
        self.limit = limit.min(MAX_PAGE);
        Ok(self)
    }

    /// Goes on where the page that gave `cursor` ended.
    pub fn after(mut self, cursor: Cursor) -> Self {
        self.after = Some(cursor);
        self
    }

    /// The most on the page, from 1 to [`MAX_PAGE`].
    pub fn page_size(&self) -> usize {
        self.limit
    }

    /// Where to go on.
    pub fn cursor(&self) -> Option<&Cursor> {
        self.after.as_ref()
    }
}

/// What every family of principals has beyond [`EntityStore`]: a new name, and
/// policies.
///
/// # What an implementer promises
/// - A rename carries everything and leaves nothing behind.
/// - A policy's `attachment_count` is at all times the number of principals
///   that it is attached to; it is not deleted while that is not zero.
/// - Attaching is idempotent. Another tenant's policy and an absent one are
///   the same answer, `NotFound`.
#[async_trait]
pub trait PrincipalStore<P: Principal>: EntityStore<P> {
    /// Gives it another name in its tenant. `NotFound`; `AlreadyExists` if the
    /// new name is taken.
    async fn rename(&self, key: &Key<P>, to: &str) -> Result<Arc<P>>;

    /// Attaches a policy of its tenant.
    async fn attach(&self, key: &Key<P>, policy_arn: &str) -> Result<()>;

    /// Detaches a policy; one that is not attached changes nothing.
    async fn detach(&self, key: &Key<P>, policy_arn: &str) -> Result<()>;

    /// The policies attached to it, in bytewise order of name.
    async fn attached(&self, key: &Key<P>, paging: &Paging) -> Result<Page<AttachedPolicy>>;

    /// Gives it a policy of its own, or that another document.
    async fn put_inline(&self, key: &Key<P>, policy: InlinePolicy) -> Result<()>;

    /// The policy of its own of this name.
    async fn get_inline(&self, key: &Key<P>, name: &str) -> Result<Option<Arc<InlinePolicy>>>;

    /// Takes a policy of its own away; an absent one changes nothing.
    async fn delete_inline(&self, key: &Key<P>, name: &str) -> Result<()>;

    /// The names of its own policies, in bytewise order.
    async fn list_inline(&self, key: &Key<P>, paging: &Paging) -> Result<Page<String>>;
}

/// Who is in which group.
///
/// A membership needs a user and a group of one tenant; otherwise `NotFound`,
/// whether the other tenant has them or not.
#[async_trait]
pub trait MembershipStore: EntityStore<User> + EntityStore<Group> {
    /// Puts a user into a group; doing so again changes nothing.
    async fn add_member(&self, group: &Key<Group>, user: &Key<User>) -> Result<()>;

    /// Takes a user out of a group; one who is not in it changes nothing.
    async fn remove_member(&self, group: &Key<Group>, user: &Key<User>) -> Result<()>;

    /// The groups that a user is in, in an order that never changes.
    async fn groups_of(&self, user: &Key<User>, paging: &Paging) -> Result<Page<Arc<Group>>>;

    /// The users that are in a group, in an order that never changes.
    async fn members_of(&self, group: &Key<Group>, paging: &Paging) -> Result<Page<Arc<User>>>;
}

/// What [`IamStore::transact`] runs.
pub type Work<'a> = &'a (dyn Fn(&mut TenantTransaction<'_>) -> Result<()> + Send + Sync);

/// All of IAM: the sum of its families.
#[async_trait]
pub trait IamStore:
    PrincipalStore<User> + PrincipalStore<Group> + EntityStore<Policy> + MembershipStore
{
    /// The tenant's policy that `arn` names.
    async fn policy_by_arn(&self, tenant: &TenantPath, arn: &str) -> Result<Option<Arc<Policy>>> {
        let Some(name) = policy_name_of(arn) else {
            return Ok(None);
        };
        let found: Option<Arc<Policy>> = self.get(&Key::<Policy>::new(tenant, name)).await?;
        Ok(found.filter(|policy| policy.is_known_as(arn)))
    }

    /// Several operations on one tenant, all or nothing.
    async fn transact(&self, tenant: &TenantPath, work: Work<'_>) -> Result<()> {
        let _ = (tenant, work);
        Err(Error::unsupported(
            "this store of identities does one operation at a time",
        ))
    }

    /// Finishes interrupted deletions in the tenant, some at a time; says
    /// whether anything was left to do. Every deletion does its own; this is
    /// for what a crash left behind.
    async fn sweep(&self, tenant: &TenantPath) -> Result<bool> {
        let _ = tenant;
        Ok(false)
    }
}
