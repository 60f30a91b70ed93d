//! A cluster: which of its primaries has which slot, and following what they
//! say of it.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use redis::{
    Cmd, ConnectionAddr, ConnectionInfo, RedisError, RedisResult, ServerErrorKind, Value, cmd,
};
use tokio::sync::Mutex;

use crate::keys::SLOTS;
use crate::servers::{Line, Settings};

/// Which connection has which slot.
struct Map {
    /// Of the primaries.
    lines: Vec<Arc<Line>>,
    slots: Box<[Option<Arc<Line>>]>,
    /// How often it was made.
    generation: u64,
}

/// The primaries of a cluster.
pub(crate) struct Cluster {
    seeds: Vec<ConnectionInfo>,
    settings: Settings,
    map: RwLock<Arc<Map>>,
    /// To those who have no slot yet, and are being given one.
    newcomers: std::sync::Mutex<Vec<Arc<Line>>>,
    refreshing: Mutex<()>,
}

/// What to do about an answer that is none.
enum Next {
    /// The slot is another's; perhaps of whom.
    Moved(Option<String>),
    Ask(String),
    Wait,
    /// The server is gone, or not what it was.
    Lost,
    Fail,
}

/// Longer each time, for what takes its time.
struct Pause(Duration);

impl Default for Pause {
    fn default() -> Self {
        Self(Duration::from_millis(1))
    }
}

impl Pause {
    async fn longer(&mut self) {
        tokio::time::sleep(self.0).await;
        self.0 = (self.0 * 2).min(Duration::from_millis(20));
    }
}

fn next(e: &RedisError) -> Next {
    let named = || e.redirect_node().map(|(address, _)| address.to_owned());
    match e.kind() {
        redis::ErrorKind::Server(ServerErrorKind::Moved) => Next::Moved(named()),
        redis::ErrorKind::Server(ServerErrorKind::Ask) => named().map_or(Next::Fail, Next::Ask),
        redis::ErrorKind::Server(ServerErrorKind::TryAgain) => Next::Wait,
        redis::ErrorKind::Server(ServerErrorKind::ReadOnly) => Next::Lost,
        redis::ErrorKind::Io | redis::ErrorKind::Parse => Next::Lost,
        _ => Next::Fail,
    }
}

impl Cluster {
    pub(crate) fn new(seeds: Vec<ConnectionInfo>, settings: Settings) -> Self {
        Self {
            seeds,
            settings,
            map: RwLock::new(Arc::new(Map {
                lines: Vec::new(),
                slots: vec![None; SLOTS].into(),
                generation: 0,
            })),
            newcomers: std::sync::Mutex::default(),
            refreshing: Mutex::default(),
        }
    }

