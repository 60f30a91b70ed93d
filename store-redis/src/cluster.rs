//! A cluster: its map of slots to primaries, and redirections.
//!
//! The driver has a cluster client too. It is not used because it repeats commands
//! after a lost connection, and a write may then apply twice.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use futures_util::future::{try_join, try_join_all};
use redis::{Cmd, ConnectionAddr, ConnectionInfo, RedisError, ServerErrorKind, Value, cmd};
use store_core::backend::event;
use tokio::sync::Mutex;

use crate::connection::Timeouts;
use crate::error::{Answer, Failure, report};
use crate::keys::SLOTS;
use crate::node::Node;
use crate::servers::are_all_found;

/// The message of an event if no server could be queried for its slots.
pub(crate) const NOT_REFRESHED: &str = "could not refresh the map of slots";

/// The slot map: which node owns which slot.
struct Map {
    /// The primaries.
    nodes: Vec<Arc<Node>>,
    slots: Box<[Option<Arc<Node>>]>,
    /// The number of maps before this one.
    generation: u64,
}

/// The primaries of a cluster.
pub(crate) struct Cluster {
    seeds: Vec<ConnectionInfo>,
    timeouts: Timeouts,
    map: RwLock<Arc<Map>>,
    /// Nodes that were found in redirections and own no slot yet.
    newcomers: std::sync::Mutex<Vec<Arc<Node>>>,
    refreshing: Mutex<()>,
}

/// How to continue after a failure.
enum Next {
    /// Another node owns the slot: this one, if the error named it.
    Moved(Option<String>),
    Ask(String),
    Wait,
    /// The server is down, or no longer a primary.
    Lost,
    Fail,
}

/// A delay that doubles each time.
struct Pause(Duration);

impl Default for Pause {
    fn default() -> Self {
        Self(Duration::from_millis(1))
    }
}

