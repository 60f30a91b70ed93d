//! Creating credentials, and authenticating with them.

use std::sync::Arc;

use async_trait::async_trait;
use data_encoding::{BASE32_NOPAD, BASE64};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use crate::body::{Format, Unknown};
use crate::entity::{EntityStore, Key, partition};
use crate::error::{Error, ErrorKind, Result};
use crate::iam::access_key::{ACCESS_KEYS, SECRET};
use crate::iam::checks::{absent, verified};
use crate::iam::hints::{CredentialHint, hint_of};
use crate::iam::layout::{Roster, entity_key, roster_key};
use crate::iam::{AccessKey, RecordEntities, TenantEntity, User};
use crate::secret::Secret;

/// Whether a credential can be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum CredentialStatus {
    /// It can be used.
    #[default]
    Active,
    /// It is disabled.
    Inactive,
}

/// A user who was authenticated, and the access key.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct Authenticated {
    /// The user.
    pub user: Arc<User>,
    /// The access key.
    pub access_key: Arc<AccessKey>,
}

/// Stores access keys.
///
/// # What an implementer promises
/// - A user has at most [`MAX_ACCESS_KEYS`](crate::iam::MAX_ACCESS_KEYS), and a
///   tenant as many as its quota `max_access_keys` allows, under any race.
/// - The commit that deletes a user deletes its access keys: no key of a deleted
///   user authenticates, and a user that is created under its name inherits none.
/// - A secret is returned once, when its key is created, and stored sealed.
/// - An unknown key, a disabled key and a wrong secret get the same answer.
#[async_trait]
pub trait CredentialStore: Send + Sync + std::fmt::Debug {
    /// Creates an access key for a user, and returns it with its secret.
    async fn create_access_key(&self, user: &Key<User>) -> Result<(Arc<AccessKey>, Secret)>;

    /// The access keys of a user, in order of id.
    async fn access_keys(&self, user: &Key<User>) -> Result<Vec<Arc<AccessKey>>>;

    /// Enables or disables an access key of a user.
    async fn set_access_key_status(
        &self,
        user: &Key<User>,
        access_key_id: &str,
        status: CredentialStatus,
    ) -> Result<Arc<AccessKey>>;

    /// Deletes an access key of a user.
    async fn delete_access_key(&self, user: &Key<User>, access_key_id: &str) -> Result<()>;

    /// The user whose active access key has this id and secret; otherwise
    /// `Unauthenticated`.
    async fn authenticate(&self, access_key_id: &str, secret: &Secret) -> Result<Authenticated>;

    /// The secret of an access key, to verify a signature made with it.
    async fn open_secret(&self, access_key: &AccessKey) -> Result<Secret>;
}

#[async_trait]
impl CredentialStore for RecordEntities {
    async fn create_access_key(&self, user: &Key<User>) -> Result<(Arc<AccessKey>, Secret)> {
        let owner = EntityStore::<User>::get(self, user).await?;
        let owner = owner.ok_or_else(absent::<User>)?;
        let id = format!(
            "{}{}",
            AccessKey::FAMILY.id_prefix,
            BASE32_NOPAD.encode(&random::<10>())
        );
        let secret = Secret::new(BASE64.encode(&random::<30>()));
        let hint = CredentialHint {
            format: Format,
            name: id.clone(),
            tenant: user.tenant().clone(),
            owner: owner.incarnation(),
            owner_name: user.name().into(),
            written_at: self.records().clock().now(),
            unknown: Unknown::new(),
        };
        hint.write(self.records()).await?;
        let created = self
            .transaction(user.tenant(), |tx| {
                let key = AccessKey::new(&id, secret.clone());
                let created = tx.create_owned::<User, AccessKey>(user.name(), key)?;
                if created.meta.owner != Some(owner.incarnation()) {
                    // Another user has the name by now, and the hint names the old one.
                    return Err(absent::<User>());
                }
                Ok(created)
            })
            .await;
        if let Err(error) = &created {
            hint_of(&id)?.withdraw(self.records(), error).await;
        }
        Ok((created?, secret))
    }

