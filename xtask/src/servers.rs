//! `cargo xtask up` and `down`: the servers that the tests need.

use crate::Result;
use crate::backends::{self, BACKENDS, Backend};
use crate::workspace::Workspace;

pub const UP: &str = "
Start the servers that the backends' tests need, print the variables that lead
the tests to them, and leave them running until `cargo xtask down`.

Only a backend with a server has something to start. `cargo xtask up` says
which those are; today there is none, because memory runs in process.

Usage: cargo xtask up [BACKEND]...
";

pub const DOWN: &str = "
Stop the servers that `cargo xtask up` started.

Usage: cargo xtask down [BACKEND]...
";

pub fn up(arguments: lexopt::Parser) -> Result {
    drive("start", arguments)
}

pub fn down(arguments: lexopt::Parser) -> Result {
    drive("stop", arguments)
}

fn drive(verb: &str, mut arguments: lexopt::Parser) -> Result {
    let mut names = Vec::new();
    while let Some(argument) = arguments.next()? {
        match argument {
            lexopt::Arg::Value(name) => names.push(name.to_string_lossy().into_owned()),
            other => return Err(other.unexpected().into()),
        }
    }
    let selected = backends::select(&names, &Workspace::load()?)?;
    let with_server: Vec<_> = BACKENDS.iter().filter_map(server).collect();
    let wanted: Vec<_> = selected.into_iter().filter_map(server).collect();
    if !wanted.is_empty() {
        // Whoever adds the first server teaches this command to drive it.
        return Err(format!("cannot {verb} yet: {}", wanted.join(", ")).into());
    }
    let known = if with_server.is_empty() {
        "no backend of this workspace has a server".to_owned()
    } else {
        format!("these backends have a server: {}", with_server.join(", "))
    };
    let message = format!("nothing to {verb}: {known} (all: {})", backends::list());
    if names.is_empty() {
        println!("{message}");
        Ok(())
    } else {
        Err(message.into())
    }
}

/// `postgres (PostgreSQL)`, if it has a server.
fn server(backend: &Backend) -> Option<String> {
    let server = backend.server?;
    Some(format!("{} ({server})", backend.name))
}
