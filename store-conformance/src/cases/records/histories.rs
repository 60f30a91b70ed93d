//! Recorded races: every answer must fit one order of all calls.

use std::sync::Arc;

use store_core::layers::Resolving;
use store_core::{Batch, Body, ErrorKind, Expect, Record, RecordStore, Result, Retry, Version};
use tokio::task::JoinSet;

use super::tools::{Given, Space, key};
use crate::faults::{Chances, Lossy};
use crate::history::{
    Dice, Item, Outcome, Recorder, Registers, RegistersAnswer, RegistersCall, Violation, Write,
    check,
};
use crate::suite::CaseResult;
use crate::{Case, case};

pub(super) fn cases() -> Vec<Case<dyn RecordStore>> {
    vec![
        case!(every_record_is_linearizable, "R3", "30", "31", "32"),
        case!(commits_over_several_records_are_linearizable, "R3"),
        case!(reports_of_lost_replies_are_true, "R7", "R3"),
    ]
}

/// The parameters of a recorded race.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Race {
    /// The seed of the calls. How they interleave does not depend on it.
    pub seed: u64,
    /// How many tasks run concurrently; every second one uses the second handle.
    pub tasks: usize,
    /// How many calls each task makes.
    pub calls: usize,
    /// The number of records.
    pub records: usize,
    /// The most records of one commit. If it is one, the history of each record is
    /// checked separately, which is faster.
    pub together: usize,
    /// The faults of the network; lost replies are resolved.
    pub faults: Chances,
}

impl Race {
    /// A moderate race without faults.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            tasks: 4,
            calls: 40,
            records: 3,
            together: 1,
            faults: Chances::default(),
        }
    }

    /// Commits of up to three records.
    pub fn together(seed: u64) -> Self {
        Self {
            calls: 25,
            together: 3,
            ..Self::new(seed)
        }
    }

    /// Over a network that loses requests and replies.
    pub fn lossy(seed: u64) -> Self {
        Self {
            calls: 20,
            together: 2,
            faults: Chances::ROUGH,
            ..Self::new(seed)
        }
    }

    /// Runs it in a new namespace and checks the recorded history. Returns the number of
    /// calls.
    ///
    /// # Errors
    /// Those of opening the namespace, an answer that no store should give, and
    /// the [`Violation`] if no order explains the history.
    pub async fn run(
        self,
        harness: &Given,
    ) -> Result<usize, Box<dyn std::error::Error + Send + Sync>> {
        let space = Space::open(harness).await?;
        let lossy = [0, 1].map(|i| {
            let seed = self.seed.wrapping_mul(2).wrapping_add(i as u64);
            Arc::new(Lossy::new(space.handle(i), seed, self.faults))
        });
        let space = Arc::new(space);
        let recorder = Arc::new(Recorder::new());
        let mut running = JoinSet::new();
        for task in 0..self.tasks {
            let network: Arc<dyn RecordStore> = lossy[task % 2].clone();
            let racer = Racer {
                race: self,
                number: task,
                dice: Dice::new(self.seed.wrapping_mul(1_000_003).wrapping_add(task as u64)),
                seen: vec![None; self.records],
                space: Arc::clone(&space),
                store: Arc::new(Resolving::new(network)),
                recorder: Arc::clone(&recorder),
            };
            running.spawn(racer.run());
        }
        for answer in running.join_all().await {
            answer.map_err(|error| format!("seed {}: {error}", self.seed))?;
        }
        // Delayed requests arrive, and every task reads the result.
        for lossy in &lossy {
            lossy.deliver().await;
        }
        for record in 0..self.records {
            for number in 0..2 {
                let call = recorder.begin(
                    self.tasks + number,
                    self.key(record),
                    RegistersCall::Get(record),
                );
                let key = key(name(record))?;
                let found = space.handle(number).get(key.at(&space.partition)).await?;
                recorder.end(
                    call,
                    Outcome::Answered(RegistersAnswer::Found(version(found.as_ref())?)),
                );
            }
        }
        let recorder = Arc::into_inner(recorder).expect("every task has ended");
        check(&Registers, &recorder.finish())
            .map_err(|violation: Violation| format!("seed {}: {violation}", self.seed).into())
    }

    /// The key under which the calls on a record are checked.
    fn key(&self, record: usize) -> usize {
        if self.together == 1 { record } else { 0 }
    }
}

fn name(record: usize) -> String {
    format!("record {record}")
}

/// The record's version, which its body must repeat.
fn version(record: Option<&Record>) -> Result<Option<Version>> {
    let Some(record) = record else {
        return Ok(None);
    };
    let body = record.decode::<Version>()?;
    assert_eq!(
        *body,
        record.version(),
        "one commit's version, another's body"
    );
    Ok(Some(record.version()))
}

/// One task of a race.
struct Racer {
    race: Race,
    number: usize,
    dice: Dice,
    /// The version last seen of each record, perhaps outdated by now.
    seen: Vec<Option<Version>>,
    space: Arc<Space>,
    store: Arc<dyn RecordStore>,
    recorder: Arc<Recorder<usize, RegistersCall, RegistersAnswer>>,
}

