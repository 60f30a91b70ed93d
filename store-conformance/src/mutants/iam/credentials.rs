//! Access keys that are right, except for one flaw in the code around them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use store_core::entity::{EntityStore, Key};
use store_core::iam::{
    AccessKey, Authenticated, CredentialLayer, CredentialStatus, CredentialStore, Identity,
    RecordEntities, User,
};
use store_core::layers::Layered;
use store_core::secret::Secret;
use store_core::tenants::Tenant;
use store_core::{Error, ErrorKind, Result};

use crate::cases::iam::ring;
use crate::harness::{Harness, Opened};
use crate::mutants::sound;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    IgnoresStatus,
    AcceptsAnySecret,
    TellsUnknownKeysApart,
    IgnoresOwners,
}

/// What was created, by id.
type Created = Arc<Mutex<HashMap<String, (Key<User>, Secret)>>>;

#[derive(Debug)]
struct Flawed {
    inner: RecordEntities,
    flaw: Flaw,
    created: Created,
}

impl Flawed {
    fn of(&self, id: &str) -> Option<(Key<User>, Secret)> {
        self.created.lock().expect("no panics").get(id).cloned()
    }

    /// The user that this store takes for the owner.
    fn owner(&self, user: &Key<User>, id: &str) -> Key<User> {
        match self.of(id) {
            Some((owner, _)) if self.flaw == Flaw::IgnoresOwners => owner,
            _ => user.clone(),
        }
    }
}

impl Layered for Flawed {
    type Inner = RecordEntities;

    fn inner(&self) -> &RecordEntities {
        &self.inner
    }
}

#[async_trait]
impl CredentialLayer for Flawed {
    async fn create_access_key(&self, user: &Key<User>) -> Result<(Arc<AccessKey>, Secret)> {
        let (key, secret) = self.inner.create_access_key(user).await?;
        let created = (user.clone(), secret.clone());
        let id = key.access_key_id().to_owned();
        self.created.lock().expect("no panics").insert(id, created);
        Ok((key, secret))
    }

    async fn set_access_key_status(
        &self,
        user: &Key<User>,
        id: &str,
        status: CredentialStatus,
    ) -> Result<Arc<AccessKey>> {
        if self.flaw == Flaw::IgnoresStatus {
            let key = Key::<AccessKey>::new(user.tenant(), id);
            let found = EntityStore::<AccessKey>::get(&self.inner, &key).await?;
            return found.ok_or_else(|| Error::not_found("no such key"));
        }
        let owner = self.owner(user, id);
        self.inner.set_access_key_status(&owner, id, status).await
    }

    async fn delete_access_key(&self, user: &Key<User>, id: &str) -> Result<()> {
        let owner = self.owner(user, id);
        self.inner.delete_access_key(&owner, id).await
    }

    async fn authenticate(&self, id: &str, secret: &Secret) -> Result<Authenticated> {
        match (self.flaw, self.of(id)) {
            (Flaw::AcceptsAnySecret, Some((_, right))) => self.inner.authenticate(id, &right).await,
            (Flaw::TellsUnknownKeysApart, None) => Err(Error::new(
                ErrorKind::Unauthenticated,
                "there is no such key",
            )),
            _ => self.inner.authenticate(id, secret).await,
        }
    }
}

/// Opens identities with flawed access keys.
pub(super) struct Keys(pub(super) Flaw);

#[async_trait]
impl Harness<Identity, Vec<Tenant>> for Keys {
    fn backend(&self) -> String {
        format!("{:?}", self.0)
    }

    async fn open(&self, tenants: Vec<Tenant>) -> Result<Opened<Identity>> {
        let opened = sound().backend_harness().open(()).await?;
        crate::cases::iam::load_tenants(&opened.first, tenants).await?;
        let created = Created::default();
        Ok(opened.map(|store| {
            let mut identity = Identity::new(&**store, &ring());
            let flawed = Flawed {
                inner: RecordEntities::new(&**store, &ring()),
                flaw: self.0,
                created: Arc::clone(&created),
            };
            identity.iam = identity.iam.with_credentials(Arc::new(flawed));
            Arc::new(identity)
        }))
    }
}
