//! Identities and tenants: what belongs together stays together.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use store_core::collections;
use store_core::entity::Listing;
use store_core::iam::{Group, Identity, Policy, Role, TenantIam, User};
use store_core::tenants::{Quotas, Tenant, TenantPath};
use store_core::{Error, ErrorKind, PageRequest, Partition, Result, Scan, Store};

use crate::cases::iam::{path, ring};
use crate::simulation::world::{Called, World};
use crate::suite::CaseResult;

fn identity(store: &Store) -> Identity {
    Identity::new(store, &ring())
}

/// The answer of a call that other clients may have made impossible.
fn possible<T>(answer: Result<T>) -> Result<()> {
    const IMPOSSIBLE: [ErrorKind; 5] = [
        ErrorKind::AlreadyExists,
        ErrorKind::NotFound,
        ErrorKind::InUse,
        ErrorKind::LimitExceeded,
        ErrorKind::PermissionDenied,
    ];
    match answer {
        Ok(_) => Ok(()),
        Err(error) if IMPOSSIBLE.contains(&error.kind()) => Ok(()),
        Err(error) => Err(error),
    }
}

/// How many records there are in a collection of the tenant's identities.
async fn records(world: &World, tenant: &TenantPath, collection: &str) -> Result<usize> {
    let all = collections::all();
    let collection = all.into_iter().find(|one| one.name() == collection);
    let collection = collection.ok_or_else(|| Error::invalid("there is no such collection"))?;
    let scan = Scan::partition(collection, Partition::new(format!("iam/{tenant}"))?).limit(1000)?;
    Ok(world.plain().records().scan(&scan).await?.items.len())
}

/// Clients that create, delete and rename users, groups, roles and policies, and
/// give one to the other. At the end every relation is known to both sides, every
/// count is true, and after everything was deleted no record is left.
pub(super) async fn relations_agree_and_nothing_outlives_its_owner(
    world: Arc<World>,
) -> CaseResult {
    const CLIENTS: usize = 4;
    const EACH: usize = 7;
    let tenant = path("1");
    let plain = identity(world.plain());
    plain.tenants.create(Tenant::new(&tenant, "one")).await?;
    let (sure, unsure) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    plain
        .iam
        .tenant(&tenant)
        .policies()
        .create(numbered("steady"))
        .await?;
    let clients = (0..CLIENTS).map(|client| {
        let (world, tenant) = (Arc::clone(&world), tenant.clone());
        let (sure, unsure) = (Arc::clone(&sure), Arc::clone(&unsure));
        async move {
            let acme = identity(world.store(client)).iam.tenant(&tenant);
            for _ in 0..EACH {
                if world.below(8) > 0 {
                    any_call(&world, &acme).await?;
                    continue;
                }
                match world.call(next_version(&acme)).await? {
                    Called::Answered(()) => sure.fetch_add(1, Ordering::Relaxed),
                    Called::Unknown => unsure.fetch_add(1, Ordering::Relaxed),
                    Called::Failed => 0,
                };
            }
            Ok(())
        }
    });
    world.race(clients).await?;
    let acme = plain.iam.tenant(&tenant);
    while acme.sweep().await? {}
    let steady = acme
        .policy("steady")
        .get()
        .await?
        .ok_or("steady is deleted")?;
    let (sure, unsure) = (sure.load(Ordering::Relaxed), unsure.load(Ordering::Relaxed));
    let updates: u64 = steady.default_version_id.parse()?;
    assert!(
        (sure..=sure + unsure).contains(&updates),
        "an update was lost"
    );
    relations_agree(&world, &plain, &tenant).await?;
    everything_can_be_deleted(&world, &plain, &tenant).await
}

/// A policy whose id is its name, so that its ARN is known, and whose default
/// version is a number.
fn numbered(name: &str) -> Policy {
    let mut policy = Policy::new(name, "{}").with_id(name);
    policy.default_version_id = "0".into();
    policy
}

async fn next_version(acme: &TenantIam) -> Result<()> {
    let next = |policy: &mut Policy| {
        let version: u64 = policy.default_version_id.parse().unwrap_or_default();
        policy.default_version_id = (version + 1).to_string();
        Ok(())
    };
    acme.policy("steady").update(next).await.map(drop)
}

