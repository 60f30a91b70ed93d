//! Redis and Valkey: one server, or a cluster of server programs on this machine.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::container::{Container, Image};
use super::install::{Root, installed};
use super::program::{Folder, Launch, Program, free_port};
use super::{Kind, Options, Part, Server, is_in_time, is_set};

/// The environment variable with the URL of a running server, or of one server of a
/// running cluster.
pub const URL: &str = "STORE_TEST_REDIS_URL";

/// The variable with a folder that contains `redis-server` or `valkey-server`, instead of
/// `PATH`.
pub const PROGRAMS: &str = "STORE_TEST_REDIS_BIN";

/// The variable with the major version of Redis, `7` or `8`. By default any version is
/// used.
pub const VERSION: &str = "STORE_TEST_REDIS_VERSION";

/// If this variable is set, Valkey is used instead of Redis.
pub const VALKEY: &str = "STORE_TEST_REDIS_VALKEY";

/// If this variable is set, a cluster of three primaries is used instead of one server.
pub const CLUSTER: &str = "STORE_TEST_REDIS_CLUSTER";

/// The variable with an image of Redis to use instead of the official one. It must accept
/// the same arguments.
pub const IMAGE: &str = "STORE_TEST_REDIS_IMAGE";

/// The same for Valkey.
pub const VALKEY_IMAGE: &str = "STORE_TEST_VALKEY_IMAGE";

const SLOTS: usize = 16_384;

/// A release of Redis or Valkey, and where to get it.
struct Redis {
    name: &'static str,
    major: &'static str,
    program: &'static str,
    image: &'static str,
    image_variable: &'static str,
    /// The release of Debian that contains it, the package, and the folder into which the
    /// package is unpacked.
    suite: &'static str,
    package: &'static str,
    installed: &'static str,
}

const REDIS: Redis = Redis {
    name: "Redis",
    major: "8",
    program: "redis-server",
    image: "redis:8.2.1",
    image_variable: IMAGE,
    suite: "trixie",
    package: "redis-server",
    installed: "redis-trixie",
};

/// The oldest version that is tested.
const REDIS_7: Redis = Redis {
    major: "7",
    image: "redis:7.0.15",
    suite: "bookworm",
    installed: "redis-bookworm",
    ..REDIS
};

const VALKEY_ITSELF: Redis = Redis {
    name: "Valkey",
    major: "8",
    program: "valkey-server",
    image: "valkey/valkey:8.1.3",
    image_variable: VALKEY_IMAGE,
    suite: "trixie",
    package: "valkey-server",
    installed: "valkey-trixie",
};

/// Finds or starts a server as [the module](super) describes. [`VERSION`], [`VALKEY`] and
/// [`CLUSTER`] select what is started.
///
/// # Errors
/// If there is none; the message says what to do.
pub fn find(options: &Options) -> Result<Server, String> {
    if is_set(CLUSTER) {
        return cluster(options, 0);
    }
    let options = Options {
        // A running server may have another version.
        running: options.running && !is_set(VERSION),
        ..*options
    };
    super::find(kind()?, &options)
}

/// Starts a server program, which can be killed and restarted.
///
/// # Errors
/// If there is none; the message says what to do.
pub fn killable(options: &Options) -> Result<Server, String> {
    super::find(kind()?, &options.killable())
}

/// Starts a cluster of server programs: three primaries, each with this many replicas.
/// Its parts are the primaries, then the replicas of the first primary, and so on.
///
/// # Errors
/// If there is none; the message says what to do.
pub fn cluster(options: &Options, replicas: usize) -> Result<Server, String> {
    let kind = Nodes {
        redis: kind()?,
        replicas,
    };
    super::find(&kind, &options.killable())
}

fn kind() -> Result<&'static Redis, String> {
    if is_set(VALKEY) {
        return Ok(&VALKEY_ITSELF);
    }
    let wanted = std::env::var(VERSION).unwrap_or_default();
    let mut known = [&REDIS, &REDIS_7].into_iter();
    if wanted.is_empty() {
        return Ok(&REDIS);
    }
    known
        .find(|redis| redis.major == wanted)
        .ok_or_else(|| format!("{VERSION} is 7 or 8, not `{wanted}`"))
}

