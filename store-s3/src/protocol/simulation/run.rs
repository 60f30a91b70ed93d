//! One run: processes over one bucket, and the check that the history of their calls is
//! linearizable.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use store_conformance::history::{
    Dice, Item, Outcome, Recorder, Registers, RegistersAnswer, RegistersCall, Write, check,
};
use store_core::{
    Batch, Body, Collection, Error, Expect, Expectation, Partition, Record, RecordKey, Retry,
    Timestamp,
};

use super::choices::Chooser;
use super::flaws::{Flaw, Flawed};
use super::world::{Move, World};
use crate::keys::Namespace;
use crate::objects::Objects;
use crate::protocol::Protocol;
use crate::wire::{self, Stored};

const THINGS: Collection = Collection::new("things");

/// The maximum number of steps of a run. A run that takes more is assumed never to end.
const MOST_MOVES: usize = 5_000;

/// What a writer expects of a record.
#[derive(Clone, Copy, Debug)]
pub(super) enum Want {
    Any,
    Absent,
    Present,
    /// The version that this process reads directly before the commit.
    AsRead,
}

/// A commit to be made.
pub(super) type Draft = Vec<(usize, Want, Write)>;

/// The work of a process.
#[derive(Clone, Debug)]
pub(super) enum Process {
    /// Makes these commits, one after the other.
    Writer(Vec<Draft>),
    /// Reads these records, one after the other.
    Reader(Vec<usize>),
    /// Finishes every transaction that it finds, without waiting.
    Sweeper,
}

/// The processes of a run, and the faults that may happen.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// The number of records. Those with even numbers exist at the beginning.
    pub(super) records: usize,
    pub(super) processes: Vec<Process>,
    /// The maximum number of faults.
    pub(super) faults: usize,
    /// The percentage of steps that are faults.
    pub(super) fault_chance: u8,
    /// Whether delayed requests usually arrive after everything else.
    pub(super) delays_long: bool,
    /// How often a process may abort the transaction of a process that still makes
    /// progress. Without a bound two processes may abort each other forever.
    pub(super) aborts: usize,
    /// The flaw of every process.
    pub(super) flaw: Flaw,
}

impl Plan {
    /// Random processes and commits.
    pub(super) fn by_chance(dice: &mut Dice, flaw: Flaw) -> Self {
        if dice.chance(30) {
            return Self::recreation(dice, flaw);
        }
        let records = 2 + dice.below(2);
        let mut processes = Vec::new();
        for _ in 0..2 + dice.below(2) {
            let drafts = (0..1 + dice.below(2)).map(|_| draft(dice, records));
            processes.push(Process::Writer(drafts.collect()));
        }
        for _ in 0..1 + dice.below(2) {
            let reads = (0..2 + dice.below(3)).map(|_| dice.below(records));
            processes.push(Process::Reader(reads.collect()));
        }
        if dice.chance(50) {
            processes.push(Process::Sweeper);
        }
        Self {
            records,
            processes,
            faults: dice.below(4),
            fault_chance: 5,
            delays_long: false,
            aborts: MOST_MOVES,
            flaw,
        }
    }

    /// One record is created, deleted and perhaps created again, while tombstones
    /// are removed.
    fn recreation(dice: &mut Dice, flaw: Flaw) -> Self {
        let create = || vec![(1, Want::Absent, Write::Put)];
        let delete = || vec![(1, Want::Any, Write::Delete)];
        let mut second = vec![delete()];
        if dice.chance(30) {
            second.push(create());
        }
        Self {
            records: 2,
            processes: vec![
                Process::Writer(vec![create()]),
                Process::Writer(second),
                Process::Sweeper,
            ],
            faults: 1 + dice.below(2),
            fault_chance: 15,
            delays_long: true,
            aborts: MOST_MOVES,
            flaw,
        }
    }
}

fn draft(dice: &mut Dice, records: usize) -> Draft {
    let mut draft = Draft::new();
    for record in 0..records {
        if draft.is_empty() || dice.chance(70) {
            let want = [
                Want::Any,
                Want::Absent,
                Want::Present,
                Want::AsRead,
                Want::AsRead,
            ];
            let write = [Write::Put, Write::Put, Write::Check, Write::Delete];
            draft.push((record, want[dice.below(5)], write[dice.below(4)]));
        }
    }
    draft
}

