//! A connection that all calls to one server share, opened when it is needed.
//!
//! The driver's `ConnectionManager` is not used, because its errors do not distinguish a
//! call that was sent from one for which no connection could be opened. Only the second
//! may be repeated if it writes.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionInfo, ProtocolVersion, PushInfo, PushKind,
    RedisError, RedisResult, ServerErrorKind, Value, cmd,
};
use store_core::backend::event;

use crate::error::{Answer, Failure, report};

/// How often the role of a server in use is checked.
const ROLE_CHECK: Duration = Duration::from_millis(500);

/// How long a server may reply `LOADING` before its connection is replaced.
const LOADING: Duration = Duration::from_secs(1);

/// How to connect to each server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timeouts {
    pub(crate) timeout: Duration,
    pub(crate) connect_timeout: Duration,
}

/// Several hosts, of which the first usable one is connected to.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) hosts: Arc<[ConnectionInfo]>,
    /// Whether only a primary is usable. In a cluster any node is, because nodes redirect
    /// calls.
    pub(crate) primary_only: bool,
    pub(crate) timeouts: Timeouts,
}

/// The current connection to a [`Target`].
pub(crate) struct Slot(Mutex<Current>);

#[derive(Default)]
struct Current {
    opening: Option<Opening>,
    /// The host to try first.
    first: usize,
}

/// A connection that is being opened, for all calls that wait for it.
type Opening = Shared<BoxFuture<'static, RedisResult<Arc<Connection>>>>;

impl Slot {
    pub(crate) fn new(first: usize) -> Self {
        Self(Mutex::new(Current {
            opening: None,
            first,
        }))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Current> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The current connection, or a new one if it is no longer usable. Calls on the old
    /// connection continue. An error means that nothing was sent.
    pub(crate) async fn connection(&self, target: &Target) -> Answer<Arc<Connection>> {
        let opening = {
            let mut current = self.lock();
            match current.opening.as_ref().map(|opening| opening.peek()) {
                Some(Some(Ok(open))) if open.is_usable() => {
                    open.check_role(target);
                    return Ok(Arc::clone(open));
                }
                // Another call is opening it.
                Some(None) => {}
                Some(Some(Ok(old))) => {
                    event::recovery("the connection to a server is replaced");
                    let next = old.host + usize::from(old.is_demoted());
                    current.first = next % target.hosts.len();
                    current.opening = None;
                }
                Some(Some(Err(_))) => current.opening = None,
                None => {}
            }
            let first = current.first;
            let open = || open(target.clone(), first).boxed().shared();
            current.opening.get_or_insert_with(open).clone()
        };
        opening.await.map_err(Failure::not_sent)
    }

    /// The host that was used last.
    pub(crate) fn host(&self) -> usize {
        let current = self.lock();
        match current.opening.as_ref().and_then(|opening| opening.peek()) {
            Some(Ok(open)) => open.host,
            _ => current.first,
        }
    }
}

/// Connects to the first usable host, starting with `first`.
async fn open(target: Target, first: usize) -> RedisResult<Arc<Connection>> {
    let mut failed = None;
    for i in 0..target.hosts.len() {
        let host = (first + i) % target.hosts.len();
        match Connection::open(&target, host).await {
            Ok(connection) => return Ok(Arc::new(connection)),
            // The error of a server that replies is more helpful than a missing reply.
            Err(e) => failed = failed.filter(is_replica_error).or(Some(e)),
        }
    }
    Err(failed.unwrap_or_else(replica_error))
}

/// An open connection.
pub(crate) struct Connection {
    connection: MultiplexedConnection,
    /// The index of the host in the target.
    host: usize,
    is_lost: Arc<AtomicBool>,
    /// Whether the server is no longer a primary.
    is_demoted: AtomicBool,
    /// When the role was last checked.
    checked: Mutex<Instant>,
    loading_since: OnceLock<Instant>,
}

impl Connection {
    async fn open(target: &Target, host: usize) -> RedisResult<Self> {
        let info = target.hosts[host].clone();
        let is_lost = Arc::new(AtomicBool::new(false));
        let mut config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(target.timeouts.connect_timeout))
            .set_response_timeout(Some(target.timeouts.timeout))
            // Waiting calls are buffered here; with a larger buffer more of them share a
            // packet.
            .set_pipeline_buffer_size(1024);
        if info.redis_settings().protocol() != ProtocolVersion::RESP2 {
            let is_lost = Arc::clone(&is_lost);
            config = config.set_push_sender(move |push: PushInfo| {
                if push.kind == PushKind::Disconnection {
                    is_lost.store(true, Ordering::Release);
                }
                Ok::<(), ()>(())
            });
        }
        let client = Client::open(info)?;
        let connection = Self {
            connection: client
                .get_multiplexed_async_connection_with_config(&config)
                .await?,
            host,
            is_lost,
            is_demoted: AtomicBool::new(false),
            checked: Mutex::new(Instant::now()),
            loading_since: OnceLock::new(),
        };
        if target.primary_only && !connection.is_primary().await? {
            return Err(replica_error());
        }
        Ok(connection)
    }