impl Redis {
    fn run(
        &self,
        programs: &Path,
        options: &Options,
        more: &[&str],
    ) -> Result<(u16, Program), String> {
        let folder = Folder::new(&self.name.to_lowercase())?;
        let mut command = if programs.starts_with(installed()) {
            let inside = format!("usr/bin/{}", self.program);
            let root = installed().join(self.installed);
            Root::at(folder.reach(&root, &inside)?).command(&inside)?
        } else {
            vec![programs.join(self.program).display().to_string()]
        };
        let port = free_port()?;
        let own = ["--port", &port.to_string(), "--bind", "127.0.0.1"].map(String::from);
        command.extend(own);
        command.extend(settings(options).map(String::from));
        command.extend(more.iter().copied().map(String::from));
        let launch = Launch {
            command,
            // Redis ignores SIGTERM while it writes its first append-only file.
            stop: "KILL",
            // While the server loads its data it replies to `PING` with an error.
            ready: Box::new(move |_| reply(port, "PING").is_ok_and(|answer| answer == "+PONG")),
            stale: &[],
        };
        Ok((port, Program::start(folder, launch)?))
    }

    /// The image in the environment variable, unless it has another version than is
    /// required; otherwise the official image.
    fn image(&self) -> String {
        let of_it = |image: &String| {
            let tag = image.rsplit(':').next().unwrap_or_default();
            !is_set(VERSION) || tag.split('.').next() == Some(self.major)
        };
        let named = std::env::var(self.image_variable).ok();
        named.filter(of_it).unwrap_or_else(|| self.image.into())
    }

    /// Whether the program in that folder has the required version.
    fn is_wanted(&self, folder: &Path) -> bool {
        // `Redis server v=7.0.15 sha=…`
        let is_major = || {
            let mut command = Command::new(folder.join(self.program));
            let output = command.arg("--version").output().ok()?;
            let text = String::from_utf8(output.stdout).ok()?;
            let number = text.split("v=").nth(1)?;
            Some(number.split('.').next()? == self.major)
        };
        !is_set(VERSION) || folder.starts_with(installed()) || is_major().unwrap_or(false)
    }
}

impl Kind for Redis {
    fn name(&self) -> String {
        self.name.into()
    }

    fn variable(&self) -> &'static str {
        URL
    }

    fn contain(&self, options: &Options) -> Result<Server, String> {
        let name = self.image();
        let mut arguments = vec![self.program, "--protected-mode", "no"];
        arguments.extend(settings(options));
        let image = Image {
            name: &name,
            port: 6379,
            environment: &[],
            arguments: &arguments,
        };
        let answers = |address: &str| {
            let port = address
                .rsplit(':')
                .next()
                .and_then(|port| port.parse().ok());
            port.is_some_and(|port| reply(port, "PING").is_ok_and(|answer| answer == "+PONG"))
        };
        let container = Container::start(&image, answers)?;
        Ok(Server {
            url: format!("redis://127.0.0.1:{}", container.port),
            direct: None,
            origin: format!("container of {name}"),
            way: "container",
            parts: vec![Part::Container(Box::new(container))],
        })
    }

    fn programs(&self) -> Option<PathBuf> {
        if let Some(folder) = std::env::var_os(PROGRAMS) {
            return Some(folder.into());
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
        folders.push(installed().join(self.installed).join("usr/bin"));
        folders
            .into_iter()
            .find(|folder| folder.join(self.program).is_file() && self.is_wanted(folder))
    }

    fn install(&self) -> Result<PathBuf, String> {
        let root = Root::debian(self.installed, self.suite, self.package)?;
        Ok(root.path().join("usr/bin"))
    }

    fn start(&self, programs: &Path, options: &Options) -> Result<Server, String> {
        let (port, program) = self.run(programs, options, &[])?;
        Ok(Server {
            url: format!("redis://127.0.0.1:{port}"),
            direct: None,
            origin: format!("program in {}", programs.display()),
            way: way(programs),
            parts: vec![Part::Program(program)],
        })
    }

    fn advice(&self) -> Vec<String> {
        let (image, program, package) = (self.image(), self.program, self.package);
        vec![
            format!("set {URL} to redis://host:port, a server to which keys may be added;"),
            format!(
                "start Docker, with the image {image} or another named by {};",
                self.image_variable
            ),
            format!("apt-get install {package}, or set {PROGRAMS} to the folder of {program};"),
        ]
    }
}

/// A cluster. It cannot run in containers, because its nodes and the tests must reach
/// each node at the same address.
struct Nodes {
    redis: &'static Redis,
    replicas: usize,
}

impl Kind for Nodes {
    fn name(&self) -> String {
        format!("cluster of {}", self.redis.name)
    }

