//! `cargo xtask deny`: licences, bans and sources of all dependencies.

use std::path::PathBuf;
use std::process::Command;

use crate::workspace::Workspace;
use crate::{Result, process};

/// The version that `--install` builds.
const VERSION: &str = "0.20.2";

pub const HELP: &str = "
Check the licences, bans and sources of every dependency against deny.toml,
with cargo-deny. The forge checks for known vulnerabilities, because it can fetch
the advisory database: `cargo deny check advisories`.

Usage: cargo xtask deny [--install]

Options:
  --install   if cargo-deny is missing, build it into target/tools
";

pub fn run(mut arguments: lexopt::Parser) -> Result {
    let mut install = false;
    while let Some(argument) = arguments.next()? {
        match argument {
            lexopt::Arg::Long("install") => install = true,
            other => return Err(other.unexpected().into()),
        }
    }
    deny(install)
}

/// Runs the check. If cargo-deny is missing, it is built first if `install` is set.
pub fn deny(install: bool) -> Result {
    let tools = Workspace::load()?.target.join("tools");
    let own = tools.join("bin/cargo-deny");
    let candidates = [PathBuf::from("cargo-deny"), own.clone()];
    let answers = |program: &PathBuf| {
        let output = Command::new(program).arg("--version").output();
        output.is_ok_and(|output| output.status.success())
    };
    let program = match candidates.into_iter().find(answers) {
        Some(program) => program,
        None if install => {
            println!("building cargo-deny {VERSION}; this takes a minute or two");
            let mut cargo = process::cargo();
            cargo.env_remove("CARGO_TARGET_DIR");
            // It runs for seconds, so optimizing it would take longer than it saves.
            cargo.args(["install", "--quiet", "--locked", "--debug", "cargo-deny"]);
            cargo.args(["--version", VERSION, "--root"]).arg(&tools);
            process::run(&mut cargo)?;
            own
        }
        None => {
            return Err(format!(
                "cargo-deny is missing: `cargo xtask deny --install`, \
                 or cargo install --locked cargo-deny --version {VERSION}"
            )
            .into());
        }
    };
    let mut check = Command::new(program);
    check.current_dir(process::root());
    // The graphs are thousands of lines about duplicates, which are allowed.
    check.args(["check", "--hide-inclusion-graph"]);
    process::run(check.args(["licenses", "bans", "sources"]))
}
