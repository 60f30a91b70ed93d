//! A bucket in which every request waits until the scheduler executes it.

use std::collections::{BTreeMap, HashMap};
use std::future::poll_fn;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use async_trait::async_trait;
use bytes::Bytes;
use store_core::{Error, ErrorKind, Result, Retry};

use crate::objects::{ETag, Found, Objects, Precondition, PutResult};

/// A request to the bucket.
#[derive(Clone, Debug)]
pub(super) enum Request {
    Get(String),
    Put(String, Precondition, Bytes),
    Delete(String),
    /// Removes the object in this state, if every call in progress began after it was
    /// written.
    Remove(String, ETag),
    List(String, Option<String>),
    /// Asks whether the wait for another process's transaction, read in this state, has
    /// lasted long enough.
    Wait(String, Option<Found>),
}

impl Request {
    fn writes(&self) -> bool {
        matches!(self, Self::Put(..) | Self::Delete(_) | Self::Remove(..))
    }
}

#[derive(Debug)]
enum Reply {
    Found(Option<Found>),
    Put(PutResult),
    Done,
    Removed(bool),
    Names(Vec<String>),
    Outwaited(bool),
    Lost,
}

struct Waiting {
    actor: usize,
    /// The number of earlier requests of the process.
    number: u64,
    request: Request,
    waker: Waker,
}

/// A possible next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Move {
    /// The request is executed and answered; a wait continues.
    Execute(u64),
    /// The wait has lasted long enough.
    Outwait(u64),
    /// The request never arrives; its sender gets no reply.
    LoseRequest(u64),
    /// The request is executed; its sender gets no reply.
    LoseReply(u64),
    /// The sender gets no reply, and the request arrives later.
    Delay(u64),
    /// A delayed request arrives.
    Deliver(usize),
    /// A process ends, and its last request never arrives.
    Kill(usize),
    /// A process ends, and its last request arrives later.
    KillLate(usize),
}

impl Move {
    /// Whether this is a fault.
    pub(super) fn is_fault(self) -> bool {
        !matches!(self, Self::Execute(_) | Self::Outwait(_) | Self::Deliver(_))
    }
}

/// Identifies the request that wrote an object by the process and the number of its
/// earlier requests. Unlike ETags and names of transactions it is the same in every run
/// that reaches the same state.
type Writer = (usize, u64);

struct Object {
    found: Found,
    writer: Writer,
    /// The request that wrote it.
    creator: Writer,
    /// The number of the step at which it was written.
    written: u64,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Object>,
    etags: u64,
    waiting: BTreeMap<u64, Waiting>,
    replies: HashMap<u64, Reply>,
    /// Requests that arrive later, and the step at which their calls began.
    late: Vec<(Request, Writer, u64)>,
    /// For each process, the step at which its call in progress began.
    calls: HashMap<usize, u64>,
    steps: u64,
    next: u64,
    made: HashMap<usize, u64>,
    /// For each process, a hash of all replies that it received.
    received: HashMap<usize, u64>,
}

/// The bucket, and all requests that are not executed yet.
#[derive(Clone, Default)]
pub(super) struct World(Arc<Mutex<State>>);

impl World {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection to the bucket for one process.
    pub(super) fn line(&self, actor: usize) -> Line {
        Line {
            world: self.clone(),
            actor,
            last: Arc::default(),
        }
    }

    /// Records that a call of this process begins.
    pub(super) fn begin(&self, actor: usize) {
        let state = &mut *self.state();
        state.calls.insert(actor, state.steps);
    }

    /// Records that its call ends.
    pub(super) fn end(&self, actor: usize) {
        self.state().calls.remove(&actor);
    }

    /// Whether an object in this state is older than every call in progress and
    /// every request that may still arrive. This stands for the age of a day.
    pub(super) fn is_old(&self, name: &str, etag: &ETag) -> bool {
        let state = self.state();
        let object = state.objects.get(name).filter(|o| o.found.etag == *etag);
        let late = state.late.iter().map(|(_, _, began)| *began);
        let oldest = state.calls.values().copied().chain(late).min();
        object.is_some_and(|object| oldest.is_none_or(|oldest| object.written < oldest))
    }

    /// All objects.
    pub(super) fn objects(&self) -> Vec<(String, Bytes)> {
        let objects = &self.state().objects;
        let all = objects
            .iter()
            .map(|(name, object)| (name.clone(), object.found.bytes.clone()));
        all.collect()
    }

