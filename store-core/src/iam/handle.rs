//! The handles.

use std::fmt;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};

use crate::entity::{EntityStore, EntityStoreExt, Key, Listing, Tagged, Tags, TenantEntity};
use crate::error::{Error, Result};
use crate::iam::{
    AttachedPolicy, Group, IamStore, InlinePolicy, MembershipStore, Paging, Policy, Principal,
    PrincipalStore, RecordEntities, TenantTransaction, User,
};
use crate::scan::Page;
use crate::store::Store;
use crate::tenants::{TenantPath, Tenants};

/// Users, groups and policies, over any store. Cheap to clone. See the
/// [module](crate::iam).
#[derive(Clone, Debug)]
pub struct Iam {
    store: Arc<dyn IamStore>,
}

impl Iam {
    /// Identities kept in `store`.
    pub fn new(store: impl Into<Store>) -> Self {
        let records = Arc::clone(store.into().records());
        Self::over(Arc::new(RecordEntities::new(records)))
    }

    /// Identities kept by an implementation of your own.
    pub fn over(store: Arc<dyn IamStore>) -> Self {
        Self { store }
    }

    /// The implementation.
    pub fn store(&self) -> &Arc<dyn IamStore> {
        &self.store
    }

    /// The identities of one tenant. Nothing is read yet.
    pub fn tenant(&self, path: &TenantPath) -> TenantIam {
        TenantIam {
            store: Arc::clone(&self.store),
            tenant: path.clone(),
        }
    }
}

/// The identities of one tenant.
#[derive(Clone, Debug)]
pub struct TenantIam {
    store: Arc<dyn IamStore>,
    tenant: TenantPath,
}

impl TenantIam {
    /// The tenant.
    pub fn path(&self) -> &TenantPath {
        &self.tenant
    }

    /// Its users.
    pub fn users(&self) -> Entities<User> {
        self.family()
    }

    /// Its groups.
    pub fn groups(&self) -> Entities<Group> {
        self.family()
    }

    /// Its policies.
    pub fn policies(&self) -> Entities<Policy> {
        self.family()
    }

    fn family<E>(&self) -> Entities<E> {
        Entities {
            store: Arc::clone(&self.store),
            tenant: self.tenant.clone(),
            family: PhantomData,
        }
    }

    /// Runs several operations as one commit: all or nothing. `work` talks to
    /// the transaction alone, returns the errors that it meets, and may run
    /// many times; the answer of the run that committed is returned.
    ///
    /// # Errors
    /// Those of `work`, with nothing written; `InvalidInput` over 100 records;
    /// `Contended`; `Unsupported` if the implementation has none.
    pub async fn transaction<R, F>(&self, work: F) -> Result<R>
    where
        R: Send,
        F: Fn(&mut TenantTransaction<'_>) -> Result<R> + Send + Sync,
    {
        let answer = Mutex::new(None);
        self.store
            .transact(&self.tenant, &|tx| {
                let run = work(tx)?;
                *answer.lock().unwrap_or_else(PoisonError::into_inner) = Some(run);
                Ok(())
            })
            .await?;
        let answer = answer.into_inner().unwrap_or_else(PoisonError::into_inner);
        answer.ok_or_else(|| {
            Error::unsupported("this store of identities committed without running the closure")
        })
    }

    /// Finishes deletions that a crash interrupted. See [`IamStore::sweep`].
    ///
    /// # Errors
    /// The store's own.
    pub async fn sweep(&self) -> Result<bool> {
        self.store.sweep(&self.tenant).await
    }
}

/// One family of a tenant's identities, by name.
pub struct Entities<E> {
    store: Arc<dyn IamStore>,
    tenant: TenantPath,
    family: PhantomData<fn() -> E>,
}

impl<E> fmt::Debug for Entities<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entities")
            .field("tenant", &self.tenant)
            .finish_non_exhaustive()
    }
}

impl<E> Entities<E> {
    fn key<T>(&self, name: &str) -> Key<T> {
        Key::new(&self.tenant, name)
    }
}

