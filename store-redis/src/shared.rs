//! The state that all parts of an opened store share: connections, keys, clock, scripts.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use redis::{Cmd, ServerErrorKind, Value, cmd};
use store_core::{Clock, Error, ErrorKind, Ping, Result, Timestamp};

use crate::config::{RedisBuilder, Strict};
use crate::error::{BACKEND, Effect, from_redis, report};
use crate::keys::Namespace;
use crate::script::{Lua, Scripts};
use crate::servers::Servers;
use crate::setup::{self, Facts, check_policy, field};
use crate::wire::{integer, text, unexpected};

pub(crate) struct Shared {
    /// `None` once the store is closed.
    servers: RwLock<Option<Arc<Servers>>>,
    pub(crate) names: Namespace,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) scripts: Scripts,
    pub(crate) facts: Facts,
    pub(crate) strict: Option<Strict>,
    /// Whether commits announce changes.
    pub(crate) announces: bool,
    pub(crate) connect_timeout: Duration,
    grace: Duration,
}

impl Shared {
    pub(crate) async fn open(builder: &RedisBuilder) -> Result<Self> {
        let names = Namespace::new(builder.namespace_name())?;
        let servers = Servers::connect(builder.seeds()?, builder.timeouts())
            .await
            .map_err(|e| from_redis(e, Effect::Repeatable, "connect"))?;
        let facts = Facts::ask(&servers).await?;
        facts.check()?;
        Ok(Self {
            servers: RwLock::new(Some(Arc::new(servers))),
            names,
            clock: Arc::clone(&builder.common.clock),
            scripts: Scripts::new(),
            facts,
            strict: builder.strict,
            announces: builder.change_notice,
            connect_timeout: builder.common.connect_timeout,
            grace: builder.grace,
        })
    }

