//! Runs the servers that tests need until it receives a signal. `cargo xtask up` starts
//! it.
//!
//! It finds or starts the named servers, and writes their environment variables to the
//! first file, one `export` for each line. It stops the servers on SIGTERM or SIGINT. The
//! second file contains its process id, and is locked while it runs. If another process
//! holds the lock, it does nothing.
//!
//! `serve ENV PID NAME…`, with names of `store_conformance::servers::KINDS`.

use std::fs::File;
use std::io::Write;
use std::process::ExitCode;

use store_conformance::servers::{KINDS, Options, Server, missing};
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (Some(file), Some(pid)) = (arguments.next(), arguments.next()) else {
        eprintln!("serve ENV PID NAME...");
        return ExitCode::FAILURE;
    };
    let _alone = match alone(&pid) {
        Ok(lock) => lock,
        Err(error) => {
            eprintln!("{pid}: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut servers = Vec::new();
    let mut text = String::new();
    for name in arguments {
        match start(&name) {
            Ok((variable, server)) => {
                text.push_str(&format!("export {variable}='{}'", server.url()));
                text.push_str(&format!("  # {}\n", server.origin()));
                servers.push(server);
            }
            Err(advice) => return missing(&advice),
        }
    }
    match hold(&file, &text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// The lock that shows that this process runs.
fn alone(pid: &str) -> std::io::Result<File> {
    let mut options = File::options();
    let mut file = options.write(true).create(true).truncate(false).open(pid)?;
    file.try_lock()?;
    file.set_len(0)?;
    write!(file, "{}", std::process::id())?;
    Ok(file)
}

fn start(name: &str) -> Result<(&'static str, Server), String> {
    let kind = KINDS.iter().find(|(known, ..)| *known == name);
    let (_, variable, find) = kind.ok_or_else(|| format!("there is no server `{name}`"))?;
    Ok((variable, find(&Options::from_env())?))
}

/// Writes the variables atomically, and waits for a signal.
#[tokio::main(flavor = "current_thread")]
async fn hold(file: &str, text: &str) -> std::io::Result<()> {
    let mut terminated = signal(SignalKind::terminate())?;
    let mut interrupted = signal(SignalKind::interrupt())?;
    let unfinished = format!("{file}.unfinished");
    std::fs::write(&unfinished, text)?;
    std::fs::rename(&unfinished, file)?;
    tokio::select! {
        _ = terminated.recv() => {}
        _ = interrupted.recv() => {}
    }
    std::fs::remove_file(file)
}
