//! All servers of one opened store: one, or the primaries of a cluster.

use std::sync::Arc;

use futures_util::future::{join_all, try_join_all};
use redis::{Cmd, ConnectionInfo, Pipeline, RedisError, ServerErrorKind, Value, cmd};

use crate::cluster::{Cluster, NOT_REFRESHED};
use crate::connection::Timeouts;
use crate::error::{Answer, Failure, report};
use crate::keys::slot;
use crate::node::Node;

/// All connections of one opened store.
#[derive(Debug)]
pub(crate) enum Servers {
    One(Arc<Node>),
    Cluster(Cluster),
}

impl Servers {
    /// Connects to the first of `seeds` that answers, and to the rest of its cluster
    /// if it belongs to one.
    pub(crate) async fn connect(seeds: Vec<ConnectionInfo>, timeouts: Timeouts) -> Answer<Self> {
        let mut failed = Failure::not_sent(RedisError::from((
            redis::ErrorKind::InvalidClientConfig,
            "no server is configured",
        )));
        for (i, seed) in seeds.iter().enumerate() {
            let node = Node::new(seed.clone(), timeouts);
            let info: String = match node.send(cmd("INFO").arg("cluster")).await {
                Ok(info) => redis::from_redis_value(info)?,
                Err(e) => {
                    failed = e;
                    continue;
                }
            };
            if info.contains("cluster_enabled:1") {
                let cluster = Cluster::new(seeds, timeouts);
                cluster.refresh(0).await?;
                return Ok(Self::Cluster(cluster));
            }
            let node = Node::primary_of(&seeds, i, timeouts);
            node.send(&cmd("TIME")).await?;
            return Ok(Self::One(Arc::new(node)));
        }
        Err(failed)
    }

    /// The slot of a key. If one server has all slots, the number is not used.
    pub(crate) fn slot(&self, key: &str) -> u16 {
        match self {
            Self::One(_) => 0,
            Self::Cluster(_) => slot(key),
        }
    }

    /// Sends a command to the server that has the slot.
    pub(crate) async fn send(&self, slot: u16, command: &Cmd) -> Answer {
        match self {
            Self::One(node) => node.send(command).await,
            Self::Cluster(cluster) => cluster.send(slot, command).await,
        }
    }

    /// The values of these keys, all of this slot.
    pub(crate) async fn get_all(&self, slot: u16, keys: &[String]) -> Answer<Vec<Value>> {
        match self {
            Self::One(node) => get_all(node, keys).await,
            Self::Cluster(cluster) => cluster.get_all(slot, keys).await,
        }
    }

    /// Sends a command to the server that has the slot, and waits for replicas; see
    /// [`Node::send_and_wait`].
    pub(crate) async fn send_and_wait(
        &self,
        slot: u16,
        command: &Cmd,
        wait: &Cmd,
    ) -> Answer<Vec<Value>> {
        match self {
            Self::One(node) => node.send_and_wait(command, wait).await,
            Self::Cluster(cluster) => {
                let send = |node: Arc<Node>, asking: bool| async move {
                    match asking {
                        // The caller retries until the slot has been moved.
                        true => Err(Failure::not_sent(RedisError::from((
                            redis::ErrorKind::Server(ServerErrorKind::TryAgain),
                            "the slot is being moved",
                        )))),
                        false => node.send_and_wait(command, wait).await,
                    }
                };
                cluster.send_by(slot, send).await
            }
        }
    }

    /// Sends several commands in one request to the owner of the slot according to the
    /// current map. Redirections are not followed.
    pub(crate) async fn send_all(&self, slot: u16, commands: &Pipeline) -> Answer<Vec<Value>> {
        match self {
            Self::One(node) => node.send_all(commands).await,
            Self::Cluster(cluster) => cluster.owner(slot)?.send_all(commands).await,
        }
    }

    /// Sends a command to any of them.
    pub(crate) async fn send_to_any(&self, command: &Cmd) -> Answer {
        self.send(0, command).await
    }

    pub(crate) fn is_cluster(&self) -> bool {
        matches!(self, Self::Cluster(_))
    }

    /// All primaries according to the current map.
    fn nodes(&self) -> Vec<Arc<Node>> {
        match self {
            Self::One(node) => vec![Arc::clone(node)],
            Self::Cluster(cluster) => cluster.primaries(),
        }
    }

    /// The connection settings of each primary.
    pub(crate) fn addresses(&self) -> Vec<ConnectionInfo> {
        self.nodes().iter().map(|node| node.info()).collect()
    }

    /// Refreshes the servers of a cluster. If none answers, the known servers are used.
    pub(crate) async fn look_again(&self) {
        if let Self::Cluster(cluster) = self
            && let Err(e) = cluster.look_again().await
        {
            report(NOT_REFRESHED, e);
        }
    }

    /// Sends a command to every primary.
    pub(crate) async fn send_to_all(&self, command: &Cmd) -> Answer<Vec<Value>> {
        let nodes = self.nodes();
        try_join_all(nodes.iter().map(|node| node.send(command))).await
    }

    /// The same, with the result of each server.
    pub(crate) async fn send_to_each(&self, command: &Cmd) -> Vec<Answer> {
        let nodes = self.nodes();
        join_all(nodes.iter().map(|node| node.send(command))).await
    }
}

/// The values of these keys. `MGET` returns nil for a key of another type, as for one
/// that does not exist. So the same transaction counts the existing keys. If there are
/// more keys than values, a `GET` of each key reports the wrong type.
/// <https://redis.io/docs/latest/commands/mget/>
async fn get_all(node: &Node, keys: &[String]) -> Answer<Vec<Value>> {
    let mut both = redis::pipe();
    both.atomic();
    both.cmd("MGET").arg(keys).cmd("EXISTS").arg(keys);
    let answers = node.send_all(&both).await?;
    let [values, count] = <[Value; 2]>::try_from(answers).unwrap_or_default();
    let values: Vec<Value> = redis::from_redis_value(values)?;
    if are_all_found(&values, &count) {
        return Ok(values);
    }
    let mut each = redis::pipe();
    for key in keys {
        each.cmd("GET").arg(key);
    }
    node.send_all(&each).await
}

/// Whether as many values were found as keys exist.
pub(crate) fn are_all_found(values: &[Value], exist: &Value) -> bool {
    let found = values.iter().filter(|value| **value != Value::Nil).count();
    *exist == Value::Int(i64::try_from(found).unwrap_or(i64::MAX))
}
