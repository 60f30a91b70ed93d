//! Real servers to test against: found or started.
//!
//! For each server, in this order:
//! 1. a URL in the environment, such as `STORE_TEST_POSTGRES_URL`;
//! 2. a container, when an engine answers and the image is there or can be pulled;
//! 3. a program on this machine, on a free port, in a folder of its own;
//! 4. if asked to install: fetched into `target/servers` without root.
//!
//! What was started ends with the [`Server`], and with this process even if it is killed,
//! because a separate process watches over each server. If none is found, the error says
//! what to do.
//!
//! Another server needs a file next to this one, with a `Kind` that implements each way,
//! and a function `find`.

mod container;
pub mod dynamodb;
mod install;
pub mod ministack;
mod pgbouncer;
pub mod postgres;
mod program;
pub mod redis;
pub mod s3;

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use container::Container;
use program::Program;

/// The environment variable with the only way to use: `container`, `program` or
/// `install`.
pub const WAY: &str = "STORE_TEST_WAY";

/// The ways to find a server that are allowed.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// A running server that the environment names.
    pub running: bool,
    /// A container.
    pub containers: bool,
    /// A program on this machine.
    pub programs: bool,
    /// What is missing may be fetched into `target/servers`.
    pub install: bool,
    /// What the server acknowledges must survive a crash of it, which is slower.
    pub durable: bool,
}

impl Options {
    /// Every way except installing; no containers if `STORE_TEST_NO_DOCKER` is set,
    /// installing too if `STORE_TEST_INSTALL` is set, or only the way in [`WAY`]. No
    /// durability.
    pub fn from_env() -> Self {
        let way = std::env::var(WAY).unwrap_or_default();
        let may = |name: &str| way.is_empty() || way == name;
        Self {
            running: way.is_empty(),
            containers: may("container") && !is_set("STORE_TEST_NO_DOCKER"),
            programs: may("program"),
            install: way == "install" || (way.is_empty() && is_set("STORE_TEST_INSTALL")),
            durable: false,
        }
    }

    /// These options, with or without durability.
    pub fn durable(mut self, durable: bool) -> Self {
        self.durable = durable;
        self
    }

    /// These options, for a server that [`Server::kill`] can end: a program.
    pub fn killable(mut self) -> Self {
        self.programs |= !self.install;
        Self {
            running: false,
            containers: false,
            ..self
        }
    }
}

fn is_set(name: &str) -> bool {
    std::env::var_os(name).is_some_and(|value| !value.is_empty())
}

