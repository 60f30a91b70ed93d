//! The tree: creating, listing, changing, deleting.

use std::sync::Arc;

use store_core::entity::{EntityStoreExt, Incarnation, Listing};
use store_core::tenants::{
    Among, MAX_DEPTH, QuotaMode, Quotas, Tenant, TenantPath, TenantStatus, TenantStore,
};
use store_core::{ErrorKind, Result};

use super::{Fixtures, Trees};
use crate::case;
use crate::cases::iam::path;
use crate::cases::iam::tools::{kind, pages, race, won};
use crate::harness::Opened;
use crate::suite::{Case, CaseResult};

pub(super) fn cases() -> Vec<Case<dyn TenantStore, Fixtures>> {
    vec![
        case!(a_tenant_reads_back_as_it_was_returned),
        case!(a_held_path_is_refused_and_an_absent_one_not_found, "12"),
        case!(of_many_who_create_one_path_one_wins, "13"),
        case!(a_tenant_needs_those_above_it),
        case!(ancestry_goes_by_whole_numbers, "21"),
        case!(the_largest_number_is_a_tenant_and_odd_forms_are_none, "22"),
        case!(ancestors_come_root_first_without_oneself),
        case!(tenants_are_listed_without_gap_or_repeat, "14", "16"),
        case!(every_tree_is_in_the_list_of_all),
        case!(an_update_of_a_tenant_loses_no_other, "30"),
        case!(an_update_keeps_a_tenant_in_its_place),
        case!(quotas_resolve_up_the_tree, "28"),
        case!(a_tenant_with_tenants_below_is_not_deleted, "29"),
        case!(no_race_leaves_a_tenant_without_its_parent, "29"),
        case!(a_recreated_tenant_is_another, "23"),
        case!(a_quota_of_tenants_holds_under_a_race, "28"),
        case!(what_a_tenant_above_forbids_is_refused),
    ]
}

/// Tenants at these paths.
pub(super) fn at(paths: &[&str]) -> Fixtures {
    paths.iter().map(|at| Tenant::new(&path(at), *at)).collect()
}

/// The paths of a list, page by page.
async fn listed(
    store: &Arc<dyn TenantStore>,
    among: &Among,
    limit: usize,
) -> Result<Vec<Vec<String>>> {
    let pages = pages(|cursor| async move {
        let mut listing = Listing::new().limit(limit)?;
        if let Some(cursor) = cursor {
            listing = listing.after(cursor);
        }
        store.list(among, &listing).await
    })
    .await?;
    let path = |tenant: Arc<Tenant>| tenant.id.to_string();
    Ok(pages
        .into_iter()
        .map(|page| page.into_iter().map(path).collect())
        .collect())
}

async fn children(store: &Arc<dyn TenantStore>, of: &str) -> Result<Vec<String>> {
    Ok(listed(store, &Among::Children(path(of)), 100)
        .await?
        .concat())
}

async fn descendants(store: &Arc<dyn TenantStore>, of: &str) -> Result<Vec<String>> {
    let mut all = listed(store, &Among::Descendants(path(of)), 100)
        .await?
        .concat();
    all.sort_unstable();
    Ok(all)
}

async fn a_tenant_reads_back_as_it_was_returned(harness: Trees) -> CaseResult {
    let Opened {
        first,
        second,
        clock,
        ..
    } = harness.open(at(&["1"])).await?;
    let mut tenant = Tenant::new(&path("1/2"), "Compilers ☃");
    tenant.organization = Some("Acme".into());
    tenant.tenant_type = "team".into();
    tenant.status = TenantStatus::Suspended;
    tenant
        .provider_accounts
        .insert("aws".into(), "123456789012".into());
    tenant.admin_principals.push("ada".into());
    tenant.metadata.insert("floor".into(), "3".into());
    tenant.billing_info = Some(serde_json::json!({"plan": "large", "seats": 7}));
    tenant
        .unknown
        .insert("newer".into(), serde_json::json!([1, 2]));
    let created = first.create(tenant).await?;
    assert_eq!(second.get(&path("1/2")).await?, Some(Arc::clone(&created)));
    assert_eq!(created.parent_id, Some(path("1")));
    assert_eq!(created.created_at, store_core::Clock::now(&clock));
    assert_ne!(created.incarnation, Incarnation::NONE);
    assert!(created.arn().to_string().starts_with("arn:"));
    assert_eq!(created.billing_info.as_ref().expect("given")["seats"], 7);
    Ok(())
}

