//! Access keys: what programs authenticate a user with.

use serde::{Deserialize, Serialize};

use crate::backend::view::{Column, Kind};
use crate::entity::Meta;
use crate::error::Result;
use crate::iam::family::{Owned, Sealer};
use crate::iam::{CredentialStatus, Family, TenantEntity, tenant_entity};
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
#[doc(alias("credential"))]
pub struct AccessKey {
    /// The fields that every entity has.
    #[serde(flatten)]
    pub meta: Meta,
    /// Whether it can be used.
    pub status: CredentialStatus,
    /// The secret.
    pub secret_access_key: SecretField,
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

impl TenantEntity for AccessKey {
    const FAMILY: Family = Family::new(KIND, COLLECTION, "AKIA")
        .quota(|quotas| quotas.max_access_keys)
        .shown_as(
            "access_keys",
            &[Column::field(
                "status",
                Kind::Text,
                "Whether the key can be used.",
            )],
        )
        .owned();

    fn seal(&mut self, sealer: &Sealer<'_>) -> Result<()> {
        sealer.seal(SECRET, &mut self.secret_access_key)
    }
}
