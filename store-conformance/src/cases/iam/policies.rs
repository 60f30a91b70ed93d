//! Attaching policies, and counting attachments.

use std::sync::Arc;

use store_core::entity::{EntityStore, Key, Listing, Provider};
use store_core::iam::{
    Group, IamStore, MAX_ATTACHED_POLICIES, Policy, PolicyFilter, PolicyScope, PrincipalStore, User,
};
use store_core::tenants::Tenant;
use store_core::{ErrorKind, PageRequest, Result};

use super::fixtures::{Everything, key, path, policy};
use super::tools::{kind, pages, race, won};
use super::{Cases, Iam};
use crate::case;
use crate::harness::Opened;
use crate::suite::CaseResult;

pub(super) fn cases() -> Cases {
    vec![
        case!(attaching_is_idempotent_and_counted, "25"),
        case!(an_attachment_count_is_true_after_any_race, "25", "30"),
        case!(an_attached_policy_is_not_deleted),
        case!(no_race_leaves_a_deleted_policy_attached),
        case!(a_foreign_policy_and_an_absent_one_are_one_answer),
        case!(an_update_leaves_the_counts_true),
        case!(a_policy_is_found_by_its_arn_in_its_own_tenant),
        case!(attached_policies_are_listed_in_order, "14", "16", "19"),
        case!(policies_are_listed_by_scope_and_attachment),
        case!(a_policy_that_is_not_attachable_is_not_attached),
        case!(a_principal_has_only_so_many_attachments),
        case!(a_boundary_is_counted_and_holds_its_policy),
    ]
}

/// The ARN of a policy of tenant `1` whose id is its name, as in the fixtures.
pub(super) fn arn(name: &str) -> String {
    format!("arn:wami:iam:1:wami:main:policy/{name}")
}

/// How often the policy says that it is attached.
pub(super) async fn count(iam: &Arc<dyn IamStore>, name: &str) -> Result<u64> {
    let policy = EntityStore::<Policy>::get(&**iam, &key(name)).await?;
    Ok(policy.expect("the policy is there").attachment_count)
}

pub(super) async fn attached<P>(iam: &Arc<dyn IamStore>, name: &str) -> Result<Vec<String>>
where
    P: store_core::iam::Principal,
    dyn IamStore: PrincipalStore<P>,
{
    let pages = pages(|cursor| async move {
        let mut page = PageRequest::new().limit(3)?;
        if let Some(cursor) = cursor {
            page = page.after(cursor);
        }
        PrincipalStore::<P>::attached_policies(&**iam, &key(name), &page).await
    })
    .await?;
    Ok(pages.concat().into_iter().map(|p| p.policy_name).collect())
}

async fn attaching_is_idempotent_and_counted(harness: Iam) -> CaseResult {
    let fixtures = Everything::named(&["ada", "bob"], &["devs"], &["read"]);
    let Opened { first, second, .. } = harness.open(fixtures).await?;
    for iam in [&first, &second, &first] {
        iam.attach_policy(&key::<User>("ada"), &arn("read")).await?;
    }
    assert_eq!(count(&second, "read").await?, 1);
    second
        .attach_policy(&key::<User>("bob"), &arn("read"))
        .await?;
    second
        .attach_policy(&key::<Group>("devs"), &arn("read"))
        .await?;
    assert_eq!(count(&first, "read").await?, 3);
    assert_eq!(attached::<User>(&first, "ada").await?, ["read"]);
    assert_eq!(attached::<Group>(&first, "devs").await?, ["read"]);
    for iam in [&first, &second] {
        iam.detach_policy(&key::<User>("ada"), &arn("read")).await?;
    }
    assert_eq!(count(&second, "read").await?, 2);
    assert!(attached::<User>(&first, "ada").await?.is_empty());
    let absent = first.attach_policy(&key::<User>("eve"), &arn("read")).await;
    assert_eq!(kind(absent), ErrorKind::NotFound);
    assert_eq!(count(&second, "read").await?, 2);
    Ok(())
}

