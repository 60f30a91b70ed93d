//! Handles of one entity.

use std::fmt;
use std::sync::Arc;

use crate::entity::{EntityStore, EntityStoreExt, Key, Tags};
use crate::error::Result;
use crate::iam::{
    AccessKey, AttachedPolicy, CredentialStatus, CredentialStore, Group, InlinePolicy,
    MembershipStore, OneGroup, OneUser, Principal, PrincipalStore, TenantEntity, User,
};
use crate::page::{Items, Page, PageRequest};
use crate::secret::Secret;

/// One entity of a tenant, by name: [`OneUser`], [`OneGroup`] …
pub struct One<E, S: ?Sized> {
    store: Arc<S>,
    key: Key<E>,
}

impl<E, S: ?Sized> fmt::Debug for One<E, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("One").field(&self.key).finish()
    }
}

impl<E: TenantEntity, S: EntityStore<E> + ?Sized> One<E, S> {
    pub(super) fn new(store: Arc<S>, key: Key<E>) -> Self {
        Self { store, key }
    }

    /// Its key.
    pub fn key(&self) -> &Key<E> {
        &self.key
    }

    /// The entity.
    ///
    /// # Errors
    /// The store's own.
    pub async fn get(&self) -> Result<Option<Arc<E>>> {
        self.store.get(&self.key).await
    }

    /// Changes it in place, losing no concurrent change, and returns it as
    /// stored. `edit` may run again.
    ///
    /// # Errors
    /// `NotFound`; those of `edit`.
    pub async fn update(
        &self,
        edit: impl Fn(&mut E) -> Result<()> + Send + Sync,
    ) -> Result<Arc<E>> {
        self.store.update(&self.key, &edit).await
    }

    /// Deletes it, with everything that depends on it.
    ///
    /// # Errors
    /// `NotFound`; `InUse` for a policy that is attached.
    pub async fn delete(&self) -> Result<()> {
        self.store.delete(&self.key).await
    }

    /// Sets tags and leaves the others as they are.
    ///
    /// # Errors
    /// `NotFound`; `LimitExceeded` over [`MAX_TAGS`](crate::entity::MAX_TAGS).
    pub async fn tag<K, V>(&self, tags: impl IntoIterator<Item = (K, V)>) -> Result<()>
    where
        K: Into<String>,
        V: Into<String>,
    {
        let tags: Tags = tags
            .into_iter()
            .map(|(k, v)| (k.into(), v.into()))
            .collect();
        self.store.tag(&self.key, tags).await
    }

    /// Removes tags by name.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn untag(&self, names: &[&str]) -> Result<()> {
        self.store.untag(&self.key, names).await
    }

    /// The tags, in order of name.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn tags(&self) -> Result<Tags> {
        self.store.tags(&self.key).await
    }
}

impl<P: Principal, S: PrincipalStore<P> + ?Sized> One<P, S> {
    /// Gives it another name. Everything that depends on it stays.
    ///
    /// # Errors
    /// `NotFound`; `AlreadyExists` if the new name is taken.
    pub async fn rename(&self, to: &str) -> Result<Arc<P>> {
        self.store.rename(&self.key, to).await
    }

    /// Attaches a policy of the tenant. Doing so again changes nothing.
    ///
    /// # Errors
    /// `NotFound` without the principal or the policy, which includes a policy of
    /// another tenant; `LimitExceeded`; `PermissionDenied` if it is not attachable.
    pub async fn attach_policy(&self, arn: impl fmt::Display) -> Result<()> {
        self.store.attach_policy(&self.key, &arn.to_string()).await
    }

    /// Detaches a policy. One that is not attached changes nothing.
    ///
    /// # Errors
    /// `NotFound` without the principal or the policy.
    pub async fn detach_policy(&self, arn: impl fmt::Display) -> Result<()> {
        self.store.detach_policy(&self.key, &arn.to_string()).await
    }

    /// The policies attached to it, in bytewise order of name.
    ///
    /// # Errors
    /// `NotFound` without the principal.
    pub async fn attached_policies(&self, page: &PageRequest) -> Result<Page<AttachedPolicy>> {
        self.store.attached_policies(&self.key, page).await
    }

