//! Which users are in which groups.

use std::collections::BTreeSet;
use std::sync::Arc;

use store_core::entity::{EntityStore, Key};
use store_core::iam::{Group, IamStore, User};
use store_core::tenants::Tenant;
use store_core::{ErrorKind, PageRequest, Result};

use super::fixtures::{Everything, key, path};
use super::tools::{kind, pages, race, won};
use super::{Cases, Iam};
use crate::case;
use crate::harness::Opened;
use crate::suite::CaseResult;

pub(super) fn cases() -> Cases {
    vec![
        case!(joining_is_idempotent, "25"),
        case!(a_membership_needs_both_in_one_tenant),
        case!(members_are_listed_without_gap_or_repeat, "14", "16"),
        case!(both_sides_of_a_membership_agree_after_any_race),
        case!(hundreds_of_tasks_create_users_in_one_group, "34"),
    ]
}

async fn members(iam: &Arc<dyn IamStore>, group: &str, limit: usize) -> Result<Vec<String>> {
    let pages = pages(|cursor| async move {
        let mut page = PageRequest::new().limit(limit)?;
        if let Some(cursor) = cursor {
            page = page.after(cursor);
        }
        iam.members_of(&key(group), &page).await
    })
    .await?;
    assert!(pages.iter().rev().skip(1).all(|page| page.len() == limit));
    Ok(pages.concat().iter().map(|u| u.name.clone()).collect())
}

async fn joining_is_idempotent(harness: Iam) -> CaseResult {
    let fixtures = Everything::named(&["ada"], &["devs", "ops"], &[]);
    let Opened { first, second, .. } = harness.open(fixtures).await?;
    for iam in [&first, &second, &first] {
        iam.add_member(&key("devs"), &key("ada")).await?;
    }
    assert_eq!(members(&second, "devs", 5).await?, ["ada"]);
    let groups = second.groups_of(&key("ada"), &PageRequest::new()).await?;
    assert_eq!(groups.items.len(), 1);
    assert_eq!(groups.items[0].name, "devs");
    for iam in [&first, &second] {
        iam.remove_member(&key("devs"), &key("ada")).await?;
    }
    assert!(members(&second, "devs", 5).await?.is_empty());
    first.add_member(&key("devs"), &key("ada")).await?;
    assert_eq!(members(&second, "devs", 5).await?, ["ada"]);
    Ok(())
}

async fn a_membership_needs_both_in_one_tenant(harness: Iam) -> CaseResult {
    let mut fixtures = Everything::named(&["ada"], &["devs"], &[]);
    fixtures.tenants.push(Tenant::new(&path("2"), "other"));
    fixtures.users.push(User::new("eve").in_tenant(&path("2")));
    let Opened { first, second, .. } = harness.open(fixtures).await?;
    let devs: Key<Group> = key("devs");
    let absent = first.add_member(&devs, &key("eve")).await;
    let absent = absent.expect_err("there is no eve in tenant 1");
    assert_eq!(absent.kind(), ErrorKind::NotFound);
    let foreign = first.add_member(&devs, &Key::new(&path("2"), "eve")).await;
    let foreign = foreign.expect_err("eve is of tenant 2");
    assert_eq!(foreign.kind(), absent.kind());
    assert_eq!(foreign.message(), absent.message());
    let no_group = second.add_member(&key("unknown"), &key("ada")).await;
    assert_eq!(kind(no_group), ErrorKind::NotFound);
    assert_eq!(
        kind(
            second
                .members_of(&key("unknown"), &PageRequest::new())
                .await
        ),
        ErrorKind::NotFound
    );
    assert_eq!(
        kind(second.groups_of(&key("unknown"), &PageRequest::new()).await),
        ErrorKind::NotFound
    );
    assert!(members(&second, "devs", 5).await?.is_empty());
    Ok(())
}

async fn members_are_listed_without_gap_or_repeat(harness: Iam) -> CaseResult {
    let names = ["a", "b", "c", "d", "e", "f"];
    let fixtures = Everything::named(&names, &["devs", "ops"], &[]);
    let Opened { first, second, .. } = harness.open(fixtures).await?;
    for name in names {
        first.add_member(&key("devs"), &key(name)).await?;
    }
    first.add_member(&key("ops"), &key("a")).await?;
    for limit in 1..=7 {
        let listed = members(&second, "devs", limit).await?;
        let distinct: BTreeSet<&str> = listed.iter().map(String::as_str).collect();
        assert_eq!(listed.len(), 6, "pages of {limit}");
        assert_eq!(distinct, BTreeSet::from(names));
    }
    let page = second
        .members_of(&key("devs"), &PageRequest::new().limit(6)?)
        .await?;
    assert!(page.next.is_none(), "there is no seventh");
    Ok(())
}

async fn both_sides_of_a_membership_agree_after_any_race(harness: Iam) -> CaseResult {
    let users = ["a", "b", "c"];
    let groups = ["x", "y"];
    let fixtures = Everything::named(&users, &groups, &[]);
    let Opened { first, second, .. } = harness.open(fixtures).await?;
    for round in 0..6 {
        let answers = race((0..12).map(|i| {
            let iam = Arc::clone(if i % 2 == 0 { &first } else { &second });
            let (user, group) = (users[i % 3], groups[(i / 3) % 2]);
            async move {
                if (i / 6 + round) % 2 == 0 {
                    iam.add_member(&key(group), &key(user)).await
                } else {
                    iam.remove_member(&key(group), &key(user)).await
                }
            }
        }))
        .await;
        assert_eq!(won(&answers, ErrorKind::Contended), 12);
        for group in groups {
            for user in users {
                let in_group = members(&first, group, 9).await?.contains(&user.to_owned());
                let page = second.groups_of(&key(user), &PageRequest::new()).await?;
                let of_user = page.items.iter().any(|g| g.name == group);
                assert_eq!(in_group, of_user, "{user} in {group}");
            }
        }
    }
    EntityStore::<User>::delete(&*first, &key("a")).await?;
    EntityStore::<Group>::delete(&*second, &key("x")).await?;
    for user in ["b", "c"] {
        let page = second.groups_of(&key(user), &PageRequest::new()).await?;
        assert!(page.items.iter().all(|group| group.name == "y"));
    }
    assert!(!members(&first, "y", 9).await?.contains(&"a".to_owned()));
    Ok(())
}

/// Every one of them rewrites the tenant's usage and the group's roster.
async fn hundreds_of_tasks_create_users_in_one_group(harness: Iam) -> CaseResult {
    let tasks = harness.most_tasks();
    let fixtures = Everything::named(&[], &["devs"], &[]);
    let Opened { first, second, .. } = harness.open(fixtures).await?;
    let answers = race((0..tasks).map(|i| {
        let iam = Arc::clone(if i % 2 == 0 { &first } else { &second });
        async move { user_in_a_group(&iam, &format!("user {i}")).await }
    }))
    .await;
    let refused: Vec<_> = answers.into_iter().filter_map(Result::err).collect();
    assert!(
        refused.is_empty(),
        "{} of {tasks} failed, such as: {}",
        refused.len(),
        refused[0]
    );
    assert_eq!(members(&second, "devs", 100).await?.len(), tasks);
    Ok(())
}

async fn user_in_a_group(iam: &Arc<dyn IamStore>, name: &str) -> Result<()> {
    iam.create(User::new(name).in_tenant(&path("1"))).await?;
    iam.add_member(&key("devs"), &key(name)).await
}