/// Waits until a condition holds, at most a minute; returns whether it holds.
fn is_in_time(mut is_there: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_there() {
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    true
}

/// Finds or starts a server; the error says what to do.
pub type Find = fn(&Options) -> Result<Server, String>;

/// Every server that tests need: its name, the variable with the URL of a running one,
/// and the function that finds it.
pub const KINDS: &[(&str, &str, Find)] = &[
    ("postgres", postgres::URL, postgres::find),
    ("redis", redis::URL, redis::find),
    ("dynamodb", dynamodb::URL, dynamodb::find),
    ("s3", s3::URL, s3::find),
];

/// The exit code of a test program that could not get its server: nothing was tested,
/// and nothing failed.
pub const MISSING: u8 = 77;

/// Prints what to do, and returns the exit code.
pub fn missing(advice: &str) -> ExitCode {
    eprintln!("{advice}");
    ExitCode::from(MISSING)
}

/// The server; without one, this prints what to do and ends the program with
/// [`MISSING`]. For programs other than tests, such as benchmarks.
pub fn or_exit(found: Result<Server, String>) -> Server {
    found.unwrap_or_else(|advice| {
        eprintln!("{advice}");
        std::process::exit(MISSING.into())
    })
}

/// Implements each way for one kind of server.
trait Kind {
    /// Its product name.
    fn name(&self) -> String;
    /// The variable with the URL of a running one.
    fn variable(&self) -> &'static str;
    /// A container that answers.
    fn contain(&self, options: &Options) -> Result<Server, String>;
    /// The folder of this machine's programs.
    fn programs(&self) -> Option<PathBuf>;
    /// Fetches the programs, if they are missing, and returns their folder.
    fn install(&self) -> Result<PathBuf, String>;
    /// The programs of that folder, serving new data.
    fn start(&self, programs: &Path, options: &Options) -> Result<Server, String>;
    /// The advice for getting one; a line each.
    fn advice(&self) -> Vec<String>;
}

/// The first way that works.
fn find(kind: &dyn Kind, options: &Options) -> Result<Server, String> {
    if options.running
        && let Ok(url) = std::env::var(kind.variable())
    {
        return Ok(Server::running(url, format!("at {}", kind.variable())));
    }
    let mut tried = Vec::new();
    if options.containers {
        match kind.contain(options) {
            Ok(server) => return Ok(server),
            Err(error) => tried.push(format!("no container: {error}")),
        }
    }
    if options.programs {
        match kind.programs() {
            Some(programs) => match kind.start(&programs, options) {
                Ok(server) => return Ok(server),
                Err(error) => tried.push(format!("{}: {error}", programs.display())),
            },
            None => tried.push("no program on this machine".into()),
        }
    }
    if options.install {
        match kind.install().and_then(|at| kind.start(&at, options)) {
            Ok(server) => return Ok(server),
            Err(error) => tried.push(format!("not installed: {error}")),
        }
    }
    if tried.is_empty() {
        tried.push(format!(
            "no way was allowed: {WAY} may be `container`, `program` or `install`, \
             and STORE_TEST_NO_DOCKER forbids the first"
        ));
    }
    Err(format!(
        "No {} to test against ({}). Do one of these:\n- {}\n\
         - allow fetching it into target/servers, without root: `cargo xtask test-all --install`, \
         or STORE_TEST_INSTALL=1.",
        kind.name(),
        tried.join("; "),
        kind.advice().join("\n- "),
    ))
}

/// A running server. Dropping it stops what was started for it.
pub struct Server {
    url: String,
    /// The URL that bypasses its pooler, if it has one.
    direct: Option<String>,
    origin: String,
    way: &'static str,
    /// What was started, in the order in which it is stopped: nothing for a server that
    /// was running, several for a cluster or a pooler.
    parts: Vec<Part>,
}

/// A process, container or thread that was started.
enum Part {
    Program(Program),
    /// Stopped when it is dropped.
    #[expect(dead_code, reason = "held until the server is dropped")]
    Container(Box<Container>),
    /// A part of this process, stopped likewise.
    #[expect(dead_code, reason = "held until the server is dropped")]
    Embedded(dynamodb::Embedded),
}

impl Server {
    /// A server that was running already.
    fn running(url: String, origin: String) -> Self {
        Self {
            url,
            direct: None,
            origin,
            way: "running",
            parts: Vec::new(),
        }
    }

    /// Its URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The URL of the server itself, if [`Server::url`] is a pooler in front of it: for
    /// what a pooler does not support.
    pub fn direct_url(&self) -> Option<&str> {
        self.direct.as_deref()
    }

    /// Its origin, for the report: the environment, a container, a program.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The same in a word or two: `running`, `container`, `program`, `installed`; and the
    /// pooler in front of it.
    pub fn way(&self) -> String {
        match self.origin.rsplit_once(", through ") {
            Some((_, pooler)) => format!("{}, through {pooler}", self.way),
            None => self.way.into(),
        }
    }

    /// Kills it as a crash would, if all of it was started here as programs; returns
    /// whether it was.
    pub fn kill(&mut self) -> bool {
        !self.parts.is_empty() && (0..self.parts.len()).all(|part| self.kill_part(part))
    }

    /// The same for one part of it, such as a node of a cluster.
    pub fn kill_part(&mut self, part: usize) -> bool {
        match self.parts.get_mut(part) {
            Some(Part::Program(program)) => program.kill(),
            Some(Part::Container(_) | Part::Embedded(_)) | None => false,
        }
    }

    /// Starts it again after [`Server::kill`], with the data that it had written.
    ///
    /// # Errors
    /// Its output, if it does not start.
    pub fn restart(&mut self) -> Result<(), String> {
        (0..self.parts.len()).try_for_each(|part| self.restart_part(part))
    }

    /// The same after [`Server::kill_part`].
    ///
    /// # Errors
    /// Its output, if it does not start.
    pub fn restart_part(&mut self, part: usize) -> Result<(), String> {
        match self.parts.get_mut(part) {
            Some(Part::Program(program)) => program.restart(),
            Some(Part::Container(_) | Part::Embedded(_)) | None => {
                Err("this process did not start it, so it cannot restart it".into())
            }
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
