//! Several operations at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use store_core::entity::{EntityStore, EntityStoreExt, Listing, Tags};
use store_core::iam::{Group, Iam as Handle, InlinePolicy, Policy, TenantTransaction, User};
use store_core::{Error, ErrorKind, Result};

use super::fixtures::{Everything, key, path};
use super::policies::{arn, attached, count};
use super::tools::{kind, race, won};
use super::{Cases, Iam, needs};
use crate::case;
use crate::harness::Opened;
use crate::suite::CaseResult;

pub(super) fn cases() -> Cases {
    let cases: Cases = vec![
        case!(a_transaction_is_all_or_nothing),
        case!(a_transaction_sees_what_it_wrote),
        case!(what_a_transaction_read_still_holds_when_it_commits),
        case!(a_transaction_answers_from_the_run_that_committed),
        case!(a_transaction_refuses_what_a_handle_refuses),
        case!(a_transaction_of_too_many_records_writes_nothing),
    ];
    let refusal = |harness: Iam| Box::pin(transactions_are_refused(harness)) as _;
    cases
        .into_iter()
        .map(|case| case.needs(needs::TRANSACTIONS, refusal))
        .collect()
}

async fn transactions_are_refused(harness: Iam) -> CaseResult {
    let Opened { first, .. } = harness.open(Everything::named(&[], &[], &[])).await?;
    let answer = first.transact(&path("1"), &|_| Ok(())).await;
    assert_eq!(kind(answer), ErrorKind::Unsupported);
    Ok(())
}

