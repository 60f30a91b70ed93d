//! How many operations of the record store the calls of identity make.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use store_conformance::trips::Counted;
use store_core::iam::{Group, Identity, Policy, TenantIam, User};
use store_core::secret::KeyRing;
use store_core::tenants::{Tenant, TenantPath};
use store_core::{Result, Store};
use store_memory::MemoryStore;

async fn company() -> Result<(TenantIam, Arc<AtomicU64>)> {
    let memory = Store::from(MemoryStore::new());
    let (counted, calls) = Counted::new(Arc::clone(memory.records()));
    let identity = Identity::new(Store::new(Arc::new(counted)), &KeyRing::random());
    let path = TenantPath::root(1);
    identity.tenants.create(Tenant::new(&path, "Acme")).await?;
    Ok((identity.iam.tenant(&path), calls))
}

#[tokio::test]
async fn deleting_a_full_user_takes_a_bounded_number_of_round_trips() -> Result<()> {
    let (acme, calls) = company().await?;
    acme.users().create(User::new("ada")).await?;
    for i in 0..100 {
        let name = format!("group {i}");
        acme.groups().create(Group::new(&name)).await?;
        acme.group(&name).add_member("ada").await?;
    }
    for i in 0..20 {
        let policy = Policy::new(format!("policy {i}"), "{}");
        let policy = acme.policies().create(policy).await?;
        acme.user("ada").attach_policy(policy.arn()).await?;
    }
    for i in 0..50 {
        let name = format!("own {i}");
        acme.user("ada").put_inline_policy(name, "{}").await?;
    }
    calls.store(0, Ordering::Relaxed);
    acme.users().delete("ada").await?;
    let cost = calls.load(Ordering::Relaxed);
    assert!(cost <= 16, "{cost} round trips");
    Ok(())
}

#[tokio::test]
async fn deleting_a_group_reads_its_members_together() -> Result<()> {
    let (acme, calls) = company().await?;
    acme.groups().create(Group::new("devs")).await?;
    for i in 0..100 {
        let name = format!("user {i}");
        acme.users().create(User::new(&name)).await?;
        acme.group("devs").add_member(&name).await?;
    }
    calls.store(0, Ordering::Relaxed);
    acme.groups().delete("devs").await?;
    let cost = calls.load(Ordering::Relaxed);
    assert!(cost <= 25, "{cost} round trips");
    Ok(())
}
