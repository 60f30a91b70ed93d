//! What a tenant may have, and what it has.

use std::sync::Arc;

use store_core::entity::EntityStore;
use store_core::iam::{Group, IamStore, Identity, Policy, User};
use store_core::tenants::{Quotas, Tenant, TenantPath, Usage};
use store_core::{ErrorKind, Result};

use super::tree::at;
use super::{Fixtures, Identities};
use crate::case;
use crate::cases::iam::tools::{kind, race, won};
use crate::cases::iam::{Sample, path};
use crate::harness::Opened;
use crate::suite::{Case, CaseResult};

pub(super) fn cases() -> Vec<Case<Identity, Fixtures>> {
    vec![
        case!(a_quota_holds_under_a_race, "28"),
        case!(a_quota_of_one_family_is_no_other_familys, "28"),
        case!(a_quota_holds_within_a_transaction, "28"),
        case!(an_inherited_quota_binds, "28"),
        case!(a_changed_quota_binds_at_the_documented_moment, "28"),
        case!(usage_is_what_is_really_there),
        case!(an_identity_needs_its_tenant),
    ]
}

/// Quotas of one user, two groups and three policies.
fn few() -> Quotas {
    let mut quotas = Quotas::default();
    quotas.max_users = Some(1);
    quotas.max_groups = Some(2);
    quotas.max_policies = Some(3);
    quotas
}

async fn create<E: Sample>(identity: &Identity, tenant: &TenantPath, name: &str) -> Result<()>
where
    dyn IamStore: EntityStore<E>,
{
    let store = identity.iam.store();
    EntityStore::<E>::create(&**store, E::sample(tenant, name))
        .await
        .map(drop)
}

async fn a_quota_holds_under_a_race(harness: Identities) -> CaseResult {
    let mut fixtures = at(&["1"]);
    fixtures[0] = fixtures[0].clone().with_quotas(few());
    let opened = harness.open(fixtures).await?;
    fills::<User>(&opened, 1).await?;
    fills::<Group>(&opened, 2).await?;
    fills::<Policy>(&opened, 3).await
}

/// Eight concurrent creations race for `room` places, three times.
async fn fills<E: Sample>(opened: &Opened<Identity>, room: usize) -> CaseResult
where
    dyn IamStore: EntityStore<E>,
{
    for round in 0..3 {
        let answers = race((0..8).map(|i| {
            let identity = Arc::clone(if i % 2 == 0 {
                &opened.first
            } else {
                &opened.second
            });
            async move { create::<E>(&identity, &path("1"), &format!("{round} {i}")).await }
        }))
        .await;
        let kind = E::FAMILY.kind();
        assert_eq!(won(&answers, ErrorKind::LimitExceeded), room, "{kind}");
        let store = opened.second.iam.store();
        let all = EntityStore::<E>::list(&**store, &path("1"), &Default::default()).await?;
        assert_eq!(all.items.len(), room, "{kind}");
        for one in all.items {
            EntityStore::<E>::delete(&**store, &one.key()).await?;
        }
    }
    Ok(())
}

async fn a_quota_of_one_family_is_no_other_familys(harness: Identities) -> CaseResult {
    let mut fixtures = at(&["1", "2"]);
    fixtures[0] = fixtures[0].clone().with_quotas(few());
    let Opened { first, .. } = harness.open(fixtures).await?;
    create::<User>(&first, &path("1"), "ada").await?;
    create::<Group>(&first, &path("1"), "ada").await?;
    create::<Policy>(&first, &path("1"), "ada").await?;
    for i in 0..5 {
        create::<User>(&first, &path("2"), &i.to_string()).await?;
    }
    // A name in use stays in use, and a deleted entity frees its place.
    let held = create::<User>(&first, &path("1"), "ada").await;
    assert_eq!(kind(held), ErrorKind::AlreadyExists);
    let full = create::<User>(&first, &path("1"), "bob").await;
    assert_eq!(kind(full), ErrorKind::LimitExceeded);
    let users = first.iam.tenant(&path("1")).users();
    users.one("ada").rename("bob").await?;
    users.delete("bob").await?;
    create::<User>(&first, &path("1"), "eve").await?;
    Ok(())
}

async fn a_quota_holds_within_a_transaction(harness: Identities) -> CaseResult {
    let mut fixtures = at(&["1"]);
    fixtures[0] = fixtures[0].clone().with_quotas(few());
    let Opened { first, second, .. } = harness.open(fixtures).await?;
    let one = first.iam.tenant(&path("1"));
    let groups = |many: u32| {
        let one = one.clone();
        async move {
            one.transaction(|tx| {
                for i in 0..many {
                    tx.create(Group::new(i.to_string()))?;
                }
                Ok(())
            })
            .await
        }
    };
    assert_eq!(kind(groups(3).await), ErrorKind::LimitExceeded);
    assert_eq!(second.tenants.usage(&path("1")).await?, Usage::default());
    groups(2).await?;
    assert_eq!(second.tenants.usage(&path("1")).await?.count("group"), 2);
    // A deletion and a creation together stay within the quota.
    one.transaction(|tx| {
        tx.delete::<Group>("0")?;
        tx.create(Group::new("new"))
    })
    .await?;
    Ok(())
}