async fn an_attachment_count_is_true_after_any_race(harness: Iam) -> CaseResult {
    race_attachments(harness, 3, 8).await
}

/// In each round every one of `users` is attached to one policy by two at once,
/// and every other one is detached at the same time.
pub(super) async fn race_attachments(harness: Iam, rounds: usize, users: usize) -> CaseResult {
    let names: Vec<String> = (0..users).map(|i| format!("user {i}")).collect();
    let refs: Vec<&str> = names.iter().map(String::as_str).collect();
    let fixtures = Everything::named(&refs, &[], &["read"]);
    let Opened { first, second, .. } = harness.open(fixtures).await?;
    for round in 0..rounds {
        let answers = race((0..2 * users).map(|i| {
            let iam = Arc::clone(if i % 2 == 0 { &first } else { &second });
            let user = key::<User>(&names[i / 2]);
            let detaches = i % 2 == 0 && (i / 2 + round) % 2 == 0;
            async move {
                iam.attach_policy(&user, &arn("read")).await?;
                if detaches {
                    iam.detach_policy(&user, &arn("read")).await?;
                }
                Ok(())
            }
        }))
        .await;
        assert_eq!(won(&answers, ErrorKind::Contended), 2 * users);
        let mut real = 0;
        for user in &names {
            real += attached::<User>(&first, user).await?.len();
        }
        assert!(
            real >= users / 2,
            "those that were not detached stay attached"
        );
        assert_eq!(count(&second, "read").await?, real as u64);
    }
    for user in &names {
        first
            .detach_policy(&key::<User>(user), &arn("read"))
            .await?;
    }
    assert_eq!(count(&second, "read").await?, 0);
    Ok(())
}

async fn an_attached_policy_is_not_deleted(harness: Iam) -> CaseResult {
    let fixtures = Everything::named(&["ada"], &[], &["read"]);
    let Opened { first, second, .. } = harness.open(fixtures).await?;
    first
        .attach_policy(&key::<User>("ada"), &arn("read"))
        .await?;
    let refused = EntityStore::<Policy>::delete(&*second, &key("read")).await;
    assert_eq!(kind(refused), ErrorKind::InUse);
    assert_eq!(attached::<User>(&first, "ada").await?, ["read"]);
    first
        .detach_policy(&key::<User>("ada"), &arn("read"))
        .await?;
    EntityStore::<Policy>::delete(&*second, &key("read")).await?;
    let deleted = EntityStore::<Policy>::get(&*first, &key("read")).await?;
    assert!(deleted.is_none());
    Ok(())
}

async fn no_race_leaves_a_deleted_policy_attached(harness: Iam) -> CaseResult {
    let fixtures = Everything::named(&["ada"], &[], &[]);
    let Opened { first, second, .. } = harness.open(fixtures).await?;
    for round in 0..12 {
        let name = format!("p{round}");
        first.create(policy(&path("1"), &name)).await?;
        let (attacher, deleter) = (Arc::clone(&first), Arc::clone(&second));
        let (attach_name, delete_name) = (name.clone(), name.clone());
        let attach = tokio::spawn(async move {
            attacher
                .attach_policy(&key::<User>("ada"), &arn(&attach_name))
                .await
        });
        let delete = tokio::spawn(async move {
            EntityStore::<Policy>::delete(&*deleter, &key(&delete_name)).await
        });
        let held = async || EntityStore::<Policy>::get(&*first, &key(&name)).await;
        match (attach.await?, delete.await?) {
            (Ok(()), Err(error)) => {
                assert_eq!(error.kind(), ErrorKind::InUse);
                assert_eq!(held().await?.expect("refused").attachment_count, 1);
                first
                    .detach_policy(&key::<User>("ada"), &arn(&name))
                    .await?;
            }
            (Err(error), Ok(())) => {
                assert_eq!(error.kind(), ErrorKind::NotFound);
                assert!(held().await?.is_none());
            }
            other => panic!("one of the two must win: {other:?}"),
        }
        assert!(attached::<User>(&second, "ada").await?.is_empty());
    }
    Ok(())
}

