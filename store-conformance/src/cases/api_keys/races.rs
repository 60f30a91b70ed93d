//! Several clients at once.

use std::collections::BTreeSet;
use std::future::Future;

use serde_json::json;
use store_core::api_keys::{ApiKeyStoreExt, KeyData, ListKeys};
use store_core::{Error, ErrorKind, Result};
use tokio::task::JoinSet;

use super::fixtures::{Fixture, Space, key};
use super::{Given, KeyCase, needs_delete, needs_insert, needs_list, needs_update};
use crate::case;
use crate::suite::CaseResult;

pub(super) fn all() -> Vec<KeyCase> {
    vec![
        needs_update(case!(concurrent_grants_lose_nothing, "7")),
        needs_update(case!(concurrent_merges_lose_nothing, "7", "6")),
        needs_update(case!(of_racing_update_ifs_one_wins, "7", "32")),
        needs_insert(case!(of_racing_inserts_one_wins, "13")),
        needs_update(needs_delete(case!(
            a_change_never_brings_a_deleted_key_back,
            "31"
        ))),
        needs_update(needs_list(case!(
            a_key_moved_by_many_ends_in_exactly_one_list
        ))),
        needs_insert(needs_delete(needs_list(case!(
            a_list_agrees_with_the_keys_after_inserts_and_deletes_race
        )))),
    ]
}

/// Runs `work` for each number as a task of its own and waits for all.
pub(super) async fn race<T, W>(count: usize, mut start: impl FnMut(usize) -> W) -> Vec<T>
where
    T: Send + 'static,
    W: Future<Output = T> + Send + 'static,
{
    let mut tasks = JoinSet::new();
    for number in 0..count {
        tasks.spawn(start(number));
    }
    tasks.join_all().await
}

async fn concurrent_grants_lose_nothing(given: Given) -> CaseResult {
    const WORKERS: usize = 12;
    const EACH: usize = 4;
    let fixture = Fixture::new(KeyData::new().permit("orders", ["read"]));
    let space = Space::open(&given, [&fixture]).await?;
    let granted = race(WORKERS, |worker| {
        let (store, key) = (space.handle(worker), fixture.key().clone());
        async move {
            for number in 0..EACH {
                let scope = format!("{worker}-{number}");
                let entry = store
                    .update(&key, |data| data.permissions.grant("orders", &scope))
                    .await?;
                assert!(
                    entry.data().permissions.allow("orders", &scope),
                    "what was committed is what is answered"
                );
            }
            Ok::<_, Error>(())
        }
    });
    for outcome in granted.await {
        outcome?;
    }
    let entry = space.entry(fixture.key()).await?;
    let permissions = &entry.data().permissions;
    let scopes: usize = permissions.iter().map(|one| one.scopes.len()).sum();
    assert_eq!(scopes, 1 + WORKERS * EACH, "{permissions:?}");
    assert!(permissions.allow("orders", "read"));
    for worker in 0..WORKERS {
        for number in 0..EACH {
            let scope = format!("{worker}-{number}");
            assert!(permissions.allow("orders", &scope), "{scope} was lost");
        }
    }
    Ok(())
}

async fn concurrent_merges_lose_nothing(given: Given) -> CaseResult {
    const WORKERS: usize = 10;
    let fixture = Fixture::new(KeyData::new().with_extra("plan", 1));
    let space = Space::open(&given, [&fixture]).await?;
    let merged = race(WORKERS, |worker| {
        let (store, key) = (space.handle(worker), fixture.key().clone());
        async move {
            // Some change the application's fields, some change the store's.
            let partial = match worker {
                0 => json!({"label": "merged"}),
                1 => json!({"enabled": false}),
                2 => json!({"permissions": [{"resource": "a", "scopes": ["b"]}]}),
                _ => json!({format!("field {worker}"): worker}),
            };
            let partial = partial.as_object().cloned().unwrap_or_default();
            store.merge(&key, &partial).await
        }
    });
    for outcome in merged.await {
        outcome?;
    }
    let entry = space.entry(fixture.key()).await?;
    let data = entry.data();
    assert_eq!(data.label.as_deref(), Some("merged"));
    assert!(!data.enabled && data.permissions.allow("a", "b"));
    assert_eq!(data.extra["plan"], 1);
    for worker in 3..WORKERS {
        assert_eq!(data.extra[&format!("field {worker}")], worker);
    }
    Ok(())
}

async fn of_racing_update_ifs_one_wins(given: Given) -> CaseResult {
    let fixture = Fixture::new(KeyData::new());
    let space = Space::open(&given, [&fixture]).await?;
    for round in 0..4 {
        let before = space.entry(fixture.key()).await?;
        let version = before
            .version()
            .expect("a store that updates keys returns their versions");
        let outcomes = race(8, |worker| {
            let (store, key) = (space.handle(worker), fixture.key().clone());
            let label = format!("{round}-{worker}");
            async move {
                let changed = store
                    .update_if(&key, version, |data| {
                        data.label = Some(label.clone());
                        Ok(())
                    })
                    .await;
                changed.map(|entry| (label, entry))
            }
        });
        let (won, lost): (Vec<_>, Vec<_>) = outcomes.await.into_iter().partition(Result::is_ok);
        assert_eq!(won.len(), 1, "in round {round}");
        for error in lost.into_iter().filter_map(Result::err) {
            assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
        }
        let entry = space.entry(fixture.key()).await?;
        for (label, winner) in won.into_iter().flatten() {
            assert_eq!(entry, winner);
            assert_eq!(entry.data().label, Some(label));
        }
    }
    Ok(())
}

