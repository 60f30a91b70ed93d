//! An application can declare a family of its own: badges are declared here, outside of
//! `store-core`, and stored by the standard implementation like users.

use serde::{Deserialize, Serialize};
use store_core::entity::{Listing, Meta};
use store_core::iam::{Family, Identity, Owned, Policy, TenantEntity, TenantIam, tenant_entity};
use store_core::secret::KeyRing;
use store_core::tenants::{Quotas, Tenant, TenantPath};
use store_core::{Collection, ErrorKind, PageRequest, Result, Store};
use store_memory::MemoryStore;

/// The pins of a badge.
const PINS: Owned = Owned::new("pin", Collection::new("pins"), 1);

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Badge {
    #[serde(flatten)]
    meta: Meta,
    color: String,
}

tenant_entity!(Badge: WithPath, Principal);

impl TenantEntity for Badge {
    const FAMILY: Family = Family::new("badge", Collection::new("badges"), "BADG")
        .quota(|quotas| quotas.max_roles)
        .owning(&[PINS]);
}

/// A credential of a badge.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Pin {
    #[serde(flatten)]
    meta: Meta,
}

tenant_entity!(Pin);

impl TenantEntity for Pin {
    const FAMILY: Family = Family::new("pin", Collection::new("pins"), "PIN").owned();
}

fn badge(name: &str) -> Badge {
    Badge {
        meta: Meta::new(name),
        color: "red".into(),
    }
}

fn pin(name: &str) -> Pin {
    Pin {
        meta: Meta::new(name),
    }
}

async fn acme(quotas: Quotas) -> Result<TenantIam> {
    let store = Store::from(MemoryStore::builder().strict(true).build());
    let identity = Identity::new(&store, &KeyRing::random());
    let path = TenantPath::root(1);
    let tenant = Tenant::new(&path, "one").with_quotas(quotas);
    identity.tenants.create(tenant).await?;
    Ok(identity.iam.tenant(&path))
}

#[tokio::test]
async fn a_family_that_an_application_declares_keeps_every_promise() -> Result<()> {
    let acme = acme(Quotas::default()).await?;
    let policy = acme.policies().create(Policy::new("read", "{}")).await?;
    let badges = acme.family::<Badge>()?;
    let door = badges.create(badge("door")).await?;
    assert!(door.id().starts_with("BADG"));
    let arn = format!("arn:wami:iam:1:wami:main:badge/{}", door.id());
    assert_eq!(door.arn().to_string(), arn);
    let again = badges.create(badge("door")).await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::AlreadyExists);

    badges.one("door").attach_policy(policy.arn()).await?;
    badges.one("door").put_inline_policy("own", "{}").await?;
    badges.one("door").tag([("floor", "2")]).await?;
    badges.one("door").rename("gate").await?;
    let gate = badges.one("gate");
    assert_eq!(gate.tags().await?["floor"], "2");
    assert_eq!(
        gate.attached_policies(&PageRequest::new())
            .await?
            .items
            .len(),
        1
    );
    assert_eq!(badges.list(&Listing::new()).await?.items.len(), 1);
    let found = badges.get_by_id(door.id()).await?.expect("by id");
    assert_eq!((found.name(), &*found.color), ("gate", "red"));

    gate.delete().await?;
    badges.create(badge("gate")).await?;
    assert!(
        gate.attached_policies(&PageRequest::new())
            .await?
            .items
            .is_empty()
    );
    assert!(gate.inline_policy("own").await?.is_none());
    acme.policy("read").delete().await
}

#[tokio::test]
async fn a_declared_family_is_bounded_by_its_quota() -> Result<()> {
    let mut quotas = Quotas::default();
    quotas.max_roles = Some(1);
    let badges = acme(quotas).await?.family::<Badge>()?;
    badges.create(badge("one")).await?;
    let two = badges.create(badge("two")).await.unwrap_err();
    assert_eq!(two.kind(), ErrorKind::LimitExceeded);
    badges.delete("one").await?;
    badges.create(badge("two")).await.map(drop)
}

#[tokio::test]
async fn a_declared_credential_is_deleted_with_its_owner() -> Result<()> {
    let acme = acme(Quotas::default()).await?;
    let (badges, pins) = (acme.family::<Badge>()?, acme.family::<Pin>()?);
    badges.create(badge("door")).await?;
    let alone = pins.create(pin("1234")).await.unwrap_err();
    assert_eq!(alone.kind(), ErrorKind::InvalidInput);
    let create = async |name: &'static str| {
        acme.transaction(|tx| tx.create_owned::<Badge, Pin>("door", pin(name)))
            .await
    };
    create("1234").await?;
    let more = create("5678").await.unwrap_err();
    assert_eq!(more.kind(), ErrorKind::LimitExceeded);
    badges.delete("door").await?;
    assert!(pins.get("1234").await?.is_none());
    badges.create(badge("door")).await?;
    create("5678").await.map(drop)
}
