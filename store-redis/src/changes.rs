//! Notices of changes: a connection of its own that listens, as long as the
//! store is open.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use redis::aio::PubSub;
use redis::{Client, ProtocolVersion, RedisError, RedisResult, cmd};
use store_core::changes::{ChangeSender, Changes, Notice};
use store_core::{Batch, Change, Collection, Partition, RecordKey, Result, Version};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;

use crate::error::{Effect, from_redis};
use crate::servers::Servers;
use crate::shared::Shared;

/// After so long a silence the server is asked for a sign of life: a line that
/// broke without a word would stay silent for ever.
const SILENCE: Duration = Duration::from_secs(20);

/// How long that sign, or a connection, may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a listener says to itself begins so; no collection's name does.
const PROBE: &str = "?";

/// How many of those may wait to be heard.
const PROBES: usize = 64;

/// How long to wait before the next attempt to connect: doubled from the first
/// to the last.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// What a commit tells of each record that it wrote: collection, partition and
/// id, with a NUL between them, which no name holds.
pub(crate) fn messages(batch: &Batch) -> Vec<String> {
    let items = batch.items().iter();
    let told = items.filter(|item| {
        let is_change = !matches!(item.change(), Change::Check);
        is_change && item.key().collection().is_cacheable()
    });
    told.map(|item| {
        let (collection, id) = (item.key().collection().name(), item.key().id());
        format!("{collection}\0{}\0{id}", batch.partition().as_str())
    })
    .collect()
}

/// Hears of changes for all who ask this store.
#[derive(Debug)]
pub(crate) struct Listener {
    heard: Heard,
    running: Mutex<Option<(watch::Sender<bool>, JoinHandle<()>)>>,
}

/// What is done with what is heard.
#[derive(Clone, Debug)]
struct Heard {
    channel: String,
    /// What may be told of. Others' notices are of no use here.
    collections: Arc<[Collection]>,
    sender: Arc<ChangeSender>,
    probes: broadcast::Sender<String>,
}

impl Listener {
    pub(crate) fn new(channel: String, collections: &[Collection]) -> Self {
        let cacheable = collections.iter().copied().filter(|c| c.is_cacheable());
        Self {
            heard: Heard {
                channel,
                collections: cacheable.collect(),
                sender: Arc::default(),
                probes: broadcast::Sender::new(PROBES),
            },
            running: Mutex::new(None),
        }
    }

    /// All changes committed from the answer on. The first call connects.
    pub(crate) async fn subscribe(&self, shared: &Shared) -> Result<Changes> {
        let mut running = self.running.lock().await;
        let servers = shared.servers()?;
        if running.is_none() {
            let line = self.heard.open(&servers).await;
            let line = line.map_err(|e| from_redis(e, Effect::Repeatable, "changes"))?;
            let (stop, stopped) = watch::channel(false);
            let heard = self.heard.clone();
            let task = tokio::spawn(listen(Arc::clone(&servers), line, heard, stopped));
            *running = Some((stop, task));
        }
        self.heard.catch_up(&servers).await?;
        Ok(self.heard.sender.subscribe())
    }

    /// Ends what was subscribed, and the connection.
    pub(crate) async fn close(&self) {
        let mut running = self.running.lock().await;
        if let Some((stop, task)) = running.take() {
            stop.send_replace(true);
            let _ = task.await;
        }
        self.heard.sender.end();
    }
}

impl Heard {
    /// Listens at the first server that lets us; each hears what any is told.
    async fn open(&self, servers: &Servers) -> RedisResult<PubSub> {
        let mut failed = RedisError::from(std::io::Error::from(std::io::ErrorKind::NotConnected));
        for info in servers.addresses() {
            let redis = info.redis_settings().clone();
            let info = info.set_redis_settings(redis.set_protocol(ProtocolVersion::RESP2));
            let listen = async {
                let mut line = Client::open(info)?.get_async_pubsub().await?;
                line.subscribe(&self.channel).await?;
                Ok(line)
            };
            match tokio::time::timeout(PATIENCE, listen).await {
                Ok(Ok(line)) => return Ok(line),
                Ok(Err(e)) => failed = e,
                Err(_) => failed = std::io::Error::from(std::io::ErrorKind::TimedOut).into(),
            }
        }
        Err(failed)
    }