async fn of_racing_inserts_one_wins(given: Given) -> CaseResult {
    let space = Space::open(&given, []).await?;
    for round in 0..4 {
        let key = key();
        let outcomes = race(8, |worker| {
            let (store, key) = (space.handle(worker), key.clone());
            let data = KeyData::new()
                .with_label(format!("{round}-{worker}"))
                .with_tenant(format!("tenant {worker}"));
            async move { store.insert(&key, data).await }
        });
        let (won, lost): (Vec<_>, Vec<_>) = outcomes.await.into_iter().partition(Result::is_ok);
        assert_eq!(won.len(), 1, "in round {round}");
        for error in lost.into_iter().filter_map(Result::err) {
            assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error}");
        }
        let entry = space.entry(&key).await?;
        assert_eq!(won.into_iter().flatten().next(), Some(entry));
    }
    Ok(())
}

async fn a_change_never_brings_a_deleted_key_back(given: Given) -> CaseResult {
    const ROUNDS: usize = 6;
    let fixtures: Vec<_> = (0..ROUNDS)
        .map(|_| Fixture::new(KeyData::new().with_tenant("acme")))
        .collect();
    let space = Space::open(&given, &fixtures).await?;
    for (round, fixture) in fixtures.iter().enumerate() {
        let outcomes = race(6, |worker| {
            let (store, key) = (space.handle(worker + round), fixture.key().clone());
            async move {
                if worker == 3 {
                    return store.delete_key((&key).into()).await;
                }
                for turn in 0..4 {
                    let scope = format!("{worker}-{turn}");
                    // Some move the key to another list, which takes more writes.
                    let changed = store.update(&key, |data| {
                        if worker % 2 == 0 {
                            data.tenant = Some(scope.clone());
                        }
                        data.permissions.grant("orders", &scope)
                    });
                    match changed.await {
                        Ok(_) => {}
                        Err(error) if error.is(ErrorKind::NotFound) => return Ok(()),
                        Err(error) => return Err(error),
                    }
                }
                Ok(())
            }
        });
        for outcome in outcomes.await {
            outcome?;
        }
        space.assert_unknown(fixture.key()).await?;
        let late = space.first.enable(fixture.key()).await;
        assert_eq!(
            late.expect_err("it was deleted").kind(),
            ErrorKind::NotFound
        );
    }
    Ok(())
}

async fn a_key_moved_by_many_ends_in_exactly_one_list(given: Given) -> CaseResult {
    const WORKERS: usize = 6;
    let fixture = Fixture::new(KeyData::new().with_tenant("tenant 0"));
    let space = Space::open(&given, [&fixture]).await?;
    let moved = race(WORKERS, |worker| {
        let (store, key) = (space.handle(worker), fixture.key().clone());
        async move {
            for turn in 0..4 {
                let tenant = format!("tenant {}", (worker + turn) % 3);
                let change = |data: &mut KeyData| {
                    data.tenant = Some(tenant.clone());
                    Ok(())
                };
                store.update(&key, change).await?;
            }
            Ok::<_, Error>(())
        }
    });
    for outcome in moved.await {
        outcome?;
    }
    let entry = space.entry(fixture.key()).await?;
    for number in 0..3 {
        let tenant = format!("tenant {number}");
        let expected = usize::from(entry.data().tenant.as_ref() == Some(&tenant));
        for store in [&space.first, &space.second] {
            let page = store.list(&ListKeys::of_tenant(&tenant)).await?;
            assert_eq!(page.items.len(), expected, "in the list of {tenant}");
        }
    }
    Ok(())
}

async fn a_list_agrees_with_the_keys_after_inserts_and_deletes_race(given: Given) -> CaseResult {
    let space = Space::open(&given, []).await?;
    let keys: Vec<_> = (0..3).map(|_| key()).collect();
    let workers = race(6, |worker| {
        let (store, keys) = (space.handle(worker), keys.clone());
        async move {
            for turn in 0..6 {
                let key = &keys[(worker + turn) % 3];
                if (worker / 3 + turn) % 2 == 0 {
                    let data = KeyData::new().with_tenant("acme");
                    match store.insert(key, data).await {
                        Err(error) if error.is(ErrorKind::AlreadyExists) => {}
                        other => drop(other?),
                    }
                } else {
                    store.delete_key(key.into()).await?;
                }
            }
            Ok::<_, Error>(())
        }
    });
    for outcome in workers.await {
        outcome?;
    }
    let mut expected = BTreeSet::new();
    for key in &keys {
        if let Some(entry) = space.first.get_key(key).await?.entry() {
            expected.insert(entry.id().clone());
        }
    }
    let page = space.second.list(&ListKeys::of_tenant("acme")).await?;
    let listed: Vec<_> = page.items.iter().map(|entry| entry.id().clone()).collect();
    assert_eq!(listed.len(), expected.len(), "none twice");
    assert_eq!(BTreeSet::from_iter(listed), expected);
    Ok(())
}
