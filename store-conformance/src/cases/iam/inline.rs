//! Policies that one principal alone has.

use store_core::entity::Key;
use store_core::iam::{Group, IamStore, InlinePolicy, MAX_INLINE_POLICIES, PrincipalStore, User};
use store_core::{ErrorKind, PageRequest, Result};

use super::fixtures::{Everything, key};
use super::tools::{kind, pages};
use super::{Cases, Iam};
use crate::case;
use crate::harness::Opened;
use crate::suite::CaseResult;

pub(super) fn cases() -> Cases {
    vec![
        case!(inline_policies_are_their_principals_alone),
        case!(inline_policies_are_listed_in_order, "14", "19"),
    ]
}

async fn inline_policies_are_their_principals_alone(harness: Iam) -> CaseResult {
    let fixtures = Everything::named(&["ada", "bob"], &["ada"], &[]);
    let Opened { first, second, .. } = harness.open(fixtures).await?;
    let (ada, bob) = (key::<User>("ada"), key::<User>("bob"));
    first
        .put_inline_policy(&ada, InlinePolicy::new("own", "{}"))
        .await?;
    let document = async |iam: &dyn IamStore, user: &Key<User>| -> Result<Option<String>> {
        let found = iam.inline_policy(user, "own").await?;
        Ok(found.map(|policy| policy.policy_document.clone()))
    };
    assert_eq!(document(&*second, &ada).await?.as_deref(), Some("{}"));
    assert!(document(&*second, &bob).await?.is_none());
    assert!(
        second
            .inline_policy(&key::<Group>("ada"), "own")
            .await?
            .is_none()
    );
    second
        .put_inline_policy(&ada, InlinePolicy::new("own", "[]"))
        .await?;
    assert_eq!(document(&*first, &ada).await?.as_deref(), Some("[]"));
    let limit = MAX_INLINE_POLICIES;
    for i in 1..limit {
        first
            .put_inline_policy(&ada, InlinePolicy::new(format!("{i}"), "{}"))
            .await?;
    }
    let more = first
        .put_inline_policy(&ada, InlinePolicy::new("more", "{}"))
        .await;
    assert_eq!(kind(more), ErrorKind::LimitExceeded);
    // Another document for an existing policy adds none.
    first
        .put_inline_policy(&ada, InlinePolicy::new("own", "{}"))
        .await?;
    for iam in [&first, &second] {
        iam.delete_inline_policy(&ada, "own").await?;
        assert!(document(&**iam, &ada).await?.is_none());
    }
    first
        .put_inline_policy(&ada, InlinePolicy::new("more", "{}"))
        .await?;
    let empty = first
        .put_inline_policy(&ada, InlinePolicy::new("own", ""))
        .await;
    assert_eq!(kind(empty), ErrorKind::InvalidInput);
    let eve = key::<User>("eve");
    let absent = first
        .put_inline_policy(&eve, InlinePolicy::new("own", "{}"))
        .await;
    assert_eq!(kind(absent), ErrorKind::NotFound);
    assert_eq!(
        kind(first.inline_policy(&eve, "own").await),
        ErrorKind::NotFound
    );
    Ok(())
}

async fn inline_policies_are_listed_in_order(harness: Iam) -> CaseResult {
    let fixtures = Everything::named(&["ada"], &[], &[]);
    let Opened { first, second, .. } = harness.open(fixtures).await?;
    let long = "n".repeat(300);
    let mut names = ["b", "a", "a/b", "%", "#x", "ü", &long];
    for name in names {
        let policy = InlinePolicy::new(name, "{}");
        first.put_inline_policy(&key::<User>("ada"), policy).await?;
    }
    let listed = pages(|cursor| {
        let iam = &second;
        async move {
            let mut page = PageRequest::new().limit(2)?;
            if let Some(cursor) = cursor {
                page = page.after(cursor);
            }
            PrincipalStore::<User>::inline_policies(&**iam, &key("ada"), &page).await
        }
    })
    .await?;
    names.sort_unstable();
    assert_eq!(listed.concat(), names);
    Ok(())
}
