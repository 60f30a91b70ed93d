//! Tenants in one store, identities in another.

use store_core::iam::{Identity, User};
use store_core::secret::KeyRing;
use store_core::tenants::{Quotas, Tenant, TenantPath};
use store_core::{Collection, ErrorKind, Result, Scan, Store};
use store_memory::MemoryStore;

fn memory() -> Store {
    Store::from(MemoryStore::builder().strict(true).build())
}

#[tokio::test]
async fn tenants_and_identities_may_live_in_two_stores() -> Result<()> {
    let (tenants, identities) = (memory(), memory());
    let identity = Identity::new(&identities, &KeyRing::random()).with_tenants_in(&tenants);
    let (top, team) = (TenantPath::root(1), TenantPath::root(1).child(2)?);
    let mut one = Quotas::default();
    one.max_users = Some(1);
    let acme = Tenant::new(&top, "Acme").with_quotas(one);
    identity.tenants.create(acme).await?;
    identity.tenants.create(Tenant::new(&team, "Team")).await?;

    let users = identity.iam.tenant(&team).users();
    users.create(User::new("ada")).await?;
    let full = users.create(User::new("bob")).await.unwrap_err();
    assert_eq!(full.kind(), ErrorKind::LimitExceeded);
    assert_eq!(identity.tenants.usage(&team).await?.count("user"), 1);
    let sum = identity.tenants.usage_with_descendants(&top).await?;
    assert_eq!((sum.count("user"), sum.count("tenant")), (1, 1));

    let used = identity.tenants.delete(&team).await.unwrap_err();
    assert_eq!(used.kind(), ErrorKind::InUse);
    users.delete("ada").await?;
    identity.tenants.delete(&team).await?;
    let late = users.create(User::new("late")).await.unwrap_err();
    assert_eq!(late.kind(), ErrorKind::NotFound);

    let nodes = Scan::collection(Collection::new("tenants").cacheable(), "");
    assert!(identities.records().scan(&nodes).await?.items.is_empty());
    assert_eq!(tenants.records().scan(&nodes).await?.items.len(), 1);
    Ok(())
}

#[tokio::test]
async fn the_instance_is_part_of_an_arn() -> Result<()> {
    let identity = Identity::new(memory(), &KeyRing::random()).with_instance("999888777")?;
    let root = TenantPath::root(0);
    identity.tenants.create(Tenant::new(&root, "root")).await?;
    let users = identity.iam.root().users();
    let user = users.create(User::new("root").with_id("root")).await?;
    assert_eq!(
        user.arn().to_string(),
        "arn:wami:iam:0:wami:999888777:user/root"
    );
    for wrong in ["", "a:b", "a/b"] {
        let identity = Identity::new(memory(), &KeyRing::random());
        assert!(identity.with_instance(wrong).is_err(), "{wrong:?}");
    }
    Ok(())
}

#[tokio::test]
async fn the_secret_of_an_access_key_is_stored_sealed() -> Result<()> {
    let store = memory();
    let identity = Identity::new(&store, &KeyRing::random());
    let path = TenantPath::root(1);
    identity.tenants.create(Tenant::new(&path, "Acme")).await?;
    let acme = identity.iam.tenant(&path);
    acme.users().create(User::new("ada")).await?;
    let (key, secret) = acme.access_keys_of("ada")?.create().await?;
    let keys = Scan::collection(Collection::new("iam_access_keys").cacheable(), "");
    let found = store.records().scan(&keys).await?;
    let body = found.items[0].decode::<serde_json::Value>()?.to_string();
    assert!(body.contains(key.access_key_id()) && !body.contains(secret.expose()));
    assert!(!format!("{key:?}").contains(secret.expose()));
    // With another key ring the access key is an error, not a wrong secret.
    let other = Identity::new(
        &store,
        &KeyRing::new("other", *b"thirty-two bytes of another ring")?,
    );
    let error = other
        .iam
        .authenticate(key.access_key_id(), &secret)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    Ok(())
}
