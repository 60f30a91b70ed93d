//! `cargo xtask bench`: the benchmarks.

use std::ffi::OsString;

use crate::backends::{self, Backend};
use crate::options::Options;
use crate::workspace::Workspace;
use crate::{Result, process};

pub const HELP: &str = "
Run every benchmark of the package in benches/, in release. Servers are found
or started as for the tests.

Times are printed as ratios to contenders that are measured alternately in the same
run. The ratios are reliable on a quiet machine.

Usage: cargo xtask bench [--backend NAME]... [--name BENCH]... [OPTIONS] [-- ARGS]

Options:
  --backend NAME   only the benchmarks of this backend
  --name BENCH     only this benchmark of benches/Cargo.toml
  --no-docker      do not use containers for servers
  --install        fetch missing servers into target/servers, without root
  -- ARGS          passed to each benchmark

Examples:
  cargo xtask bench
  cargo xtask bench --backend memory -- --help
";

/// The package of the benchmarks.
const PACKAGE: &str = "benches";

pub fn run(mut arguments: lexopt::Parser) -> Result {
    use lexopt::prelude::*;
    let (mut only, mut names) = (Vec::new(), Vec::new());
    let mut rest: Vec<OsString> = Vec::new();
    let mut options = Options::default();
    loop {
        if let Some(mut raw) = arguments.try_raw_args()
            && raw.next_if(|argument| argument == "--").is_some()
        {
            rest.extend(raw);
            break;
        }
        let Some(argument) = arguments.next()? else {
            break;
        };
        match argument {
            Long("backend") => only.push(arguments.value()?.string()?),
            Long("name") => names.push(arguments.value()?.string()?),
            Long("no-docker") => options.no_docker = true,
            Long("install") => options.install = true,
            other => return Err(other.unexpected().into()),
        }
    }
    let workspace = Workspace::load()?;
    let backends = backends::select(&only, &workspace)?;
    let package = workspace
        .package(PACKAGE)
        .ok_or("the workspace has no package `benches`")?;
    let known: Vec<&str> = package.targets_of("bench").map(|t| &*t.name).collect();
    let is_wanted = |name: &&&str| {
        let of_backend = |one: &&Backend| name.split('_').next() == Some(one.name);
        backends.iter().any(of_backend)
            && (names.is_empty() || names.iter().any(|wanted| wanted == **name))
    };
    let wanted: Vec<_> = known.iter().filter(is_wanted).collect();
    if wanted.is_empty() {
        return Err(format!("there is no such benchmark; there is: {}", known.join(", ")).into());
    }
    let mut failed = Vec::new();
    for name in wanted {
        println!("\n{name}");
        let mut command = process::cargo();
        command.args(["bench", "--quiet", "--package", PACKAGE, "--bench", name]);
        options.apply(&mut command);
        if let Err(error) = process::run(command.arg("--").args(&rest)) {
            failed.push(format!("{name}: {error}"));
        }
    }
    if !failed.is_empty() {
        return Err(failed.join("\n       ").into());
    }
    Ok(())
}