impl Racer {
    async fn run(mut self) -> Result<()> {
        for _ in 0..self.race.calls {
            match self.dice.below(100) {
                0..25 => {
                    let record = self.dice.below(self.race.records);
                    self.read(&[record], false).await?;
                }
                25..40 => {
                    let all: Vec<_> = (0..self.race.records).collect();
                    let by_scan = self.dice.chance(50);
                    self.read(&all, by_scan).await?;
                }
                _ => self.commit().await?,
            }
        }
        Ok(())
    }

    /// Reads some records together; each counts as a call.
    async fn read(&mut self, records: &[usize], by_scan: bool) -> Result<()> {
        let calls: Vec<_> = records
            .iter()
            .map(|record| {
                let call = RegistersCall::Get(*record);
                self.recorder
                    .begin(self.number, self.race.key(*record), call)
            })
            .collect();
        let found = self.fetch(records, by_scan).await;
        for (i, (call, record)) in calls.into_iter().zip(records).enumerate() {
            let outcome = match &found {
                Ok(found) => {
                    let found = version(found[i].as_ref())?;
                    self.seen[*record] = found;
                    Outcome::Answered(RegistersAnswer::Found(found))
                }
                Err(error) if error.is(ErrorKind::Unavailable) => Outcome::Failed,
                Err(_) => Outcome::Unknown,
            };
            self.recorder.end(call, outcome);
        }
        match found {
            Err(error) if !error.is(ErrorKind::Unavailable) => Err(error),
            _ => Ok(()),
        }
    }

    async fn fetch(&self, records: &[usize], by_scan: bool) -> Result<Vec<Option<Record>>> {
        if by_scan {
            let page = self.store.scan(&self.space.scan()).await?;
            let find = |record: &usize| {
                let name = name(*record);
                page.items.iter().find(|found| found.id() == name).cloned()
            };
            return Ok(records.iter().map(find).collect());
        }
        let keys: Vec<_> = records
            .iter()
            .map(|record| key(name(*record)))
            .collect::<Result<_>>()?;
        let at: Vec<_> = keys
            .iter()
            .map(|key| key.at(&self.space.partition))
            .collect();
        match at[..] {
            [at] => Ok(vec![self.store.get(at).await?]),
            _ => self.store.get_many(&at).await,
        }
    }

    /// Some items on different records.
    fn compose(&mut self) -> Result<(Batch, Vec<Item>)> {
        let mut batch = self.space.batch();
        let mut items: Vec<Item> = Vec::new();
        let body = Body::json(batch.version())?;
        for _ in 0..1 + self.dice.below(self.race.together) {
            let record = self.dice.below(self.race.records);
            if items.iter().any(|(taken, ..)| *taken == record) {
                continue;
            }
            let seen = self.seen[record].map_or(Expect::Absent, Expect::Version);
            let expect = match self.dice.below(10) {
                0..5 => seen,
                5..7 => Expect::Any,
                7..9 => Expect::Absent,
                _ => Expect::Present,
            };
            let key = key(name(record))?;
            let write = match self.dice.below(10) {
                0..6 => {
                    batch.put(key, expect, body.clone())?;
                    Write::Put
                }
                6..8 => {
                    batch.delete(key, expect)?;
                    Write::Delete
                }
                _ => {
                    batch.check(key, expect)?;
                    Write::Check
                }
            };
            items.push((record, expect, write));
        }
        Ok((batch, items))
    }

    async fn commit(&mut self) -> Result<()> {
        let (batch, items) = self.compose()?;
        let key = self.race.key(items[0].0);
        let call = RegistersCall::Commit(batch.version(), items.clone());
        let call = self.recorder.begin(self.number, key, call);
        let error = match self.store.commit(&batch).await {
            Ok(_) => {
                for (record, _, write) in items {
                    match write {
                        Write::Put => self.seen[record] = Some(batch.version()),
                        Write::Delete => self.seen[record] = None,
                        Write::Check => {}
                    }
                }
                self.recorder
                    .end(call, Outcome::Answered(RegistersAnswer::Committed));
                return Ok(());
            }
            Err(error) => error,
        };
        let Some(conflict) = error.conflict() else {
            let (outcome, expected) = match error.retry() {
                Retry::Ambiguous => (Outcome::Unknown, true),
                _ => (Outcome::Failed, error.is(ErrorKind::Unavailable)),
            };
            self.recorder.end(call, outcome);
            return if expected { Ok(()) } else { Err(error) };
        };
        let mut refused = Vec::new();
        for item in conflict.failed() {
            let found = version(item.current())?;
            self.seen[items[item.index()].0] = found;
            refused.push((item.index(), found));
        }
        self.recorder
            .end(call, Outcome::Answered(RegistersAnswer::Refused(refused)));
        Ok(())
    }
}

async fn every_record_is_linearizable(harness: Given) -> CaseResult {
    for seed in 1..=4 {
        Race::new(seed).run(&harness).await?;
    }
    Ok(())
}

async fn commits_over_several_records_are_linearizable(harness: Given) -> CaseResult {
    for seed in 1..=4 {
        Race::together(seed).run(&harness).await?;
    }
    Ok(())
}

async fn reports_of_lost_replies_are_true(harness: Given) -> CaseResult {
    for seed in 1..=6 {
        Race::lossy(seed).run(&harness).await?;
    }
    Ok(())
}