async fn a_held_path_is_refused_and_an_absent_one_not_found(harness: Trees) -> CaseResult {
    let Opened { first, second, .. } = harness.open(at(&["1", "1/2"])).await?;
    let held = first.get(&path("1/2")).await?;
    for held in ["1", "1/2"] {
        let answer = second.create(Tenant::new(&path(held), "another")).await;
        assert_eq!(kind(answer), ErrorKind::AlreadyExists);
    }
    assert_eq!(first.get(&path("1/2")).await?, held);
    for absent in ["2", "1/3", "1/2/3"] {
        let absent = path(absent);
        assert!(second.get(&absent).await?.is_none());
        assert_eq!(
            kind(second.update(&absent, &|_| Ok(())).await),
            ErrorKind::NotFound
        );
        assert_eq!(kind(second.delete(&absent).await), ErrorKind::NotFound);
        assert_eq!(kind(second.ancestors(&absent).await), ErrorKind::NotFound);
        assert_eq!(
            kind(second.effective_quotas(&absent).await),
            ErrorKind::NotFound
        );
    }
    Ok(())
}

async fn of_many_who_create_one_path_one_wins(harness: Trees) -> CaseResult {
    let Opened { first, second, .. } = harness.open(at(&["1"])).await?;
    for target in ["2", "1/2", "1/3"] {
        let answers = race((0..8).map(|i| {
            let store = Arc::clone(if i % 2 == 0 { &first } else { &second });
            let tenant = Tenant::new(&path(target), format!("by {i}"));
            async move { store.create(tenant).await }
        }))
        .await;
        assert_eq!(won(&answers, ErrorKind::AlreadyExists), 1);
        let winner = answers.into_iter().find_map(Result::ok);
        assert_eq!(second.get(&path(target)).await?, winner);
    }
    assert_eq!(children(&first, "1").await?, ["1/2", "1/3"]);
    Ok(())
}

async fn a_tenant_needs_those_above_it(harness: Trees) -> CaseResult {
    let Opened { first, .. } = harness.open(at(&["1"])).await?;
    for orphan in ["2/1", "1/2/3"] {
        let answer = first.create(Tenant::new(&path(orphan), "orphan")).await;
        assert_eq!(kind(answer), ErrorKind::NotFound);
        assert!(first.get(&path(orphan)).await?.is_none());
    }
    Ok(())
}

async fn ancestry_goes_by_whole_numbers(harness: Trees) -> CaseResult {
    let all = [
        "1", "12", "2", "1/2", "1/23", "1/2/3", "1/23/4", "1/2/33", "1/2/3/4", "12/2", "2/1",
    ];
    let Opened { second, .. } = harness.open(at(&all)).await?;
    assert_eq!(children(&second, "1").await?, ["1/2", "1/23"]);
    assert_eq!(children(&second, "1/2").await?, ["1/2/3", "1/2/33"]);
    assert_eq!(
        descendants(&second, "1/2").await?,
        ["1/2/3", "1/2/3/4", "1/2/33"]
    );
    assert_eq!(descendants(&second, "1/23").await?, ["1/23/4"]);
    assert_eq!(descendants(&second, "2").await?, ["2/1"]);
    assert_eq!(descendants(&second, "1").await?.len(), 6);
    assert!(children(&second, "2/1").await?.is_empty());
    Ok(())
}

async fn the_largest_number_is_a_tenant_and_odd_forms_are_none(harness: Trees) -> CaseResult {
    let Opened { first, second, .. } = harness.open(at(&["0"])).await?;
    let mut deepest = TenantPath::root(u64::MAX);
    first.create(Tenant::new(&deepest, "largest")).await?;
    while deepest.depth() < MAX_DEPTH {
        deepest = deepest.child(u64::MAX)?;
        first.create(Tenant::new(&deepest, "deeper")).await?;
    }
    assert!(second.get(&deepest).await?.is_some());
    assert_eq!(second.ancestors(&deepest).await?.len(), MAX_DEPTH - 1);
    assert!(deepest.child(1).is_err());
    for odd in [
        "+5",
        "007",
        "-1",
        "",
        "1/",
        "/1",
        "1//2",
        "18446744073709551616",
    ] {
        assert_eq!(kind(odd.parse::<TenantPath>()), ErrorKind::InvalidInput);
    }
    Ok(())
}

async fn ancestors_come_root_first_without_oneself(harness: Trees) -> CaseResult {
    let Opened { second, .. } = harness.open(at(&["1", "1/2", "1/2/3", "1/2/3/4"])).await?;
    let above = async |of: &str| -> Result<Vec<String>> {
        let found = second.ancestors(&path(of)).await?;
        Ok(found.iter().map(|tenant| tenant.id.to_string()).collect())
    };
    assert_eq!(above("1/2/3/4").await?, ["1", "1/2", "1/2/3"]);
    assert_eq!(above("1/2").await?, ["1"]);
    assert!(above("1").await?.is_empty());
    Ok(())
}

