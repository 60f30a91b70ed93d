//! Several clients at once.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;

use serde_json::json;
use store_core::api_keys::{
    ApiKey, ApiKeyStore, ApiKeyStoreExt, KeyData, KeyEntry, ListKeys, Lookup,
};
use store_core::{Error, ErrorKind, Result, Retry};
use tokio::task::JoinSet;

use super::fixtures::{Fixture, Space, key};
use super::{Given, KeyCase, needs_delete, needs_insert, needs_list, needs_update};
use crate::case;
use crate::history::{Dice, Model, Outcome, Recorder, check};
use crate::suite::CaseResult;

pub(super) fn all() -> Vec<KeyCase> {
    vec![
        needs_update(case!(concurrent_grants_lose_nothing, "7")),
        needs_update(case!(concurrent_merges_lose_nothing, "7", "6")),
        needs_update(case!(of_racing_update_ifs_one_wins, "7", "32")),
        needs_update(case!(
            racing_changes_have_an_order_that_explains_them,
            "7",
            "8",
            "R3"
        )),
        needs_insert(case!(of_racing_inserts_one_wins, "13")),
        needs_update(needs_delete(case!(
            a_change_never_brings_a_deleted_key_back,
            "31"
        ))),
        needs_insert(needs_update(needs_delete(case!(
            racing_inserts_changes_and_deletes_have_an_order_that_explains_them,
            "31",
            "32",
            "R3"
        )))),
        needs_update(needs_list(case!(
            a_key_moved_by_many_ends_in_exactly_one_list
        ))),
        needs_insert(needs_delete(needs_list(case!(
            a_list_agrees_with_the_keys_after_inserts_and_deletes_race
        )))),
    ]
}

