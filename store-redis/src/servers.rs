//! The connections: to one server, or to each primary of a cluster.
//!
//! A connection is shared by all calls and makes itself anew after it was lost.
//! A command is sent once. It is sent again only if the server said that it did
//! not run it, or nobody listened.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{
    Client, Cmd, ConnectionInfo, Pipeline, RedisError, RedisResult, ServerErrorKind, Value, cmd,
};

use crate::cluster::Cluster;
use crate::keys::slot;

/// How to connect to each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) timeout: Duration,
    pub(crate) connect_timeout: Duration,
}

impl Settings {
    fn manager(&self, info: ConnectionInfo) -> RedisResult<ConnectionManager> {
        let config = ConnectionManagerConfig::new()
            .set_response_timeout(Some(self.timeout))
            .set_connection_timeout(Some(self.connect_timeout))
            // A call that finds nobody says so; the next one tries again.
            .set_number_of_retries(0)
            // Calls wait in here; the more, the more of them share a packet.
            .set_pipeline_buffer_size(1024);
        ConnectionManager::new_lazy_with_config(Client::open(info)?, config)
    }
}

/// A connection to one server.
pub(crate) struct Line {
    /// `host:port`.
    pub(crate) address: String,
    /// What the cluster calls the server.
    pub(crate) name: String,
    manager: ConnectionManager,
    info: ConnectionInfo,
    settings: Settings,
    /// For commits that wait for replicas, which holds up what comes after.
    waiting: OnceLock<ConnectionManager>,
}

impl Line {
    pub(crate) fn new(info: ConnectionInfo, settings: Settings) -> RedisResult<Self> {
        Ok(Self {
            address: info.addr().to_string(),
            name: String::new(),
            manager: settings.manager(info.clone())?,
            info,
            settings,
            waiting: OnceLock::new(),
        })
    }

    pub(crate) async fn send(&self, command: &Cmd) -> RedisResult<Value> {
        let mut manager = self.manager.clone();
        match command.query_async(&mut manager).await {
            // Perhaps only that the last attempt to connect failed, long ago.
            Err(e) if e.is_connection_refusal() => command.query_async(&mut manager).await,
            answer => answer,
        }
    }

    /// Several commands in one request.
    pub(crate) async fn send_all(&self, commands: &Pipeline) -> RedisResult<Vec<Value>> {
        let mut manager = self.manager.clone();
        match commands.query_async(&mut manager).await {
            Err(e) if e.is_connection_refusal() => commands.query_async(&mut manager).await,
            answer => answer,
        }
    }

    /// Sends a command, and asks how many replicas have what it wrote. Its
    /// answer, and theirs.
    async fn send_and_wait(&self, command: &Cmd, wait: &Cmd) -> RedisResult<Vec<Value>> {
        let manager = match self.waiting.get() {
            Some(manager) => manager.clone(),
            None => {
                let new = self.settings.manager(self.info.clone())?;
                self.waiting.get_or_init(|| new).clone()
            }
        };
        let mut commands = redis::pipe();
        commands
            .add_command(command.clone())
            .add_command(wait.clone());
        commands.query_async(&mut { manager }).await
    }

    /// The same, or to a server that a slot is being moved to.
    pub(crate) async fn told(&self, command: &Cmd, asking: bool) -> RedisResult<Value> {
        match asking {
            true => self.ask(command).await,
            false => self.send(command).await,
        }
    }

    async fn ask(&self, command: &Cmd) -> RedisResult<Value> {
        let mut commands = redis::pipe();
        commands.cmd("ASKING").ignore().add_command(command.clone());
        let mut answers = self.send_all(&commands).await?;
        Ok(answers.pop().unwrap_or_default())
    }

    pub(crate) fn host(&self) -> &str {
        self.address.rsplit_once(':').map_or("", |(host, _)| host)
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Line").field(&self.address).finish()
    }
}

/// All connections of one opened store.
#[derive(Debug)]
pub(crate) enum Servers {
    One(Arc<Line>),
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
        for seed in &seeds {
            let line = Line::new(seed.clone(), settings)?;
            match line.send(cmd("INFO").arg("cluster")).await {
                Err(e) => failed = e,
                Ok(info) => {
                    let info: String = redis::from_redis_value(info)?;
                    if !info.contains("cluster_enabled:1") {
                        return Ok(Self::One(Arc::new(line)));
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
            Self::One(line) => line.send(command).await,
            Self::Cluster(cluster) => cluster.send(slot, command).await,
        }
    }

    /// The values of these keys, all of this slot.
    pub(crate) async fn get_all(&self, slot: u16, keys: &[String]) -> RedisResult<Vec<Value>> {
        match self {
            Self::One(line) => {
                let values = line.send(cmd("MGET").arg(keys)).await?;
                redis::from_redis_value(values).map_err(RedisError::from)
            }
            Self::Cluster(cluster) => cluster.get_all(slot, keys).await,
        }
    }

    /// Sends a command to whoever has the slot, and waits for replicas; see
    /// [`Line::send_and_wait`].
    pub(crate) async fn send_and_wait(
        &self,
        slot: u16,
        command: &Cmd,
        wait: &Cmd,
    ) -> RedisResult<Vec<Value>> {
        match self {
            Self::One(line) => line.send_and_wait(command, wait).await,
            Self::Cluster(cluster) => {
                let send = |line: Arc<Line>, asking: bool| async move {
                    match asking {
                        // Not before the slot is where it goes.
                        true => Err(RedisError::from((
                            redis::ErrorKind::Server(ServerErrorKind::TryAgain),
                            "the slot is being moved",
                        ))),
                        false => line.send_and_wait(command, wait).await,
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
            Self::One(line) => line.send_all(commands).await,
            Self::Cluster(cluster) => cluster.owner(slot)?.send_all(commands).await,
        }
    }

    /// Sends a command to any of them.
    pub(crate) async fn send_to_any(&self, command: &Cmd) -> RedisResult<Value> {
        match self {
            Self::One(line) => line.send(command).await,
            Self::Cluster(cluster) => cluster.send(0, command).await,
        }
    }

    pub(crate) fn is_cluster(&self) -> bool {
        matches!(self, Self::Cluster(_))
    }

    /// How to connect to each.
    pub(crate) fn addresses(&self) -> Vec<ConnectionInfo> {
        match self {
            Self::One(line) => vec![line.info.clone()],
            Self::Cluster(cluster) => {
                let lines = cluster.primaries();
                lines.iter().map(|line| line.info.clone()).collect()
            }
        }
    }

    /// Finds out who is there now, as far as that can be found out.
    pub(crate) async fn look_again(&self) {
        if let Self::Cluster(cluster) = self {
            let _ = cluster.look_again().await;
        }
    }

    /// Sends a command to every primary.
    pub(crate) async fn send_to_all(&self, command: &Cmd) -> RedisResult<Vec<Value>> {
        match self {
            Self::One(line) => Ok(vec![line.send(command).await?]),
            Self::Cluster(cluster) => {
                let lines = cluster.primaries();
                let all = lines.iter().map(|line| line.send(command));
                futures_util::future::try_join_all(all).await
            }
        }
    }
}