async fn a_foreign_policy_and_an_absent_one_are_one_answer(harness: Iam) -> CaseResult {
    let mut fixtures = Everything::named(&["ada"], &["devs"], &["read"]);
    fixtures.tenants.push(Tenant::new(&path("1/2"), "below"));
    fixtures.tenants.push(Tenant::new(&path("2"), "other"));
    for tenant in ["1/2", "2"] {
        fixtures.policies.push(policy(&path(tenant), "theirs"));
    }
    let Opened { first, second, .. } = harness.open(fixtures).await?;
    let absent = first
        .attach_policy(&key::<User>("ada"), &arn("theirs"))
        .await;
    let absent = absent.expect_err("it was not created in tenant 1");
    assert_eq!(absent.kind(), ErrorKind::NotFound);
    for tenant in ["1/2", "2"] {
        let theirs = Key::<Policy>::new(&path(tenant), "theirs");
        let policy = EntityStore::<Policy>::get(&*first, &theirs)
            .await?
            .expect("a fixture");
        let to_user = second
            .attach_policy(&key::<User>("ada"), &policy.arn().to_string())
            .await;
        let to_group = second
            .attach_policy(&key::<Group>("devs"), &policy.arn().to_string())
            .await;
        for foreign in [to_user, to_group] {
            let foreign = foreign.expect_err("it is another tenant's");
            assert_eq!(foreign.kind(), absent.kind());
            assert_eq!(foreign.message(), absent.message());
        }
        let policy = EntityStore::<Policy>::get(&*first, &theirs)
            .await?
            .expect("a fixture");
        assert_eq!(policy.attachment_count, 0);
    }
    assert!(attached::<User>(&first, "ada").await?.is_empty());
    Ok(())
}

async fn an_update_leaves_the_counts_true(harness: Iam) -> CaseResult {
    let fixtures = Everything::named(&["ada"], &[], &["read"]);
    let Opened {
        first,
        second,
        clock,
        ..
    } = harness.open(fixtures).await?;
    first
        .attach_policy(&key::<User>("ada"), &arn("read"))
        .await?;
    let before = EntityStore::<Policy>::get(&*first, &key("read"))
        .await?
        .expect("a fixture");
    clock.advance(std::time::Duration::from_secs(5));
    let edit = |policy: &mut Policy| {
        policy.policy_document = "{\"new\": true}".into();
        policy.attachment_count = 70;
        policy.permissions_boundary_usage_count = 70;
        Ok(())
    };
    let after = EntityStore::<Policy>::update(&*second, &key("read"), &edit).await?;
    assert_eq!(after.attachment_count, 1);
    assert_eq!(after.permissions_boundary_usage_count, 0);
    assert!(after.update_date > before.update_date);
    assert_eq!(after.create_date, before.create_date);
    // A count that is set at creation is ignored as well.
    let mut forged = policy(&path("1"), "forged");
    forged.attachment_count = 3;
    assert_eq!(first.create(forged).await?.attachment_count, 0);
    Ok(())
}

