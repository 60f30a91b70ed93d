//! Real servers to test against: found, or made.
//!
//! For each server, in this order:
//! 1. a URL in the environment, such as `STORE_TEST_POSTGRES_URL`;
//! 2. a container, when an engine answers and the image is there or can be pulled;
//! 3. a program on this machine, on a free port, in a folder of its own;
//! 4. if asked to install: fetched into `target/servers` without root.
//!
//! What was started ends with the [`Server`], and with this process whatever
//! becomes of it. Where nothing is found, the error says what to do.

mod container;
pub mod postgres;
mod program;

use std::fmt;
use std::path::PathBuf;

/// What may be used to find a server.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Containers may be used.
    pub docker: bool,
    /// What is missing may be fetched into `target/servers`.
    pub install: bool,
    /// What the server acknowledges must survive its crash. Slower.
    pub durable: bool,
}

impl Options {
    /// Containers unless `STORE_TEST_NO_DOCKER` is set, installing if
    /// `STORE_TEST_INSTALL` is, and no durability.
    pub fn from_env() -> Self {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        Self {
            docker: !set("STORE_TEST_NO_DOCKER"),
            install: set("STORE_TEST_INSTALL"),
            durable: false,
        }
    }

    /// These, with durability as said.
    pub fn durable(mut self, durable: bool) -> Self {
        self.durable = durable;
        self
    }
}

/// A server that answers. Dropping it stops what was started for it.
pub struct Server {
    url: String,
    origin: String,
    running: Running,
}

enum Running {
    /// Someone else's.
    Lent,
    Program(program::Program),
    /// Stopped when it is dropped.
    Container {
        _container: Box<container::Running>,
    },
}

impl Server {
    /// Where it is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where it came from, for the report: the environment, a container, a program.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Ends it as a crash would, if it was started here as a program, and says
    /// whether it was.
    pub fn kill(&mut self) -> bool {
        match &mut self.running {
            Running::Program(program) => program.kill(),
            Running::Lent | Running::Container { .. } => false,
        }
    }

    /// Starts it again after [`Server::kill`], on what it had written.
    ///
    /// # Errors
    /// What it said, if it does not come back.
    pub fn restart(&mut self) -> Result<(), String> {
        match &mut self.running {
            Running::Program(program) => postgres::restart(program),
            Running::Lent | Running::Container { .. } => Err("it is not ours to start".into()),
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}

/// Where installed servers are kept: `target/servers`.
fn installed() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target"),
        PathBuf::from,
    );
    target.join("servers")
}