    async fn access_keys(&self, user: &Key<User>) -> Result<Vec<Arc<AccessKey>>> {
        let roster = self.roster_of(user).await?;
        let names: Vec<String> = roster.names(ACCESS_KEYS.kind).cloned().collect();
        self.named(user.tenant(), &names).await
    }

    async fn set_access_key_status(
        &self,
        user: &Key<User>,
        access_key_id: &str,
        status: CredentialStatus,
    ) -> Result<Arc<AccessKey>> {
        self.transaction(user.tenant(), |tx| {
            owned_by(tx, user, access_key_id)?;
            tx.update::<AccessKey>(access_key_id, |key| {
                key.status = status;
                Ok(())
            })
        })
        .await
    }

    async fn delete_access_key(&self, user: &Key<User>, access_key_id: &str) -> Result<()> {
        self.transaction(user.tenant(), |tx| {
            owned_by(tx, user, access_key_id)?;
            tx.delete::<AccessKey>(access_key_id)
        })
        .await
    }

    async fn authenticate(&self, access_key_id: &str, secret: &Secret) -> Result<Authenticated> {
        let hint = CredentialHint::find(self.records(), access_key_id).await?;
        let hint = hint.ok_or_else(unauthenticated)?;
        let keys = [
            entity_key::<AccessKey>(access_key_id)?,
            roster_key(hint.owner)?,
            entity_key::<User>(&hint.owner_name)?,
        ];
        let found = self.read(&hint.tenant, &keys).await?;
        let [key, roster, user] = &*found else {
            return Err(Error::corrupt(
                "the store did not return what it was asked for",
            ));
        };
        let (Some(key), Some(roster)) = (key, roster) else {
            hint.remove_if_stale(self.records()).await?;
            return Err(unauthenticated());
        };
        let access_key = verified(key.decode::<AccessKey>()?, access_key_id)?;
        let stored = self.open_secret(&access_key).await?;
        let right: bool = stored
            .expose()
            .as_bytes()
            .ct_eq(secret.expose().as_bytes())
            .into();
        let usable = access_key.status == CredentialStatus::Active
            && access_key.meta.owner == Some(hint.owner);
        if !right || !usable {
            return Err(unauthenticated());
        }
        let roster = roster.decode::<Roster>()?;
        let user = match user {
            Some(user) if roster.name == hint.owner_name => Some(user.decode::<User>()?),
            // Renamed since the hint was written.
            _ => {
                let name = Key::new(&hint.tenant, &roster.name);
                EntityStore::<User>::get(self, &name).await?
            }
        };
        let user = user.filter(|user| user.incarnation() == hint.owner);
        Ok(Authenticated {
            user: user.ok_or_else(unauthenticated)?,
            access_key,
        })
    }

    async fn open_secret(&self, access_key: &AccessKey) -> Result<Secret> {
        let at = entity_key::<AccessKey>(access_key.access_key_id())?;
        let partition = partition(&access_key.meta.tenant_id)?;
        let sealed = access_key.secret_access_key.sealed().ok_or_else(|| {
            Error::corrupt("the secret of an access key is stored in clear; delete the key")
        })?;
        sealed.open(self.ring(), at.at(&partition), SECRET)
    }
}

/// Refuses an access key that belongs to another user, as if it did not exist.
fn owned_by(
    tx: &mut crate::iam::TenantTransaction<'_>,
    user: &Key<User>,
    access_key_id: &str,
) -> Result<()> {
    let (user, key) = (
        tx.get::<User>(user.name()),
        tx.get::<AccessKey>(access_key_id),
    );
    let user = user?.ok_or_else(absent::<User>)?;
    let key = key?.ok_or_else(absent::<AccessKey>)?;
    if key.meta.owner != Some(user.incarnation()) {
        return Err(absent::<AccessKey>());
    }
    Ok(())
}

fn unauthenticated() -> Error {
    Error::new(
        ErrorKind::Unauthenticated,
        "the access key is unknown or disabled, or its secret is wrong",
    )
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system provides random bytes");
    bytes
}
