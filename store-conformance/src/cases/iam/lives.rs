//! Deleting, creating again and renaming: what belongs to an entity and what to its name.

use std::sync::Arc;

use store_core::entity::{EntityStore, EntityStoreExt, Listing, MAX_ENTITY_NAME, Tags};
use store_core::iam::{Group, IamStore, InlinePolicy, Policy, Principal, PrincipalStore, User};
use store_core::{ErrorKind, PageRequest, Result};

use super::fixtures::{Everything, Sample, key, path};
use super::policies::{arn, attached, count};
use super::tools::{kind, race, won};
use super::{Cases, Iam};
use crate::case;
use crate::harness::Opened;
use crate::suite::CaseResult;

pub(super) fn cases() -> Cases {
    vec![
        case!(a_recreated_user_inherits_nothing, "23"),
        case!(a_recreated_group_inherits_nothing, "23"),
        case!(a_deleted_principal_takes_everything_along, "23"),
        case!(a_user_of_large_policies_is_deleted, "23"),
        case!(a_group_of_many_is_deleted_with_every_membership, "23"),
        case!(a_renamed_user_keeps_everything_and_leaves_nothing, "24"),
        case!(a_renamed_group_keeps_everything_and_leaves_nothing, "24"),
        case!(a_rename_to_a_held_name_is_refused, "12"),
        case!(of_many_who_rename_to_one_name_one_wins, "13"),
        case!(a_rename_racing_a_creation_has_one_winner, "13"),
        case!(attaching_to_a_user_being_deleted_leaves_nothing, "23", "31"),
        case!(what_is_given_during_a_rename_is_carried_along, "24"),
    ]
}

async fn give<P: Principal>(iam: &Arc<dyn IamStore>, name: &str) -> Result<()>
where
    dyn IamStore: PrincipalStore<P>,
{
    let key = key::<P>(name);
    iam.attach_policy(&key, &arn("read")).await?;
    iam.attach_policy(&key, &arn("write")).await?;
    iam.put_inline_policy(&key, InlinePolicy::new("own", "{}"))
        .await
}

/// Asserts that the principal has all that [`give`] gave, or nothing of it.
async fn has<P: Principal>(iam: &Arc<dyn IamStore>, name: &str, all: bool) -> CaseResult
where
    dyn IamStore: PrincipalStore<P>,
{
    let policies: &[&str] = if all { &["read", "write"] } else { &[] };
    assert_eq!(attached::<P>(iam, name).await?, policies, "attached");
    let own = iam.inline_policy(&key::<P>(name), "own").await?;
    assert_eq!(own.is_some(), all, "inline");
    let names = iam
        .inline_policies(&key::<P>(name), &PageRequest::new())
        .await?;
    assert_eq!(names.items.len(), usize::from(all), "inline, listed");
    Ok(())
}

async fn groups(iam: &Arc<dyn IamStore>, user: &str) -> Result<Vec<String>> {
    let page = iam.groups_of(&key(user), &PageRequest::new()).await?;
    let mut names: Vec<_> = page.items.iter().map(|g| g.name.clone()).collect();
    names.sort_unstable();
    Ok(names)
}

async fn members(iam: &Arc<dyn IamStore>, group: &str) -> Result<Vec<String>> {
    let page = iam.members_of(&key(group), &PageRequest::new()).await?;
    let mut names: Vec<_> = page.items.iter().map(|u| u.name.clone()).collect();
    names.sort_unstable();
    Ok(names)
}

async fn open(harness: &Iam) -> Result<Opened<dyn IamStore>> {
    let fixtures = Everything::named(&["ada", "bob"], &["devs", "ops"], &["read", "write"]);
    harness.open(fixtures).await
}

async fn a_recreated_user_inherits_nothing(harness: Iam) -> CaseResult {
    let Opened { first, second, .. } = open(&harness).await?;
    for round in 0..2 {
        give::<User>(&first, "ada").await?;
        first.add_member(&key("devs"), &key("ada")).await?;
        EntityStore::<User>::delete(&*second, &key("ada")).await?;
        first.create(User::new("ada").in_tenant(&path("1"))).await?;
        has::<User>(&second, "ada", false).await?;
        assert!(groups(&second, "ada").await?.is_empty(), "round {round}");
        assert!(members(&second, "devs").await?.is_empty());
    }
    Ok(())
}