async fn a_policy_is_found_by_its_arn_in_its_own_tenant(harness: Iam) -> CaseResult {
    let mut fixtures = Everything::named(&[], &[], &["plain", "a/b", "50%", "a%2Fb", "x:y"]);
    fixtures.tenants.push(Tenant::new(&path("2"), "other"));
    // A policy with a generated id is also found by its ARN at a cloud.
    let mapped = Policy::new("mapped", "{}").with_path("/team/");
    let mapped = mapped.with_provider(Provider::new("aws", "123456789012"));
    fixtures.policies.push(mapped.in_tenant(&path("1")));
    let Opened { first, second, .. } = harness.open(fixtures).await?;
    let all = EntityStore::<Policy>::list(&*first, &path("1"), &Listing::new()).await?;
    assert_eq!(all.items.len(), 6);
    for policy in all.items {
        let mut arns = policy.provider_arns();
        arns.push(policy.arn().to_string());
        for arn in arns {
            let found = second.policy_by_arn(&path("1"), &arn).await?;
            assert_eq!(found.as_ref(), Some(&policy), "{arn}");
            assert!(second.policy_by_arn(&path("2"), &arn).await?.is_none());
        }
    }
    for wrong in [
        "",
        "plain",
        "arn:wami:iam:2:wami:main:policy/plain",
        "arn:wami:iam:1:wami:other:policy/plain",
        "arn:wami:iam:1:wami:main:user/plain",
        "arn:wami:iam:1:wami:main:aws:1:policy/plain",
        "arn:aws:iam::123456789012:policy/elsewhere/mapped",
        "arn:aws:iam::123456789012:policy/plain",
    ] {
        assert!(
            first.policy_by_arn(&path("1"), wrong).await?.is_none(),
            "{wrong}"
        );
    }
    Ok(())
}

async fn attached_policies_are_listed_in_order(harness: Iam) -> CaseResult {
    let mut names = ["10", "9", "B", "a", "a%", "ä", "_"];
    let fixtures = Everything::named(&["ada", "adam"], &[], &names);
    let Opened { first, second, .. } = harness.open(fixtures).await?;
    for name in names {
        let policy = EntityStore::<Policy>::get(&*first, &key(name))
            .await?
            .expect("a fixture");
        first
            .attach_policy(&key::<User>("ada"), &policy.arn().to_string())
            .await?;
    }
    first.attach_policy(&key::<User>("adam"), &arn("a")).await?;
    names.sort_unstable();
    assert_eq!(attached::<User>(&second, "ada").await?, names);
    let exactly = PageRequest::new().limit(7)?;
    let page = PrincipalStore::<User>::attached_policies(&*second, &key("ada"), &exactly).await?;
    assert!(page.next.is_none(), "there is no eighth");
    assert!(
        page.items
            .iter()
            .all(|policy| policy.policy_arn.starts_with("arn:"))
    );
    let absent = PrincipalStore::<User>::attached_policies(&*second, &key("eve"), &exactly).await;
    assert_eq!(kind(absent), ErrorKind::NotFound);
    Ok(())
}

async fn policies_are_listed_by_scope_and_attachment(harness: Iam) -> CaseResult {
    let mut fixtures = Everything::named(&["ada"], &[], &["local", "used"]);
    let mut mapped = policy(&path("1"), "mapped");
    mapped.providers.push(Provider::new("aws", "1"));
    fixtures.policies.push(mapped);
    let Opened { first, second, .. } = harness.open(fixtures).await?;
    first
        .attach_policy(&key::<User>("ada"), &arn("used"))
        .await?;
    for (scope, only_attached, expected) in [
        (PolicyScope::All, false, &["local", "mapped", "used"][..]),
        (PolicyScope::Local, false, &["local", "used"]),
        (PolicyScope::Provider, false, &["mapped"]),
        (PolicyScope::All, true, &["used"]),
        (PolicyScope::Provider, true, &[]),
    ] {
        let filter = PolicyFilter {
            scope,
            only_attached,
        };
        let listing = Listing::new().filter(filter).limit(1)?;
        let pages = pages(|cursor| {
            let listing = cursor.map_or(listing.clone(), |c| listing.clone().after(c));
            let iam = &second;
            async move { EntityStore::<Policy>::list(&**iam, &path("1"), &listing).await }
        })
        .await?;
        let names: Vec<_> = pages.concat().iter().map(|p| p.name.clone()).collect();
        assert_eq!(names, expected, "{filter:?}");
    }
    Ok(())
}