type Log = Recorder<&'static str, RegistersCall, RegistersAnswer>;
type Task = Pin<Box<dyn Future<Output = ()>>>;

/// The state of one process.
struct Hands {
    number: usize,
    protocol: Protocol<Flawed>,
    world: World,
    flaw: Flaw,
    log: Arc<Log>,
    partition: Partition,
}

fn key(record: usize) -> RecordKey {
    RecordKey::new(THINGS, record.to_string()).expect("a short name")
}

impl Hands {
    async fn read(&self, record: usize) -> Result<Option<Record>, Error> {
        let call = self.log.begin(self.number, "p", RegistersCall::Get(record));
        let key = key(record);
        let found = match self.protocol.read_current(key.at(&self.partition)).await {
            Ok(current) => current.record_of(&self.partition, &key, Timestamp::EPOCH),
            Err(error) => Err(error),
        };
        let outcome = match &found {
            Ok(found) => {
                let version = found.as_ref().map(Record::version);
                Outcome::Answered(RegistersAnswer::Found(version))
            }
            Err(_) => Outcome::Failed,
        };
        self.log.end(call, outcome);
        found
    }

    async fn commit(&self, draft: &Draft) -> Result<(), Error> {
        let mut batch = Batch::new(self.partition.clone(), Timestamp::EPOCH);
        let mut items: Vec<Item> = Vec::new();
        for &(record, want, write) in draft {
            let read = match want {
                Want::AsRead => self.read(record).await?,
                _ => None,
            };
            let expect = match want {
                Want::Any => Expectation::from(Expect::Any),
                Want::Absent => Expect::Absent.into(),
                Want::Present => Expect::Present.into(),
                Want::AsRead => read.as_ref().into(),
            };
            match write {
                Write::Check => batch.check(key(record), expect)?,
                Write::Put => batch.put(key(record), expect, Body::json(record)?)?,
                Write::Delete => batch.delete(key(record), expect)?,
            };
            let item = &batch.items()[items.len()];
            items.push((record, item.expect(), write));
        }
        let call = RegistersCall::Commit(batch.version(), items);
        let call = self.log.begin(self.number, "p", call);
        let outcome = match self.protocol.commit(&batch).await {
            Ok(_) => Outcome::Answered(RegistersAnswer::Committed),
            Err(error) => match error.conflict() {
                Some(conflict) => {
                    let failed = conflict.failed().iter();
                    let failed = failed.map(|f| (f.index(), f.current().map(Record::version)));
                    Outcome::Answered(RegistersAnswer::Refused(failed.collect()))
                }
                None if error.retry() == Retry::Ambiguous => Outcome::Unknown,
                None => Outcome::Failed,
            },
        };
        self.log.end(call, outcome);
        Ok(())
    }

    async fn sweep(&self) -> Result<(), Error> {
        let folder = self.protocol.names.transactions();
        for name in self.protocol.objects.list(&folder, None).await?.0 {
            if let Some(Ok(id)) = name.rsplit('/').next().map(str::parse) {
                self.protocol.finish(id).await?;
            }
        }
        let folder = self.protocol.names.records();
        for name in self.protocol.objects.list(&folder, None).await?.0 {
            if let Some(found) = self.protocol.objects.get(&name).await? {
                let (etag, size) = (found.etag.clone(), found.bytes.len() as u64);
                self.protocol.release_stray(&name, found).await?;
                let is_old =
                    || self.flaw == Flaw::RemovesYoungTombstones || self.world.is_old(&name, &etag);
                if size <= wire::MAX_TOMBSTONE && is_old() {
                    self.protocol.objects.remove(&name, &etag).await?;
                }
            }
        }
        Ok(())
    }

    async fn work(self, process: Process) {
        // The log contains the results that a process receives; an error ends only that
        // call.
        match process {
            Process::Writer(drafts) => {
                for draft in &drafts {
                    self.world.begin(self.number);
                    let _ = self.commit(draft).await;
                    self.world.end(self.number);
                }
            }
            Process::Reader(records) => {
                for record in records {
                    self.world.begin(self.number);
                    let _ = self.read(record).await;
                    self.world.end(self.number);
                }
            }
            Process::Sweeper => {
                let _ = self.sweep().await;
            }
        }
    }
}

