//! One server, or the primary among several.
//!
//! A command is sent once. It is sent again only if the server reports that it did
//! not run it, or if it was never sent.
//!
//! After a fail-over an address may lead to another server, while an open connection
//! still leads to the old one. So a connection to a server that no longer serves as a
//! primary is replaced: after an error that shows it, and after a check of the
//! server's role, because a replica answers reads without an error.

use std::fmt;

use redis::{Cmd, ConnectionInfo, Pipeline, Value};

use crate::connection::{Slot, Target, Timeouts};
use crate::error::Answer;

/// A server, reached by its address.
pub(crate) struct Node {
    /// `host:port`.
    pub(crate) address: String,
    /// The node's name in its cluster.
    pub(crate) name: String,
    target: Target,
    calls: Slot,
    /// A separate connection for commits that wait for replicas, because they delay the
    /// commands that follow.
    waiting: Slot,
}

impl Node {
    /// One node of a cluster, or a server that may belong to one.
    pub(crate) fn new(info: ConnectionInfo, timeouts: Timeouts) -> Self {
        Self::among(
            Target {
                hosts: [info].into(),
                primary_only: false,
                timeouts,
            },
            0,
        )
    }

    /// The primary among these hosts; the one at `first` is tried first.
    pub(crate) fn primary_of(hosts: &[ConnectionInfo], first: usize, timeouts: Timeouts) -> Self {
        Self::among(
            Target {
                hosts: hosts.into(),
                primary_only: true,
                timeouts,
            },
            first,
        )
    }

    fn among(target: Target, first: usize) -> Self {
        Self {
            address: target.hosts[first].addr().to_string(),
            name: String::new(),
            target,
            calls: Slot::new(first),
            waiting: Slot::new(first),
        }
    }

    pub(crate) async fn send(&self, command: &Cmd) -> Answer {
        let connection = self.calls.connection(&self.target).await?;
        connection.send(command).await
    }

    /// Several commands in one request.
    pub(crate) async fn send_all(&self, commands: &Pipeline) -> Answer<Vec<Value>> {
        self.send_by(&self.calls, commands).await
    }

    async fn send_by(&self, slot: &Slot, commands: &Pipeline) -> Answer<Vec<Value>> {
        let connection = slot.connection(&self.target).await?;
        let answers = commands.query_async(&mut connection.driver()).await;
        answers.map_err(|e| connection.failed(e))
    }

    /// Sends a command and then `wait`, which returns how many replicas have received
    /// what it wrote. Returns both replies.
    pub(crate) async fn send_and_wait(&self, command: &Cmd, wait: &Cmd) -> Answer<Vec<Value>> {
        let mut commands = redis::pipe();
        commands
            .add_command(command.clone())
            .add_command(wait.clone());
        self.send_by(&self.waiting, &commands).await
    }

    /// Sends a command. If `asking`, sends `ASKING` before it, because the server is
    /// importing the slot.
    pub(crate) async fn send_maybe_asking(&self, command: &Cmd, asking: bool) -> Answer {
        if !asking {
            return self.send(command).await;
        }
        let mut commands = redis::pipe();
        commands.cmd("ASKING").ignore().add_command(command.clone());
        let mut answers = self.send_all(&commands).await?;
        Ok(answers.pop().unwrap_or_default())
    }

    /// The connection settings of the server in use.
    pub(crate) fn info(&self) -> ConnectionInfo {
        self.target.hosts[self.calls.host()].clone()
    }

    pub(crate) fn host(&self) -> &str {
        self.address.rsplit_once(':').map_or("", |(host, _)| host)
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Node").field(&self.address).finish()
    }
}