    pub(crate) async fn setup(&self) -> Result<()> {
        let servers = self.servers()?;
        self.facts.check()?;
        setup::load(&servers, &self.scripts).await
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn servers(&self) -> Result<Arc<Servers>> {
        let servers = self.servers.read().unwrap_or_else(PoisonError::into_inner);
        servers
            .clone()
            .ok_or_else(|| Error::closed().with_backend(BACKEND))
    }

    /// The server's time to live for a record with this expiry: the time until then plus
    /// the grace.
    pub(crate) fn life_ms(&self, expires_at: Timestamp, now: Timestamp) -> u64 {
        ms(expires_at.since(now).saturating_add(self.grace))
    }

    /// The same for a rate limit, whose expiry moves with each take. It is longer by half
    /// of the grace, so that not every take has to change the key's time to live.
    pub(crate) fn limit_life_ms(&self, expires_at: Timestamp, now: Timestamp) -> u64 {
        let life = expires_at.since(now).saturating_add(self.grace);
        ms(life.saturating_add(self.grace / 2))
    }

    /// The earliest stored expiry of a bucket whose time to live need not change when the
    /// expiry moves to `expires_at`. It is at most half the grace earlier, and equal for
    /// all times within half a grace.
    pub(crate) fn stored_long_enough_since(&self, expires_at: Timestamp) -> Timestamp {
        let step = u64::try_from((self.grace / 2).as_nanos()).unwrap_or(u64::MAX);
        let nanos = expires_at.as_nanos();
        Timestamp::from_nanos(nanos - nanos % step.max(1))
    }

    pub(crate) async fn send(
        &self,
        operation: &'static str,
        effect: Effect,
        key: &str,
        command: &Cmd,
    ) -> Result<Value> {
        let servers = self.servers()?;
        servers
            .send(servers.slot(key), command)
            .await
            .map_err(|e| from_redis(e, effect, operation))
    }

    /// Runs a script whose keys are in one slot.
    pub(crate) async fn run(
        &self,
        operation: &'static str,
        effect: Effect,
        script: Script<'_>,
    ) -> Result<Value> {
        let servers = self.servers()?;
        let slot = script.keys.first().map_or(0, |key| servers.slot(key));
        let answer = match servers.send(slot, &script.command(true)).await {
            // The server does not have the script, because it was restarted or joined the
            // cluster. The script did not run.
            Err(e) if e.kind() == redis::ErrorKind::Server(ServerErrorKind::NoScript) => {
                servers.send(slot, &script.command(false)).await
            }
            answer => answer,
        };
        answer.map_err(|e| from_redis(e, effect, operation))
    }

    /// The same for a write that this many replicas must confirm.
    pub(crate) async fn run_strictly(
        &self,
        operation: &'static str,
        script: Script<'_>,
        strict: Strict,
    ) -> Result<Value> {
        let servers = self.servers()?;
        let slot = script.keys.first().map_or(0, |key| servers.slot(key));
        let mut wait = cmd("WAIT");
        wait.arg(strict.replicas)
            .arg(u64::try_from(strict.timeout.as_millis()).unwrap_or(u64::MAX));
        let answer = match servers
            .send_and_wait(slot, &script.command(true), &wait)
            .await
        {
            Err(e) if e.kind() == redis::ErrorKind::Server(ServerErrorKind::NoScript) => {
                servers
                    .send_and_wait(slot, &script.command(false), &wait)
                    .await
            }
            answer => answer,
        };
        let answer = answer.map_err(|e| from_redis(e, Effect::Write, operation))?;
        let [answer, confirmed] = <[Value; 2]>::try_from(answer).map_err(|_| unexpected())?;
        // A refused batch wrote nothing that replicas could confirm.
        if answer == Value::Nil && integer(&confirmed)? < i64::from(strict.replicas) {
            return Err(Error::new(
                ErrorKind::Timeout,
                "the write was made, but fewer replicas than required confirmed it in time; a \
                 fail-over now may lose it",
            )
            .with_backend(BACKEND)
            .with_operation(operation));
        }
        Ok(answer)
    }

    /// The server's time. Fails if a server's policy allows it to evict records.
    pub(crate) async fn ping(&self) -> Result<Ping> {
        let failed = |e| from_redis(e, Effect::Repeatable, "ping");
        let servers = self.servers()?;
        let mut info = cmd("INFO");
        info.arg("server").arg("memory");
        let answer = servers.send_to_any(&info).await.map_err(failed)?;
        let answer = text(answer)?;
        check_policy(&answer)?;
        if servers.is_cluster() {
            let mut memory = cmd("INFO");
            memory.arg("memory");
            for answer in servers.send_to_each(&memory).await {
                match answer {
                    Ok(answer) => check_policy(&text(answer)?)?,
                    // One unreachable server of several does not make the store
                    // unavailable.
                    Err(e) => report("could not check the eviction policy of a server", e),
                }
            }
        }
        let micros = field(&answer, "server_time_usec").and_then(|time| time.parse::<u64>().ok());
        let nanos = micros.ok_or_else(unexpected)?.saturating_mul(1_000);
        Ok(Ping::at(Timestamp::from_nanos(nanos), self.now()))
    }

    /// Calls that are in progress continue.
    pub(crate) fn close(&self) {
        *self.servers.write().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

fn ms(life: Duration) -> u64 {
    let whole = u64::try_from(life.as_millis()).unwrap_or(u64::MAX);
    whole.saturating_add(1)
}

/// A script with its keys and a closure that writes its arguments.
pub(crate) struct Script<'a> {
    pub(crate) lua: &'a Lua,
    pub(crate) keys: &'a [String],
    pub(crate) arguments: &'a (dyn Fn(&mut Cmd) + Send + Sync),
    /// Their approximate size in bytes.
    pub(crate) size: usize,
}

impl Script<'_> {
    pub(crate) fn command(&self, by_digest: bool) -> Cmd {
        let mut command = self.lua.command(by_digest, self.keys.len() * 6, self.size);
        command.arg(self.keys.len());
        for key in self.keys {
            command.arg(key);
        }
        (self.arguments)(&mut command);
        command
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("names", &self.names)
            .field("clock", &self.clock)
            .field("server", &self.facts.version)
            .finish_non_exhaustive()
    }
}
