//! PostgreSQL.

use std::fs;
use std::path::{Path, PathBuf};

use super::program::{Folder, Program, free_port, run};
use super::{Options, Running, Server, installed};

/// The server to use, if it runs already.
pub const URL: &str = "STORE_TEST_POSTGRES_URL";

/// A folder with `postgres` and `initdb`, if it is not one of the usual.
pub const PROGRAMS: &str = "STORE_TEST_POSTGRES_BIN";

/// Each handle of each case that runs has a few.
const CONNECTIONS: &str = "400";

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
    match programs() {
        Some(programs) => match start(&programs, options) {
            Ok(server) => return Ok(server),
            Err(error) => tried.push(format!("{}: {error}", programs.display())),
        },
        None => tried.push("no PostgreSQL programs on this machine".into()),
    }
    Err(format!(
        "No PostgreSQL to test against ({}). Do one of these:\n\
         - set {URL} to postgres://user:password@host:port/database, a database to make schemas in;\n\
         - apt-get install postgresql, or set {PROGRAMS} to the folder of its programs.",
        tried.join("; ")
    ))
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
    let mut folders = versions(&installed().join("postgres"));
    folders.extend(versions(Path::new("/usr/lib/postgresql")));
    folders.extend(
        std::env::var_os("PATH")
            .iter()
            .flat_map(std::env::split_paths),
    );
    folders.retain(|folder| folder.join("initdb").is_file() && folder.join("postgres").is_file());
    // `…/17/bin` after `…/9.6/bin`.
    folders.into_iter().max_by_key(|folder| version(folder))
}

/// The number in a folder's path; zero for one without.
fn version(folder: &Path) -> u32 {
    let parent = folder
        .parent()
        .and_then(Path::file_name)
        .and_then(|name| name.to_str());
    parent
        .and_then(|name| {
            name.split(|c: char| !c.is_ascii_digit())
                .find(|part| !part.is_empty())
        })
        .and_then(|digits| digits.parse().ok())
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

/// As `pg_ctl` finds out: the server writes its state into its lock file.
fn is_ready(folder: &Path) -> bool {
    fs::read_to_string(folder.join("data/postmaster.pid")).is_ok_and(|lock| {
        lock.lines()
            .nth(7)
            .is_some_and(|state| state.trim() == "ready")
    })
}
