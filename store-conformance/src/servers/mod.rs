//! Finds or starts the servers that the tests need.
//!
//! For each server, these sources are tried in this order:
//! 1. a URL in the environment, such as `STORE_TEST_POSTGRES_URL`;
//! 2. a container, if a container engine answers and has the image or can pull it;
//! 3. a program on this machine, which is started on a free port, in a new folder;
//! 4. if installing is allowed, a program that is downloaded into `target/servers`,
//!    without root.
//!
//! Every process that was started ends when the [`Server`] is dropped. It also ends when
//! this process is killed, because a separate guard process watches each server. If none
//! is found, the error says what to do.
//!
//! To add a server, add a file next to this one, with an implementation of `Kind` and a
//! function `find`.

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

/// The environment variable that restricts the search to one source: `container`,
/// `program` or `install`.
pub const WAY: &str = "STORE_TEST_WAY";

/// The sources that may be used to find a server.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// A running server whose URL is in the environment.
    pub running: bool,
    /// A container.
    pub containers: bool,
    /// A program on this machine.
    pub programs: bool,
    /// Missing programs may be downloaded into `target/servers`.
    pub install: bool,
    /// Acknowledged writes must survive a crash of the server. This makes the server
    /// slower.
    pub durable: bool,
}

impl Options {
    /// Reads the options from the environment. By default every source except installing
    /// is used. `STORE_TEST_NO_DOCKER` excludes containers, `STORE_TEST_INSTALL` adds
    /// installing, and [`WAY`] selects a single source. Durability is off.
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

/// Waits at most a minute for a condition, and returns whether it holds.
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

/// Every server that tests need: its name, the environment variable with the URL of a
/// running server, and the function that finds one.
pub const KINDS: &[(&str, &str, Find)] = &[
    ("postgres", postgres::URL, postgres::find),
    ("redis", redis::URL, redis::find),
    ("dynamodb", dynamodb::URL, dynamodb::find),
    ("s3", s3::URL, s3::find),
];

/// The exit code of a test program that found no server, which is neither a success nor a
/// failure.
pub const MISSING: u8 = 77;

/// Prints what to do, and returns the exit code.
pub fn missing(advice: &str) -> ExitCode {
    eprintln!("{advice}");
    ExitCode::from(MISSING)
}

/// Returns the server. If there is none, prints what to do and ends the program with
/// [`MISSING`]. For programs other than tests, such as benchmarks.
pub fn or_exit(found: Result<Server, String>) -> Server {
    found.unwrap_or_else(|advice| {
        eprintln!("{advice}");
        std::process::exit(MISSING.into())
    })
}

/// Implements each source for one kind of server.
trait Kind {
    /// Its product name.
    fn name(&self) -> String;
    /// The environment variable with the URL of a running server.
    fn variable(&self) -> &'static str;
    /// Starts a container and waits until it answers.
    fn contain(&self, options: &Options) -> Result<Server, String>;
    /// The folder of the programs that are installed on this machine.
    fn programs(&self) -> Option<PathBuf>;
    /// Downloads the programs if they are missing, and returns their folder.
    fn install(&self) -> Result<PathBuf, String>;
    /// Starts the programs of that folder with new data.
    fn start(&self, programs: &Path, options: &Options) -> Result<Server, String>;
    /// Lines that say how to provide a server.
    fn advice(&self) -> Vec<String>;
}

/// Uses the first source that works.
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

/// A running server. Dropping it stops everything that was started for it.
pub struct Server {
    url: String,
    /// The URL of the server behind a pooler, if there is a pooler.
    direct: Option<String>,
    origin: String,
    way: &'static str,
    /// Everything that was started, in the order in which it is stopped. It is empty for
    /// a server that was already running, and has several parts for a cluster or a
    /// pooler.
    parts: Vec<Part>,
}

/// A process, container or thread that was started.
enum Part {
    Program(Program),
    /// A container, which is stopped when it is dropped.
    #[expect(dead_code, reason = "held until the server is dropped")]
    Container(Box<Container>),
    /// A thread of this process, which is stopped when it is dropped.
    #[expect(dead_code, reason = "held until the server is dropped")]
    Embedded(dynamodb::Embedded),
}

impl Server {
    /// A server that was already running.
    fn running(url: String, origin: String) -> Self {
        Self {
            url,
            direct: None,
            origin,
            way: "running",
            parts: Vec::new(),
        }
    }

    /// The URL of the server.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The URL of the server itself, if [`Server::url`] is that of a pooler. It is for
    /// features that a pooler does not support.
    pub fn direct_url(&self) -> Option<&str> {
        self.direct.as_deref()
    }

    /// The origin of the server, for the report: the environment, a container, a program.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The origin in one or two words: `running`, `container`, `program`, `installed`,
    /// and the pooler if there is one.
    pub fn way(&self) -> String {
        match self.origin.rsplit_once(", through ") {
            Some((_, pooler)) => format!("{}, through {pooler}", self.way),
            None => self.way.into(),
        }
    }

    /// Kills the server without a clean shutdown, if all of its parts are programs that
    /// were started here. Returns whether it did.
    pub fn kill(&mut self) -> bool {
        !self.parts.is_empty() && (0..self.parts.len()).all(|part| self.kill_part(part))
    }

    /// The same for one part, such as a node of a cluster.
    pub fn kill_part(&mut self, part: usize) -> bool {
        match self.parts.get_mut(part) {
            Some(Part::Program(program)) => program.kill(),
            Some(Part::Container(_) | Part::Embedded(_)) | None => false,
        }
    }

    /// Restarts the server after [`Server::kill`], with the data that it had written.
    ///
    /// # Errors
    /// If it does not start; the message contains its output.
    pub fn restart(&mut self) -> Result<(), String> {
        (0..self.parts.len()).try_for_each(|part| self.restart_part(part))
    }

    /// Restarts one part after [`Server::kill_part`].
    ///
    /// # Errors
    /// If it does not start; the message contains its output.
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