async fn a_recreated_group_inherits_nothing(harness: Iam) -> CaseResult {
    let Opened { first, second, .. } = open(&harness).await?;
    give::<Group>(&first, "devs").await?;
    first.add_member(&key("devs"), &key("ada")).await?;
    EntityStore::<Group>::delete(&*second, &key("devs")).await?;
    first
        .create(Group::new("devs").in_tenant(&path("1")))
        .await?;
    has::<Group>(&second, "devs", false).await?;
    assert!(members(&second, "devs").await?.is_empty());
    assert!(groups(&second, "ada").await?.is_empty());
    Ok(())
}

async fn a_deleted_principal_takes_everything_along(harness: Iam) -> CaseResult {
    let Opened { first, second, .. } = open(&harness).await?;
    give::<User>(&first, "ada").await?;
    give::<Group>(&first, "devs").await?;
    give::<User>(&first, "bob").await?;
    first.add_member(&key("devs"), &key("bob")).await?;
    EntityStore::<User>::delete(&*second, &key("ada")).await?;
    assert_eq!(count(&first, "read").await?, 2, "ada's was removed");
    EntityStore::<Group>::delete(&*second, &key("devs")).await?;
    assert_eq!(count(&first, "read").await?, 1, "the group's was removed");
    assert!(groups(&first, "bob").await?.is_empty());
    has::<User>(&first, "bob", true).await?;
    EntityStore::<User>::delete(&*second, &key("bob")).await?;
    for name in ["read", "write"] {
        assert_eq!(count(&first, name).await?, 0);
        EntityStore::<Policy>::delete(&*second, &key(name)).await?;
    }
    Ok(())
}

async fn a_user_of_large_policies_is_deleted(harness: Iam) -> CaseResult {
    let names: Vec<String> = (0..16).map(|i| format!("large {i}")).collect();
    let mut fixtures = Everything::named(&["ada"], &[], &[]);
    let document = "x".repeat(250 * 1024);
    let large = |name: &String| {
        let policy = Policy::new(name, &document).with_id(name);
        policy.in_tenant(&path("1"))
    };
    fixtures.policies = names.iter().map(large).collect();
    let Opened { first, second, .. } = harness.open(fixtures).await?;
    for name in &names {
        first.attach_policy(&key::<User>("ada"), &arn(name)).await?;
    }
    EntityStore::<User>::delete(&*second, &key("ada")).await?;
    for name in &names {
        assert_eq!(count(&first, name).await?, 0, "{name}");
    }
    Ok(())
}