    /// Waits until everything was heard that was told so far. Within a cluster
    /// what one server is told comes to another later than the commit's answer to
    /// us, but in order: so each says a word, and every one must be heard.
    async fn catch_up(&self, servers: &Servers) -> Result<()> {
        let word = format!("{PROBE}{}", Version::unique());
        let mut heard = self.probes.subscribe();
        let mut publish = cmd("PUBLISH");
        publish.arg(&self.channel).arg(&word);
        let told = servers.send_to_all(&publish).await;
        let mut missing = told
            .map_err(|e| from_redis(e, Effect::Repeatable, "changes"))?
            .len();
        let all = async {
            while missing > 0 {
                match heard.recv().await {
                    Ok(probe) => missing -= usize::from(probe == word),
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                }
            }
        };
        let late = |_| {
            let e = std::io::Error::from(std::io::ErrorKind::TimedOut);
            from_redis(e.into(), Effect::Repeatable, "changes")
        };
        tokio::time::timeout(PATIENCE, all).await.map_err(late)
    }

    /// Passes on what is heard, until the line is lost.
    async fn hear(&self, line: PubSub) {
        let (mut sink, mut stream) = line.split();
        loop {
            match tokio::time::timeout(SILENCE, stream.next()).await {
                Ok(Some(message)) => self.pass_on(message.get_payload_bytes()),
                Ok(None) => return,
                Err(_) => {
                    let sign = sink.ping::<redis::Value>();
                    match tokio::time::timeout(PATIENCE, sign).await {
                        Ok(Ok(_)) => {}
                        _ => return,
                    }
                }
            }
        }
    }

    fn pass_on(&self, message: &[u8]) {
        if message.starts_with(PROBE.as_bytes()) {
            // Nobody may be waiting for it, or another process said it.
            let _ = self.probes.send(String::from_utf8_lossy(message).into());
            return;
        }
        let parse = || {
            let mut parts = std::str::from_utf8(message).ok()?.splitn(3, '\0');
            let name = parts.next()?;
            let partition = Partition::new(parts.next()?).ok()?;
            let id = parts.next()?;
            let mut known = self.collections.iter();
            let collection = known.find(|collection| collection.name() == name)?;
            let key = RecordKey::new(*collection, id).ok()?;
            Some(Notice::Changed { partition, key })
        };
        if let Some(notice) = parse() {
            self.sender.send(notice);
        }
    }
}

/// Listens for as long as the store is open. Whoever subscribed is told of a
/// gap when the line is lost, and once more when notices are heard again.
async fn listen(
    servers: Arc<Servers>,
    mut line: PubSub,
    heard: Heard,
    mut stopped: watch::Receiver<bool>,
) {
    loop {
        tokio::select! {
            // An error says that the store was dropped.
            _ = stopped.wait_for(|stop| *stop) => return,
            () = heard.hear(line) => {}
        }
        heard.sender.send(Notice::Gap);
        let mut pause = PAUSES.0;
        line = loop {
            servers.look_again().await;
            let opened = tokio::select! {
                _ = stopped.wait_for(|stop| *stop) => return,
                opened = heard.open(&servers) => opened,
            };
            if let Ok(line) = opened {
                break line;
            }
            let asked = stopped.wait_for(|stop| *stop);
            if tokio::time::timeout(pause, asked).await.is_ok() {
                return;
            }
            pause = (pause * 2).min(PAUSES.1);
        };
        heard.sender.send(Notice::Gap);
    }
}
