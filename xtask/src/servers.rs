//! `cargo xtask up` and `down`: the servers that the tests need.
//!
//! `up` leaves store-conformance/examples/serve.rs running, which owns the servers;
//! `down` ends it. For each backend, the folder target/servers/up has the variables
//! that lead to the server (`NAME.env`), the process id (`NAME.pid`) and the output
//! (`NAME.log`). The process holds a lock on `NAME.pid` while it runs.

use std::fs::{self, File};
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::backends::{self, BACKENDS, Backend};
use crate::options::Options;
use crate::workspace::Workspace;
use crate::{Result, process};

pub const UP: &str = "
Start the servers that the backends' tests need, print the variables with which
the tests find them, and leave them running until `cargo xtask down`. A server that
runs already is left as it is, and its variables are printed again.

Usage: cargo xtask up [OPTIONS] [BACKEND]...

Options:
  --no-docker   do not use containers
  --install     fetch what is missing into target/servers, without root

Example:
  eval \"$(cargo xtask up postgres)\"
  cargo test -p store-conformance --features servers --test postgres
  cargo xtask down
";

pub const DOWN: &str = "
Stop the servers that `cargo xtask up` started, and no others.

Usage: cargo xtask down [BACKEND]...
";

/// How long servers may take to start or to stop.
const PATIENCE: Duration = Duration::from_secs(180);

/// The servers of one backend, as `up` leaves them.
struct Held {
    name: &'static str,
    env: PathBuf,
    pid: PathBuf,
    log: PathBuf,
}

pub fn up(arguments: lexopt::Parser) -> Result {
    let (selected, options) = read(arguments)?;
    for held in selected {
        print!("{}", held.up(&options)?);
    }
    Ok(())
}

pub fn down(arguments: lexopt::Parser) -> Result {
    for held in read(arguments)?.0 {
        held.down()?;
    }
    Ok(())
}

/// Starts each server twice, connects to it, and stops it: a step of `ci`.
pub fn prove(options: &Options) -> Result {
    for held in read_names(&[])? {
        if held.is_up() {
            return Err(format!("{} is up; `cargo xtask down` first", held.name).into());
        }
        let first = held.up(options)?;
        let again = held.up(options)?;
        if first != again {
            return Err(format!("a second `up` prints other variables:\n{first}{again}").into());
        }
        let address = address(&first).ok_or_else(|| format!("no address in {first}"))?;
        TcpStream::connect(&address)
            .map_err(|error| format!("nothing listens at {address}: {error}"))?;
        held.down()?;
        held.down()?;
        let begin = Instant::now();
        while TcpStream::connect(&address).is_ok() {
            if begin.elapsed() > PATIENCE {
                return Err(format!("something still listens at {address}").into());
            }
        }
        println!("{} was up at {address}, and is down", held.name);
    }
    Ok(())
}

/// `127.0.0.1:5432` of `export NAME='postgres://store@127.0.0.1:5432/postgres'`.
fn address(variables: &str) -> Option<String> {
    let url = variables.split('\'').nth(1)?;
    let rest = url.split_once("://")?.1;
    let rest = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
    Some(rest.split('/').next()?.to_owned())
}

fn read(mut arguments: lexopt::Parser) -> Result<(Vec<Held>, Options)> {
    let (mut names, mut options) = (Vec::new(), Options::default());
    while let Some(argument) = arguments.next()? {
        match argument {
            lexopt::Arg::Value(name) => names.push(name.to_string_lossy().into_owned()),
            lexopt::Arg::Long("no-docker") => options.no_docker = true,
            lexopt::Arg::Long("install") => options.install = true,
            other => return Err(other.unexpected().into()),
        }
    }
    Ok((read_names(&names)?, options))
}

/// The backends of these names that have a server, or all of them.
fn read_names(names: &[String]) -> Result<Vec<Held>> {
    let workspace = Workspace::load()?;
    let selected = backends::select(names, &workspace)?;
    let folder = workspace.target.join("servers/up");
    fs::create_dir_all(&folder)?;
    let has_server = |backend: &&&Backend| backend.server.is_some();
    let found: Vec<_> = selected.iter().filter(has_server).collect();
    if found.is_empty() {
        let with: Vec<_> = BACKENDS
            .iter()
            .filter(|b| b.server.is_some())
            .map(|b| b.name)
            .collect();
        return Err(format!("it has no server; these have one: {}", with.join(", ")).into());
    }
    let held = |backend: &&&'static Backend| Held {
        name: backend.name,
        env: folder.join(format!("{}.env", backend.name)),
        pid: folder.join(format!("{}.pid", backend.name)),
        log: folder.join(format!("{}.log", backend.name)),
    };
    Ok(found.iter().map(held).collect())
}

impl Held {
    /// Whether its process runs: the process holds a lock while it does.
    fn is_up(&self) -> bool {
        File::open(&self.pid).is_ok_and(|file| file.try_lock().is_err())
    }

    /// Starts it if it is not up, and returns the variables for a shell.
    fn up(&self, options: &Options) -> Result<String> {
        if !self.is_up() {
            // Left by a process that was killed.
            let _ = fs::remove_file(&self.env);
            self.start(options)?;
        }
        Ok(fs::read_to_string(&self.env)?)
    }

    fn start(&self, options: &Options) -> Result {
        let program = process::built_example("serve", &["store-conformance/servers"])?;
        let log = File::create(&self.log)?;
        let mut command = Command::new(program);
        options.apply(&mut command);
        let mut holder = command
            .arg(&self.env)
            .arg(&self.pid)
            .arg(self.name)
            .current_dir(process::root())
            // Ctrl-C must end `up` but not the servers that it leaves running.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let begin = Instant::now();
        while !self.env.exists() {
            let ended = holder.try_wait()?.is_some();
            if ended || begin.elapsed() > PATIENCE {
                let log = fs::read_to_string(&self.log).unwrap_or_default();
                return Err(format!("{} did not start\n{log}", self.name).into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn down(&self) -> Result {
        if !self.is_up() {
            eprintln!("{} is not up", self.name);
            return Ok(());
        }
        let id = fs::read_to_string(&self.pid)?;
        process::run(Command::new("kill").args(["-TERM", id.trim()]))?;
        let begin = Instant::now();
        while self.is_up() {
            if begin.elapsed() > PATIENCE {
                return Err(format!("{} does not stop (process {})", self.name, id.trim()).into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        writeln!(std::io::stderr(), "{} is down", self.name)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_from_what_up_prints() {
        let variables = "export A='postgres://store@127.0.0.1:5432/postgres'  # a program\n";
        assert_eq!(address(variables).as_deref(), Some("127.0.0.1:5432"));
        let variables = "export A='redis://127.0.0.1:6379'\n";
        assert_eq!(address(variables).as_deref(), Some("127.0.0.1:6379"));
        assert_eq!(address("nothing"), None);
    }
}