async fn tenants_are_listed_without_gap_or_repeat(harness: Trees) -> CaseResult {
    let all = [
        "1", "1/1", "1/2", "1/3", "1/10", "1/1/1", "1/1/2", "1/3/1", "1/3/1/1", "2", "2/1",
    ];
    let Opened { second, .. } = harness.open(at(&all)).await?;
    let below = [
        "1/1", "1/1/1", "1/1/2", "1/10", "1/2", "1/3", "1/3/1", "1/3/1/1",
    ];
    for limit in 1..=9 {
        let among = Among::Children(path("1"));
        let pages = listed(&second, &among, limit).await?;
        assert_eq!(
            pages.concat(),
            ["1/1", "1/10", "1/2", "1/3"],
            "pages of {limit}"
        );
        assert!(
            pages
                .iter()
                .all(|page| !page.is_empty() && page.len() <= limit)
        );

        let among = Among::Descendants(path("1"));
        let pages = listed(&second, &among, limit).await?;
        assert!(
            pages
                .iter()
                .all(|page| !page.is_empty() && page.len() <= limit)
        );
        let mut found = pages.concat();
        found.sort_unstable();
        assert_eq!(found, below, "pages of {limit}");
    }
    let page = second
        .list(&Among::Descendants(path("1")), &Listing::new().limit(2)?)
        .await?;
    let elsewhere = Listing::new().after(page.next.expect("six are left"));
    let elsewhere = second
        .list(&Among::Descendants(path("2")), &elsewhere)
        .await;
    assert_eq!(kind(elsewhere), ErrorKind::InvalidInput);
    Ok(())
}

async fn every_tree_is_in_the_list_of_all(harness: Trees) -> CaseResult {
    let all = ["1", "1/2", "1/2/3", "2", "23", "23/1", "3"];
    let Opened { second, .. } = harness.open(at(&all)).await?;
    for limit in [2, 100] {
        let mut found = listed(&second, &Among::All, limit).await?.concat();
        found.sort_unstable();
        found.dedup();
        assert_eq!(found, all);
    }
    Ok(())
}

async fn an_update_of_a_tenant_loses_no_other(harness: Trees) -> CaseResult {
    let Opened { first, second, .. } = harness.open(at(&["1"])).await?;
    let answers = race((0..12).map(|i| {
        let store = Arc::clone(if i % 2 == 0 { &first } else { &second });
        async move {
            let edit = |tenant: &mut Tenant| {
                tenant.metadata.insert(format!("key {i}"), "x".into());
                Ok(())
            };
            store.update(&path("1"), &edit).await
        }
    }))
    .await;
    assert_eq!(won(&answers, ErrorKind::Contended), 12);
    let read = second.get(&path("1")).await?.expect("a fixture");
    assert_eq!(read.metadata.len(), 12);
    Ok(())
}

async fn an_update_keeps_a_tenant_in_its_place(harness: Trees) -> CaseResult {
    let Opened { first, second, .. } = harness.open(at(&["1", "1/2"])).await?;
    let before = first.get(&path("1/2")).await?;
    let moved = |tenant: &mut Tenant| {
        tenant.id = path("1/3");
        Ok(())
    };
    assert_eq!(
        kind(second.update(&path("1/2"), &moved).await),
        ErrorKind::InvalidInput
    );
    let forged = |tenant: &mut Tenant| {
        tenant.incarnation = Incarnation::unique();
        tenant.parent_id = None;
        tenant.created_at = store_core::Timestamp::EPOCH;
        Ok(())
    };
    second.update(&path("1/2"), &forged).await?;
    assert_eq!(first.get(&path("1/2")).await?, before);
    assert!(first.get(&path("1/3")).await?.is_none());
    Ok(())
}

async fn quotas_resolve_up_the_tree(harness: Trees) -> CaseResult {
    let users = |max: u64| {
        let mut quotas = Quotas::default();
        quotas.max_users = Some(max);
        quotas
    };
    let mut fixtures = at(&["1", "1/2", "1/2/3", "1/2/3/4", "1/5"]);
    fixtures[0].quotas = users(100);
    fixtures[2] = fixtures[2].clone().with_quotas(users(7));
    // Quotas of its own do not apply to a tenant that inherits.
    fixtures[4].quotas = users(1);
    let Opened { first, second, .. } = harness.open(fixtures).await?;
    let effective = async |of: &str| -> Result<Option<u64>> {
        Ok(second.effective_quotas(&path(of)).await?.max_users)
    };
    assert_eq!(effective("1").await?, Some(100), "a root's are its own");
    assert_eq!(effective("1/2").await?, Some(100), "inherited");
    assert_eq!(effective("1/2/3").await?, Some(7), "overridden");
    assert_eq!(effective("1/2/3/4").await?, Some(7), "from the nearest");
    assert_eq!(effective("1/5").await?, Some(100));
    let inherit = |tenant: &mut Tenant| {
        tenant.quota_mode = QuotaMode::Inherited;
        Ok(())
    };
    first.update(&path("1/2/3"), &inherit).await?;
    assert_eq!(effective("1/2/3/4").await?, Some(100));
    Ok(())
}

