//! `cargo xtask bench`: the benchmarks.

use std::ffi::OsString;

use crate::backends;
use crate::workspace::Workspace;
use crate::{Result, process};

pub const HELP: &str = "
Run every benchmark of every crate (its benches/*.rs), in release.

Counts, as of allocations, are exact and gate: a wrong one fails the run. Times
are printed as ratios against contenders measured in turns in the same run;
trust the ratios, on a quiet machine.

Usage: cargo xtask bench [--backend NAME]... [--name BENCH]... [-- ARGS]

Options:
  --backend NAME   only the benchmarks of this backend's crate
  --name BENCH     only this benchmark: the name of its file in benches/
  -- ARGS          handed to each benchmark

Examples:
  cargo xtask bench
  cargo xtask bench --backend memory -- --help
";

pub fn run(mut arguments: lexopt::Parser) -> Result {
    use lexopt::prelude::*;
    let (mut only, mut names) = (Vec::new(), Vec::new());
    let mut rest: Vec<OsString> = Vec::new();
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
            other => return Err(other.unexpected().into()),
        }
    }
    let workspace = Workspace::load()?;
    let backends = backends::select(&only, &workspace)?;
    let mut known = Vec::new();
    let mut failed = Vec::new();
    let mut ran = 0;
    for package in &workspace.packages {
        if !only.is_empty() && !backends.iter().any(|one| one.package == package.name) {
            continue;
        }
        for target in package.targets_of("bench") {
            known.push(target.name.as_str());
            if !names.is_empty() && !names.contains(&target.name) {
                continue;
            }
            println!("\n{}/benches/{}.rs", package.name, target.name);
            let mut command = process::cargo();
            command.args(["bench", "--quiet", "--package", &package.name]);
            command.args(["--bench", &target.name, "--"]).args(&rest);
            ran += 1;
            if let Err(error) = process::run(&mut command) {
                failed.push(format!("{}: {error}", target.name));
            }
        }
    }
    if ran == 0 {
        return Err(format!("there is no such benchmark; there is: {}", known.join(", ")).into());
    }
    if !failed.is_empty() {
        return Err(failed.join("\n       ").into());
    }
    Ok(())
}
