//! Serves what tests need until it is told to end: what `cargo xtask up` starts.
//!
//! Finds or makes the servers named, writes what a shell should know of each
//! into the file, one `export` a line, and holds them until SIGTERM, SIGINT, or
//! its own end of whatever kind.
//!
//! `serve FILE NAME…`, with a name of `store_conformance::servers::KINDS`.

use std::process::ExitCode;

use store_conformance::servers::{KINDS, Options, Server, missing};
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let Some(file) = arguments.next() else {
        eprintln!("serve FILE NAME...");
        return ExitCode::FAILURE;
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

fn start(name: &str) -> Result<(&'static str, Server), String> {
    let kind = KINDS.iter().find(|(known, ..)| *known == name);
    let (_, variable, find) = kind.ok_or_else(|| format!("there is no server `{name}`"))?;
    Ok((variable, find(&Options::from_env())?))
}

/// Says that they are there, whole or not at all, and waits for the end.
#[tokio::main(flavor = "current_thread")]
async fn hold(file: &str, text: &str) -> std::io::Result<()> {
    let mut told = signal(SignalKind::terminate())?;
    let mut interrupted = signal(SignalKind::interrupt())?;
    let unfinished = format!("{file}.unfinished");
    std::fs::write(&unfinished, text)?;
    std::fs::rename(&unfinished, file)?;
    tokio::select! {
        _ = told.recv() => {}
        _ = interrupted.recv() => {}
    }
    std::fs::remove_file(file)
}
