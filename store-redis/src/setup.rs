//! What the servers report about themselves, and whether the store can use them.

use redis::{Value, cmd};
use store_core::{Durability, Result};

use crate::config::config;
use crate::error::{Effect, from_redis};
use crate::script::Scripts;
use crate::servers::Servers;
use crate::wire::text;

/// The oldest version of Redis that is tested.
const OLDEST: u32 = 7;

/// What the servers reported when the store was opened.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    /// `Redis 7.0.15`, or `Valkey 8.0.2`.
    pub(crate) version: String,
    pub(crate) durability: Durability,
    major: u32,
    policies: Vec<String>,
}

impl Facts {
    /// Asks every primary.
    pub(crate) async fn ask(servers: &Servers) -> Result<Self> {
        let before = |e| from_redis(e, Effect::Repeatable, "connect");
        let mut infos = Vec::new();
        for info in servers
            .send_to_all(cmd("INFO").arg("everything"))
            .await
            .map_err(before)?
        {
            infos.push(text(info)?);
        }
        let Some(first) = infos.first() else {
            return Err(config("the cluster has no server"));
        };
        let (name, number) = match field(first, "valkey_version") {
            Some(number) => ("Valkey", number),
            None => (
                "Redis",
                field(first, "redis_version").unwrap_or("of no version"),
            ),
        };
        let durabilities = match infos
            .iter()
            .all(|info| field(info, "aof_enabled") == Some("1"))
        {
            true => appending(servers).await,
            false => saving(servers).await,
        };
        Ok(Self {
            version: format!("{name} {number}"),
            durability: durabilities,
            major: number
                .split('.')
                .next()
                .and_then(|major| major.parse().ok())
                .unwrap_or_default(),
            policies: infos
                .iter()
                .filter_map(|info| field(info, "maxmemory_policy"))
                .map(String::from)
                .collect(),
        })
    }

    /// Refuses servers on which the store cannot keep its promises.
    pub(crate) fn check(&self) -> Result<()> {
        if self.major < OLDEST {
            return Err(config(format!(
                "the server is {} and must be Redis 7.0 or newer, or Valkey",
                self.version
            )));
        }
        self.policies
            .iter()
            .try_for_each(|policy| check_eviction(policy))
    }
}

/// Refuses a server that deletes records when its memory is full. The policy is read from
/// `INFO memory`, which does not need the right to `CONFIG`.
/// <https://redis.io/docs/latest/develop/reference/eviction/>
pub(crate) fn check_policy(info: &str) -> Result<()> {
    field(info, "maxmemory_policy").map_or(Ok(()), check_eviction)
}

fn check_eviction(policy: &str) -> Result<()> {
    if policy == "noeviction" {
        return Ok(());
    }
    Err(config(format!(
        "the server's maxmemory-policy is {policy}, so it deletes records when its memory is full; \
         set it to noeviction, or use a separate server for the store"
    )))
}

/// Loads the scripts into every primary.
pub(crate) async fn load(servers: &Servers, scripts: &Scripts) -> Result<()> {
    for script in scripts.all() {
        let mut command = cmd("SCRIPT");
        command.arg("LOAD").arg(script.text());
        servers
            .send_to_all(&command)
            .await
            .map_err(|e| from_redis(e, Effect::Repeatable, "setup"))?;
    }
    Ok(())
}

/// The durability of servers that log each write.
async fn appending(servers: &Servers) -> Durability {
    match settings(servers, "appendfsync").await {
        Some(all) if all.iter().all(|fsync| fsync == "always") => Durability::Crash,
        // A crash may lose the last second, or writes that the operating system had not
        // flushed.
        _ => Durability::Restart,
    }
}

/// The durability of servers that save all of their memory at intervals, or when they
/// shut down.
async fn saving(servers: &Servers) -> Durability {
    match settings(servers, "save").await {
        Some(all) if all.iter().all(|save| !save.is_empty()) => Durability::Restart,
        Some(_) => Durability::Process,
        None => Durability::Unknown,
    }
}

/// A setting of every primary; `None` if one does not report it.
async fn settings(servers: &Servers, name: &str) -> Option<Vec<String>> {
    let answers = servers
        .send_to_all(cmd("CONFIG").arg("GET").arg(name))
        .await
        .ok()?;
    let value = |answer| match answer {
        Value::Map(mut pairs) => text(pairs.pop()?.1).ok(),
        Value::Array(mut pair) => text(pair.pop()?).ok(),
        _ => None,
    };
    answers.into_iter().map(value).collect()
}

/// The value of a line `name:value` in the reply to `INFO`.
pub(crate) fn field<'i>(info: &'i str, name: &str) -> Option<&'i str> {
    info.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .map(str::trim)
}