impl<E: TenantEntity> Entities<E>
where
    dyn IamStore: EntityStore<E>,
{
    /// Creates one, and returns it as stored.
    ///
    /// # Errors
    /// `AlreadyExists` if the name or the id is taken; `LimitExceeded` over the
    /// tenant's quota; `NotFound` without the tenant.
    pub async fn create(&self, entity: E) -> Result<Arc<E>> {
        if *entity.tenant_id() != self.tenant {
            return Err(Error::invalid(
                "the entity is of another tenant than this handle",
            ));
        }
        self.store.create(entity).await
    }

    /// The one of this name.
    ///
    /// # Errors
    /// The store's own.
    pub async fn get(&self, name: &str) -> Result<Option<Arc<E>>> {
        EntityStore::<E>::get(&*self.store, &self.key(name)).await
    }

    /// Changes one in place, losing no other's change, and returns it as
    /// stored. `edit` may run again.
    ///
    /// # Errors
    /// `NotFound`; those of `edit`.
    pub async fn update(
        &self,
        name: &str,
        edit: impl Fn(&mut E) -> Result<()> + Send + Sync,
    ) -> Result<Arc<E>> {
        EntityStore::<E>::update(&*self.store, &self.key(name), &edit).await
    }

    /// Deletes one, with all that depends on it.
    ///
    /// # Errors
    /// `NotFound`; `InUse` for a policy that is attached.
    pub async fn delete(&self, name: &str) -> Result<()> {
        EntityStore::<E>::delete(&*self.store, &self.key(name)).await
    }

    /// One page, in bytewise order of name.
    ///
    /// # Errors
    /// `InvalidInput` with a cursor of another question.
    pub async fn list(&self, listing: &Listing<E>) -> Result<Page<Arc<E>>> {
        EntityStore::<E>::list(&*self.store, &self.tenant, listing).await
    }

    /// Sets tags, keeping the others.
    ///
    /// # Errors
    /// `NotFound`; `LimitExceeded` over [`MAX_TAGS`](crate::entity::MAX_TAGS).
    pub async fn tag<K, V>(&self, name: &str, tags: impl IntoIterator<Item = (K, V)>) -> Result<()>
    where
        E: Tagged,
        K: Into<String>,
        V: Into<String>,
    {
        let tags: Tags = tags
            .into_iter()
            .map(|(k, v)| (k.into(), v.into()))
            .collect();
        EntityStoreExt::<E>::tag(&*self.store, &self.key(name), tags).await
    }

    /// Removes tags by name.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn untag(&self, name: &str, names: &[&str]) -> Result<()>
    where
        E: Tagged,
    {
        EntityStoreExt::<E>::untag(&*self.store, &self.key(name), names).await
    }

    /// The tags, in order of name.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn tags(&self, name: &str) -> Result<Tags>
    where
        E: Tagged,
    {
        EntityStoreExt::<E>::tags(&*self.store, &self.key(name)).await
    }
}

