//! PgBouncer, a connection pooler, in front of PostgreSQL.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::container::asked;
use super::install::{Root, installed};
use super::program::{Folder, Launch, Program, free_port, run};
use super::{Options, Part, Server};

/// The environment variable with the path of the program, if it is not in one of the
/// usual folders.
const PROGRAM: &str = "STORE_TEST_PGBOUNCER_BIN";

/// The first version that supports prepared statements in transaction mode.
const OLDEST: (u32, u32) = (1, 21);

/// The folder of the unpacked package of Debian's [`SUITE`].
const INSTALLED: &str = "pgbouncer-trixie";
const SUITE: &str = "trixie";
const INSIDE: &str = "usr/sbin/pgbouncer";

/// Where the PgBouncer program was found.
enum Found {
    /// Installed on this machine.
    Program(PathBuf),
    /// Unpacked from a package.
    Unpacked(Root),
}

/// Starts a PgBouncer in transaction mode in front of the server. It caches `prepared`
/// prepared statements for each connection; if zero, it supports none.
pub(super) fn before(server: Server, prepared: u32, options: &Options) -> Result<Server, String> {
    let behind = server.url.rsplit_once("127.0.0.1:");
    let behind = behind.and_then(|(_, rest)| rest.split('/').next());
    let (false, Some(behind)) = (server.parts.is_empty(), behind) else {
        return Err(
            "PgBouncer can only be started in front of a server that this program started".into(),
        );
    };
    let found = pgbouncer(options)?;
    let folder = Folder::new("pgbouncer")?;
    let command = |folder: &Folder| match &found {
        Found::Program(program) => Ok(vec![program.display().to_string()]),
        Found::Unpacked(root) => Root::at(folder.reach(root.path(), INSIDE)?).command(INSIDE),
    };
    let mut command = command(&folder)?;
    let version = version(&command)?;
    let port = free_port()?;
    // Without prepared statements there is one connection to the server, so that
    // a test can reach the session of its store.
    let size = if prepared == 0 { 1 } else { 20 };
    let settings = format!(
        "[databases]\n\
         * = host=127.0.0.1 port={behind}\n\
         [pgbouncer]\n\
         listen_addr = 127.0.0.1\n\
         listen_port = {port}\n\
         unix_socket_dir =\n\
         auth_type = trust\n\
         auth_file = {users}\n\
         pool_mode = transaction\n\
         max_prepared_statements = {prepared}\n\
         max_client_conn = 2000\n\
         default_pool_size = {size}\n",
        users = folder.path().join("users").display(),
    );
    let file = folder.path().join("pgbouncer.ini");
    let write = |path: &Path, text: &str| fs::write(path, text).map_err(|e| e.to_string());
    write(&folder.path().join("users"), "\"store\" \"\"\n")?;
    write(&file, &settings)?;
    command.push(file.display().to_string());
    let launch = Launch {
        command,
        stop: "QUIT",
        // PgBouncer replies to a request for TLS with one byte.
        ready: Box::new(move |_| {
            asked(
                &format!("127.0.0.1:{port}"),
                &[0, 0, 0, 8, 4, 210, 22, 47],
                1,
            )
        }),
        stale: &[],
    };
    let mut parts = vec![Part::Program(Program::start(folder, launch)?)];
    parts.extend(server.parts);
    Ok(Server {
        url: format!("postgres://store@127.0.0.1:{port}/postgres"),
        direct: Some(server.url),
        origin: format!("{}, through {version}", server.origin),
        way: server.way,
        parts,
    })
}

/// The installed program, or the one of the package, which is unpacked if necessary.
fn pgbouncer(options: &Options) -> Result<Found, String> {
    let mut candidates: Vec<PathBuf> = Vec::new();
    candidates.extend(std::env::var_os(PROGRAM).map(PathBuf::from));
    let path = std::env::var_os("PATH").unwrap_or_default();
    candidates.extend(std::env::split_paths(&path).map(|folder| folder.join("pgbouncer")));
    candidates.push("/usr/sbin/pgbouncer".into());
    let new_enough =
        |program: &&PathBuf| program.is_file() && version(&[program.display().to_string()]).is_ok();
    if let Some(program) = candidates.iter().find(new_enough) {
        return Ok(Found::Program(program.clone()));
    }
    let unpacked = installed().join(INSTALLED);
    if unpacked.is_dir() {
        return Ok(Found::Unpacked(Root::at(unpacked)));
    }
    if options.install {
        return Root::debian(INSTALLED, SUITE, "pgbouncer").map(Found::Unpacked);
    }
    let (major, minor) = OLDEST;
    Err(format!(
        "no pgbouncer of {major}.{minor} or newer on this machine. Do one of these:\n\
         - install one, or set {PROGRAM} to its program;\n\
         - on Debian, allow unpacking that of {SUITE} into target/servers, without root: \
         `cargo xtask test-all --install`, or STORE_TEST_INSTALL=1."
    ))
}

/// The version, such as `PgBouncer 1.24.1`, or an error if it is too old.
fn version(command: &[String]) -> Result<String, String> {
    let (program, arguments) = command.split_first().ok_or("no program")?;
    let printed = run(Command::new(program).args(arguments).arg("--version"))?;
    let line = printed.lines().next().unwrap_or_default().trim().to_owned();
    let number = line.rsplit(' ').next().unwrap_or_default();
    let mut parts = number.split('.').map_while(|part| part.parse::<u32>().ok());
    let found = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    if found < OLDEST {
        return Err(format!("{line} is older than {}.{}", OLDEST.0, OLDEST.1));
    }
    Ok(line)
}