    fn variable(&self) -> &'static str {
        URL
    }

    fn contain(&self, _: &Options) -> Result<Server, String> {
        Err("a cluster cannot run in containers".into())
    }

    fn programs(&self) -> Option<PathBuf> {
        self.redis.programs()
    }

    fn install(&self) -> Result<PathBuf, String> {
        self.redis.install()
    }

    fn start(&self, programs: &Path, options: &Options) -> Result<Server, String> {
        const PRIMARIES: usize = 3;
        let (mut ports, mut parts, mut buses) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..PRIMARIES * (1 + self.replicas) {
            // The default port may be in use.
            let bus = free_port()?.to_string();
            let mut settings = vec!["--cluster-enabled", "yes", "--cluster-port", &bus];
            settings.extend(["--cluster-node-timeout", "2000"]);
            let (port, program) = self.redis.run(programs, options, &settings)?;
            ports.push(port);
            buses.push(bus);
            parts.push(Part::Program(program));
        }
        let (primaries, replicas) = ports.split_at(PRIMARIES);
        for (i, port) in primaries.iter().enumerate() {
            let [first, last] = [i, i + 1].map(|i| i * SLOTS / PRIMARIES);
            must(
                *port,
                &format!("CLUSTER ADDSLOTSRANGE {first} {}", last - 1),
            )?;
            must(*port, &format!("CLUSTER SET-CONFIG-EPOCH {}", i + 1))?;
        }
        for (port, bus) in ports.iter().zip(&buses).skip(1) {
            must(ports[0], &format!("CLUSTER MEET 127.0.0.1 {port} {bus}"))?;
        }
        let all = format!("cluster_known_nodes:{}", ports.len());
        wait(&ports, "CLUSTER INFO", &all)?;
        for (i, port) in replicas.iter().enumerate() {
            let name = reply(primaries[i / self.replicas], "CLUSTER MYID")?;
            must(*port, &format!("CLUSTER REPLICATE {name}"))?;
        }
        wait(replicas, "INFO replication", "master_link_status:up")?;
        wait(&ports, "CLUSTER INFO", "cluster_state:ok")?;
        wait(&ports, "CLUSTER INFO", &format!("cluster_size:{PRIMARIES}"))?;
        let hosts: Vec<_> = ports
            .iter()
            .map(|port| format!("127.0.0.1:{port}"))
            .collect();
        Ok(Server {
            url: format!("redis://{}", hosts.join(",")),
            direct: None,
            origin: format!("{} programs in {}", ports.len(), programs.display()),
            way: way(programs),
            parts,
        })
    }

    fn advice(&self) -> Vec<String> {
        self.redis.advice()
    }
}

fn way(programs: &Path) -> &'static str {
    match programs.starts_with(installed()) {
        true => "installed",
        false => "program",
    }
}

/// The settings of every server.
fn settings(options: &Options) -> [&'static str; 6] {
    if options.durable {
        [
            "--save",
            "",
            "--appendonly",
            "yes",
            "--appendfsync",
            "always",
        ]
    } else {
        ["--save", "", "--appendonly", "no", "--appendfsync", "no"]
    }
}

/// The first line of the reply.
fn reply(port: u16, command: &str) -> Result<String, String> {
    let lines = reply_lines(port, command).map_err(|e| e.to_string())?;
    Ok(lines.into_iter().next().unwrap_or_default())
}

fn must(port: u16, command: &str) -> Result<(), String> {
    match reply(port, command)? {
        answer if answer == "+OK" => Ok(()),
        answer => Err(format!("{command}: {answer}")),
    }
}

/// Waits, at most a minute, until the reply of each server to `command` contains this
/// line.
fn wait(ports: &[u16], command: &str, line: &str) -> Result<(), String> {
    let is_there = |port: &u16| {
        reply_lines(*port, command).is_ok_and(|lines| lines.iter().any(|found| found == line))
    };
    match is_in_time(|| ports.iter().all(is_there)) {
        true => Ok(()),
        false => Err(format!("the cluster did not reach {line} in time")),
    }
}

/// The lines of a reply that is a simple or a bulk string.
fn reply_lines(port: u16, command: &str) -> std::io::Result<Vec<String>> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(stream, "{command}\r\n")?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let first = line.trim_end().to_owned();
    let Some(length) = first
        .strip_prefix('$')
        .and_then(|n| n.parse::<usize>().ok())
    else {
        return Ok(vec![first]);
    };
    let mut text = vec![0; length];
    std::io::Read::read_exact(&mut reader, &mut text)?;
    let text = String::from_utf8_lossy(&text);
    Ok(text.lines().map(String::from).collect())
}