async fn a_group_of_many_is_deleted_with_every_membership(harness: Iam) -> CaseResult {
    let names: Vec<String> = (0..70).map(|i| format!("user {i}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let fixtures = Everything::named(&names, &["devs", "ops"], &[]);
    let Opened { first, second, .. } = harness.open(fixtures).await?;
    for name in &names {
        first.add_member(&key("devs"), &key(name)).await?;
    }
    first.add_member(&key("ops"), &key(names[0])).await?;
    assert_eq!(members(&second, "devs").await?.len(), 70);
    EntityStore::<Group>::delete(&*second, &key("devs")).await?;
    for name in &names {
        let left: &[&str] = if *name == names[0] { &["ops"] } else { &[] };
        assert_eq!(groups(&first, name).await?, left);
    }
    Ok(())
}

async fn a_renamed_user_keeps_everything_and_leaves_nothing(harness: Iam) -> CaseResult {
    let Opened { first, second, .. } = open(&harness).await?;
    first.add_member(&key("devs"), &key("ada")).await?;
    renamed::<User>(&first, &second, "ada").await?;
    assert_eq!(members(&first, "devs").await?, ["new"]);
    assert_eq!(groups(&second, "new").await?, ["devs"]);
    assert!(groups(&first, "ada").await?.is_empty());
    first.remove_member(&key("devs"), &key("new")).await?;
    assert!(members(&second, "devs").await?.is_empty());
    Ok(())
}

async fn a_renamed_group_keeps_everything_and_leaves_nothing(harness: Iam) -> CaseResult {
    let Opened { first, second, .. } = open(&harness).await?;
    first.add_member(&key("devs"), &key("bob")).await?;
    renamed::<Group>(&first, &second, "devs").await?;
    assert_eq!(groups(&first, "bob").await?, ["new"]);
    assert_eq!(members(&second, "new").await?, ["bob"]);
    assert!(members(&first, "devs").await?.is_empty());
    EntityStore::<Group>::delete(&*second, &key("new")).await?;
    assert!(groups(&first, "bob").await?.is_empty());
    Ok(())
}

/// Renames `from` to `new`, and creates another `from` at the end.
async fn renamed<P>(first: &Arc<dyn IamStore>, second: &Arc<dyn IamStore>, from: &str) -> CaseResult
where
    P: Principal + Sample,
    dyn IamStore: PrincipalStore<P>,
{
    give::<P>(first, from).await?;
    let tags = Tags::from([("team".into(), "x".into())]);
    EntityStoreExt::<P>::tag(&**first, &key(from), tags.clone()).await?;
    let before = EntityStore::<P>::get(&**first, &key(from)).await?;
    let before = before.expect("a fixture");

    let after = PrincipalStore::<P>::rename(&**second, &key(from), "new").await?;
    assert_eq!((after.name(), after.id()), ("new", before.id()));
    assert_eq!(after.meta().tags, tags);
    assert_eq!(after.arn(), before.arn(), "it ends in the id");
    let stored = EntityStore::<P>::get(&**first, &key("new")).await?;
    assert_eq!(stored.as_ref(), Some(&after));
    has::<P>(first, "new", true).await?;
    assert_eq!(count(first, "read").await?, 1);

    assert!(EntityStore::<P>::get(&**first, &key(from)).await?.is_none());
    assert_eq!(
        kind(EntityStore::<P>::delete(&**first, &key(from)).await),
        ErrorKind::NotFound
    );
    let listed = EntityStore::<P>::list(&**first, &path("1"), &Listing::new()).await?;
    assert!(listed.items.iter().all(|one| one.name() != from));
    EntityStore::<P>::create(&**second, P::sample(&path("1"), from)).await?;
    has::<P>(first, from, false).await?;
    has::<P>(first, "new", true).await
}

async fn a_rename_to_a_held_name_is_refused(harness: Iam) -> CaseResult {
    let Opened { first, second, .. } = open(&harness).await?;
    give::<User>(&first, "ada").await?;
    let rename =
        async |from: &str, to: &str| PrincipalStore::<User>::rename(&*second, &key(from), to).await;
    assert_eq!(kind(rename("ada", "bob").await), ErrorKind::AlreadyExists);
    assert_eq!(kind(rename("eve", "new").await), ErrorKind::NotFound);
    assert_eq!(kind(rename("eve", "eve").await), ErrorKind::NotFound);
    let long = "n".repeat(MAX_ENTITY_NAME + 1);
    for wrong in ["", "a\0b", "a\nb", "a\u{85}", " a", "a ", &long] {
        let answer = rename("ada", wrong).await;
        assert_eq!(kind(answer), ErrorKind::InvalidInput, "{wrong:?}");
    }
    assert_eq!(rename("ada", "ada").await?.name, "ada");
    has::<User>(&first, "ada", true).await?;
    has::<User>(&first, "bob", false).await
}

async fn of_many_who_rename_to_one_name_one_wins(harness: Iam) -> CaseResult {
    let names = ["a", "b", "c", "d", "e", "f"];
    let Opened { first, second, .. } = harness.open(Everything::named(&names, &[], &[])).await?;
    let answers = race(names.into_iter().enumerate().map(|(i, name)| {
        let iam = Arc::clone(if i % 2 == 0 { &first } else { &second });
        async move { PrincipalStore::<User>::rename(&*iam, &key(name), "star").await }
    }))
    .await;
    assert_eq!(won(&answers, ErrorKind::AlreadyExists), 1);
    let listed = EntityStore::<User>::list(&*second, &path("1"), &Listing::new()).await?;
    assert_eq!(listed.items.len(), 6, "five were not renamed");
    let star = EntityStore::<User>::get(&*first, &key("star")).await?;
    let winner = answers.into_iter().find_map(Result::ok);
    assert_eq!(star, winner);
    Ok(())
}

async fn a_rename_racing_a_creation_has_one_winner(harness: Iam) -> CaseResult {
    let Opened { first, second, .. } = open(&harness).await?;
    for round in 0..8 {
        let wanted = format!("wanted {round}");
        let (renamer, creator) = (Arc::clone(&first), Arc::clone(&second));
        let (to, name) = (wanted.clone(), wanted.clone());
        let rename = tokio::spawn(async move {
            PrincipalStore::<User>::rename(&*renamer, &key("ada"), &to).await
        });
        let create =
            tokio::spawn(
                async move { creator.create(User::new(name).in_tenant(&path("1"))).await },
            );
        let stored = async || EntityStore::<User>::get(&*first, &key(&wanted)).await;
        match (rename.await?, create.await?) {
            (Ok(user), Err(error)) | (Err(error), Ok(user)) => {
                assert_eq!(error.kind(), ErrorKind::AlreadyExists);
                assert_eq!(stored().await?, Some(user));
            }
            other => panic!("one of the two must win: {other:?}"),
        }
        let ada = EntityStore::<User>::get(&*second, &key("ada")).await?;
        if ada.is_none() {
            PrincipalStore::<User>::rename(&*second, &key(&wanted), "ada").await?;
        }
    }
    Ok(())
}

async fn attaching_to_a_user_being_deleted_leaves_nothing(harness: Iam) -> CaseResult {
    let Opened { first, second, .. } = open(&harness).await?;
    for round in 0..12 {
        let name = format!("brief {round}");
        first.create(User::new(&name).in_tenant(&path("1"))).await?;
        let answers = race((0..4).map(|turn| {
            let iam = Arc::clone(if turn % 2 == 0 { &first } else { &second });
            let key = key::<User>(&name);
            async move {
                match turn {
                    0 => iam.attach_policy(&key, &arn("read")).await,
                    1 => iam.add_member(&self::key("devs"), &key).await,
                    2 => {
                        iam.put_inline_policy(&key, InlinePolicy::new("own", "{}"))
                            .await
                    }
                    _ => EntityStore::<User>::delete(&*iam, &key).await,
                }
            }
        }))
        .await;
        assert!(answers[3].is_ok(), "the deletion: {:?}", answers[3]);
        won(&answers, ErrorKind::NotFound);
        assert_eq!(count(&first, "read").await?, 0);
        assert!(members(&second, "devs").await?.is_empty());
        first.create(User::new(&name).in_tenant(&path("1"))).await?;
        has::<User>(&second, &name, false).await?;
        assert!(groups(&second, &name).await?.is_empty());
    }
    Ok(())
}

async fn what_is_given_during_a_rename_is_carried_along(harness: Iam) -> CaseResult {
    let Opened { first, second, .. } = open(&harness).await?;
    for round in 0..10 {
        let from = if round % 2 == 0 { "ada" } else { "lovelace" };
        let to = if round % 2 == 0 { "lovelace" } else { "ada" };
        let (renamer, giver) = (Arc::clone(&first), Arc::clone(&second));
        let rename =
            tokio::spawn(
                async move { PrincipalStore::<User>::rename(&*renamer, &key(from), to).await },
            );
        let give =
            tokio::spawn(
                async move { giver.attach_policy(&key::<User>(from), &arn("read")).await },
            );
        rename.await??;
        let given = match give.await? {
            Ok(()) => 1,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::NotFound);
                0
            }
        };
        assert_eq!(attached::<User>(&second, to).await?.len(), given);
        assert_eq!(count(&second, "read").await?, given as u64);
        first.detach_policy(&key::<User>(to), &arn("read")).await?;
    }
    Ok(())
}
