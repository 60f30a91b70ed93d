//! One server and the connection to it, which all calls share.
//!
//! A command is sent once. It is sent again only if the server said that it did
//! not run it, or if no server accepted the connection.
//!
//! An address may lead to another server after a fail-over, while an open
//! connection still leads to the old one. So a connection to a server that no
//! longer serves as primary is replaced: after such an error, and after a check
//! of the server's role, because a replica answers reads without any error.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{
    Client, Cmd, ConnectionInfo, Pipeline, RedisError, RedisResult, ServerErrorKind, Value, cmd,
};
use store_core::backend::{Effect, event};

use crate::error::from_redis;

/// How often the role of a server in use is checked.
const ROLE_CHECK: Duration = Duration::from_millis(500);

/// How long a server may load its data before its connection is replaced.
const LOADING: Duration = Duration::from_secs(1);

/// How to connect to each server.
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
            // A call that cannot connect reports it; the next one tries again.
            .set_number_of_retries(0)
            // Calls wait in here; the more, the more of them share a packet.
            .set_pipeline_buffer_size(1024);
        ConnectionManager::new_lazy_with_config(Client::open(info)?, config)
    }
}

/// A server, reached by its address.
pub(crate) struct Node {
    /// `host:port`.
    pub(crate) address: String,
    /// The node's name in its cluster.
    pub(crate) name: String,
    /// The addresses that are tried in turn; of a cluster's node, its own.
    hosts: Vec<ConnectionInfo>,
    /// Whether to use primaries only. A cluster's nodes redirect instead.
    checks_role: bool,
    settings: Settings,
    current: RwLock<Arc<Connection>>,
}

struct Connection {
    manager: ConnectionManager,
    /// For commits that wait for replicas, which delay what is sent after them.
    waiting: OnceLock<ConnectionManager>,
    /// Which of the node's hosts.
    host: usize,
    /// When the server was last known to be a primary.
    checked: Mutex<Option<Instant>>,
    /// The server was found to be a replica.
    is_demoted: AtomicBool,
    loading_since: OnceLock<Instant>,
}

impl Connection {
    fn new(hosts: &[ConnectionInfo], host: usize, settings: Settings) -> RedisResult<Arc<Self>> {
        Ok(Arc::new(Self {
            manager: settings.manager(hosts[host].clone())?,
            waiting: OnceLock::new(),
            host,
            checked: Mutex::new(None),
            is_demoted: AtomicBool::new(false),
            loading_since: OnceLock::new(),
        }))
    }

    async fn send(&self, command: &Cmd) -> RedisResult<Value> {
        let mut manager = self.manager.clone();
        match command.query_async(&mut manager).await {
            // It may only report that an earlier attempt to connect failed.
            Err(e) if e.is_connection_refusal() => command.query_async(&mut manager).await,
            answer => answer,
        }
    }

    /// Whether the server is a primary; if not, it is marked. `HELLO` without arguments reports the
    /// role and needs no more rights than connecting does; a server that refuses
    /// it is taken for a primary. <https://redis.io/docs/latest/commands/hello/>
    async fn is_primary(&self) -> RedisResult<bool> {
        let role = match self.send(&cmd("HELLO")).await {
            Ok(answer) => {
                let fields: HashMap<String, Value> =
                    redis::from_redis_value(answer).unwrap_or_default();
                fields.get("role").cloned()
            }
            Err(e) if matches!(e.kind(), redis::ErrorKind::Io | redis::ErrorKind::Parse) => {
                return Err(e);
            }
            Err(_) => None,
        };
        let is_replica = |role: &Value| match role {
            Value::BulkString(bytes) => bytes == b"replica" || bytes == b"slave",
            Value::SimpleString(text) => text == "replica" || text == "slave",
            _ => false,
        };
        let is_primary = !role.as_ref().is_some_and(is_replica);
        if !is_primary {
            self.is_demoted.store(true, Ordering::Release);
        }
        *self.checked() = Some(Instant::now());
        Ok(is_primary)
    }

    fn checked(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.checked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the role was never checked; and if it is time to check it again,
    /// begins to.
    fn is_unchecked(self: &Arc<Self>) -> bool {
        let checked = &mut *self.checked();
        match checked {
            None => true,
            Some(at) if at.elapsed() < ROLE_CHECK => false,
            Some(at) => {
                *at = Instant::now();
                let connection = Arc::clone(self);
                // No call waits for it: the next one meets what it finds.
                tokio::spawn(async move {
                    let role = connection.is_primary().await;
                    let role = role.map_err(|e| from_redis(e, Effect::Repeatable, "role"));
                    event::ignore("could not check the role of a server", role);
                });
                false
            }
        }
    }

    /// Whether this error says that the address may lead to a better server.
    fn is_useless_after(&self, e: &RedisError) -> bool {
        use ServerErrorKind::{BusyLoading, MasterDown, ReadOnly};
        match e.kind() {
            redis::ErrorKind::Server(ReadOnly | MasterDown) => true,
            redis::ErrorKind::Server(BusyLoading) => {
                self.loading_since.get_or_init(Instant::now).elapsed() > LOADING
            }
            _ => false,
        }
    }
}

impl Node {
    /// One node of a cluster, or of what may be one.
    pub(crate) fn new(info: ConnectionInfo, settings: Settings) -> RedisResult<Self> {
        let hosts = vec![info];
        Ok(Self {
            address: hosts[0].addr().to_string(),
            name: String::new(),
            current: RwLock::new(Connection::new(&hosts, 0, settings)?),
            hosts,
            checks_role: false,
            settings,
        })
    }