    /// The items of this page and of all after it. See [`Self::attached_policies`].
    pub fn attached_policies_stream(&self, page: PageRequest) -> Items<'_, AttachedPolicy> {
        page.stream(move |page| async move { self.attached_policies(&page).await })
    }

    /// Gives it an inline policy, or replaces the document of one.
    ///
    /// # Errors
    /// `NotFound` without the principal; `LimitExceeded`.
    pub async fn put_inline_policy(
        &self,
        policy_name: impl Into<String>,
        document: impl Into<String>,
    ) -> Result<()> {
        let policy = InlinePolicy::new(policy_name, document);
        self.store.put_inline_policy(&self.key, policy).await
    }

    /// Its inline policy of this name.
    ///
    /// # Errors
    /// `NotFound` without the principal.
    pub async fn inline_policy(&self, policy_name: &str) -> Result<Option<Arc<InlinePolicy>>> {
        self.store.inline_policy(&self.key, policy_name).await
    }

    /// Deletes an inline policy. A missing one changes nothing.
    ///
    /// # Errors
    /// `NotFound` without the principal.
    pub async fn delete_inline_policy(&self, policy_name: &str) -> Result<()> {
        self.store
            .delete_inline_policy(&self.key, policy_name)
            .await
    }

    /// The names of its inline policies, in bytewise order.
    ///
    /// # Errors
    /// `NotFound` without the principal.
    pub async fn inline_policies(&self, page: &PageRequest) -> Result<Page<String>> {
        self.store.inline_policies(&self.key, page).await
    }

    /// The items of this page and of all after it. See [`Self::inline_policies`].
    pub fn inline_policies_stream(&self, page: PageRequest) -> Items<'_, String> {
        page.stream(move |page| async move { self.inline_policies(&page).await })
    }
}

impl OneUser {
    /// The groups that the user is in.
    ///
    /// # Errors
    /// `NotFound` without the user.
    pub async fn groups(&self, page: &PageRequest) -> Result<Page<Arc<Group>>> {
        self.store.groups_of(&self.key, page).await
    }

    /// The items of this page and of all after it. See [`Self::groups`].
    pub fn groups_stream(&self, page: PageRequest) -> Items<'_, Arc<Group>> {
        page.stream(move |page| async move { self.groups(&page).await })
    }
}

impl OneGroup {
    /// Adds a user to the group. Doing so again changes nothing.
    ///
    /// # Errors
    /// `NotFound` without both; `LimitExceeded`.
    pub async fn add_member(&self, user: &str) -> Result<()> {
        let user = Key::new(self.key.tenant(), user);
        MembershipStore::add_member(&*self.store, &self.key, &user).await
    }

    /// Removes a user from the group. A user who is not a member changes nothing.
    ///
    /// # Errors
    /// `NotFound` without both.
    pub async fn remove_member(&self, user: &str) -> Result<()> {
        let user = Key::new(self.key.tenant(), user);
        MembershipStore::remove_member(&*self.store, &self.key, &user).await
    }

    /// The users that are in the group.
    ///
    /// # Errors
    /// `NotFound` without the group.
    pub async fn members(&self, page: &PageRequest) -> Result<Page<Arc<User>>> {
        self.store.members_of(&self.key, page).await
    }

    /// The items of this page and of all after it. See [`Self::members`].
    pub fn members_stream(&self, page: PageRequest) -> Items<'_, Arc<User>> {
        page.stream(move |page| async move { self.members(&page).await })
    }
}

/// The access keys of one user.
#[derive(Clone, Debug)]
pub struct AccessKeys {
    store: Arc<dyn CredentialStore>,
    user: Key<User>,
}

impl AccessKeys {
    pub(super) fn new(store: Arc<dyn CredentialStore>, user: Key<User>) -> Self {
        Self { store, user }
    }

    /// Creates an access key, and returns it with its secret, which cannot be
    /// read again except to verify a signature.
    ///
    /// # Errors
    /// `NotFound` without the user; `LimitExceeded`.
    pub async fn create(&self) -> Result<(Arc<AccessKey>, Secret)> {
        self.store.create_access_key(&self.user).await
    }

    /// All of them, in order of id.
    ///
    /// # Errors
    /// `NotFound` without the user.
    pub async fn list(&self) -> Result<Vec<Arc<AccessKey>>> {
        self.store.access_keys(&self.user).await
    }

    /// Enables or disables one.
    ///
    /// # Errors
    /// `NotFound` without it.
    pub async fn set_status(
        &self,
        access_key_id: &str,
        status: CredentialStatus,
    ) -> Result<Arc<AccessKey>> {
        self.store
            .set_access_key_status(&self.user, access_key_id, status)
            .await
    }

    /// Deletes one.
    ///
    /// # Errors
    /// `NotFound` without it.
    pub async fn delete(&self, access_key_id: &str) -> Result<()> {
        self.store
            .delete_access_key(&self.user, access_key_id)
            .await
    }
}