fn is_done(task: &mut Task) -> bool {
    let mut context = Context::from_waker(Waker::noop());
    matches!(task.as_mut().poll(&mut context), Poll::Ready(()))
}

/// Counts of a run.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Figures {
    pub(super) moves: usize,
    pub(super) calls: usize,
}

/// Runs a plan with the choices of `chooser`. An error describes the violation; `None`
/// means that the run ended at a state that was visited before.
pub(super) fn run(plan: &Plan, chooser: &mut dyn Chooser) -> Result<Option<Figures>, String> {
    let world = World::default();
    let log: Arc<Log> = Arc::new(Recorder::new());
    let hands = |number: usize, flaw: Flaw| Hands {
        number,
        protocol: Protocol::new(
            Flawed::new(world.line(number), flaw),
            Namespace::new("").expect("no prefix"),
        ),
        world: world.clone(),
        flaw,
        log: Arc::clone(&log),
        partition: Partition::new("p").expect("a short name"),
    };
    let (begin, records) = (hands(usize::MAX, Flaw::None), plan.records);
    alone(&world, async move {
        for record in (0..records).step_by(2) {
            let _ = begin
                .commit(&vec![(record, Want::Absent, Write::Put)])
                .await;
        }
    })?;
    let tasks = plan.processes.iter().enumerate().map(|(number, process)| {
        let task = hands(number, plan.flaw).work(process.clone());
        Some(Box::pin(task) as Task)
    });
    let mut tasks: Vec<Option<Task>> = tasks.collect();
    let (mut moves, mut faults, mut aborts) = (0, plan.faults, plan.aborts);
    loop {
        for task in &mut tasks {
            if task.as_mut().is_some_and(is_done) {
                *task = None;
            }
        }
        if tasks.iter().all(Option::is_none) {
            break;
        }
        let mut possible = world.moves(faults > 0);
        let patient = |one: &Move| !matches!(one, Move::Outwait(_));
        if aborts == 0 && possible.iter().any(patient) {
            possible.retain(patient);
        }
        if possible.is_empty() || moves == MOST_MOVES {
            return Err(format!("no process makes progress after {moves} moves"));
        }
        let Some(chosen) = chooser.choose(&possible, &|| world.place((faults, aborts))) else {
            return Ok(None);
        };
        let step = possible[chosen];
        faults -= usize::from(step.is_fault());
        aborts -= usize::from(aborts > 0 && !patient(&step));
        moves += 1;
        if let Some(killed) = world.perform(step) {
            tasks[killed] = None;
        }
    }
    let end = hands(usize::MAX, Flaw::None);
    afterwards(&world, plan, end)?;
    let log = Arc::into_inner(log).ok_or("a process still writes")?;
    match check(&Registers, &log.finish()) {
        Ok(calls) => Ok(Some(Figures { moves, calls })),
        Err(violation) => Err(violation.to_string()),
    }
}

/// Reads all records, delivers delayed requests, sweeps, and reads all records again.
fn afterwards(world: &World, plan: &Plan, hands: Hands) -> Result<(), String> {
    let records = plan.records;
    let within = world.clone();
    alone(world, async move {
        for round in 0..3 {
            for record in 0..records {
                let _ = hands.read(record).await;
            }
            if round == 0 {
                within.deliver_all();
            } else {
                let _ = hands.sweep().await;
            }
        }
    })?;
    for (name, bytes) in world.objects() {
        if name.starts_with("transactions/") {
            return Err(format!("{name} was never finished"));
        }
        match wire::decode(&bytes) {
            Ok(named) if matches!(named.stored, Stored::Record(_)) => {}
            other => return Err(format!("{name} is in an incomplete state: {other:?}")),
        }
    }
    Ok(())
}

/// Runs one process alone.
fn alone(world: &World, work: impl Future<Output = ()> + 'static) -> Result<(), String> {
    let mut task: Task = Box::pin(work);
    for _ in 0..MOST_MOVES {
        if is_done(&mut task) {
            return Ok(());
        }
        // No other process is active, so a wait for one ends.
        let moves = world.moves(false);
        let step = moves.iter().find(|one| matches!(one, Move::Outwait(_)));
        let Some(step) = step.or_else(|| moves.iter().find(|one| matches!(one, Move::Execute(_))))
        else {
            return Err("a process that runs alone makes no progress".into());
        };
        world.perform(*step);
    }
    Err("a process that runs alone does not end".into())
}
