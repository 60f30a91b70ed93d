//! Access keys: what programs authenticate a user with.

use serde::{Deserialize, Serialize};

use crate::entity::{Entity, Key, Meta, TenantPath};
use crate::error::Result;
use crate::iam::family::{Owned, Sealer, tenant_entity};
use crate::iam::{Family, TenantEntity};
use crate::key::Collection;
use crate::secret::{Secret, SecretField};

const COLLECTION: Collection = Collection::new("iam_access_keys").cacheable();
const KIND: &str = "access_key";

/// The name of the sealed field. Part of what is stored.
pub(super) const SECRET: &str = "secret_access_key";

/// The most access keys of one user.
pub const MAX_ACCESS_KEYS: usize = 2;

/// Access keys as the family of their users lists them.
pub(super) const ACCESS_KEYS: Owned = Owned::new(KIND, COLLECTION, MAX_ACCESS_KEYS);

/// A credential of a user: a public id (its name) and a secret, which is stored
/// sealed. See [`CredentialStore`](crate::iam::CredentialStore).
#[non_exhaustive]
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AccessKey {
    /// The fields that every entity has.
    #[serde(flatten)]
    pub meta: Meta,
    /// Whether it can be used.
    pub status: CredentialStatus,
    /// The secret.
    pub secret_access_key: SecretField,
}

/// Whether a credential can be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum CredentialStatus {
    /// It can be used.
    #[default]
    Active,
    /// It is disabled.
    Inactive,
}

impl AccessKey {
    /// An active key of this public id and secret.
    pub fn new(access_key_id: impl Into<String>, secret: Secret) -> Self {
        let mut meta = Meta::new(access_key_id);
        meta.id.clone_from(&meta.name);
        Self {
            meta,
            status: CredentialStatus::Active,
            secret_access_key: secret.into(),
        }
    }

    /// The public id.
    pub fn access_key_id(&self) -> &str {
        &self.meta.name
    }
}

tenant_entity!(AccessKey);

impl Entity for AccessKey {
    type Key = Key<Self>;
    type Within = TenantPath;
    type Filter = ();

    fn key(&self) -> Key<Self> {
        self.meta.key()
    }
}

impl TenantEntity for AccessKey {
    const FAMILY: Family = Family::new(KIND, COLLECTION, "AKIA")
        .quota(|quotas| quotas.max_access_keys)
        .owned();

    fn meta(&self) -> &Meta {
        &self.meta
    }

    fn meta_mut(&mut self) -> &mut Meta {
        &mut self.meta
    }

    fn seal(&mut self, sealer: &Sealer<'_>) -> Result<()> {
        sealer.seal(SECRET, &mut self.secret_access_key)
    }
}
