//! PostgreSQL.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::container::{self, Image, asked};
use super::program::{Folder, Program, free_port, run};
use super::{Options, Running, Server, installed};

/// The server to use, if it runs already.
pub const URL: &str = "STORE_TEST_POSTGRES_URL";

/// A folder with `postgres` and `initdb`, if it is not one of the usual.
pub const PROGRAMS: &str = "STORE_TEST_POSTGRES_BIN";

/// Each handle of each case that runs has a few.
const CONNECTIONS: &str = "400";

/// The image of its containers, if it is not [`DEFAULT_IMAGE`]. It must take
/// the environment and the arguments of the official one.
pub const IMAGE: &str = "STORE_TEST_POSTGRES_IMAGE";

/// The official image, pinned.
pub const DEFAULT_IMAGE: &str = "postgres:18.4";

/// Of npm's package that holds the programs; `beta` is its packaging, not
/// PostgreSQL's.
const PACKAGE_VERSION: &str = "18.4.0-beta.17";

/// A server, found or made as [the module](super) says.
///
/// # Errors
/// What to do, if there is none.
pub fn find(options: &Options) -> Result<Server, String> {
    if let Ok(url) = std::env::var(URL) {
        return Ok(Server {
            url,
            origin: format!("at {URL}"),
            running: Running::Lent,
        });
    }
    let mut tried = Vec::new();
    if options.docker {
        match contained(options) {
            Ok(server) => return Ok(server),
            Err(error) => tried.push(format!("no container: {error}")),
        }
    }
    let mut found = programs();
    if found.is_none() && options.install {
        match install() {
            Ok(()) => found = programs(),
            Err(error) => tried.push(format!("not installed: {error}")),
        }
    }
    match found {
        Some(programs) => match start(&programs, options) {
            Ok(server) => return Ok(server),
            Err(error) => tried.push(format!("{}: {error}", programs.display())),
        },
        None => tried.push("no program on this machine".into()),
    }
    Err(format!(
        "No PostgreSQL to test against ({}). Do one of these:\n\
         - set {URL} to postgres://user:password@host:port/database, a database to make schemas in;\n\
         - start Docker, with the image {DEFAULT_IMAGE} or another named by {IMAGE};\n\
         - apt-get install postgresql, or set {PROGRAMS} to the folder of its programs;\n\
         - allow fetching it into target/servers, without root: `cargo xtask test-all --install`, \
         or STORE_TEST_INSTALL=1.",
        tried.join("; ")
    ))
}

/// A container of the image.
fn contained(options: &Options) -> Result<Server, String> {
    let name = std::env::var(IMAGE).unwrap_or_else(|_| DEFAULT_IMAGE.into());
    let durable = if options.durable { "on" } else { "off" };
    let settings = [
        format!("max_connections={CONNECTIONS}"),
        format!("fsync={durable}"),
        format!("full_page_writes={durable}"),
    ];
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
    // Asked for TLS, the server says yes or no in one byte.
    let answers = |address: &str| asked(address, &[0, 0, 0, 8, 4, 210, 22, 47], 1);
    let container = container::start(&image, answers)?;
    Ok(Server {
        url: format!("postgres://store@127.0.0.1:{}/postgres", container.port),
        origin: format!("container of {name}"),
        running: Running::Container {
            _container: Box::new(container),
        },
    })
}

/// Fetches the programs by npm, which checks what it fetched.
fn install() -> Result<(), String> {
    let package = format!("{}@{PACKAGE_VERSION}", package());
    run(Command::new("npm")
        .args([
            "install",
            "--no-audit",
            "--no-fund",
            "--ignore-scripts=false",
        ])
        .arg("--prefix")
        .arg(install_folder())
        .arg(package))
}

/// Its name for this machine.
fn package() -> String {
    let arch = match std::env::consts::ARCH {
        "x86_64" => "x64",
        "aarch64" => "arm64",
        other => other,
    };
    let system = match std::env::consts::OS {
        "macos" => "darwin",
        other => other,
    };
    format!("@embedded-postgres/{system}-{arch}")
}