async fn a_tenant_with_tenants_below_is_not_deleted(harness: Trees) -> CaseResult {
    let Opened { first, second, .. } = harness.open(at(&["1", "1/2", "1/2/3", "1/23"])).await?;
    for held in ["1", "1/2"] {
        assert_eq!(kind(second.delete(&path(held)).await), ErrorKind::InUse);
        assert!(first.get(&path(held)).await?.is_some());
    }
    first
        .create(Tenant::new(&path("1/2/4"), "a refusal leaves it usable"))
        .await?;
    for next in ["1/2/4", "1/2/3", "1/2", "1/23", "1"] {
        second.delete(&path(next)).await?;
        assert!(first.get(&path(next)).await?.is_none());
    }
    assert!(descendants(&first, "1").await?.is_empty());
    Ok(())
}

async fn no_race_leaves_a_tenant_without_its_parent(harness: Trees) -> CaseResult {
    let Opened { first, second, .. } = harness.open(at(&["1"])).await?;
    for round in 0..12 {
        let (parent, child) = (path("1").child(round)?, path("1").child(round)?.child(1)?);
        first.create(Tenant::new(&parent, "parent")).await?;
        let (creator, deleter) = (Arc::clone(&first), Arc::clone(&second));
        let (above, below) = (parent.clone(), child.clone());
        let create =
            tokio::spawn(async move { creator.create(Tenant::new(&below, "child")).await });
        let delete = tokio::spawn(async move { deleter.delete(&above).await });
        let (created, deleted) = (create.await?.is_ok(), delete.await?.is_ok());
        assert!(created != deleted, "created: {created}, deleted: {deleted}");
        assert_eq!(second.get(&parent).await?.is_some(), created);
        assert_eq!(second.get(&child).await?.is_some(), created);
    }
    Ok(())
}

async fn a_recreated_tenant_is_another(harness: Trees) -> CaseResult {
    let mut fixtures = at(&["1", "1/2"]);
    fixtures[1].metadata.insert("secret".into(), "x".into());
    let Opened { first, second, .. } = harness.open(fixtures).await?;
    let old = first.get(&path("1/2")).await?.expect("a fixture");
    second.delete(&path("1/2")).await?;
    let new = second.create(Tenant::new(&path("1/2"), "again")).await?;
    assert_ne!(new.incarnation, old.incarnation);
    assert!(new.metadata.is_empty() && new.deleting.is_none());
    assert_eq!(children(&first, "1").await?, ["1/2"]);
    let all = first
        .list_all(&Among::Children(path("1/2")), Listing::new())
        .await?;
    assert!(all.is_empty());
    Ok(())
}

async fn a_quota_of_tenants_holds_under_a_race(harness: Trees) -> CaseResult {
    let mut quotas = Quotas::default();
    quotas.max_sub_tenants = Some(3);
    let mut fixtures = at(&["1", "1/1"]);
    fixtures[0] = fixtures[0].clone().with_quotas(quotas);
    let Opened { first, second, .. } = harness.open(fixtures).await?;
    for _ in 0..3 {
        // Eight creations race for two places.
        let answers = race((10..18).map(|i| {
            let store = Arc::clone(if i % 2 == 0 { &first } else { &second });
            async move {
                let at = path("1").child(i)?;
                store.create(Tenant::new(&at, "late")).await
            }
        }))
        .await;
        assert_eq!(won(&answers, ErrorKind::LimitExceeded), 2);
        assert_eq!(children(&second, "1").await?.len(), 3);
        for tenant in answers.into_iter().flatten() {
            second.delete(&tenant.id).await?;
        }
    }
    Ok(())
}

async fn what_a_tenant_above_forbids_is_refused(harness: Trees) -> CaseResult {
    let mut fixtures = at(&["1", "1/1", "2", "2/1", "2/1/1"]);
    fixtures[1].can_create_sub_tenants = false;
    fixtures[2].max_child_depth = 2;
    let Opened { first, .. } = harness.open(fixtures).await?;
    let create = async |at: &str| first.create(Tenant::new(&path(at), "new")).await;
    assert_eq!(kind(create("1/1/1").await), ErrorKind::PermissionDenied);
    assert_eq!(kind(create("2/1/1/1").await), ErrorKind::LimitExceeded);
    create("2/1/2").await?;
    create("1/2").await?;
    Ok(())
}