    /// All possible next steps; with `faults` also the faults.
    pub(super) fn moves(&self, faults: bool) -> Vec<Move> {
        let state = self.state();
        let mut moves: Vec<Move> = Vec::new();
        let mut actors: Vec<usize> = Vec::new();
        for (&id, waiting) in &state.waiting {
            if !actors.contains(&waiting.actor) {
                actors.push(waiting.actor);
            }
            match waiting.request {
                Request::Wait(ref name, ref read) => {
                    // Reading again is useful only if the object has changed.
                    let now = state.objects.get(name).map(|object| &object.found);
                    if now != read.as_ref() {
                        moves.push(Move::Execute(id));
                    }
                    moves.push(Move::Outwait(id));
                }
                _ => moves.push(Move::Execute(id)),
            }
        }
        moves.extend((0..state.late.len()).map(Move::Deliver));
        if faults {
            for (&id, waiting) in &state.waiting {
                if waiting.request.writes() {
                    moves.extend([Move::LoseRequest(id), Move::LoseReply(id), Move::Delay(id)]);
                }
            }
            for actor in actors {
                moves.extend([Move::Kill(actor), Move::KillLate(actor)]);
            }
        }
        moves
    }

    /// A hash of the state on which all later steps depend: the replies that each process
    /// received, and the content of the bucket. Two runs that reach the same state have
    /// the same continuations.
    pub(super) fn place(&self, rest: impl Hash) -> u64 {
        let state = self.state();
        let mut hash = DefaultHasher::new();
        rest.hash(&mut hash);
        let mut received: Vec<_> = state.received.iter().collect();
        received.sort_unstable();
        received.hash(&mut hash);
        let objects = state.objects.iter().map(|(name, object)| {
            // A transaction has another name in every run.
            let name = match name.starts_with("transactions/") {
                true => "",
                false => name,
            };
            (name, object.creator, object.writer)
        });
        let mut objects: Vec<_> = objects.collect();
        objects.sort_unstable();
        objects.hash(&mut hash);
        state.late.len().hash(&mut hash);
        hash.finish()
    }

    /// Executes the step. Returns the process that it ends, if any.
    pub(super) fn perform(&self, step: Move) -> Option<usize> {
        let state = &mut *self.state();
        state.steps += 1;
        match step {
            Move::Execute(id) => {
                let sent = state.sent(id);
                let reply = state.execute(sent);
                state.answer(id, reply);
            }
            Move::Outwait(id) => state.answer(id, Reply::Outwaited(true)),
            Move::LoseRequest(id) => state.answer(id, Reply::Lost),
            Move::LoseReply(id) => {
                let sent = state.sent(id);
                state.execute(sent);
                state.answer(id, Reply::Lost);
            }
            Move::Delay(id) => {
                let (request, writer) = state.sent(id);
                state.late.push((request, writer, state.began(writer)));
                state.answer(id, Reply::Lost);
            }
            Move::Deliver(index) => {
                let (request, writer, _) = state.late.swap_remove(index);
                state.execute((request, writer));
            }
            Move::Kill(actor) | Move::KillLate(actor) => {
                let of_it = state.waiting.iter().filter(|(_, one)| one.actor == actor);
                let of_it: Vec<u64> = of_it.map(|(&id, _)| id).collect();
                for id in of_it {
                    let (request, writer) = state.sent(id);
                    state.waiting.remove(&id);
                    if request.writes() && step == Move::KillLate(actor) {
                        state.late.push((request, writer, state.began(writer)));
                    }
                }
                state.calls.remove(&actor);
                return Some(actor);
            }
        }
        None
    }

    /// Delivers all delayed requests.
    pub(super) fn deliver_all(&self) {
        let state = &mut *self.state();
        for (request, writer, _) in std::mem::take(&mut state.late) {
            state.execute((request, writer));
        }
    }
}

impl State {
    /// The request, and the process that sent it.
    fn sent(&self, id: u64) -> (Request, Writer) {
        let waiting = &self.waiting[&id];
        (waiting.request.clone(), (waiting.actor, waiting.number))
    }

    /// The step at which the sending call began.
    fn began(&self, (actor, _): Writer) -> u64 {
        self.calls.get(&actor).copied().unwrap_or(self.steps)
    }

    fn answer(&mut self, id: u64, reply: Reply) {
        if let Some(waiting) = self.waiting.remove(&id) {
            let writer = |found: &Option<Found>| {
                let etag = &found.as_ref()?.etag;
                let objects = self.objects.values();
                objects
                    .filter(|o| o.found.etag == *etag)
                    .map(|o| o.writer)
                    .next()
            };
            let received = match &reply {
                Reply::Found(found) => (0, writer(found)),
                Reply::Put(PutResult::Written(_)) => (1, None),
                Reply::Put(_) => (2, None),
                Reply::Done => (3, None),
                Reply::Names(names) => (4, Some((names.len(), 0))),
                Reply::Outwaited(outwaited) => (5 + usize::from(*outwaited), None),
                Reply::Lost => (7, None),
                Reply::Removed(removed) => (8 + usize::from(*removed), None),
            };
            let before = self.received.entry(waiting.actor).or_default();
            let mut hash = DefaultHasher::new();
            (*before, waiting.number, received).hash(&mut hash);
            *before = hash.finish();
            self.replies.insert(id, reply);
            waiting.waker.wake();
        }
    }