fn install_folder() -> PathBuf {
    installed().join("postgres-18")
}

/// A server of programs on this machine, which can be killed and started again.
///
/// # Errors
/// What to do, if there is none.
pub fn killable(options: &Options) -> Result<Server, String> {
    let programs = programs().ok_or_else(|| {
        format!(
            "no PostgreSQL programs on this machine; apt-get install postgresql, \
             or set {PROGRAMS} to their folder"
        )
    })?;
    start(&programs, options)
}

/// The folder of the newest server programs.
fn programs() -> Option<PathBuf> {
    if let Some(folder) = std::env::var_os(PROGRAMS) {
        return Some(folder.into());
    }
    let versions = |parent: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(parent).into_iter().flatten().flatten();
        entries.map(|entry| entry.path().join("bin")).collect()
    };
    let mut folders = versions(Path::new("/usr/lib/postgresql"));
    folders.push(
        install_folder()
            .join("node_modules")
            .join(package())
            .join("native/bin"),
    );
    folders.extend(
        std::env::var_os("PATH")
            .iter()
            .flat_map(std::env::split_paths),
    );
    folders.retain(|folder| folder.join("initdb").is_file() && folder.join("postgres").is_file());
    // `…/17/bin` after `…/9.6/bin`.
    folders.into_iter().max_by_key(|folder| version(folder))
}

/// The number that a part of the folder's path is, or begins with; else zero.
fn version(folder: &Path) -> u32 {
    let number = |name: &str| {
        let name = name.trim_start_matches("postgres-");
        let end = name
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(name.len());
        name[..end].parse().ok()
    };
    folder
        .components()
        .rev()
        .find_map(|part| number(part.as_os_str().to_str()?))
        .unwrap_or_default()
}

/// A new cluster, served by the programs of that folder.
fn start(programs: &Path, options: &Options) -> Result<Server, String> {
    let folder = Folder::new("postgres").map_err(|e| format!("no temporary folder: {e}"))?;
    let data = folder.path().join("data");
    run(folder
        .command(programs.join("initdb"))
        .args(["--username=store", "--auth=trust", "--no-sync"])
        .args(["--encoding=UTF8", "--locale=C", "--pgdata"])
        .arg(&data))?;
    let port = free_port().map_err(|e| format!("no free port: {e}"))?;
    let durable = if options.durable { "on" } else { "off" };
    let mut arguments = vec!["-D".to_owned(), data.display().to_string()];
    for setting in [
        "listen_addresses=127.0.0.1".to_owned(),
        "unix_socket_directories=".to_owned(),
        format!("port={port}"),
        format!("max_connections={CONNECTIONS}"),
        format!("fsync={durable}"),
        format!("full_page_writes={durable}"),
    ] {
        arguments.extend(["-c".to_owned(), setting]);
    }
    let mut program = Program::start(folder, &programs.join("postgres"), &arguments)
        .map_err(|e| e.to_string())?;
    program.wait(is_ready)?;
    Ok(Server {
        url: format!("postgres://store@127.0.0.1:{port}/postgres"),
        origin: format!("program in {}", programs.display()),
        running: Running::Program(program),
    })
}

/// Starts a killed one again.
pub(super) fn restart(program: &mut Program) -> Result<(), String> {
    // It says "ready" still, and nobody is left of those that it names.
    let _ = fs::remove_file(program.folder().join("data/postmaster.pid"));
    program.restart().map_err(|e| e.to_string())?;
    program.wait(is_ready)
}

/// As `pg_ctl` finds out: the server writes its state into its lock file.
fn is_ready(folder: &Path) -> bool {
    fs::read_to_string(folder.join("data/postmaster.pid")).is_ok_and(|lock| {
        lock.lines()
            .nth(7)
            .is_some_and(|state| state.trim() == "ready")
    })
}
