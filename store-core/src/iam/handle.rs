//! The handles.

use std::fmt;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};

use crate::entity::{EntityStore, EntityStoreExt, Key, Listing, TenantPath};
use crate::error::{Error, Result};
use crate::iam::{
    AccessKeys, Authenticated, CredentialStore, Group, IamStore, One, Policy, RecordEntities, Role,
    TenantEntity, TenantTransaction, User,
};
use crate::page::{Items, Page};
use crate::secret::{KeyRing, Secret};
use crate::store::Store;

/// Users, groups, roles, policies and credentials, over any store. Cheap to
/// clone. See the [module](crate::iam).
#[derive(Clone, Debug)]
pub struct Iam {
    store: Arc<dyn IamStore>,
    credentials: Option<Arc<dyn CredentialStore>>,
}

impl Iam {
    /// Identities in `store`, which also holds the tenants. Secrets are sealed
    /// with `ring`.
    pub fn new(store: impl Into<Store>, ring: &KeyRing) -> Self {
        Self::of(RecordEntities::new(store, ring))
    }

    pub(super) fn of(entities: RecordEntities) -> Self {
        let entities = Arc::new(entities);
        Self {
            store: Arc::clone(&entities) as _,
            credentials: Some(entities),
        }
    }

    /// Identities of an implementation of your own, without credentials.
    pub fn over(store: Arc<dyn IamStore>) -> Self {
        Self {
            store,
            credentials: None,
        }
    }

    /// These identities, with the credentials in `store`.
    pub fn with_credentials(mut self, store: Arc<dyn CredentialStore>) -> Self {
        self.credentials = Some(store);
        self
    }

    /// The implementation.
    pub fn store(&self) -> &Arc<dyn IamStore> {
        &self.store
    }

    /// The identities of the tenant at `path`. Nothing is read yet.
    pub fn tenant(&self, path: &TenantPath) -> TenantIam {
        TenantIam {
            iam: self.clone(),
            tenant: path.clone(),
        }
    }

    /// The identities of the root tenant, `0`, as in WAMI.
    pub fn root(&self) -> TenantIam {
        self.tenant(&TenantPath::root(0))
    }

    /// The user whose active access key has this id and secret, in whichever
    /// tenant it is.
    ///
    /// # Errors
    /// `Unauthenticated` for an unknown or disabled key and for a wrong secret.
    pub async fn authenticate(
        &self,
        access_key_id: &str,
        secret: &Secret,
    ) -> Result<Authenticated> {
        self.credentials()?
            .authenticate(access_key_id, secret)
            .await
    }

    fn credentials(&self) -> Result<&Arc<dyn CredentialStore>> {
        self.credentials.as_ref().ok_or_else(|| {
            Error::unsupported(
                "this store of identities has no credentials; add some with Iam::with_credentials",
            )
        })
    }
}

/// The identities of one tenant.
#[derive(Clone, Debug)]
pub struct TenantIam {
    iam: Iam,
    tenant: TenantPath,
}

/// The users of a tenant.
pub type Users = Entities<User, dyn IamStore>;
/// The groups of a tenant.
pub type Groups = Entities<Group, dyn IamStore>;
/// The roles of a tenant.
pub type Roles = Entities<Role, dyn IamStore>;
/// The policies of a tenant.
pub type Policies = Entities<Policy, dyn IamStore>;
/// One user.
pub type OneUser = One<User, dyn IamStore>;
/// One group.
pub type OneGroup = One<Group, dyn IamStore>;
/// One role.
pub type OneRole = One<Role, dyn IamStore>;
/// One policy.
pub type OnePolicy = One<Policy, dyn IamStore>;

impl TenantIam {
    /// The tenant.
    pub fn path(&self) -> &TenantPath {
        &self.tenant
    }

    /// Its users.
    pub fn users(&self) -> Users {
        Entities::new(Arc::clone(&self.iam.store), &self.tenant)
    }

    /// Its groups.
    pub fn groups(&self) -> Groups {
        Entities::new(Arc::clone(&self.iam.store), &self.tenant)
    }

    /// Its roles.
    pub fn roles(&self) -> Roles {
        Entities::new(Arc::clone(&self.iam.store), &self.tenant)
    }

    /// Its policies.
    pub fn policies(&self) -> Policies {
        Entities::new(Arc::clone(&self.iam.store), &self.tenant)
    }

    /// The user of this name. Nothing is read yet.
    pub fn user(&self, name: &str) -> OneUser {
        self.users().one(name)
    }

    /// The group of this name. Nothing is read yet.
    pub fn group(&self, name: &str) -> OneGroup {
        self.groups().one(name)
    }