async fn a_transaction_refuses_what_a_handle_refuses(harness: Iam) -> CaseResult {
    let fixtures = Everything::named(&["ada"], &["devs"], &["read"]);
    let Opened { first, second, .. } = harness.open(fixtures).await?;
    let tenant = Handle::over(first).tenant(&path("1"));
    let work: [fn(&mut TenantTransaction<'_>) -> Result<()>; 8] = [
        |tx| tx.create(User::new("")).map(drop),
        |tx| tx.create(User::new("a\nb")).map(drop),
        |tx| tx.create(Policy::new("empty", "")).map(drop),
        |tx| tx.rename::<User>("ada", " ada").map(drop),
        |tx| tx.put_inline_policy::<User>("ada", InlinePolicy::new("own", "")),
        |tx| tx.put_inline_policy::<User>("ada", InlinePolicy::new("", "{}")),
        |tx| tx.put_inline_policy::<Group>("devs", InlinePolicy::new("own ", "{}")),
        |tx| {
            let no_path = |user: &mut User| {
                user.path = "eng".into();
                Ok(())
            };
            tx.update("ada", no_path).map(drop)
        },
    ];
    for (number, work) in work.into_iter().enumerate() {
        let refused = tenant
            .transaction(|tx| {
                tx.create(User::new("new"))?;
                work(tx)
            })
            .await;
        assert_eq!(kind(refused), ErrorKind::InvalidInput, "{number}");
        let new = EntityStore::<User>::get(&*second, &key("new")).await?;
        assert!(new.is_none(), "{number}");
    }
    Ok(())
}

async fn a_transaction_is_all_or_nothing(harness: Iam) -> CaseResult {
    let fixtures = Everything::named(&["ada"], &["devs"], &["read"]);
    let Opened { first, second, .. } = harness.open(fixtures).await?;
    let tenant = Handle::over(first).tenant(&path("1"));
    let refused = tenant
        .transaction(|tx| {
            tx.create(User::new("new"))?;
            tx.attach_policy::<User>("new", &arn("read"))?;
            tx.add_member("devs", "ada")?;
            tx.create(User::new("ada"))
        })
        .await;
    assert_eq!(kind(refused), ErrorKind::AlreadyExists);
    assert!(
        EntityStore::<User>::get(&*second, &key("new"))
            .await?
            .is_none()
    );
    assert_eq!(count(&second, "read").await?, 0);
    let members = second.members_of(&key("devs"), &Default::default()).await?;
    assert!(members.items.is_empty());

    let stopped = tenant
        .transaction(|tx| {
            tx.delete::<User>("ada")?;
            Err::<(), _>(Error::invalid("on second thoughts"))
        })
        .await;
    assert_eq!(kind(stopped), ErrorKind::InvalidInput);
    assert!(
        EntityStore::<User>::get(&*second, &key("ada"))
            .await?
            .is_some()
    );
    Ok(())
}

async fn a_transaction_sees_what_it_wrote(harness: Iam) -> CaseResult {
    let Opened { first, second, .. } = harness.open(Everything::named(&[], &[], &[])).await?;
    let tenant = Handle::over(first).tenant(&path("1"));
    tenant
        .transaction(|tx| {
            let read = tx.create(Policy::new("read", "{}"))?;
            tx.create(User::new("ada"))?;
            tx.create(User::new("brief"))?;
            tx.attach_policy::<User>("ada", read.arn())?;
            tx.attach_policy::<User>("brief", read.arn())?;
            assert_eq!(
                tx.policy(&read.arn().to_string())?
                    .expect("made above")
                    .attachment_count,
                2
            );
            tx.detach_policy::<User>("brief", read.arn())?;
            tx.delete::<User>("brief")?;
            assert!(tx.get::<User>("brief")?.is_none());
            tx.rename::<User>("ada", "lovelace")?;
            assert!(tx.get::<User>("ada")?.is_none());
            tx.update::<User>("lovelace", |user| {
                user.tags.insert("title".into(), "countess".into());
                Ok(())
            })
        })
        .await?;
    assert_eq!(attached::<User>(&second, "lovelace").await?, ["read"]);
    assert_eq!(count(&second, "read").await?, 1);
    let all = EntityStore::<User>::list(&*second, &path("1"), &Listing::new()).await?;
    assert_eq!(all.items.len(), 1);
    assert_eq!(all.items[0].tags["title"], "countess");
    Ok(())
}

/// One of two users on call may leave only if the other stays (write skew).
async fn what_a_transaction_read_still_holds_when_it_commits(harness: Iam) -> CaseResult {
    let fixtures = Everything::named(&["ada", "bob"], &[], &[]);
    let Opened { first, second, .. } = harness.open(fixtures).await?;
    let on_call = Tags::from([("on call".into(), "yes".into())]);
    for _ in 0..10 {
        for name in ["ada", "bob"] {
            EntityStoreExt::<User>::tag(&*first, &key(name), on_call.clone()).await?;
        }
        let answers: Vec<Result<()>> = race((0..4).map(|i| {
            let iam = Handle::over(Arc::clone(if i % 2 == 0 { &first } else { &second }));
            async move {
                let (leaver, other) = if i % 2 == 0 {
                    ("ada", "bob")
                } else {
                    ("bob", "ada")
                };
                iam.tenant(&path("1"))
                    .transaction(|tx| {
                        let other = tx.get::<User>(other)?.expect("a fixture");
                        if other.tags.is_empty() {
                            return Err(Error::new(ErrorKind::PermissionDenied, "stay"));
                        }
                        tx.update::<User>(leaver, |user| {
                            user.tags.clear();
                            Ok(())
                        })
                        .map(drop)
                    })
                    .await
            }
        }))
        .await;
        won(&answers, ErrorKind::PermissionDenied);
        let mut left = 0;
        for name in ["ada", "bob"] {
            left += EntityStoreExt::<User>::tags(&*second, &key(name))
                .await?
                .len();
        }
        assert_eq!(left, 1, "exactly one could leave");
    }
    Ok(())
}

async fn a_transaction_answers_from_the_run_that_committed(harness: Iam) -> CaseResult {
    let fixtures = Everything::named(&["ada"], &[], &[]);
    let Opened { first, second, .. } = harness.open(fixtures).await?;
    let runs = Arc::new(AtomicU32::new(0));
    let answers = race((0..8).map(|i| {
        let iam = Handle::over(Arc::clone(if i % 2 == 0 { &first } else { &second }));
        let runs = Arc::clone(&runs);
        async move {
            iam.tenant(&path("1"))
                .transaction(|tx| {
                    runs.fetch_add(1, Ordering::Relaxed);
                    let user = tx.get::<User>("ada")?.expect("a fixture");
                    let count = user.tags.get("count").map_or(0, |n| n.parse().unwrap_or(0)) + 1;
                    tx.update::<User>("ada", |user| {
                        user.tags.insert("count".into(), count.to_string());
                        Ok(())
                    })?;
                    Ok(count)
                })
                .await
        }
    }))
    .await;
    let mut counts = answers.into_iter().collect::<Result<Vec<u32>>>()?;
    counts.sort_unstable();
    assert_eq!(counts, [1, 2, 3, 4, 5, 6, 7, 8]);
    assert!(runs.load(Ordering::Relaxed) >= 8);
    Ok(())
}

async fn a_transaction_of_too_many_records_writes_nothing(harness: Iam) -> CaseResult {
    let Opened { first, second, .. } = harness.open(Everything::named(&[], &[], &[])).await?;
    let tenant = Handle::over(first).tenant(&path("1"));
    let create = |many: u32| {
        let tenant = tenant.clone();
        async move {
            tenant
                .transaction(|tx| {
                    for i in 0..many {
                        tx.create(User::new(i.to_string()))?;
                    }
                    Ok(())
                })
                .await
        }
    };
    // Two records each, besides two that all have in common.
    assert_eq!(kind(create(50).await), ErrorKind::InvalidInput);
    let all = EntityStore::<User>::list(&*second, &path("1"), &Listing::new()).await?;
    assert!(all.items.is_empty());
    create(20).await?;
    let all = EntityStore::<User>::list(&*second, &path("1"), &Listing::new()).await?;
    assert_eq!(all.items.len(), 20);
    Ok(())
}
