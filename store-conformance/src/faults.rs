//! Record stores behind a network that loses messages.
//!
//! Put [`Lossy`] around any store and commits lose their request, lose their
//! reply, or arrive late, at random from a seed or as scripted; the caller sees
//! the same error in each case. [`Resolving`](store_core::layers::Resolving)
//! around that is what a backend does about it. [`Outage`] is a server that is
//! unavailable until it is up again, and [`GivesUp`] one on which every other
//! change is beaten by others.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use store_core::backend::contended;
use store_core::batch::Item;
use store_core::changes::Changes;
use store_core::layers::RecordLayer;
use store_core::{
    Batch, Committed, Error, ErrorKind, Expect, Ping, Record, RecordRef, RecordStore, Records,
    Result, Retry, Scan, Swept,
};

use crate::history::Dice;

/// What happens to one commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// The request is lost: nothing is written.
    LoseRequest,
    /// The reply is lost: what the store did stays done.
    LoseReply,
    /// The caller gets an error; the request arrives later.
    Delay,
}

/// The percentages of commits and reads that fail.
#[derive(Clone, Copy, Debug, Default)]
pub struct Chances {
    /// Commits whose request is lost.
    pub lost_request: u8,
    /// Commits whose reply is lost.
    pub lost_reply: u8,
    /// Commits whose request arrives late.
    pub delay: u8,
    /// Reads that fail.
    pub read: u8,
}

impl Chances {
    /// Many faults: every third or fourth call.
    pub const ROUGH: Self = Self {
        lost_request: 10,
        lost_reply: 12,
        delay: 6,
        read: 8,
    };
}

/// A store behind a network that loses requests and replies.
///
/// It sends each call once and resolves no lost reply.
#[derive(Debug)]
pub struct Lossy {
    store: Arc<dyn RecordStore>,
    chances: Chances,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    dice: Dice,
    script: VecDeque<Fault>,
    late: Vec<Batch>,
}

impl Lossy {
    /// `store` behind a network with these percentages of faults.
    pub fn new(store: Arc<dyn RecordStore>, seed: u64, chances: Chances) -> Self {
        Self {
            store,
            chances,
            state: Mutex::new(State {
                dice: Dice::new(seed),
                script: VecDeque::new(),
                late: Vec::new(),
            }),
        }
    }

    /// `store` behind a network where exactly these faults happen to the next commits,
    /// one each, and none to later ones.
    pub fn scripted(store: Arc<dyn RecordStore>, faults: impl IntoIterator<Item = Fault>) -> Self {
        let lossy = Self::new(store, 0, Chances::default());
        lossy.state().script.extend(faults);
        lossy
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics under this lock")
    }

    /// Lets all delayed requests arrive now. Their answers are discarded.
    pub async fn deliver(&self) {
        let late = std::mem::take(&mut self.state().late);
        for batch in late {
            let _ = self.store.commit(&batch).await;
        }
    }

    /// What happens to the next commit, and a delayed commit that arrives before it.
    fn draw(&self) -> (Fault, Option<Batch>) {
        let chances = self.chances;
        let state = &mut *self.state();
        let late = match state.late.len() {
            0 => None,
            waiting => state.dice.chance(50).then(|| {
                let which = state.dice.below(waiting);
                state.late.swap_remove(which)
            }),
        };
        if let Some(fault) = state.script.pop_front() {
            return (fault, late);
        }
        let roll = state.dice.below(100) as u8;
        let request = chances.lost_request;
        let reply = request + chances.lost_reply;
        let fault = match roll {
            roll if roll < request => Fault::LoseRequest,
            roll if roll < reply => Fault::LoseReply,
            roll if roll < reply + chances.delay => Fault::Delay,
            _ => Fault::None,
        };
        (fault, late)
    }

    fn read_fails(&self) -> Result<()> {
        if self.state().dice.chance(self.chances.read) {
            return Err(lost().with_retry(Retry::Safe));
        }
        Ok(())
    }
}

fn lost() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "the connection broke; read before you decide whether to write again",
    )
}

#[async_trait]
impl RecordLayer for Lossy {
    fn inner(&self) -> &dyn RecordStore {
        &*self.store
    }

    async fn get(&self, at: RecordRef<'_>) -> Result<Option<Record>> {
        self.read_fails()?;
        self.store.get(at).await
    }