    fn map(&self) -> Arc<Map> {
        Arc::clone(&self.map.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The primaries.
    pub(crate) fn primaries(&self) -> Vec<Arc<Line>> {
        self.map().lines.clone()
    }

    /// Who has the slot, as far as is known.
    pub(crate) fn owner(&self, slot: u16) -> RedisResult<Arc<Line>> {
        let owner = self.map().slots[usize::from(slot)].clone();
        owner.ok_or_else(uncovered)
    }

    pub(crate) async fn send(&self, slot: u16, command: &Cmd) -> RedisResult<Value> {
        let send = |line: Arc<Line>, asking| async move { line.told(command, asking).await };
        self.send_by(slot, send).await
    }

    /// The values of these keys, all of this slot, in one request; but while the
    /// slot is being moved no server has all, and each is asked for by itself.
    pub(crate) async fn get_all(&self, slot: u16, keys: &[String]) -> RedisResult<Vec<Value>> {
        let mut all = cmd("MGET");
        all.arg(keys);
        let all = &all;
        let send = |line: Arc<Line>, asking: bool| async move {
            match line.told(all, asking).await {
                Err(e) if matches!(next(&e), Next::Wait) => Ok(None),
                answer => answer.map(Some),
            }
        };
        if let Some(values) = self.send_by(slot, send).await? {
            return redis::from_redis_value(values).map_err(RedisError::from);
        }
        let each = keys.iter().map(|key| async move {
            let mut get = cmd("GET");
            self.send(slot, get.arg(key)).await
        });
        try_join_all(each).await
    }

    /// Sends by `send` to whoever has the slot, as told, until it was executed
    /// or may have been.
    pub(crate) async fn send_by<T, F: Future<Output = RedisResult<T>>>(
        &self,
        slot: u16,
        send: impl Fn(Arc<Line>, bool) -> F,
    ) -> RedisResult<T> {
        let deadline = Instant::now() + self.settings.timeout;
        let mut pause = Pause::default();
        let mut redirected: Option<(Arc<Line>, bool)> = None;
        let mut redirections = 0;
        loop {
            let map = self.map();
            let (line, asking) = match redirected.take() {
                Some((line, asking)) => (Some(line), asking),
                None => (map.slots[usize::from(slot)].clone(), false),
            };
            let answer = match &line {
                Some(line) => send(Arc::clone(line), asking).await,
                None => Err(uncovered()),
            };
            let e = match answer {
                Ok(answer) => return Ok(answer),
                Err(e) => e,
            };
            let late = Instant::now() >= deadline;
            let then = next(&e);
            redirections += u32::from(matches!(then, Next::Moved(_) | Next::Ask(_)));
            // Two that disagree on a slot send from one to the other.
            if redirections > 2 && !late {
                pause.longer().await;
            }
            match then {
                Next::Moved(Some(address)) if !late => {
                    let owner = self.line(&map, &near(&line, address))?;
                    self.learn(&owner, &map).await;
                    redirected = Some((owner, false));
                }
                Next::Moved(None) if !late => {
                    let _ = self.refresh(map.generation).await;
                }
                Next::Ask(address) if !late => {
                    let importer = self.line(&map, &near(&line, address))?;
                    redirected = Some((importer, true));
                }
                Next::Wait if !late => {
                    redirections = 0;
                    pause.longer().await;
                }
                Next::Lost => {
                    let _ = self.refresh(map.generation).await;
                    let owner = self.map().slots[usize::from(slot)].clone();
                    let moved = owner.map(|line| line.address.clone())
                        != line.map(|line| line.address.clone());
                    // Nobody heard it, and somebody else has the slot by now.
                    if !(moved && e.is_connection_refusal()) || late {
                        return Err(e);
                    }
                }
                _ => return Err(e),
            }
        }
    }

    fn newcomers(&self) -> MutexGuard<'_, Vec<Arc<Line>>> {
        self.newcomers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection to `address`, a new one if there is none yet.
    fn line(&self, map: &Map, address: &str) -> RedisResult<Arc<Line>> {
        let mut newcomers = self.newcomers();
        let mut known = map.lines.iter().chain(&*newcomers);
        if let Some(line) = known.find(|line| line.address == address) {
            return Ok(Arc::clone(line));
        }
        let new = Arc::new(self.new_line(address, String::new())?);
        newcomers.push(Arc::clone(&new));
        Ok(new)
    }

    /// The same, to the server that the cluster calls so.
    fn named_line(&self, map: &Map, address: &str, name: String) -> RedisResult<Arc<Line>> {
        let is_it = |line: &&Arc<Line>| line.address == address && line.name == name;
        match map.lines.iter().find(is_it) {
            Some(line) => Ok(Arc::clone(line)),
            None => self.new_line(address, name).map(Arc::new),
        }
    }

    fn new_line(&self, address: &str, name: String) -> RedisResult<Line> {
        let wrong = || {
            RedisError::from((
                redis::ErrorKind::Client,
                "the cluster named an address of no known form",
            ))
        };
        let (host, port) = address.rsplit_once(':').ok_or_else(wrong)?;
        let port: u16 = port.parse().map_err(|_| wrong())?;
        let seed = self.seeds.first().ok_or_else(wrong)?;
        let address = match seed.addr() {
            ConnectionAddr::TcpTls {
                insecure,
                tls_params,
                ..
            } => ConnectionAddr::TcpTls {
                host: host.into(),
                port,
                insecure: *insecure,
                tls_params: tls_params.clone(),
            },
            _ => ConnectionAddr::Tcp(host.into(), port),
        };
        let info = seed.clone().set_addr(address);
        let mut line = Line::new(info, self.settings)?;
        line.name = name;
        Ok(line)
    }

    /// Asks the server that a redirection named who has which slot: it knows of
    /// that one, and others may not yet. Whoever else asks is not waited for: the
    /// call has its address.
    async fn learn(&self, from: &Line, seen: &Map) {
        if let Ok(_alone) = self.refreshing.try_lock() {
            let map = self.map();
            if map.generation == seen.generation {
                // If it does not answer, the call finds that out.
                let _ = self.ask_for_slots(from, &map).await;
            }
        }
    }

    /// Asks again who has which slot.
    pub(crate) async fn look_again(&self) -> RedisResult<()> {
        self.refresh(self.map().generation).await
    }

    /// Asks who has which slot, unless somebody did since generation `seen`.
    pub(crate) async fn refresh(&self, seen: u64) -> RedisResult<()> {
        let _alone = self.refreshing.lock().await;
        let map = self.map();
        if map.generation != seen {
            return Ok(());
        }
        let mut failed = uncovered();
        for line in &map.lines {
            match self.ask_for_slots(line, &map).await {
                Ok(()) => return Ok(()),
                Err(e) => failed = e,
            }
        }
        for seed in &self.seeds {
            let line = Line::new(seed.clone(), self.settings)?;
            match self.ask_for_slots(&line, &map).await {
                Ok(()) => return Ok(()),
                Err(e) => failed = e,
            }
        }
        Err(failed)
    }

    async fn ask_for_slots(&self, line: &Line, old: &Map) -> RedisResult<()> {
        type Range = (usize, usize, Value);
        let answer = line.send(cmd("CLUSTER").arg("SLOTS")).await?;
        let ranges: Vec<Vec<Value>> = redis::from_redis_value(answer)?;
        let mut slots: Box<[Option<Arc<Line>>]> = vec![None; SLOTS].into();
        let mut lines: Vec<Arc<Line>> = Vec::new();
        for range in ranges {
            let mut range = range.into_iter();
            let (Some(first), Some(last), Some(primary)) =
                (range.next(), range.next(), range.next())
            else {
                continue;
            };
            let (first, last, primary): Range = (
                redis::from_redis_value(first)?,
                redis::from_redis_value(last)?,
                primary,
            );
            let mut primary: Vec<Value> = redis::from_redis_value(primary)?;
            primary.truncate(3);
            let (host, port, name): (Option<String>, u16, String) =
                redis::from_redis_value(Value::Array(primary))?;
            // It does not know its own name, which is then the one it was called by.
            let host = host.filter(|host| !host.is_empty() && host != "?");
            let address = format!("{}:{port}", host.as_deref().unwrap_or(line.host()));
            let owner = match lines.iter().find(|line| line.address == address) {
                Some(known) => Arc::clone(known),
                None => {
                    lines.push(self.named_line(old, &address, name)?);
                    Arc::clone(&lines[lines.len() - 1])
                }
            };
            for slot in slots.iter_mut().take(last + 1).skip(first) {
                *slot = Some(Arc::clone(&owner));
            }
        }
        if lines.is_empty() {
            return Err(uncovered());
        }
        self.newcomers().clear();
        let map = Arc::new(Map {
            lines,
            slots,
            generation: old.generation + 1,
        });
        *self.map.write().unwrap_or_else(PoisonError::into_inner) = map;
        Ok(())
    }
}

/// An address as it was named by the server at the other end of `line`, which
/// leaves its own host out where it does not know it.
fn near(line: &Option<Arc<Line>>, address: String) -> String {
    match (line, address.starts_with(':')) {
        (Some(line), true) => format!("{}{address}", line.host()),
        _ => address,
    }
}

fn uncovered() -> RedisError {
    RedisError::from((
        redis::ErrorKind::Server(ServerErrorKind::ClusterDown),
        "no server has the slot",
    ))
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let map = self.map();
        let lines: BTreeSet<_> = map.lines.iter().map(|line| &*line.address).collect();
        f.debug_tuple("Cluster").field(&lines).finish()
    }
}
