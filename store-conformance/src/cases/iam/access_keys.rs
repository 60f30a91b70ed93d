//! Access keys.

use std::sync::Arc;

use store_core::entity::Listing;
use store_core::iam::{AccessKey, CredentialStatus, Identity, MAX_ACCESS_KEYS, User};
use store_core::secret::Secret;
use store_core::tenants::{Quotas, Tenant};
use store_core::{ErrorKind, Result};

use super::fixtures::path;
use super::tools::{kind, race, won};
use crate::case;
use crate::harness::{Harness, Opened};
use crate::suite::{Case, CaseResult};

type Identities = Arc<dyn Harness<Identity, Vec<Tenant>>>;

pub(super) fn cases() -> Vec<Case<Identity, Vec<Tenant>>> {
    vec![
        case!(an_access_key_authenticates_its_user),
        case!(
            a_wrong_secret_and_an_unknown_key_are_refused_the_same_way,
            "1"
        ),
        case!(a_disabled_access_key_does_not_authenticate, "1"),
        case!(a_user_has_only_two_access_keys),
        case!(a_quota_of_access_keys_holds_under_a_race, "28"),
        case!(deleting_a_user_deletes_its_access_keys, "23"),
        case!(an_access_key_is_managed_through_its_user_alone),
    ]
}

/// Tenants `1` and `2`, each with the users `ada` and `bob`.
async fn open(harness: &Identities) -> Result<Opened<Identity>> {
    let tenants = ["1", "2"].map(|at| Tenant::new(&path(at), at));
    let opened = harness.open(tenants.into()).await?;
    for tenant in ["1", "2"] {
        for name in ["ada", "bob"] {
            let users = opened.first.iam.tenant(&path(tenant)).users();
            users.create(User::new(name)).await?;
        }
    }
    Ok(opened)
}

async fn an_access_key_authenticates_its_user(harness: Identities) -> CaseResult {
    let Opened { first, second, .. } = open(&harness).await?;
    let mut created = Vec::new();
    for tenant in ["1", "2"] {
        for user in ["ada", "bob"] {
            let keys = first.iam.tenant(&path(tenant)).access_keys_of(user)?;
            let (key, secret) = keys.create().await?;
            created.push((tenant, user, key, secret));
        }
    }
    for (tenant, name, key, secret) in &created {
        let found = second.iam.authenticate(key.access_key_id(), secret).await?;
        assert_eq!(found.user.name, *name);
        assert_eq!(found.user.tenant_id, path(tenant));
        assert_eq!(found.access_key.name, key.name);
    }
    let (_, _, key, secret) = &created[0];
    first
        .iam
        .tenant(&path("1"))
        .user("ada")
        .rename("eve")
        .await?;
    let found = second.iam.authenticate(key.access_key_id(), secret).await?;
    assert_eq!(found.user.name, "eve", "a rename preserves the keys");
    // Another user under the old name is not the owner.
    let users = first.iam.tenant(&path("1")).users();
    users.create(User::new("ada")).await?;
    let found = second.iam.authenticate(key.access_key_id(), secret).await?;
    assert_eq!(found.user.name, "eve");
    Ok(())
}

async fn a_wrong_secret_and_an_unknown_key_are_refused_the_same_way(
    harness: Identities,
) -> CaseResult {
    let Opened { first, second, .. } = open(&harness).await?;
    let keys = first.iam.tenant(&path("1")).access_keys_of("ada")?;
    let (key, secret) = keys.create().await?;
    let (_, other) = keys.create().await?;
    let id = key.access_key_id();
    let mut messages = Vec::new();
    for (id, secret) in [
        (id, &other),
        (id, &Secret::new("")),
        ("AKIAUNKNOWN", &secret),
        ("", &secret),
        (&id[..19], &secret),
    ] {
        let refused = second.iam.authenticate(id, secret).await;
        let error = refused.expect_err("it must be refused");
        assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
        messages.push(error.message().to_owned());
    }
    messages.dedup();
    assert_eq!(messages.len(), 1, "{messages:?}");
    second.iam.authenticate(id, &secret).await?;
    Ok(())
}

async fn a_disabled_access_key_does_not_authenticate(harness: Identities) -> CaseResult {
    let Opened { first, second, .. } = open(&harness).await?;
    let keys = first.iam.tenant(&path("1")).access_keys_of("ada")?;
    let (key, secret) = keys.create().await?;
    let id = key.access_key_id();
    keys.set_status(id, CredentialStatus::Inactive).await?;
    let refused = second.iam.authenticate(id, &secret).await;
    assert_eq!(kind(refused), ErrorKind::Unauthenticated);
    let listed = keys.list().await?;
    assert_eq!(listed[0].status, CredentialStatus::Inactive);
    keys.set_status(id, CredentialStatus::Active).await?;
    second.iam.authenticate(id, &secret).await?;
    keys.delete(id).await?;
    let refused = second.iam.authenticate(id, &secret).await;
    assert_eq!(kind(refused), ErrorKind::Unauthenticated);
    assert!(keys.list().await?.is_empty());
    assert_eq!(kind(keys.delete(id).await), ErrorKind::NotFound);
    Ok(())
}

