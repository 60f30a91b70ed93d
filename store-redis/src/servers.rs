//! All servers of one opened store: one, or the primaries of a cluster.

use std::sync::Arc;

use redis::{Cmd, ConnectionInfo, Pipeline, RedisError, RedisResult, ServerErrorKind, Value, cmd};

use crate::cluster::{Cluster, unseen};
use crate::keys::slot;
use crate::node::{Node, Settings};

/// All connections of one opened store.
#[derive(Debug)]
pub(crate) enum Servers {
    One(Arc<Node>),
    Cluster(Cluster),
}

impl Servers {
    /// Connects to the first of `seeds` that answers, and to the rest of its
    /// cluster if it belongs to one.
    pub(crate) async fn connect(
        seeds: Vec<ConnectionInfo>,
        settings: Settings,
    ) -> RedisResult<Self> {
        let mut failed =
            RedisError::from((redis::ErrorKind::InvalidClientConfig, "no server is named"));
        for (i, seed) in seeds.iter().enumerate() {
            let node = Node::new(seed.clone(), settings)?;
            match node.send(cmd("INFO").arg("cluster")).await {
                Err(e) => failed = e,
                Ok(info) => {
                    let info: String = redis::from_redis_value(info)?;
                    if !info.contains("cluster_enabled:1") {
                        let node = Node::primary_of(&seeds, i, settings)?;
                        match node.send(&cmd("TIME")).await {
                            Ok(_) => return Ok(Self::One(Arc::new(node))),
                            Err(e) => failed = e,
                        }
                        continue;
                    }
                    let cluster = Cluster::new(seeds, settings);
                    cluster.refresh(0).await?;
                    return Ok(Self::Cluster(cluster));
                }
            }
        }
        Err(failed)
    }

    /// The slot of a key; any, if one server has all.
    pub(crate) fn slot(&self, key: &str) -> u16 {
        match self {
            Self::One(_) => 0,
            Self::Cluster(_) => slot(key),
        }
    }

    /// Sends a command to whoever has the slot.
    pub(crate) async fn send(&self, slot: u16, command: &Cmd) -> RedisResult<Value> {
        match self {
            Self::One(node) => node.send(command).await,
            Self::Cluster(cluster) => cluster.send(slot, command).await,
        }
    }

    /// The values of these keys, all of this slot.
    pub(crate) async fn get_all(&self, slot: u16, keys: &[String]) -> RedisResult<Vec<Value>> {
        match self {
            Self::One(node) => get_all(node, keys).await,
            Self::Cluster(cluster) => cluster.get_all(slot, keys).await,
        }
    }

    /// Sends a command to whoever has the slot, and waits for replicas; see
    /// [`Node::send_and_wait`].
    pub(crate) async fn send_and_wait(
        &self,
        slot: u16,
        command: &Cmd,
        wait: &Cmd,
    ) -> RedisResult<Vec<Value>> {
        match self {
            Self::One(node) => node.send_and_wait(command, wait).await,
            Self::Cluster(cluster) => {
                let send = |node: Arc<Node>, asking: bool| async move {
                    match asking {
                        // Not before the slot is where it goes.
                        true => Err(RedisError::from((
                            redis::ErrorKind::Server(ServerErrorKind::TryAgain),
                            "the slot is being moved",
                        ))),
                        false => node.send_and_wait(command, wait).await,
                    }
                };
                cluster.send_by(slot, send).await
            }
        }
    }

    /// Sends several commands in one request to whoever has the slot, as far as
    /// is known; nobody is asked who knows better.
    pub(crate) async fn send_all(&self, slot: u16, commands: &Pipeline) -> RedisResult<Vec<Value>> {
        match self {
            Self::One(node) => node.send_all(commands).await,
            Self::Cluster(cluster) => cluster.owner(slot)?.send_all(commands).await,
        }
    }

    /// Sends a command to any of them.
    pub(crate) async fn send_to_any(&self, command: &Cmd) -> RedisResult<Value> {
        match self {
            Self::One(node) => node.send(command).await,
            Self::Cluster(cluster) => cluster.send(0, command).await,
        }
    }

    pub(crate) fn is_cluster(&self) -> bool {
        matches!(self, Self::Cluster(_))
    }

    /// How to connect to each.
    pub(crate) fn addresses(&self) -> Vec<ConnectionInfo> {
        match self {
            Self::One(node) => vec![node.info()],
            Self::Cluster(cluster) => {
                let nodes = cluster.primaries();
                nodes.iter().map(|node| node.info()).collect()
            }
        }
    }

    /// Finds out who is there now, as far as that can be found out.
    pub(crate) async fn look_again(&self) {
        if let Self::Cluster(cluster) = self {
            unseen(cluster.look_again().await);
        }
    }

    /// Sends a command to every primary.
    pub(crate) async fn send_to_all(&self, command: &Cmd) -> RedisResult<Vec<Value>> {
        match self {
            Self::One(node) => Ok(vec![node.send(command).await?]),
            Self::Cluster(cluster) => {
                let nodes = cluster.primaries();
                let all = nodes.iter().map(|node| node.send(command));
                futures_util::future::try_join_all(all).await
            }
        }
    }

    /// The same; what each answered, or how it failed.
    pub(crate) async fn send_to_each(&self, command: &Cmd) -> Vec<RedisResult<Value>> {
        let nodes = match self {
            Self::One(node) => vec![Arc::clone(node)],
            Self::Cluster(cluster) => cluster.primaries(),
        };
        let all = nodes.iter().map(|node| node.send(command));
        futures_util::future::join_all(all).await
    }
}

/// The values of these keys. `MGET` answers nil to a key of another type as to
/// one that does not exist, so the same transaction counts the keys that do; if
/// there are more of them, `GET` on each reports the type.
/// <https://redis.io/docs/latest/commands/mget/>
pub(crate) async fn get_all(node: &Node, keys: &[String]) -> RedisResult<Vec<Value>> {
    let mut both = redis::pipe();
    both.atomic();
    both.cmd("MGET").arg(keys).cmd("EXISTS").arg(keys);
    let answers = node.send_all(&both).await?;
    let [values, count] = <[Value; 2]>::try_from(answers).unwrap_or_default();
    let values: Vec<Value> = redis::from_redis_value(values)?;
    let found = values.iter().filter(|value| **value != Value::Nil).count();
    if count == Value::Int(i64::try_from(found).unwrap_or(i64::MAX)) {
        return Ok(values);
    }
    let mut each = redis::pipe();
    for key in keys {
        each.cmd("GET").arg(key);
    }
    node.send_all(&each).await
}
