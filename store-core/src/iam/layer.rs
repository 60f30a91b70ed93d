//! Layers over stores of identities.

use std::sync::Arc;

use crate::entity::{EntityLayer, Key, TenantPath};
use crate::error::Result;
use crate::iam::{
    AccessKey, AttachedPolicy, Authenticated, CredentialStatus, CredentialStore, Group, IamStore,
    InlinePolicy, MembershipStore, Policy, Principal, PrincipalStore, RecordEntities, Role, User,
    Work,
};
use crate::layers::layered;
use crate::page::{Page, PageRequest};
use crate::secret::Secret;

layered! {
    /// A layer over a [`PrincipalStore`], and by that a `PrincipalStore` itself.
    /// See the [module](crate::layers).
    [P: Principal] PrincipalLayer as PrincipalLayer<P>: [EntityLayer<P>] over PrincipalStore<P>;
    async fn rename['life1, 'life2](key: &'life1 Key<P>, to: &'life2 str) -> Result<Arc<P>>;
    async fn attach_policy['life1, 'life2](
        key: &'life1 Key<P>,
        arn: &'life2 str
    ) -> Result<()>;
    async fn detach_policy['life1, 'life2](
        key: &'life1 Key<P>,
        arn: &'life2 str
    ) -> Result<()>;
    async fn attached_policies['life1, 'life2](
        key: &'life1 Key<P>,
        page: &'life2 PageRequest
    ) -> Result<Page<AttachedPolicy>>;
    async fn put_inline_policy['life1](key: &'life1 Key<P>, policy: InlinePolicy) -> Result<()>;
    async fn inline_policy['life1, 'life2](
        key: &'life1 Key<P>,
        name: &'life2 str
    ) -> Result<Option<Arc<InlinePolicy>>>;
    async fn delete_inline_policy['life1, 'life2](
        key: &'life1 Key<P>,
        name: &'life2 str
    ) -> Result<()>;
    async fn inline_policies['life1, 'life2](
        key: &'life1 Key<P>,
        page: &'life2 PageRequest
    ) -> Result<Page<String>>;
}

layered! {
    /// A layer over a [`MembershipStore`], and by that a `MembershipStore` itself.
    /// See the [module](crate::layers).
    [] MembershipLayer as MembershipLayer: [EntityLayer<User>, EntityLayer<Group>] over MembershipStore;
    async fn add_member['life1, 'life2](
        group: &'life1 Key<Group>,
        user: &'life2 Key<User>
    ) -> Result<()>;
    async fn remove_member['life1, 'life2](
        group: &'life1 Key<Group>,
        user: &'life2 Key<User>
    ) -> Result<()>;
    async fn groups_of['life1, 'life2](
        user: &'life1 Key<User>,
        page: &'life2 PageRequest
    ) -> Result<Page<Arc<Group>>>;
    async fn members_of['life1, 'life2](
        group: &'life1 Key<Group>,
        page: &'life2 PageRequest
    ) -> Result<Page<Arc<User>>>;
}

layered! {
    /// A layer over an [`IamStore`], and by that an `IamStore` itself. See the
    /// [module](crate::layers).
    ///
    /// It has no families of an application's own: they would not pass through
    /// the layer.
    [] IamLayer as IamLayer: [
        PrincipalLayer<User>,
        PrincipalLayer<Group>,
        PrincipalLayer<Role>,
        EntityLayer<Policy>,
        MembershipLayer
    ] over IamStore;
    async fn policy_by_arn['life1, 'life2](
        tenant: &'life1 TenantPath,
        arn: &'life2 str
    ) -> Result<Option<Arc<Policy>>>;
    async fn transact['life1, 'life2](
        tenant: &'life1 TenantPath,
        work: Work<'life2>
    ) -> Result<()>;
    async fn sweep['life1](tenant: &'life1 TenantPath) -> Result<bool>;
    impl {
        fn entities(&self) -> Option<&RecordEntities> {
            None
        }
    }
}

layered! {
    /// A layer over a [`CredentialStore`], and by that a `CredentialStore` itself.
    /// See the [module](crate::layers).
    [] CredentialLayer as CredentialLayer: [] over CredentialStore;
    async fn create_access_key['life1](
        user: &'life1 Key<User>
    ) -> Result<(Arc<AccessKey>, Secret)>;
    async fn access_keys['life1](user: &'life1 Key<User>) -> Result<Vec<Arc<AccessKey>>>;
    async fn set_access_key_status['life1, 'life2](
        user: &'life1 Key<User>,
        access_key_id: &'life2 str,
        status: CredentialStatus
    ) -> Result<Arc<AccessKey>>;
    async fn delete_access_key['life1, 'life2](
        user: &'life1 Key<User>,
        access_key_id: &'life2 str
    ) -> Result<()>;
    async fn authenticate['life1, 'life2](
        access_key_id: &'life1 str,
        secret: &'life2 Secret
    ) -> Result<Authenticated>;
    async fn open_secret['life1](access_key: &'life1 AccessKey) -> Result<Secret>;
}
