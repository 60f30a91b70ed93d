//! R3 under contention: two handles, many tasks, exact outcomes.

use std::collections::BTreeSet;
use std::sync::Arc;

use store_core::{
    Batch, Body, Decided, Expect, Partition, Record, RecordStore, RecordStoreExt, Result,
};
use tokio::task::JoinSet;

use super::tools::{Given, Space, conflict, ids, key, number};
use crate::history::Dice;
use crate::suite::CaseResult;
use crate::{Case, case};

pub(super) fn cases() -> Vec<Case<dyn RecordStore>> {
    vec![
        case!(of_many_who_create_one_wins, "R3", "13"),
        case!(concurrent_updates_lose_nothing, "R3", "7", "30"),
        case!(neither_of_two_checks_misses_the_others_write, "R3"),
        case!(a_closed_gate_admits_no_record, "R3"),
        case!(transfers_keep_the_total, "R3"),
        case!(an_update_never_resurrects_what_was_deleted, "R3", "31"),
        case!(partitions_do_not_delay_each_other, "R3"),
    ]
}

/// Runs `tasks` tasks concurrently, and returns their answers in the order of their
/// numbers.
async fn at_once<T, F>(tasks: usize, task: impl Fn(usize) -> F) -> Result<Vec<T>>
where
    T: Send + 'static,
    F: Future<Output = Result<T>> + Send + 'static,
{
    let mut running = JoinSet::new();
    for i in 0..tasks {
        let task = task(i);
        running.spawn(async move { task.await.map(|answer| (i, answer)) });
    }
    let mut answers = running
        .join_all()
        .await
        .into_iter()
        .collect::<Result<Vec<_>>>()?;
    answers.sort_by_key(|(i, _)| *i);
    Ok(answers.into_iter().map(|(_, answer)| answer).collect())
}

async fn of_many_who_create_one_wins(harness: Given) -> CaseResult {
    let space = Arc::new(Space::open(&harness).await?);
    for round in 0..5 {
        let id = format!("{round}");
        let answers = at_once(8, |i| {
            let (space, id) = (Arc::clone(&space), id.clone());
            async move {
                let mut batch = space.batch();
                batch.put(key(id)?, Expect::Absent, Body::json(i as u64)?)?;
                Ok((batch.version(), space.handle(i).commit(&batch).await))
            }
        })
        .await?;
        let (won, lost): (Vec<_>, Vec<_>) = answers.into_iter().partition(|(_, a)| a.is_ok());
        assert_eq!(won.len(), 1, "winners");
        for (_, answer) in lost {
            let error = conflict(answer);
            let shown = error.conflict().and_then(|c| c.item(0)?.current());
            assert_eq!(
                shown.map(Record::version),
                Some(won[0].0),
                "the loser gets a conflict"
            );
        }
        let left = space.record(&id).await?.ok_or("one of them won")?;
        assert_eq!(left.version(), won[0].0);
    }
    Ok(())
}

async fn concurrent_updates_lose_nothing(harness: Given) -> CaseResult {
    const TASKS: usize = 6;
    const EACH: usize = 8;
    let space = Arc::new(Space::open(&harness).await?);
    let answers = at_once(TASKS, |i| {
        let space = Arc::clone(&space);
        async move {
            let mut became = Vec::new();
            for _ in 0..EACH {
                let add = |record: Option<&Record>| {
                    let sum = record.map(number).transpose()?.unwrap_or(0) + 1;
                    Ok(Decided::Put(Body::json(sum)?, None, sum))
                };
                let handle = space.handle(i);
                became.push(handle.update(&space.partition, &key("sum")?, add).await?);
            }
            Ok(became)
        }
    })
    .await?;
    for became in &answers {
        assert!(
            became.is_sorted(),
            "an update that did not see the one before"
        );
    }
    let all: BTreeSet<u64> = answers.into_iter().flatten().collect();
    let each_once = (1..=(TASKS * EACH) as u64).collect();
    assert_eq!(all, each_once, "each number is answered once");
    assert_eq!(space.number("sum").await?, Some((TASKS * EACH) as u64));
    Ok(())
}

async fn neither_of_two_checks_misses_the_others_write(harness: Given) -> CaseResult {
    let space = Arc::new(Space::open(&harness).await?);
    for round in 0..25 {
        // { check a absent, put b } and { check b absent, put a }: whichever
        // is first, the other's check fails.
        let answers = at_once(2, |i| {
            let space = Arc::clone(&space);
            async move {
                let names = [format!("{round} a"), format!("{round} b")];
                let mut batch = space.batch();
                batch.check(key(&names[i])?, Expect::Absent)?.put(
                    key(&names[1 - i])?,
                    Expect::Absent,
                    Body::json(1)?,
                )?;
                Ok(space.handle(i).commit(&batch).await)
            }
        })
        .await?;
        let done = answers.iter().filter(|answer| answer.is_ok()).count();
        assert_eq!(done, 1, "round {round}: commits that were done");
        let left = ids(&*space.first, space.scan().id_prefix(format!("{round} "))).await?;
        assert_eq!(left.len(), 1, "round {round}: {left:?}");
    }
    Ok(())
}