async fn a_user_has_only_two_access_keys(harness: Identities) -> CaseResult {
    let Opened { first, second, .. } = open(&harness).await?;
    let keys = first.iam.tenant(&path("1")).access_keys_of("ada")?;
    for _ in 0..3 {
        let answers = race((0..6).map(|i| {
            let identity = Arc::clone(if i % 2 == 0 { &first } else { &second });
            async move {
                let keys = identity.iam.tenant(&path("1")).access_keys_of("ada")?;
                keys.create().await
            }
        }))
        .await;
        assert_eq!(won(&answers, ErrorKind::LimitExceeded), MAX_ACCESS_KEYS);
        let listed = keys.list().await?;
        assert_eq!(listed.len(), MAX_ACCESS_KEYS);
        for key in listed {
            keys.delete(key.access_key_id()).await?;
        }
    }
    let unknown = first.iam.tenant(&path("1")).access_keys_of("unknown")?;
    assert_eq!(kind(unknown.create().await), ErrorKind::NotFound);
    assert_eq!(kind(unknown.list().await), ErrorKind::NotFound);
    Ok(())
}

async fn a_quota_of_access_keys_holds_under_a_race(harness: Identities) -> CaseResult {
    let mut quotas = Quotas::default();
    quotas.max_access_keys = Some(3);
    let tenant = Tenant::new(&path("1"), "one").with_quotas(quotas);
    let Opened { first, second, .. } = harness.open(vec![tenant]).await?;
    let one = first.iam.tenant(&path("1"));
    for i in 0..4 {
        one.users().create(User::new(i.to_string())).await?;
    }
    let answers = race((0..8).map(|i| {
        let identity = Arc::clone(if i % 2 == 0 { &first } else { &second });
        async move {
            let one = identity.iam.tenant(&path("1"));
            one.access_keys_of(&(i / 2).to_string())?.create().await
        }
    }))
    .await;
    assert_eq!(won(&answers, ErrorKind::LimitExceeded), 3);
    assert_eq!(
        second.tenants.usage(&path("1")).await?.count("access_key"),
        3
    );
    Ok(())
}

async fn deleting_a_user_deletes_its_access_keys(harness: Identities) -> CaseResult {
    let Opened { first, second, .. } = open(&harness).await?;
    let one = first.iam.tenant(&path("1"));
    let keys = one.access_keys_of("ada")?;
    let created = [keys.create().await?, keys.create().await?];
    let (other, other_secret) = one.access_keys_of("bob")?.create().await?;
    one.user("ada").delete().await?;
    one.users().create(User::new("ada")).await?;
    for (key, secret) in &created {
        let refused = second.iam.authenticate(key.access_key_id(), secret).await;
        assert_eq!(kind(refused), ErrorKind::Unauthenticated);
    }
    assert!(keys.list().await?.is_empty(), "the new one inherits none");
    let used = second.tenants.usage(&path("1")).await?;
    assert_eq!(used.count("access_key"), 1);
    if let Ok(all) = second.iam.tenant(&path("1")).family::<AccessKey>() {
        let left = all.list(&Listing::new()).await?;
        let left: Vec<&str> = left.items.iter().map(|key| key.access_key_id()).collect();
        assert_eq!(left, [other.access_key_id()], "none is left behind");
    }
    second
        .iam
        .authenticate(other.access_key_id(), &other_secret)
        .await?;
    Ok(())
}

async fn an_access_key_is_managed_through_its_user_alone(harness: Identities) -> CaseResult {
    let Opened { first, second, .. } = open(&harness).await?;
    let one = first.iam.tenant(&path("1"));
    let (key, secret) = one.access_keys_of("ada")?.create().await?;
    let id = key.access_key_id();
    for (tenant, user) in [("1", "bob"), ("2", "ada"), ("1", "unknown")] {
        let other = second.iam.tenant(&path(tenant)).access_keys_of(user)?;
        let disabled = other.set_status(id, CredentialStatus::Inactive).await;
        assert_eq!(kind(disabled), ErrorKind::NotFound);
        assert_eq!(kind(other.delete(id).await), ErrorKind::NotFound);
    }
    second.iam.authenticate(id, &secret).await?;
    Ok(())
}