async fn an_inherited_quota_binds(harness: Identities) -> CaseResult {
    let mut fixtures = at(&["1", "1/2", "1/2/3"]);
    fixtures[0] = fixtures[0].clone().with_quotas(few());
    let Opened { first, second, .. } = harness.open(fixtures).await?;
    for tenant in ["1/2/3", "1/2", "1"] {
        create::<User>(&first, &path(tenant), "ada").await?;
        let more = create::<User>(&second, &path(tenant), "bob").await;
        assert_eq!(kind(more), ErrorKind::LimitExceeded, "{tenant}");
    }
    Ok(())
}

async fn a_changed_quota_binds_at_the_documented_moment(harness: Identities) -> CaseResult {
    let mut fixtures = at(&["1", "1/2"]);
    fixtures[0] = fixtures[0].clone().with_quotas(few());
    let Opened { first, second, .. } = harness.open(fixtures).await?;
    for tenant in ["1", "1/2"] {
        create::<User>(&first, &path(tenant), "ada").await?;
    }
    let allow = |max: u64| {
        move |tenant: &mut Tenant| {
            tenant.quotas.max_users = Some(max);
            Ok(())
        }
    };
    second.tenants.update(&path("1"), allow(2)).await?;
    create::<User>(&first, &path("1"), "bob").await?;
    // The quotas bound last apply to the descendant.
    second.tenants.bind_quotas(&path("1/2")).await?;
    create::<User>(&first, &path("1/2"), "bob").await?;
    second.tenants.update(&path("1"), allow(1)).await?;
    let more = create::<User>(&first, &path("1"), "eve").await;
    assert_eq!(kind(more), ErrorKind::LimitExceeded);
    first.iam.tenant(&path("1")).users().delete("bob").await?;
    let still = create::<User>(&first, &path("1"), "eve").await;
    assert_eq!(
        kind(still),
        ErrorKind::LimitExceeded,
        "one is there already"
    );
    assert_eq!(
        kind(second.tenants.bind_quotas(&path("3")).await),
        ErrorKind::NotFound
    );
    Ok(())
}

async fn usage_is_what_is_really_there(harness: Identities) -> CaseResult {
    let Opened { first, second, .. } = harness
        .open(at(&["1", "1/2", "1/2/3", "1/23", "2"]))
        .await?;
    let usage = async |of: &str| second.tenants.usage(&path(of)).await;
    assert_eq!(usage("2").await?, Usage::default());
    create::<User>(&first, &path("1"), "ada").await?;
    create::<User>(&first, &path("1/2"), "ada").await?;
    create::<User>(&first, &path("1/2"), "bob").await?;
    create::<Group>(&first, &path("1/2/3"), "devs").await?;
    create::<Policy>(&first, &path("1/23"), "read").await?;
    let one = usage("1").await?;
    assert_eq!(
        (one.count("user"), one.count("group"), one.count("tenant")),
        (1, 0, 2)
    );
    let below = second.tenants.usage_with_descendants(&path("1/2")).await?;
    assert_eq!((below.count("user"), below.count("group")), (2, 1));
    assert_eq!((below.count("policy"), below.count("tenant")), (0, 1));
    let all = second.tenants.usage_with_descendants(&path("1")).await?;
    assert_eq!((all.count("user"), all.count("group")), (3, 1));
    assert_eq!((all.count("policy"), all.count("tenant")), (1, 3));
    let users = first.iam.tenant(&path("1/2")).users();
    users.one("ada").rename("lovelace").await?;
    users.delete("bob").await?;
    assert_eq!(kind(users.delete("bob").await), ErrorKind::NotFound);
    assert_eq!(usage("1/2").await?.count("user"), 1);
    assert_eq!(kind(usage("3").await), ErrorKind::NotFound);
    Ok(())
}

async fn an_identity_needs_its_tenant(harness: Identities) -> CaseResult {
    let Opened { first, second, .. } = harness.open(at(&["1"])).await?;
    for absent in ["2", "1/1", "11"] {
        let answer = create::<User>(&first, &path(absent), "ada").await;
        assert_eq!(kind(answer), ErrorKind::NotFound);
    }
    second
        .tenants
        .create(Tenant::new(&path("2"), "now"))
        .await?;
    create::<User>(&first, &path("2"), "ada").await?;
    Ok(())
}