async fn a_closed_gate_admits_no_record(harness: Given) -> CaseResult {
    let space = Arc::new(Space::open(&harness).await?);
    for round in 0..10 {
        let gate = key(format!("{round} gate"))?;
        let open = space.put(gate.id(), 1).await?;
        let prefix = format!("{round} in");
        let answers = at_once(5, |i| {
            let (space, gate, prefix) = (Arc::clone(&space), gate.clone(), prefix.clone());
            async move {
                if i == 2 {
                    let mut close = space.batch();
                    close.put(gate, Expect::Version(open), Body::json(0)?)?;
                    space.handle(i).commit(&close).await?;
                    // No record may be added after this list.
                    return ids(&*space.handle(i + 1), space.scan().id_prefix(prefix)).await;
                }
                for n in 0..6 {
                    let mut enter = space.batch();
                    enter.check(gate.clone(), Expect::Version(open))?.put(
                        key(format!("{prefix} {i} {n}"))?,
                        Expect::Absent,
                        Body::json(1)?,
                    )?;
                    match space.handle(i).commit(&enter).await {
                        Ok(_) => {}
                        Err(error) if error.conflict().is_some() => break,
                        Err(error) => return Err(error),
                    }
                }
                Ok(Vec::new())
            }
        })
        .await?;
        let after = ids(&*space.second, space.scan().id_prefix(prefix)).await?;
        assert_eq!(answers[2], after, "a record entered through a closed gate");
    }
    Ok(())
}

async fn transfers_keep_the_total(harness: Given) -> CaseResult {
    const ACCOUNTS: usize = 4;
    const TOTAL: u64 = 400;
    let space = Arc::new(Space::open(&harness).await?);
    let accounts: Vec<_> = (0..ACCOUNTS)
        .map(|i| key(format!("account {i}")))
        .collect::<Result<_>>()?;
    for account in &accounts {
        space.put(account.id(), TOTAL / ACCOUNTS as u64).await?;
    }
    let sum =
        |found: &[Option<Record>]| -> Result<u64> { found.iter().flatten().map(number).sum() };
    let done = at_once(6, |task| {
        let (space, accounts) = (Arc::clone(&space), accounts.clone());
        async move {
            let mut dice = Dice::new(task as u64);
            if task >= 4 {
                for _ in 0..8 {
                    let found = space.snapshot(&accounts).await?;
                    assert_eq!(sum(&found)?, TOTAL, "a reader saw money move");
                }
                return Ok(0);
            }
            let mut done = 0;
            for _ in 0..10 {
                let from = dice.below(ACCOUNTS);
                let to = (from + 1 + dice.below(ACCOUNTS - 1)) % ACCOUNTS;
                let at = [from, to].map(|i| accounts[i].at(&space.partition));
                let found = space.handle(task).get_many(&at).await?;
                let [Some(payer), Some(payee)] = &found[..] else {
                    panic!("an account is missing");
                };
                let amount = number(payer)?.min(1 + dice.below(30) as u64);
                let mut batch = space.batch();
                batch
                    .put(
                        payer.key().clone(),
                        payer,
                        Body::json(number(payer)? - amount)?,
                    )?
                    .put(
                        payee.key().clone(),
                        payee,
                        Body::json(number(payee)? + amount)?,
                    )?;
                match space.handle(task).commit(&batch).await {
                    Ok(_) => done += 1,
                    Err(error) if error.conflict().is_some() => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(done)
        }
    })
    .await?;
    assert!(done.iter().sum::<usize>() > 0, "no transfer was done");
    assert_eq!(sum(&space.snapshot(&accounts).await?)?, TOTAL);
    Ok(())
}

async fn an_update_never_resurrects_what_was_deleted(harness: Given) -> CaseResult {
    let space = Arc::new(Space::open(&harness).await?);
    for round in 0..15 {
        let at = key(format!("{round}"))?;
        space.put(at.id(), 0).await?;
        at_once(4, |i| {
            let (space, at) = (Arc::clone(&space), at.clone());
            async move {
                let handle = space.handle(i);
                if i == 0 {
                    let mut batch = space.batch();
                    batch.delete(at, Expect::Any)?;
                    return handle.commit(&batch).await.map(drop);
                }
                for _ in 0..4 {
                    let add = |record: Option<&Record>| match record {
                        None => Ok(Decided::Keep(())),
                        Some(record) => {
                            Ok(Decided::Put(Body::json(number(record)? + 1)?, None, ()))
                        }
                    };
                    handle.update(&space.partition, &at, add).await?;
                }
                Ok(())
            }
        })
        .await?;
        assert!(
            space.record(at.id()).await?.is_none(),
            "round {round}: it exists again"
        );
    }
    Ok(())
}

async fn partitions_do_not_delay_each_other(harness: Given) -> CaseResult {
    let space = Arc::new(Space::open(&harness).await?);
    at_once(12, |i| {
        let space = Arc::clone(&space);
        async move {
            let partition = Partition::new(format!("partition {i}"))?;
            for round in 0..6u64 {
                let mut batch = Batch::new(partition.clone(), space.now());
                batch.put(key("a")?, Expect::Any, Body::json(round)?)?.put(
                    key("b")?,
                    Expect::Any,
                    Body::json(round)?,
                )?;
                // There is no other writer here, so nothing is refused.
                space.handle(i).commit(&batch).await?;
                let found = space.handle(i + 1).get(key("b")?.at(&partition)).await?;
                assert_eq!(found.as_ref().map(number).transpose()?, Some(round));
            }
            Ok(())
        }
    })
    .await?;
    Ok(())
}