    /// The role of this name. Nothing is read yet.
    pub fn role(&self, name: &str) -> OneRole {
        self.roles().one(name)
    }

    /// The policy of this name. Nothing is read yet.
    pub fn policy(&self, name: &str) -> OnePolicy {
        self.policies().one(name)
    }

    /// The access keys of the user of this name. Nothing is read yet.
    ///
    /// # Errors
    /// `Unsupported` if the implementation has no credentials.
    pub fn access_keys_of(&self, user: &str) -> Result<AccessKeys> {
        let store = Arc::clone(self.iam.credentials()?);
        Ok(AccessKeys::new(store, Key::new(&self.tenant, user)))
    }

    /// A family of your own, described by its [`TenantEntity`].
    ///
    /// # Errors
    /// `Unsupported` with an implementation other than [`RecordEntities`].
    pub fn family<E: TenantEntity>(&self) -> Result<Entities<E, RecordEntities>> {
        let entities = self.iam.store.entities().ok_or_else(|| {
            Error::unsupported("this store of identities has no families of your own")
        })?;
        Ok(entities.family(&self.tenant))
    }

    /// Runs several operations as one commit: all or nothing. `work` calls the
    /// transaction alone, returns the errors that it gets, and may run many
    /// times; the answer of the run that committed is returned.
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
        let store = &self.iam.store;
        store
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

    /// Completes deletions that a crash interrupted. See [`IamStore::sweep`].
    ///
    /// # Errors
    /// The store's own.
    pub async fn sweep(&self) -> Result<bool> {
        self.iam.store.sweep(&self.tenant).await
    }
}

/// One family of a tenant's entities: [`Users`], [`Groups`] …, or one of your
/// own from [`TenantIam::family`].
pub struct Entities<E, S: ?Sized> {
    store: Arc<S>,
    tenant: TenantPath,
    family: PhantomData<fn() -> E>,
}

impl<E, S: ?Sized> fmt::Debug for Entities<E, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entities")
            .field("tenant", &self.tenant)
            .finish_non_exhaustive()
    }
}

impl<E: TenantEntity, S: EntityStore<E> + ?Sized> Entities<E, S> {
    pub(super) fn new(store: Arc<S>, tenant: &TenantPath) -> Self {
        Self {
            store,
            tenant: tenant.clone(),
            family: PhantomData,
        }
    }

    /// The entity of this name. Nothing is read yet.
    pub fn one(&self, name: &str) -> One<E, S> {
        One::new(Arc::clone(&self.store), Key::new(&self.tenant, name))
    }

    /// Creates an entity in the tenant, and returns it as stored.
    ///
    /// # Errors
    /// `AlreadyExists` if the name or the id is taken; `LimitExceeded` over the
    /// tenant's quota; `NotFound` without the tenant.
    pub async fn create(&self, mut entity: E) -> Result<Arc<E>> {
        let meta = entity.meta_mut();
        if meta.tenant_id.is_unassigned() {
            meta.tenant_id = self.tenant.clone();
        }
        if meta.tenant_id != self.tenant {
            return Err(Error::invalid(
                "the entity belongs to another tenant than the handle; use the handle of its tenant",
            ));
        }
        self.store.create(entity).await
    }

    /// The entity of this name.
    ///
    /// # Errors
    /// The store's own.
    pub async fn get(&self, name: &str) -> Result<Option<Arc<E>>> {
        self.one(name).get().await
    }

    /// The entity of this id.
    ///
    /// # Errors
    /// The store's own.
    pub async fn get_by_id(&self, id: &str) -> Result<Option<Arc<E>>> {
        self.store.get_by_id(&self.tenant, id).await
    }

    /// Deletes the entity of this name. See [`One::delete`].
    ///
    /// # Errors
    /// `NotFound`; `InUse` for a policy that is attached.
    pub async fn delete(&self, name: &str) -> Result<()> {
        self.one(name).delete().await
    }

    /// One page, in bytewise order of name.
    ///
    /// # Errors
    /// `InvalidInput` with a cursor of another query.
    pub async fn list(&self, listing: &Listing<E>) -> Result<Page<Arc<E>>> {
        self.store.list(&self.tenant, listing).await
    }

    /// The entities of this page and of all after it. See [`Self::list`].
    pub fn list_stream(&self, listing: Listing<E>) -> Items<'_, Arc<E>> {
        self.store.list_stream(&self.tenant, listing)
    }
}

impl Policies {
    /// The policy of the tenant that `arn` names; `None` for one of another tenant.
    ///
    /// # Errors
    /// The store's own.
    pub async fn by_arn(&self, arn: impl fmt::Display) -> Result<Option<Arc<Policy>>> {
        self.store
            .policy_by_arn(&self.tenant, &arn.to_string())
            .await
    }
}