impl<P: Principal> Entities<P>
where
    dyn IamStore: PrincipalStore<P>,
{
    /// Gives it another name. All that depends on it comes along.
    ///
    /// # Errors
    /// `NotFound`; `AlreadyExists` if the new name is taken.
    pub async fn rename(&self, name: &str, to: &str) -> Result<Arc<P>> {
        PrincipalStore::<P>::rename(&*self.store, &self.key(name), to).await
    }

    /// Attaches a policy of the tenant. Doing so again changes nothing.
    ///
    /// # Errors
    /// `NotFound` without the principal or the policy, another tenant's
    /// included; `LimitExceeded`; `PermissionDenied` if it is not attachable.
    pub async fn attach(&self, name: &str, policy_arn: &str) -> Result<()> {
        PrincipalStore::<P>::attach(&*self.store, &self.key(name), policy_arn).await
    }

    /// Detaches a policy. One that is not attached changes nothing.
    ///
    /// # Errors
    /// `NotFound` without the principal or the policy.
    pub async fn detach(&self, name: &str, policy_arn: &str) -> Result<()> {
        PrincipalStore::<P>::detach(&*self.store, &self.key(name), policy_arn).await
    }

    /// The policies attached to it, in bytewise order of name.
    ///
    /// # Errors
    /// `NotFound` without the principal.
    pub async fn attached(&self, name: &str, paging: &Paging) -> Result<Page<AttachedPolicy>> {
        PrincipalStore::<P>::attached(&*self.store, &self.key(name), paging).await
    }

    /// Gives it a policy of its own, or that one another document.
    ///
    /// # Errors
    /// `NotFound` without the principal; `LimitExceeded`.
    pub async fn put_inline(
        &self,
        name: &str,
        policy_name: impl Into<String>,
        document: impl Into<String>,
    ) -> Result<()> {
        let policy = InlinePolicy::new(policy_name, document);
        PrincipalStore::<P>::put_inline(&*self.store, &self.key(name), policy).await
    }

    /// A policy of its own.
    ///
    /// # Errors
    /// `NotFound` without the principal.
    pub async fn get_inline(
        &self,
        name: &str,
        policy_name: &str,
    ) -> Result<Option<Arc<InlinePolicy>>> {
        PrincipalStore::<P>::get_inline(&*self.store, &self.key(name), policy_name).await
    }

    /// Takes a policy of its own away. An absent one changes nothing.
    ///
    /// # Errors
    /// `NotFound` without the principal.
    pub async fn delete_inline(&self, name: &str, policy_name: &str) -> Result<()> {
        PrincipalStore::<P>::delete_inline(&*self.store, &self.key(name), policy_name).await
    }

    /// The names of its own policies, in bytewise order.
    ///
    /// # Errors
    /// `NotFound` without the principal.
    pub async fn list_inline(&self, name: &str, paging: &Paging) -> Result<Page<String>> {
        PrincipalStore::<P>::list_inline(&*self.store, &self.key(name), paging).await
    }
}

impl Entities<User> {
    /// The groups that a user is in.
    ///
    /// # Errors
    /// `NotFound` without the user.
    pub async fn groups(&self, name: &str, paging: &Paging) -> Result<Page<Arc<Group>>> {
        MembershipStore::groups_of(&*self.store, &self.key(name), paging).await
    }
}

impl Entities<Group> {
    /// Puts a user into a group. Doing so again changes nothing.
    ///
    /// # Errors
    /// `NotFound` without both; `LimitExceeded`.
    pub async fn add_member(&self, group: &str, user: &str) -> Result<()> {
        MembershipStore::add_member(&*self.store, &self.key(group), &self.key(user)).await
    }

    /// Takes a user out of a group. One who is not in it changes nothing.
    ///
    /// # Errors
    /// `NotFound` without both.
    pub async fn remove_member(&self, group: &str, user: &str) -> Result<()> {
        MembershipStore::remove_member(&*self.store, &self.key(group), &self.key(user)).await
    }

    /// The users that are in a group.
    ///
    /// # Errors
    /// `NotFound` without the group.
    pub async fn members(&self, name: &str, paging: &Paging) -> Result<Page<Arc<User>>> {
        MembershipStore::members_of(&*self.store, &self.key(name), paging).await
    }
}

impl Entities<Policy> {
    /// The tenant's policy that `arn` names; `None` for another tenant's.
    ///
    /// # Errors
    /// The store's own.
    pub async fn by_arn(&self, arn: &str) -> Result<Option<Arc<Policy>>> {
        self.store.policy_by_arn(&self.tenant, arn).await
    }
}

/// Everything about identity, over one store.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Who is in which tenant.
    pub iam: Iam,
    /// The tenants.
    pub tenants: Tenants,
}

impl Identity {
    /// Tenants and identities kept in `store`.
    pub fn new(store: impl Into<Store>) -> Self {
        let store = store.into();
        Self {
            iam: Iam::new(&store),
            tenants: Tenants::new(&store),
        }
    }
}