    fn execute(&mut self, (request, writer): (Request, Writer)) -> Reply {
        match request {
            Request::Get(name) => {
                Reply::Found(self.objects.get(&name).map(|object| object.found.clone()))
            }
            Request::Put(name, when, bytes) => {
                let before = self.objects.get(&name);
                if !when.holds(before.map(|object| &object.found)) {
                    return Reply::Put(PutResult::Refused);
                }
                let creator = before.map_or(writer, |object| object.creator);
                self.etags += 1;
                let etag = format!("\"{}\"", self.etags).into();
                let found = Found { etag, bytes };
                let done = PutResult::Written(found.etag.clone());
                let object = Object {
                    found,
                    writer,
                    creator,
                    written: self.steps,
                };
                self.objects.insert(name, object);
                Reply::Put(done)
            }
            Request::Delete(name) => {
                self.objects.remove(&name);
                Reply::Done
            }
            Request::Remove(name, etag) => {
                let object = self.objects.get(&name);
                let removes = object.is_some_and(|object| object.found.etag == etag);
                if removes {
                    self.objects.remove(&name);
                }
                Reply::Removed(removes)
            }
            Request::List(folder, after) => {
                let folder = format!("{folder}/");
                let names = self.objects.keys();
                let listed = names.filter(|name| name.starts_with(&folder));
                let after = listed.filter(|name| after.as_ref().is_none_or(|a| *name > a));
                Reply::Names(after.cloned().collect())
            }
            Request::Wait(..) => Reply::Outwaited(false),
        }
    }
}

/// One process's connection to the bucket.
#[derive(Clone)]
pub(super) struct Line {
    world: World,
    actor: usize,
    /// The transaction that was read last.
    last: Arc<Mutex<(String, Option<Found>)>>,
}

impl Line {
    /// Sends a request and waits until the scheduler executes it.
    async fn send(&self, request: Request) -> Reply {
        let mut request = Some(request);
        let mut sent = 0;
        poll_fn(|cx| {
            let state = &mut *self.world.state();
            if let Some(request) = request.take() {
                sent = state.next;
                state.next += 1;
                let made = state.made.entry(self.actor).or_default();
                *made += 1;
                let waiting = Waiting {
                    actor: self.actor,
                    number: *made,
                    request,
                    waker: cx.waker().clone(),
                };
                state.waiting.insert(sent, waiting);
                return Poll::Pending;
            }
            if let Some(reply) = state.replies.remove(&sent) {
                return Poll::Ready(reply);
            }
            if let Some(waiting) = state.waiting.get_mut(&sent) {
                waiting.waker.clone_from(cx.waker());
            }
            Poll::Pending
        })
        .await
    }
}

fn lost() -> Error {
    Error::new(ErrorKind::Unavailable, "the connection was lost").with_retry(Retry::Ambiguous)
}

#[async_trait]
impl Objects for Line {
    async fn get(&self, name: &str) -> Result<Option<Found>> {
        match self.send(Request::Get(name.into())).await {
            Reply::Found(found) => {
                if name.starts_with("transactions/") {
                    *self.last.lock().unwrap_or_else(PoisonError::into_inner) =
                        (name.into(), found.clone());
                }
                Ok(found)
            }
            _ => Err(lost().with_retry(Retry::Safe)),
        }
    }

    async fn put(&self, name: &str, when: &Precondition, bytes: Bytes) -> Result<PutResult> {
        match self
            .send(Request::Put(name.into(), when.clone(), bytes))
            .await
        {
            Reply::Put(put) => Ok(put),
            _ => Err(lost()),
        }
    }

    async fn delete(&self, name: &str) -> Result<()> {
        match self.send(Request::Delete(name.into())).await {
            Reply::Done => Ok(()),
            _ => Err(lost()),
        }
    }

    async fn remove(&self, name: &str, etag: &ETag) -> Result<bool> {
        match self.send(Request::Remove(name.into(), etag.clone())).await {
            Reply::Removed(removed) => Ok(removed),
            _ => Err(lost()),
        }
    }

    async fn list(&self, folder: &str, after: Option<&str>) -> Result<(Vec<String>, bool)> {
        let after = after.map(String::from);
        match self.send(Request::List(folder.into(), after)).await {
            Reply::Names(names) => Ok((names, false)),
            _ => Err(lost().with_retry(Retry::Safe)),
        }
    }

    async fn pause(&self, _: u32) {}

    async fn outwaited(&self, _: u32, _: usize) -> bool {
        let last = self.last.lock();
        let (name, found) = last.unwrap_or_else(PoisonError::into_inner).clone();
        let wait = Request::Wait(name, found);
        matches!(self.send(wait).await, Reply::Outwaited(true))
    }
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Line").field(&self.actor).finish()
    }
}