/// One call, drawn from the seed.
async fn any_call(world: &World, acme: &TenantIam) -> Result<()> {
    let user = format!("user {}", world.below(3));
    let group = format!("group {}", world.below(2));
    let policy = format!("policy {}", world.below(2));
    let arn = format!("arn:wami:iam:1:wami:main:policy/{policy}");
    let drawn = world.below(24);
    let call = async {
        match drawn {
            0 | 1 => possible(acme.users().create(User::new(&user)).await),
            2 => possible(acme.groups().create(Group::new(&group)).await),
            3 => possible(acme.policies().create(numbered(&policy)).await),
            4 => possible(acme.roles().create(Role::new("role", "{}")).await),
            5 | 6 => possible(acme.user(&user).delete().await),
            7 => possible(acme.group(&group).delete().await),
            8 => possible(acme.policy(&policy).delete().await),
            9 => possible(acme.role("role").delete().await),
            10 => possible(acme.user(&user).rename("user 0").await),
            11 | 12 => possible(acme.user(&user).attach_policy(&arn).await),
            13 => possible(acme.group(&group).attach_policy(&arn).await),
            14 => possible(acme.role("role").attach_policy(&arn).await),
            15 => possible(acme.user(&user).detach_policy(&arn).await),
            16..=18 => possible(acme.group(&group).add_member(&user).await),
            19 => possible(acme.group(&group).remove_member(&user).await),
            20 => possible(acme.user(&user).put_inline_policy("own", "{}").await),
            21 => possible(acme.user(&user).delete_inline_policy("own").await),
            22 => possible(acme.access_keys_of(&user)?.create().await),
            _ => acme.sweep().await.map(drop),
        }
    };
    world.call(call).await.map(drop)
}

/// Asserts that each relation is seen from both sides, and counted exactly.
async fn relations_agree(world: &World, plain: &Identity, tenant: &TenantPath) -> CaseResult {
    let acme = plain.iam.tenant(tenant);
    let all = PageRequest::new();
    let mut attached = BTreeMap::<String, u64>::new();
    let (mut joined, mut joined_by_group) = (BTreeSet::new(), BTreeSet::new());
    let (mut inline, mut keys) = (0, 0);
    let users = acme.users().list(&Listing::new()).await?.items;
    let groups = acme.groups().list(&Listing::new()).await?.items;
    let roles = acme.roles().list(&Listing::new()).await?.items;
    let policies = acme.policies().list(&Listing::new()).await?.items;
    let mut count = |page: store_core::Page<store_core::iam::AttachedPolicy>| {
        for policy in page.items {
            *attached.entry(policy.policy_name).or_default() += 1;
        }
    };
    for user in &users {
        let one = acme.user(&user.name);
        count(one.attached_policies(&all).await?);
        for group in one.groups(&all).await?.items {
            joined.insert((group.name.clone(), user.name.clone()));
        }
        inline += one.inline_policies(&all).await?.items.len();
        keys += acme.access_keys_of(&user.name)?.list().await?.len();
    }
    for group in &groups {
        let one = acme.group(&group.name);
        count(one.attached_policies(&all).await?);
        for user in one.members(&all).await?.items {
            joined_by_group.insert((group.name.clone(), user.name.clone()));
        }
    }
    for role in &roles {
        count(acme.role(&role.name).attached_policies(&all).await?);
    }
    assert_eq!(
        joined, joined_by_group,
        "groups of users and members of groups"
    );
    for policy in &policies {
        let counted = attached.remove(&policy.name).unwrap_or_default();
        assert_eq!(
            policy.attachment_count, counted,
            "attachments of {}",
            policy.name
        );
    }
    assert!(attached.is_empty(), "attached and deleted: {attached:?}");
    let usage = plain.tenants.usage(tenant).await?;
    for (kind, count) in [
        ("user", users.len()),
        ("group", groups.len()),
        ("role", roles.len()),
        ("policy", policies.len()),
        ("access_key", keys),
    ] {
        assert_eq!(
            usage.count(kind),
            count as u64,
            "counted of the kind {kind}"
        );
    }
    let entities = users.len() + groups.len() + roles.len() + policies.len();
    for (collection, count) in [
        ("iam_rosters", entities),
        ("iam_ids", policies.len()),
        ("iam_members", joined.len()),
        ("iam_inline_policies", inline),
        ("iam_access_keys", keys),
        ("iam_leftovers", 0),
    ] {
        let found = records(world, tenant, collection).await?;
        assert_eq!(found, count, "records in {collection}");
    }
    Ok(())
}

/// Asserts that nothing blocks the deletion of everything, and that it leaves no
/// record and a tenant that can be deleted.
async fn everything_can_be_deleted(
    world: &World,
    plain: &Identity,
    tenant: &TenantPath,
) -> CaseResult {
    let acme = plain.iam.tenant(tenant);
    for user in acme.users().list(&Listing::new()).await?.items {
        acme.user(&user.name).delete().await?;
    }
    for group in acme.groups().list(&Listing::new()).await?.items {
        acme.group(&group.name).delete().await?;
    }
    for role in acme.roles().list(&Listing::new()).await?.items {
        acme.role(&role.name).delete().await?;
    }
    for policy in acme.policies().list(&Listing::new()).await?.items {
        acme.policy(&policy.name).delete().await?;
    }
    for collection in collections::all() {
        let name = collection.name();
        if name.starts_with("iam_") {
            assert_eq!(records(world, tenant, name).await?, 0, "left in {name}");
        }
    }
    plain.tenants.delete(tenant).await?;
    Ok(())
}