/// Runs `work` for each number as a task of its own and waits for all.
async fn race<T, W>(count: usize, mut start: impl FnMut(usize) -> W) -> Vec<T>
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
    let fixture = Fixture::new(KeyData::new().with_extra("kept", 1));
    let space = Space::open(&given, [&fixture]).await?;
    let merged = race(WORKERS, |worker| {
        let (store, key) = (space.handle(worker), fixture.key().clone());
        async move {
            // Some a field of the application's, some one of ours.
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
    assert_eq!(data.extra["kept"], 1);
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
            .expect("a store that updates keys tells their versions");
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

/// One key as its clients see it.
#[derive(Clone, Debug)]
struct OneKey {
    there: bool,
}

/// Enabled or not, and the scopes that were granted.
type Seen = (bool, BTreeSet<u32>);

#[derive(Clone, Copy, Debug)]
enum Call {
    Get,
    Insert,
    Delete,
    SetEnabled(bool),
    Grant(u32),
}

#[derive(Clone, Debug, PartialEq)]
enum Answer {
    Found(Option<Seen>),
    Inserted,
    AlreadyThere,
    Deleted,
    Changed(Seen),
    NotThere,
}

impl Model for OneKey {
    type State = Option<Seen>;
    type Call = Call;
    type Answer = Answer;

    fn initial(&self) -> Self::State {
        self.there.then(|| (true, BTreeSet::new()))
    }

    fn step(&self, state: &Self::State, call: &Call) -> (Self::State, Answer) {
        let mut after = state.clone();
        let answer = match (call, &mut after) {
            (Call::Get, found) => Answer::Found(found.clone()),
            (Call::Insert, Some(_)) => Answer::AlreadyThere,
            (Call::Insert, none) => {
                *none = Some((true, BTreeSet::new()));
                Answer::Inserted
            }
            (Call::Delete, found) => {
                *found = None;
                Answer::Deleted
            }
            (Call::SetEnabled(_) | Call::Grant(_), None) => Answer::NotThere,
            (Call::SetEnabled(enabled), Some(seen)) => {
                seen.0 = *enabled;
                Answer::Changed(seen.clone())
            }
            (Call::Grant(scope), Some(seen)) => {
                seen.1.insert(*scope);
                Answer::Changed(seen.clone())
            }
        };
        (after, answer)
    }
}

fn seen(entry: &KeyEntry) -> Seen {
    let permissions = entry.data().permissions.iter();
    let scopes = permissions.flat_map(|one| &one.scopes);
    let numbers = scopes.filter_map(|scope| scope.parse().ok()).collect();
    (entry.data().enabled, numbers)
}

/// Makes the call; `None` if nobody knows what came of it.
async fn make(store: &dyn ApiKeyStore, key: &ApiKey, call: Call) -> Result<Answer> {
    let changed = |answer: Result<KeyEntry>| match answer {
        Ok(entry) => Ok(Answer::Changed(seen(&entry))),
        Err(error) if error.is(ErrorKind::NotFound) => Ok(Answer::NotThere),
        Err(error) => Err(error),
    };
    match call {
        Call::Get => {
            let found = store.get_key(key).await?;
            if let Lookup::Active(entry) | Lookup::Disabled(entry) = &found {
                assert_eq!(entry.data().enabled, found.is_active());
            }
            Ok(Answer::Found(found.entry().map(seen)))
        }
        Call::Insert => match store.insert(key, KeyData::new()).await {
            Ok(_) => Ok(Answer::Inserted),
            Err(error) if error.is(ErrorKind::AlreadyExists) => Ok(Answer::AlreadyThere),
            Err(error) => Err(error),
        },
        Call::Delete => store.delete_key(key.into()).await.map(|()| Answer::Deleted),
        Call::SetEnabled(true) => changed(store.enable(key).await),
        Call::SetEnabled(false) => changed(store.disable(key).await),
        Call::Grant(scope) => {
            let scope = scope.to_string();
            let grant = |data: &mut KeyData| data.permissions.grant("orders", &scope);
            changed(store.update_key(key.into(), None, &grant).await)
        }
    }
}

/// Lets `workers` make `each` calls that `draw` chooses, and looks for an order
/// that explains every answer.
async fn explain(
    space: &Space,
    key: &ApiKey,
    there: bool,
    (workers, each, seed): (usize, usize, u64),
    draw: fn(&mut Dice, u32) -> Call,
) -> CaseResult {
    let recorder = Arc::new(Recorder::new());
    let outcomes = race(workers, |worker| {
        let (store, key) = (space.handle(worker), key.clone());
        let recorder = Arc::clone(&recorder);
        async move {
            let mut dice = Dice::new(seed.wrapping_add(worker as u64));
            for turn in 0..each {
                let call = draw(&mut dice, (worker * each + turn) as u32);
                let begun = recorder.begin(worker, "key", call);
                match make(&*store, &key, call).await {
                    Ok(answer) => recorder.end(begun, Outcome::Answered(answer)),
                    Err(error) if error.retry() == Retry::Ambiguous => {
                        recorder.end(begun, Outcome::Unknown);
                    }
                    Err(error) if error.retry() == Retry::Safe => {
                        recorder.end(begun, Outcome::Failed);
                    }
                    Err(error) => return Err(error),
                }
                tokio::task::yield_now().await;
            }
            Ok(())
        }
    });
    for outcome in outcomes.await {
        outcome?;
    }
    let recorder = Arc::into_inner(recorder).expect("all workers are done");
    check(&OneKey { there }, &recorder.finish()).map_err(|violation| violation.to_string())?;
    Ok(())
}

async fn racing_changes_have_an_order_that_explains_them(given: Given) -> CaseResult {
    changes_have_an_order(given, 6, 8, 0).await
}

async fn racing_inserts_changes_and_deletes_have_an_order_that_explains_them(
    given: Given,
) -> CaseResult {
    lives_have_an_order(given, 6, 8, 0).await
}

/// Lets `workers` make `each` changes to and look-ups of one key, and looks for
/// an order that explains every answer. For long runs: another `seed`, another
/// history.
///
/// # Errors
/// The calls that no order explains, or the store's own error.
pub async fn changes_have_an_order(
    given: Given,
    workers: usize,
    each: usize,
    seed: u64,
) -> CaseResult {
    let fixture = Fixture::new(KeyData::new());
    let space = Space::open(&given, [&fixture]).await?;
    let turns = (workers, each, seed);
    explain(
        &space,
        fixture.key(),
        true,
        turns,
        |dice, turn| match dice.below(5) {
            0 => Call::SetEnabled(true),
            1 => Call::SetEnabled(false),
            2 => Call::Grant(turn),
            _ => Call::Get,
        },
    )
    .await
}

/// Like [`changes_have_an_order`], with a key that is inserted and deleted too.
///
/// # Errors
/// As there.
pub async fn lives_have_an_order(
    given: Given,
    workers: usize,
    each: usize,
    seed: u64,
) -> CaseResult {
    let space = Space::open(&given, []).await?;
    let turns = (workers, each, seed);
    explain(&space, &key(), false, turns, |dice, turn| {
        match dice.below(8) {
            0 | 1 => Call::Insert,
            2 => Call::Delete,
            3 => Call::SetEnabled(false),
            4 | 5 => Call::Grant(turn),
            _ => Call::Get,
        }
    })
    .await
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
                    // Some move the key to another list, which is more to undo.
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
