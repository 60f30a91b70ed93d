//! A connection that receives notices of changes, for as long as a store is open.

use std::collections::BTreeSet;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, PoisonError};
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Mutex, broadcast};
use tokio::time::{sleep, timeout};

use super::background::{Background, Stop};
use super::event;
use crate::batch::Batch;
use crate::changes::{ChangeSender, Changes, Notice, announced};
use crate::error::{Error, ErrorKind, Result, Retry};
use crate::key::{Collection, Partition, RecordKey};
use crate::record::Version;

/// After this long without a message the server is asked to answer. A connection
/// that is lost without an error would otherwise stay silent.
const SILENCE: Duration = Duration::from_secs(20);

/// How long an answer, or a message of the listener's own, may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The pause before the second attempt to connect, which doubles with each
/// attempt, and the longest one.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// How a probe begins. No collection's name begins so.
const PROBE: char = '?';

/// How many names of collections are stored.
const NAMES: usize = 1024;

/// How many events may wait for a subscription that is being proven.
const EVENTS: usize = 64;

/// Where a [`ChangeListener`] receives messages from.
#[async_trait]
pub trait NoticeSource: Send + Sync + 'static {
    /// The backend's name, for errors.
    fn backend(&self) -> &'static str;

    /// Opens a connection that receives every message which is sent from then on.
    /// It must have its own timeout.
    ///
    /// # Errors
    /// Why no server could be reached.
    async fn connect(&self) -> Result<Box<dyn NoticeStream>>;

    /// Sends `probe` to all listeners, as commits send their messages, and returns how
    /// often each listener receives it: once, or once from each server of a
    /// cluster.
    ///
    /// # Errors
    /// Why it could not be sent.
    async fn send_probe(&self, probe: &str) -> Result<usize>;

    /// How long a probe or an answer may take.
    fn patience(&self) -> Duration {
        PATIENCE
    }

    /// The error if a new connection does not receive its probe in time.
    fn unproven(&self) -> Error {
        late(self.backend())
    }
}

/// A connection of a [`NoticeSource`].
#[async_trait]
pub trait NoticeStream: Send {
    /// The next message; `None` once the connection is lost. A call that is
    /// dropped loses no message.
    async fn next(&mut self) -> Option<String>;

    /// Whether the server answers on this connection.
    async fn ping(&mut self) -> bool;
}

/// The messages that announce what `batch` changes.
pub fn change_messages(batch: &Batch) -> Vec<String> {
    announced(batch)
        .map(|key| message(batch.partition(), key))
        .collect()
}

fn message(partition: &Partition, key: &RecordKey) -> String {
    let (collection, partition) = (key.collection().name(), partition.as_str());
    format!("{collection}/{}/{partition}{}", partition.len(), key.id())
}

/// The notice in a message; `None` if it has another form.
fn read(message: &str) -> Option<Notice> {
    let (collection, rest) = message.split_once('/')?;
    let (length, names) = rest.split_once('/')?;
    let (partition, id) = names.split_at_checked(length.parse().ok()?)?;
    Some(Notice::Changed {
        partition: Partition::new(partition).ok()?,
        key: RecordKey::received(received(collection)?, id).ok()?,
    })
}

/// The collection of this name; `None` if it has another form, of which
/// [`Collection::new`] would panic.
///
/// Programs that share a store need not declare each other's collections, so each
/// new name is stored until the process ends: at most [`NAMES`] of them.
fn received(name: &str) -> Option<Collection> {
    static KNOWN: std::sync::Mutex<BTreeSet<&str>> = std::sync::Mutex::new(BTreeSet::new());
    let is_valid = (1..=48).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if !is_valid {
        return None;
    }
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(name) = known.get(name) {
        return Some(Collection::new(name).cacheable());
    }
    if known.len() == NAMES {
        return None;
    }
    let name: &'static str = Box::leak(name.into());
    known.insert(name);
    Some(Collection::new(name).cacheable())
}

/// Receives messages for all subscribers of one store.
///
/// The first subscriber opens the connection. It is proven before it is used: a
/// probe is sent and must be received. A connection that fails is opened again
/// until the store is closed; subscribers get a [`Notice::Gap`] when it fails and
/// again when it is back. A message that cannot be read is a gap too.
pub struct ChangeListener {
    shared: Arc<Shared>,
    state: Mutex<State>,
}

enum State {
    Idle,
    Running(Background),
    Closed,
}

struct Shared {
    source: Box<dyn NoticeSource>,
    sender: ChangeSender,
    events: broadcast::Sender<Event>,
}

/// What a subscription that is being proven waits for.
#[derive(Clone)]
enum Event {
    Probe(Arc<str>),
    Reconnected,
}