    /// The driver's connection.
    pub(crate) fn driver(&self) -> MultiplexedConnection {
        self.connection.clone()
    }

    pub(crate) async fn send(&self, command: &Cmd) -> Answer {
        let answer = command.query_async(&mut self.driver()).await;
        answer.map_err(|e| self.failed(e))
    }

    /// The failure of a command that was sent. The connection is not used again if the
    /// error means that the address may now lead to another server that is usable.
    pub(crate) fn failed(&self, e: RedisError) -> Failure {
        use ServerErrorKind::{BusyLoading, MasterDown, ReadOnly};
        let is_demoted = match e.kind() {
            redis::ErrorKind::Server(ReadOnly | MasterDown) => true,
            redis::ErrorKind::Server(BusyLoading) => {
                self.loading_since.get_or_init(Instant::now).elapsed() > LOADING
            }
            _ => false,
        };
        if is_demoted {
            self.is_demoted.store(true, Ordering::Release);
        }
        if e.is_unrecoverable_error() {
            self.is_lost.store(true, Ordering::Release);
        }
        e.into()
    }

    fn is_usable(&self) -> bool {
        !self.is_demoted() && !self.is_lost.load(Ordering::Acquire)
    }

    fn is_demoted(&self) -> bool {
        self.is_demoted.load(Ordering::Acquire)
    }

    /// Starts a check of the role if it is due. The current call does not wait for it; if
    /// the server is a replica, the next call opens a new connection.
    fn check_role(self: &Arc<Self>, target: &Target) {
        if !target.primary_only {
            return;
        }
        let mut checked = self.checked.lock().unwrap_or_else(PoisonError::into_inner);
        if checked.elapsed() < ROLE_CHECK {
            return;
        }
        *checked = Instant::now();
        let connection = Arc::clone(self);
        tokio::spawn(async move {
            match connection.is_primary().await {
                Ok(true) => {}
                Ok(false) => {
                    connection.is_demoted.store(true, Ordering::Release);
                    report("a server is no longer a primary", replica_error().into());
                }
                Err(e) => report("could not check the role of a server", connection.failed(e)),
            }
        });
    }

    /// Whether the server is a primary. `HELLO` without arguments reports the role and
    /// needs no more rights than connecting does; a server that refuses it is assumed to
    /// be a primary. <https://redis.io/docs/latest/commands/hello/>
    async fn is_primary(&self) -> RedisResult<bool> {
        let answer = match cmd("HELLO").query_async(&mut self.driver()).await {
            Ok(answer) => answer,
            Err(e) if is_connection_error(&e) => return Err(e),
            Err(_) => return Ok(true),
        };
        let fields: HashMap<String, Value> = redis::from_redis_value(answer).unwrap_or_default();
        Ok(match fields.get("role") {
            Some(Value::BulkString(role)) => !matches!(&role[..], b"replica" | b"slave"),
            Some(Value::SimpleString(role)) => !matches!(&role[..], "replica" | "slave"),
            _ => true,
        })
    }
}

fn is_connection_error(e: &RedisError) -> bool {
    matches!(e.kind(), redis::ErrorKind::Io | redis::ErrorKind::Parse)
}

fn replica_error() -> RedisError {
    RedisError::from((
        redis::ErrorKind::Server(ServerErrorKind::ReadOnly),
        "the server is a replica",
    ))
}

fn is_replica_error(e: &RedisError) -> bool {
    e.kind() == redis::ErrorKind::Server(ServerErrorKind::ReadOnly)
}