    async fn get_many(&self, at: &[RecordRef<'_>]) -> Result<Vec<Option<Record>>> {
        self.read_fails()?;
        self.store.get_many(at).await
    }

    async fn scan(&self, scan: &Scan) -> Result<Records> {
        self.read_fails()?;
        self.store.scan(scan).await
    }

    async fn commit(&self, batch: &Batch) -> Result<Committed> {
        let (fault, late) = self.draw();
        if let Some(late) = late {
            let _ = self.store.commit(&late).await;
        }
        match fault {
            Fault::None => return self.store.commit(batch).await,
            Fault::LoseRequest => {}
            Fault::LoseReply => drop(self.store.commit(batch).await),
            Fault::Delay => self.state().late.push(batch.clone()),
        }
        Err(lost().with_retry(Retry::Ambiguous))
    }

    fn get_now(&self, _: RecordRef<'_>) -> Option<Result<Option<Record>>> {
        None
    }
}

/// A store whose server can be taken down and up.
pub struct Outage {
    store: Arc<dyn RecordStore>,
    down: AtomicBool,
}

impl Outage {
    /// A server over `store`, which is up.
    pub fn new(store: Arc<dyn RecordStore>) -> Self {
        let down = AtomicBool::new(false);
        Self { store, down }
    }

    /// Takes the server down, so that every call except `close` fails as `Unavailable`
    /// and is safe to retry because it is not sent; or takes it up again.
    pub fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::Release);
    }

    fn up(&self) -> Result<()> {
        if self.down.load(Ordering::Acquire) {
            let error = Error::new(
                ErrorKind::Unavailable,
                "the server is down; try again later",
            );
            return Err(error.with_retry(Retry::Safe));
        }
        Ok(())
    }
}

impl fmt::Debug for Outage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Outage").field(&self.store).finish()
    }
}

#[async_trait]
impl RecordLayer for Outage {
    fn inner(&self) -> &dyn RecordStore {
        &*self.store
    }

    async fn get(&self, at: RecordRef<'_>) -> Result<Option<Record>> {
        self.up()?;
        self.store.get(at).await
    }

    async fn get_many(&self, at: &[RecordRef<'_>]) -> Result<Vec<Option<Record>>> {
        self.up()?;
        self.store.get_many(at).await
    }

    async fn scan(&self, scan: &Scan) -> Result<Records> {
        self.up()?;
        self.store.scan(scan).await
    }

    async fn commit(&self, batch: &Batch) -> Result<Committed> {
        self.up()?;
        self.store.commit(batch).await
    }

    fn get_now(&self, at: RecordRef<'_>) -> Option<Result<Option<Record>>> {
        match self.up() {
            Ok(()) => self.store.get_now(at),
            Err(error) => Some(Err(error)),
        }
    }

    async fn ping(&self) -> Result<Ping> {
        self.up()?;
        self.store.ping().await
    }

    async fn changes(&self) -> Result<Changes> {
        self.up()?;
        self.store.changes().await
    }

    async fn sweep(&self, grace: Duration) -> Result<Swept> {
        self.up()?;
        self.store.sweep(grace).await
    }
}

/// A store that gives up every other commit that expects a version, as a server does
/// when many clients change one record. Nothing is written then.
#[derive(Debug)]
pub struct GivesUp {
    records: Arc<dyn RecordStore>,
    gave_up: AtomicU64,
    is_next: AtomicBool,
}

impl GivesUp {
    /// Over this store.
    pub fn new(records: Arc<dyn RecordStore>) -> Self {
        Self {
            records,
            gave_up: AtomicU64::new(0),
            is_next: AtomicBool::new(true),
        }
    }

    /// How many commits it gave up.
    pub fn gave_up(&self) -> u64 {
        self.gave_up.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl RecordLayer for GivesUp {
    fn inner(&self) -> &dyn RecordStore {
        &*self.records
    }

    async fn commit(&self, batch: &Batch) -> Result<Committed> {
        let expects_a_version = |item: &Item| matches!(item.expect(), Expect::Version(_));
        if batch.items().iter().any(expects_a_version) && self.is_next.fetch_not(Ordering::Relaxed)
        {
            self.gave_up.fetch_add(1, Ordering::Relaxed);
            return Err(contended());
        }
        self.records.commit(batch).await
    }
}
