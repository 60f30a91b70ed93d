//! Deleting a tenant that has, or had, identities.

use std::sync::Arc;

use store_core::entity::Listing;
use store_core::iam::{Group, Identity, Policy, User};
use store_core::tenants::{Quotas, Tenant, Usage};
use store_core::{ErrorKind, PageRequest};

use super::tree::at;
use super::{Fixtures, Identities};
use crate::case;
use crate::cases::iam::path;
use crate::cases::iam::tools::{kind, race, won};
use crate::harness::Opened;
use crate::suite::{Case, CaseResult};

pub(super) fn cases() -> Vec<Case<Identity, Fixtures>> {
    vec![
        case!(a_tenant_with_identities_is_not_deleted, "29"),
        case!(no_race_leaves_an_identity_without_its_tenant, "29"),
        case!(of_many_who_delete_a_tenant_one_succeeds),
        case!(a_recreated_tenant_inherits_nothing, "23"),
    ]
}

async fn a_tenant_with_identities_is_not_deleted(harness: Identities) -> CaseResult {
    let Opened { first, second, .. } = harness.open(at(&["1"])).await?;
    let one = first.iam.tenant(&path("1"));
    one.users().create(User::new("ada")).await?;
    assert_eq!(
        kind(second.tenants.delete(&path("1")).await),
        ErrorKind::InUse
    );
    // The refusal leaves it as usable as it was.
    one.groups().create(Group::new("devs")).await?;
    one.users().delete("ada").await?;
    assert_eq!(
        kind(second.tenants.delete(&path("1")).await),
        ErrorKind::InUse
    );
    let held = second
        .tenants
        .get(&path("1"))
        .await?
        .expect("it was refused");
    assert!(held.deleting.is_none());
    one.groups().delete("devs").await?;
    second.tenants.delete(&path("1")).await?;
    assert!(first.tenants.get(&path("1")).await?.is_none());
    let late = one.users().create(User::new("late")).await;
    assert_eq!(kind(late), ErrorKind::NotFound);
    Ok(())
}

async fn no_race_leaves_an_identity_without_its_tenant(harness: Identities) -> CaseResult {
    let Opened { first, second, .. } = harness.open(at(&["1"])).await?;
    for round in 0..15 {
        let tenant = path("1").child(round)?;
        first.tenants.create(Tenant::new(&tenant, "brief")).await?;
        if round % 3 == 0 {
            // So that its gate has been opened before.
            let users = first.iam.tenant(&tenant).users();
            users.create(User::new("early")).await?;
            users.delete("early").await?;
        }
        let (creator, deleter) = (Arc::clone(&first), Arc::clone(&second));
        let (home, target) = (tenant.clone(), tenant.clone());
        let create = tokio::spawn(async move {
            let users = creator.iam.tenant(&home).users();
            users.create(User::new("ada")).await
        });
        let delete = tokio::spawn(async move { deleter.tenants.delete(&target).await });
        let (created, deleted) = (create.await?, delete.await?);
        let there = second.tenants.get(&tenant).await?.is_some();
        let ada = first.iam.tenant(&tenant).users().get("ada").await?;
        match (&created, &deleted) {
            (Ok(_), Err(error)) => {
                assert_eq!(error.kind(), ErrorKind::InUse);
                assert!(there && ada.is_some());
            }
            (Err(error), Ok(())) => {
                assert_eq!(error.kind(), ErrorKind::NotFound);
                assert!(!there && ada.is_none());
            }
            // Either the deletion completed, or its mark was withdrawn because of the
            // user: the two never both succeed.
            other => panic!("one of the two must win: {other:?}"),
        }
    }
    Ok(())
}

async fn of_many_who_delete_a_tenant_one_succeeds(harness: Identities) -> CaseResult {
    let Opened { first, second, .. } = harness.open(at(&["1"])).await?;
    for round in 0..5 {
        let tenant = path("1").child(round)?;
        first.tenants.create(Tenant::new(&tenant, "brief")).await?;
        let answers = race((0..4).map(|i| {
            let identity = Arc::clone(if i % 2 == 0 { &first } else { &second });
            let tenant = tenant.clone();
            async move { identity.tenants.delete(&tenant).await }
        }))
        .await;
        assert_eq!(won(&answers, ErrorKind::NotFound), 1);
        assert!(second.tenants.get(&tenant).await?.is_none());
    }
    let below = second.tenants.children(&path("1"), &Listing::new()).await?;
    assert!(below.items.is_empty());
    assert_eq!(second.tenants.usage(&path("1")).await?, Usage::default());
    Ok(())
}

async fn a_recreated_tenant_inherits_nothing(harness: Identities) -> CaseResult {
    let mut none = Quotas::default();
    none.max_users = Some(1);
    let mut fixtures = at(&["1", "1/2"]);
    fixtures[1] = fixtures[1].clone().with_quotas(none);
    let Opened { first, second, .. } = harness.open(fixtures).await?;
    let home = path("1/2");
    let team = first.iam.tenant(&home);
    team.users().create(User::new("ada")).await?;
    team.groups().create(Group::new("devs")).await?;
    let read = team.policies().create(Policy::new("read", "{}")).await?;
    team.user("ada").attach_policy(read.arn()).await?;
    team.group("devs").add_member("ada").await?;
    team.users().delete("ada").await?;
    team.groups().delete("devs").await?;
    team.policies().delete("read").await?;
    second.tenants.delete(&home).await?;
    second.tenants.create(Tenant::new(&home, "again")).await?;

    assert_eq!(second.tenants.usage(&home).await?, Usage::default());
    for name in ["ada", "bob", "eve"] {
        // The old quota would allow one.
        team.users().create(User::new(name)).await?;
    }
    team.policies().create(Policy::new("read", "{}")).await?;
    team.groups().create(Group::new("devs")).await?;
    let all = PageRequest::new();
    assert!(
        team.user("ada")
            .attached_policies(&all)
            .await?
            .items
            .is_empty()
    );
    assert!(team.user("ada").groups(&all).await?.items.is_empty());
    let read = team.policies().get("read").await?.expect("just made");
    assert_eq!(read.attachment_count, 0);
    Ok(())
}