impl ChangeListener {
    /// A listener that connects when the first subscriber arrives.
    pub fn new(source: impl NoticeSource) -> Self {
        Self {
            shared: Arc::new(Shared {
                source: Box::new(source),
                sender: ChangeSender::new(),
                events: broadcast::Sender::new(EVENTS),
            }),
            state: Mutex::new(State::Idle),
        }
    }

    /// All changes that are committed after this call has returned, and none that were
    /// committed before it began.
    ///
    /// # Errors
    /// Those of the source; `Closed` after [`ChangeListener::close`].
    pub async fn subscribe(&self) -> Result<Changes> {
        let mut state = self.state.lock().await;
        let shared = &self.shared;
        match &*state {
            State::Closed => return Err(Error::closed().with_backend(shared.source.backend())),
            State::Running(_) => {
                if !shared.prove().await? {
                    return Err(late(shared.source.backend()));
                }
            }
            State::Idle => {
                let stream = shared.source.connect().await?;
                // Dropping it, if the proof fails, ends the task.
                let task = Background::start(|stop| listen(Arc::clone(shared), stream, stop));
                if !shared.prove().await? {
                    return Err(shared.source.unproven());
                }
                *state = State::Running(task);
            }
        }
        Ok(shared.sender.subscribe())
    }

    /// Ends all subscriptions and the connection.
    pub async fn close(&self) {
        let mut state = self.state.lock().await;
        if let State::Running(task) = std::mem::replace(&mut *state, State::Closed) {
            task.stop().await;
        }
        self.shared.sender.end();
    }
}

impl Shared {
    /// Whether probes that are sent now are received: everything that was sent
    /// before them has been received too, because each server sends in order.
    async fn prove(&self) -> Result<bool> {
        let mut events = self.events.subscribe();
        let proof = async {
            loop {
                let probe = format!("{PROBE}{}", Version::unique());
                let mut missing = self.source.send_probe(&probe).await?;
                while missing > 0 {
                    match events.recv().await {
                        Ok(Event::Probe(received)) => missing -= usize::from(*received == *probe),
                        // The probe may be lost: another is sent.
                        Ok(Event::Reconnected) | Err(_) => break,
                    }
                }
                if missing == 0 {
                    return Ok(true);
                }
            }
        };
        timeout(self.source.patience(), proof)
            .await
            .unwrap_or(Ok(false))
    }

    /// Delivers what arrives, until the connection is lost.
    async fn receive(&self, mut stream: Box<dyn NoticeStream>) {
        loop {
            match timeout(SILENCE, stream.next()).await {
                Ok(Some(message)) => self.deliver(&message),
                Ok(None) => return,
                Err(_) => {
                    let answer = timeout(self.source.patience(), stream.ping()).await;
                    if answer != Ok(true) {
                        return;
                    }
                }
            }
        }
    }

    fn deliver(&self, message: &str) {
        if message.starts_with(PROBE) {
            self.announce(Event::Probe(message.into()));
        } else {
            // A message of another form may come from a newer version of the program.
            self.sender.send(read(message).unwrap_or(Notice::Gap));
        }
    }

    fn announce(&self, event: Event) {
        // An error only means that no subscription is being proven.
        let _ = self.events.send(event);
    }

    async fn reconnect(&self) -> Box<dyn NoticeStream> {
        let mut pause = PAUSES.0;
        loop {
            match self.source.connect().await {
                Ok(stream) => return stream,
                Err(error) => event::failure("could not reconnect for change notices", &error),
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }
}

/// Receives messages until it is stopped.
async fn listen(shared: Arc<Shared>, first: Box<dyn NoticeStream>, mut stop: Stop) {
    let listening = async {
        let mut stream = first;
        loop {
            shared.receive(stream).await;
            event::detour("the connection for change notices was lost");
            shared.sender.send(Notice::Gap);
            stream = shared.reconnect().await;
            event::recovery("reconnected for change notices");
            shared.announce(Event::Reconnected);
            shared.sender.send(Notice::Gap);
        }
    };
    let (mut listening, mut stopped) = (pin!(listening), pin!(stop.requested()));
    poll_fn(|context| match stopped.as_mut().poll(context) {
        Poll::Ready(()) => Poll::Ready(()),
        Poll::Pending => listening.as_mut().poll(context),
    })
    .await;
}

fn late(backend: &'static str) -> Error {
    Error::new(
        ErrorKind::Timeout,
        "the connection for notices received nothing in time; nothing was subscribed, try again",
    )
    .with_retry(Retry::Safe)
    .with_backend(backend)
    .with_operation("changes")
}

impl fmt::Debug for ChangeListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChangeListener")
            .field("backend", &self.shared.source.backend())
            .field("sender", &self.shared.sender)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
