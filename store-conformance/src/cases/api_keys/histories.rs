//! Linearizability: recorded histories of one key must have an order that explains them.

use std::collections::BTreeSet;
use std::sync::Arc;

use store_core::api_keys::{ApiKey, ApiKeyStore, ApiKeyStoreExt, KeyData, KeyEntry, Lookup};
use store_core::{ErrorKind, Result, Retry};

use super::fixtures::{Fixture, Space, key};
use super::races::race;
use super::{Given, KeyCase, needs_delete, needs_insert, needs_update};
use crate::case;
use crate::history::{Dice, Model, Outcome, Recorder, check};
use crate::suite::CaseResult;

pub(super) fn all() -> Vec<KeyCase> {
    vec![
        needs_update(case!(
            racing_changes_have_an_order_that_explains_them,
            "7",
            "8",
            "R3"
        )),
        needs_insert(needs_update(needs_delete(case!(
            racing_inserts_changes_and_deletes_have_an_order_that_explains_them,
            "31",
            "32",
            "R3"
        )))),
    ]
}

/// One key as its clients see it.
#[derive(Clone, Debug)]
pub(crate) struct OneKey {
    pub(crate) there: bool,
}

/// Enabled or not, and the scopes that were granted.
pub(crate) type Seen = (bool, BTreeSet<u32>);

#[derive(Clone, Copy, Debug)]
pub(crate) enum Call {
    Get,
    Insert,
    Delete,
    SetEnabled(bool),
    Grant(u32),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answer {
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

/// Makes the call; `None` if its outcome is unknown.
pub(crate) async fn make(store: &dyn ApiKeyStore, key: &ApiKey, call: Call) -> Result<Answer> {
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

/// Lets `workers` make `each` calls that `draw` chooses, and searches for an order that
/// explains every answer.
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