async fn a_policy_that_is_not_attachable_is_not_attached(harness: Iam) -> CaseResult {
    let mut fixtures = Everything::named(&["ada"], &[], &["read"]);
    fixtures.policies[0].is_attachable = false;
    let Opened { first, second, .. } = harness.open(fixtures).await?;
    let refused = first.attach_policy(&key::<User>("ada"), &arn("read")).await;
    assert_eq!(kind(refused), ErrorKind::PermissionDenied);
    assert_eq!(count(&second, "read").await?, 0);
    Ok(())
}

async fn a_principal_has_only_so_many_attachments(harness: Iam) -> CaseResult {
    let limit = MAX_ATTACHED_POLICIES;
    let names: Vec<String> = (0..limit + 4).map(|i| format!("p{i}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let fixtures = Everything::named(&["ada"], &[], &names);
    let Opened { first, second, .. } = harness.open(fixtures).await?;
    for name in &names[..limit - 2] {
        first.attach_policy(&key::<User>("ada"), &arn(name)).await?;
    }
    for _ in 0..4 {
        // Six attachments race for two places.
        let answers = race(names[limit - 2..].iter().enumerate().map(|(i, name)| {
            let iam = Arc::clone(if i % 2 == 0 { &first } else { &second });
            let arn = arn(name);
            async move { iam.attach_policy(&key::<User>("ada"), &arn).await }
        }))
        .await;
        assert_eq!(won(&answers, ErrorKind::LimitExceeded), 2);
        assert_eq!(attached::<User>(&first, "ada").await?.len(), limit);
        for name in &names[limit - 2..] {
            second
                .detach_policy(&key::<User>("ada"), &arn(name))
                .await?;
        }
    }
    for name in &names[limit - 2..limit] {
        first.attach_policy(&key::<User>("ada"), &arn(name)).await?;
    }
    first.detach_policy(&key::<User>("ada"), &arn("p0")).await?;
    first.attach_policy(&key::<User>("ada"), &arn("p0")).await?;
    Ok(())
}

async fn a_boundary_is_counted_and_holds_its_policy(harness: Iam) -> CaseResult {
    let mut fixtures = Everything::named(&["ada"], &[], &["wide", "narrow"]);
    fixtures.tenants.push(Tenant::new(&path("2"), "other"));
    fixtures.policies.push(policy(&path("2"), "theirs"));
    let Opened { first, second, .. } = harness.open(fixtures).await?;
    let uses = async |name: &str| -> Result<u64> {
        let policy = EntityStore::<Policy>::get(&*second, &key(name)).await?;
        Ok(policy.expect("a fixture").permissions_boundary_usage_count)
    };
    let bound = async |iam: &dyn IamStore, to: Option<String>| {
        let edit = |user: &mut User| {
            user.permissions_boundary = to.clone();
            Ok(())
        };
        EntityStore::<User>::update(iam, &key("ada"), &edit)
            .await
            .map(drop)
    };
    let mut bob = User::new("bob").in_tenant(&path("1"));
    bob.permissions_boundary = Some(arn("wide"));
    first.create(bob).await?;
    bound(&*first, Some(arn("wide"))).await?;
    assert_eq!(uses("wide").await?, 2);
    bound(&*first, Some(arn("narrow"))).await?;
    assert_eq!((uses("wide").await?, uses("narrow").await?), (1, 1));
    let refused = EntityStore::<Policy>::delete(&*second, &key("narrow")).await;
    assert_eq!(kind(refused), ErrorKind::InUse);
    for wrong in [
        arn("absent"),
        "arn:wami:iam:2:wami:main:policy/theirs".into(),
    ] {
        assert_eq!(kind(bound(&*first, Some(wrong)).await), ErrorKind::NotFound);
    }
    bound(&*first, None).await?;
    EntityStore::<User>::delete(&*first, &key("bob")).await?;
    assert_eq!((uses("wide").await?, uses("narrow").await?), (0, 0));
    EntityStore::<Policy>::delete(&*second, &key("narrow")).await?;
    Ok(())
}
