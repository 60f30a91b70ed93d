//! Access keys whose secrets are sealed under a ring of more than two keys.

use std::sync::Arc;

use store_core::iam::{CredentialStatus, Identity, User};
use store_core::secret::KeyRing;
use store_core::tenants::Tenant;
use store_core::{ErrorKind, Result, Store};

use super::fixtures::path;
use super::tools::kind;
use crate::case;
use crate::cases::api_keys::rings::ring;
use crate::harness::Harness;
use crate::suite::{Case, CaseResult};

type Backend = Arc<dyn Harness<Store>>;

const NAMES: [&str; 4] = ["one", "two", "three", "four"];

pub(super) fn cases() -> Vec<Case<Store>> {
    vec![case!(
        an_access_key_authenticates_under_every_key_of_the_ring
    )]
}

async fn an_access_key_authenticates_under_every_key_of_the_ring(given: Backend) -> CaseResult {
    authenticates(given, ring).await
}

/// The case over the rings that `ring` makes of names.
pub(crate) async fn authenticates(
    given: Backend,
    ring: fn(&[&str]) -> Result<KeyRing>,
) -> CaseResult {
    let opened = given.open(()).await?;
    let tenants = Identity::new(&*opened.first, &ring(&NAMES)?).tenants;
    tenants.create(Tenant::new(&path("1"), "one")).await?;
    let mut created = Vec::new();
    for (index, name) in NAMES.iter().enumerate() {
        // Each key of the ring was the current one at some time.
        let then = Identity::new(&*opened.first, &ring(&NAMES[index..])?);
        let one = then.iam.tenant(&path("1"));
        one.users().create(User::new(*name)).await?;
        let (key, secret) = one.access_keys_of(name)?.create().await?;
        created.push((*name, key, secret));
    }
    let rotating = Identity::new(&*opened.second, &ring(&NAMES)?);
    let rotated = Identity::new(&*opened.first, &ring(&NAMES[..1])?);
    for (name, key, secret) in &created {
        let id = key.access_key_id();
        let found = rotating.iam.authenticate(id, secret).await?;
        assert_eq!(found.user.name, *name);
        let wrong = &created[usize::from(*name == NAMES[0])].2;
        let refused = rotating.iam.authenticate(id, wrong).await;
        assert_eq!(kind(refused), ErrorKind::Unauthenticated, "{name}");
        let keys = rotating.iam.tenant(&path("1")).access_keys_of(name)?;
        assert_eq!(keys.list().await?.len(), 1, "{name}");
        if *name != NAMES[0] {
            let early = rotated.iam.authenticate(id, secret).await;
            assert_eq!(kind(early), ErrorKind::Config, "its key is still in use");
        }
        // A change seals the secret under the current key of the ring.
        for status in [CredentialStatus::Inactive, CredentialStatus::Active] {
            keys.set_status(id, status).await?;
        }
        let found = rotated.iam.authenticate(id, secret).await?;
        assert_eq!(found.user.name, *name);
    }
    Ok(())
}