/// Clients that create and delete users of a tenant that may have two, below one
/// that has no quota of its own. After every step of any client there are at most
/// two, and as many as are counted.
pub(super) async fn a_quota_is_exact_at_every_moment(world: Arc<World>) -> CaseResult {
    const CLIENTS: usize = 4;
    const EACH: usize = 6;
    const QUOTA: u64 = 2;
    let (top, tenant) = (path("1"), path("1/2"));
    let plain = identity(world.plain());
    let mut quotas = Quotas::default();
    quotas.max_users = Some(QUOTA);
    let top = Tenant::new(&top, "top").with_quotas(quotas);
    plain.tenants.create(top).await?;
    plain.tenants.create(Tenant::new(&tenant, "team")).await?;
    let clients = (0..CLIENTS).map(|client| {
        let (world, tenant, plain) = (Arc::clone(&world), tenant.clone(), plain.clone());
        async move {
            let identity = identity(world.store(client));
            let team = identity.iam.tenant(&tenant);
            for _ in 0..EACH {
                let name = format!("user {}", world.below(4));
                let drawn = world.below(8);
                let call = async {
                    match drawn {
                        0..=3 => possible(team.users().create(User::new(&name)).await),
                        4..=6 => possible(team.user(&name).delete().await),
                        _ => identity.tenants.bind_quotas(&tenant).await,
                    }
                };
                world.call(call).await?;
                // Nothing here yields to another client, so it is one moment.
                let users = plain.iam.tenant(&tenant).users();
                let found = users.list(&Listing::new()).await?.items.len() as u64;
                let counted = plain.tenants.usage(&tenant).await?.count("user");
                assert_eq!(found, counted, "the number of users and their count");
                assert!(found <= QUOTA, "{found} users where {QUOTA} are allowed");
            }
            Ok(())
        }
    });
    world.race(clients).await
}

/// Clients that create and delete tenants and a user in each. At every moment each
/// tenant has its parent, each user its tenant, and every count and quota is
/// exact; at the end everything can be deleted.
pub(super) async fn tenants_and_their_identities_agree(world: Arc<World>) -> CaseResult {
    const CLIENTS: usize = 4;
    const EACH: usize = 7;
    let plain = identity(world.plain());
    let mut quotas = Quotas::default();
    quotas.max_sub_tenants = Some(QUOTA);
    let top = Tenant::new(&path("1"), "top").with_quotas(quotas);
    plain.tenants.create(top).await?;
    let clients = (0..CLIENTS).map(|client| {
        let (world, plain) = (Arc::clone(&world), plain.clone());
        async move {
            let identity = identity(world.store(client));
            for _ in 0..EACH {
                let below = path(BELOW[world.below(BELOW.len())]);
                let drawn = world.below(10);
                let users = identity.iam.tenant(&below).users();
                let call = async {
                    match drawn {
                        0..=2 => {
                            let tenant = Tenant::new(&below, "below");
                            possible(identity.tenants.create(tenant).await)
                        }
                        3..=5 => possible(identity.tenants.delete(&below).await),
                        6 | 7 => possible(users.create(User::new("ada")).await),
                        8 => possible(users.delete("ada").await),
                        _ => possible(identity.tenants.bind_quotas(&below).await),
                    }
                };
                world.call(call).await?;
                tenants_agree(&plain).await?;
            }
            Ok(())
        }
    });
    world.race(clients).await?;
    tenants_agree(&plain).await?;
    for below in BELOW.iter().rev() {
        let below = path(below);
        if plain.tenants.get(&below).await?.is_some() {
            possible(plain.iam.tenant(&below).user("ada").delete().await)?;
            plain.tenants.delete(&below).await?;
        }
    }
    plain.tenants.delete(&path("1")).await?;
    Ok(())
}

/// The tenants of [`tenants_and_their_identities_agree`], parents first.
const BELOW: [&str; 4] = ["1/2", "1/3", "1/4", "1/2/5"];

/// How many tenants may be directly below `1`.
const QUOTA: u64 = 2;

async fn tenants_agree(plain: &Identity) -> Result<()> {
    for below in BELOW.map(path) {
        let found = plain.tenants.get(&below).await?;
        let user = plain.iam.tenant(&below).user("ada").get().await?;
        if found.is_none() {
            assert!(user.is_none(), "a user in {below}, which is deleted");
            continue;
        }
        let above = below.parent().unwrap_or_else(|| below.clone());
        let above = plain.tenants.get(&above).await?;
        assert!(above.is_some(), "{below} without its parent");
        let counted = plain.tenants.usage(&below).await?.count("user");
        assert_eq!(counted, u64::from(user.is_some()), "users of {below}");
    }
    let top = path("1");
    let children = plain
        .tenants
        .children(&top, &Listing::new())
        .await?
        .items
        .len() as u64;
    let counted = plain.tenants.usage(&top).await?.count("tenant");
    assert_eq!(children, counted, "the number of tenants and their count");
    assert!(
        children <= QUOTA,
        "{children} tenants where {QUOTA} are allowed"
    );
    Ok(())
}