    /// The primary among these hosts; the one at `first` is tried first.
    pub(crate) fn primary_of(
        hosts: &[ConnectionInfo],
        first: usize,
        settings: Settings,
    ) -> RedisResult<Self> {
        Ok(Self {
            address: hosts[first].addr().to_string(),
            name: String::new(),
            current: RwLock::new(Connection::new(hosts, first, settings)?),
            hosts: hosts.to_vec(),
            checks_role: true,
            settings,
        })
    }

    fn current(&self) -> Arc<Connection> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&current)
    }

    /// Uses a new connection from now on, to the next of the hosts. Calls on the
    /// old one end as they would have.
    fn replace(&self, old: &Arc<Connection>) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if Arc::ptr_eq(&current, old) {
            let host = (old.host + 1) % self.hosts.len();
            match Connection::new(&self.hosts, host, self.settings) {
                Ok(new) => {
                    event::recovery("the connection to a server was replaced");
                    *current = new;
                }
                Err(e) => {
                    let error = from_redis(e, Effect::Repeatable, "connect");
                    event::failure("could not replace the connection to a server", &error);
                }
            }
        }
    }

    /// The connection to use: to a primary, as far as was checked.
    async fn connection(&self) -> RedisResult<Arc<Connection>> {
        let mut connection = self.current();
        if !self.checks_role {
            return Ok(connection);
        }
        if connection.is_demoted.load(Ordering::Acquire) {
            self.replace(&connection);
            connection = self.current();
        }
        if connection.is_unchecked() {
            match connection.is_primary().await {
                Ok(true) => {}
                Ok(false) => return Err(is_replica()),
                Err(e) => return Err(self.after(&connection, e)),
            }
        }
        Ok(connection)
    }

    /// The error `e` of this connection, which is replaced if it is useless now.
    fn after(&self, connection: &Arc<Connection>, e: RedisError) -> RedisError {
        let elsewhere = self.hosts.len() > 1 && e.is_connection_refusal();
        if elsewhere || connection.is_useless_after(&e) {
            self.replace(connection);
        }
        e
    }

    pub(crate) async fn send(&self, command: &Cmd) -> RedisResult<Value> {
        let connection = self.connection().await?;
        let answer = connection.send(command).await;
        answer.map_err(|e| self.after(&connection, e))
    }

    /// Several commands in one request.
    pub(crate) async fn send_all(&self, commands: &Pipeline) -> RedisResult<Vec<Value>> {
        let connection = self.connection().await?;
        let mut manager = connection.manager.clone();
        let answers = match commands.query_async(&mut manager).await {
            Err(e) if e.is_connection_refusal() => commands.query_async(&mut manager).await,
            answers => answers,
        };
        answers.map_err(|e| self.after(&connection, e))
    }

    /// Sends a command, and asks how many replicas have what it wrote. Returns
    /// its answer, and theirs.
    pub(crate) async fn send_and_wait(&self, command: &Cmd, wait: &Cmd) -> RedisResult<Vec<Value>> {
        let connection = self.connection().await?;
        let manager = match connection.waiting.get() {
            Some(manager) => manager.clone(),
            None => {
                let new = self.settings.manager(self.hosts[connection.host].clone())?;
                connection.waiting.get_or_init(|| new).clone()
            }
        };
        let mut commands = redis::pipe();
        commands
            .add_command(command.clone())
            .add_command(wait.clone());
        let answers = commands.query_async(&mut { manager }).await;
        answers.map_err(|e| self.after(&connection, e))
    }

    /// Sends a command; with `ASKING` before it, to a server that its slot is
    /// being moved to.
    pub(crate) async fn send_maybe_asking(
        &self,
        command: &Cmd,
        asking: bool,
    ) -> RedisResult<Value> {
        if !asking {
            return self.send(command).await;
        }
        let mut commands = redis::pipe();
        commands.cmd("ASKING").ignore().add_command(command.clone());
        let mut answers = self.send_all(&commands).await?;
        Ok(answers.pop().unwrap_or_default())
    }

    /// How to connect to the server in use.
    pub(crate) fn info(&self) -> ConnectionInfo {
        self.hosts[self.current().host].clone()
    }

    pub(crate) fn host(&self) -> &str {
        self.address.rsplit_once(':').map_or("", |(host, _)| host)
    }
}

fn is_replica() -> RedisError {
    RedisError::from((
        redis::ErrorKind::Server(ServerErrorKind::ReadOnly),
        "the server is a replica",
    ))
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Node").field(&self.address).finish()
    }
}