impl Pause {
    async fn wait(&mut self) {
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
    pub(crate) fn new(seeds: Vec<ConnectionInfo>, timeouts: Timeouts) -> Self {
        Self {
            seeds,
            timeouts,
            map: RwLock::new(Arc::new(Map {
                nodes: Vec::new(),
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
    pub(crate) fn primaries(&self) -> Vec<Arc<Node>> {
        self.map().nodes.clone()
    }

    /// The node that owns the slot according to the current map.
    pub(crate) fn owner(&self, slot: u16) -> Answer<Arc<Node>> {
        let owner = self.map().slots[usize::from(slot)].clone();
        owner.ok_or_else(uncovered)
    }

    pub(crate) async fn send(&self, slot: u16, command: &Cmd) -> Answer {
        let send =
            |node: Arc<Node>, asking| async move { node.send_maybe_asking(command, asking).await };
        self.send_by(slot, send).await
    }

    /// The values of these keys, which are all in this slot. Each key is read separately
    /// if one has another type, as on a single server. The same happens while the slot is
    /// being moved, because no server has all keys then. The reads are not a transaction,
    /// which would hide redirections.
    pub(crate) async fn get_all(&self, slot: u16, keys: &[String]) -> Answer<Vec<Value>> {
        let (mut get, mut count) = (cmd("MGET"), cmd("EXISTS"));
        let (get, count) = (get.arg(keys), count.arg(keys));
        // Both commands are sent together.
        let (values, count) = try_join(
            self.unless_moving(slot, get),
            self.unless_moving(slot, count),
        )
        .await?;
        if let (Some(values), Some(count)) = (values, count) {
            let values: Vec<Value> = redis::from_redis_value(values)?;
            if are_all_found(&values, &count) {
                return Ok(values);
            }
        }
        let each = keys.iter().map(|key| async move {
            let mut get = cmd("GET");
            self.send(slot, get.arg(key)).await
        });
        try_join_all(each).await
    }

    /// The reply, or `None` while the slot is being moved.
    async fn unless_moving(&self, slot: u16, command: &Cmd) -> Answer<Option<Value>> {
        let send = |node: Arc<Node>, asking: bool| async move {
            match node.send_maybe_asking(command, asking).await {
                Err(e) if matches!(next(&e), Next::Wait) => Ok(None),
                answer => answer.map(Some),
            }
        };
        self.send_by(slot, send).await
    }

    /// Calls `send` with the owner of the slot and follows redirections, until the
    /// command was executed or may have been.
    pub(crate) async fn send_by<T, F: Future<Output = Answer<T>>>(
        &self,
        slot: u16,
        send: impl Fn(Arc<Node>, bool) -> F,
    ) -> Answer<T> {
        let deadline = Instant::now() + self.timeouts.timeout;
        let mut pause = Pause::default();
        let mut redirected: Option<(Arc<Node>, bool)> = None;
        let mut redirections = 0;
        loop {
            let map = self.map();
            let (node, asking) = match redirected.take() {
                Some((node, asking)) => (Some(node), asking),
                None => (map.slots[usize::from(slot)].clone(), false),
            };
            let answer = match &node {
                Some(node) => send(Arc::clone(node), asking).await,
                None => Err(uncovered()),
            };
            let e = match answer {
                Ok(answer) => return Ok(answer),
                Err(e) => e,
            };
            let late = Instant::now() >= deadline;
            let then = next(&e);
            redirections += u32::from(matches!(then, Next::Moved(_) | Next::Ask(_)));
            // Two servers that disagree about the owner of a slot redirect to each other.
            if redirections > 2 && !late {
                pause.wait().await;
            }
            match then {
                Next::Moved(Some(address)) if !late => {
                    event::detour("a slot moved; following the redirection");
                    let owner = self.node(&map, &near(&node, address))?;
                    self.learn(&owner, &map).await;
                    redirected = Some((owner, false));
                }
                Next::Moved(None) if !late => self.refresh_if_possible(&map).await,
                Next::Ask(address) if !late => {
                    event::detour(
                        "a slot is being moved; sending the command to the importing node",
                    );
                    let importer = self.node(&map, &near(&node, address))?;
                    redirected = Some((importer, true));
                }
                Next::Wait if !late => {
                    redirections = 0;
                    pause.wait().await;
                }
                Next::Lost => {
                    self.refresh_if_possible(&map).await;
                    let owner = self.map().slots[usize::from(slot)].clone();
                    let moved = owner.map(|node| node.address.clone())
                        != node.map(|node| node.address.clone());
                    // Only a command that was not sent may go to the new owner.
                    if !moved || e.was_sent() || late {
                        return Err(e);
                    }
                }
                _ => return Err(e),
            }
        }
    }

    fn newcomers(&self) -> MutexGuard<'_, Vec<Arc<Node>>> {
        self.newcomers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The node at `address`, which is created if it is not known yet.
    fn node(&self, map: &Map, address: &str) -> Answer<Arc<Node>> {
        let mut newcomers = self.newcomers();
        let mut known = map.nodes.iter().chain(&*newcomers);
        if let Some(node) = known.find(|node| node.address == address) {
            return Ok(Arc::clone(node));
        }
        let new = Arc::new(self.new_node(address, String::new())?);
        newcomers.push(Arc::clone(&new));
        Ok(new)
    }

    /// The same for the node with this name in the cluster.
    fn named_node(&self, map: &Map, address: &str, name: String) -> Answer<Arc<Node>> {
        let is_it = |node: &&Arc<Node>| node.address == address && node.name == name;
        match map.nodes.iter().find(is_it) {
            Some(node) => Ok(Arc::clone(node)),
            None => self.new_node(address, name).map(Arc::new),
        }
    }

    fn new_node(&self, address: &str, name: String) -> Answer<Node> {
        let wrong = || {
            Failure::not_sent(RedisError::from((
                redis::ErrorKind::Client,
                "the cluster reported an address of an unknown format",
            )))
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
        let mut node = Node::new(info, self.timeouts);
        node.name = name;
        Ok(node)
    }

    /// Refreshes the slot map from the node that a redirection named, because other nodes
    /// may not know of the move yet. If another call is refreshing the map, this one
    /// returns without waiting, because it already has the address that it needs.
    async fn learn(&self, from: &Node, seen: &Map) {
        if let Ok(_alone) = self.refreshing.try_lock() {
            let map = self.map();
            if map.generation == seen.generation
                && let Err(e) = self.ask_for_slots(from, &map).await
            {
                report(NOT_REFRESHED, e);
            }
        }
    }

    /// Refreshes the slot map.
    pub(crate) async fn look_again(&self) -> Answer<()> {
        self.refresh(self.map().generation).await
    }

    /// Calls [`Cluster::refresh`] and ignores its failure; the caller reports its own.
    async fn refresh_if_possible(&self, seen: &Map) {
        if let Err(e) = self.refresh(seen.generation).await {
            report(NOT_REFRESHED, e);
        }
    }

    /// Refreshes the slot map, unless another call has done so since generation `seen`.
    pub(crate) async fn refresh(&self, seen: u64) -> Answer<()> {
        let _alone = self.refreshing.lock().await;
        let map = self.map();
        if map.generation != seen {
            return Ok(());
        }
        let mut failed = uncovered();
        for node in &map.nodes {
            match self.ask_for_slots(node, &map).await {
                Ok(()) => return Ok(()),
                Err(e) => failed = e,
            }
        }
        for seed in &self.seeds {
            let node = Node::new(seed.clone(), self.timeouts);
            match self.ask_for_slots(&node, &map).await {
                Ok(()) => return Ok(()),
                Err(e) => failed = e,
            }
        }
        Err(failed)
    }

    async fn ask_for_slots(&self, node: &Node, old: &Map) -> Answer<()> {
        let answer = node.send(cmd("CLUSTER").arg("SLOTS")).await?;
        let ranges: Vec<Vec<Value>> = redis::from_redis_value(answer)?;
        let mut slots: Box<[Option<Arc<Node>>]> = vec![None; SLOTS].into();
        let mut nodes: Vec<Arc<Node>> = Vec::new();
        for range in ranges {
            let mut range = range.into_iter();
            let (Some(first), Some(last), Some(primary)) =
                (range.next(), range.next(), range.next())
            else {
                continue;
            };
            let first: usize = redis::from_redis_value(first)?;
            let last: usize = redis::from_redis_value(last)?;
            let mut primary: Vec<Value> = redis::from_redis_value(primary)?;
            primary.truncate(3);
            let (host, port, name): (Option<String>, u16, String) =
                redis::from_redis_value(Value::Array(primary))?;
            // A server that does not know its own address is at the address of this
            // connection.
            let host = host.filter(|host| !host.is_empty() && host != "?");
            let address = format!("{}:{port}", host.as_deref().unwrap_or(node.host()));
            let owner = match nodes.iter().find(|node| node.address == address) {
                Some(known) => Arc::clone(known),
                None => {
                    nodes.push(self.named_node(old, &address, name)?);
                    Arc::clone(&nodes[nodes.len() - 1])
                }
            };
            for slot in slots.iter_mut().take(last + 1).skip(first) {
                *slot = Some(Arc::clone(&owner));
            }
        }
        if nodes.is_empty() {
            return Err(uncovered());
        }
        self.newcomers().clear();
        let map = Arc::new(Map {
            nodes,
            slots,
            generation: old.generation + 1,
        });
        *self.map.write().unwrap_or_else(PoisonError::into_inner) = map;
        Ok(())
    }
}

/// Completes an address that the server `node` reported. The server omits the host if it
/// does not know its own.
fn near(node: &Option<Arc<Node>>, address: String) -> String {
    match (node, address.starts_with(':')) {
        (Some(node), true) => format!("{}{address}", node.host()),
        _ => address,
    }
}

fn uncovered() -> Failure {
    Failure::not_sent(RedisError::from((
        redis::ErrorKind::Server(ServerErrorKind::ClusterDown),
        "no server owns the slot",
    )))
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let map = self.map();
        let nodes: BTreeSet<_> = map.nodes.iter().map(|node| &*node.address).collect();
        f.debug_tuple("Cluster").field(&nodes).finish()
    }
}
