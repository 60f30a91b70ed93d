//! `cargo xtask ci`: everything that must hold before a merge.

use std::time::Instant;

use lexopt::ValueExt;

use crate::generated::Mode;
use crate::options::Options;
use crate::tally::Tally;
use crate::{
    Result, deny, features, matrix, package_check, process, promises, servers, soak, test_all,
    tidy, tree_check, without_root,
};

pub const HELP: &str = "
Everything that must hold before a merge, cheapest first. Every step runs, even if
an earlier one failed; failures are shown again at the end. The last line is
`N passed, N failed`, in which a step that is not a test counts as one. The lines
above it list what could not be tested on this machine.

  format          cargo fmt --all --check
  tidy            the rules that no compiler checks
  clippy          cargo clippy, all targets and features, no warning
  features        crates compile without the contracts that they can omit
  documentation   cargo doc, no warning
  test-all        every test over every backend, on every server
  without-root    if this is root: another user fetches and runs the servers
  up-down         `cargo xtask up` and `down` start and stop the servers
  promises        store-conformance/PROMISES.md is up to date
  matrix          the capability matrix in README.md is up to date
  soak            a sample of the long tests
  tree-check      what a user of one backend compiles
  deny            licences, bans and sources of all dependencies
  package-check   the packages, and a program that uses them

Usage: cargo xtask ci [OPTIONS]

Options:
  --step NAME   only this step; may be repeated
  --strict      a server that is not available is a failure
  --no-docker   do not use containers for servers
  --install     fetch missing servers, and cargo-deny, into target, without root
  --jobs N      how many test programs run at a time
";

/// A step, and the function that runs it.
type Step = (&'static str, fn(&Options) -> Result<Tally>);

/// All steps, in order.
const STEPS: &[Step] = &[
    ("format", |_| one(format())),
    ("tidy", |_| one(tidy::tidy())),
    ("clippy", |_| one(clippy())),
    ("features", |_| one(features::features())),
    ("documentation", |_| one(documentation())),
    ("test-all", test_all::test_all),
    ("without-root", without_root::without_root),
    ("up-down", |options| one(servers::prove(options))),
    ("promises", |_| one(promises::promises(Mode::Check))),
    ("matrix", |_| one(matrix::matrix(Mode::Check))),
    ("soak", |_| one(soak::sample())),
    ("tree-check", |_| one(tree_check::tree_check())),
    ("deny", |options| one(deny::deny(options.install))),
    ("package-check", |_| one(package_check::package_check())),
];

pub fn run(mut arguments: lexopt::Parser) -> Result {
    let mut options = Options {
        every_server: true,
        ..Options::default()
    };
    let mut only: Vec<String> = Vec::new();
    while let Some(argument) = arguments.next()? {
        match argument {
            lexopt::Arg::Long("no-docker") => options.no_docker = true,
            lexopt::Arg::Long("install") => options.install = true,
            lexopt::Arg::Long("strict") => options.strict = true,
            lexopt::Arg::Long("jobs") => options.jobs = Some(arguments.value()?.parse()?),
            lexopt::Arg::Long("step") => only.push(arguments.value()?.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    if let Some(unknown) = only.iter().find(|name| !has_step(name)) {
        return Err(format!("there is no step `{unknown}`").into());
    }
    let begin = Instant::now();
    let mut tally = Tally::default();
    let mut lines = Vec::new();
    for (name, step) in STEPS {
        if only.is_empty() || only.iter().any(|wanted| wanted == name) {
            take(name, &mut tally, &mut lines, || step(&options));
        }
    }
    // At the end, because a forge may truncate the start of a long log.
    for failure in &tally.failures {
        println!("\n{failure}");
    }
    println!("\n{}", lines.join("\n"));
    println!("{:<16}{:>12}", "in all", process::seconds(begin.elapsed()));
    println!("\n{}", tally.summary());
    if tally.failed > 0 {
        return Err("ci failed; what failed is above".into());
    }
    Ok(())
}

/// Whether there is a step of this name.
pub fn has_step(name: &str) -> bool {
    STEPS.iter().any(|(step, _)| *step == name)
}

/// Runs one step; adds its result, and a line for the summary.
fn take(
    name: &str,
    tally: &mut Tally,
    lines: &mut Vec<String>,
    step: impl FnOnce() -> Result<Tally>,
) {
    println!("\n== {name}");
    let begin = Instant::now();
    let mut own = step().unwrap_or_else(|error| {
        println!("error: {error}");
        let mut failed = Tally::default();
        failed.fail(error.to_string());
        failed
    });
    let time = process::seconds(begin.elapsed());
    lines.push(format!(
        "{name:<16}{time:>12}  {}",
        match (own.failed, own.unproven.len()) {
            (0, 0) => "ok".to_owned(),
            (0, unproven) => format!("ok, {unproven} NOT PROVEN"),
            _ => "FAILED".to_owned(),
        }
    ));
    for failure in &mut own.failures {
        *failure = format!("{name}: {}", beginning(failure));
    }
    tally.add(own);
}

/// The first lines of a failure, which the step has printed in full.
fn beginning(failure: &str) -> String {
    const LINES: usize = 20;
    let mut lines: Vec<&str> = failure.lines().take(LINES + 1).collect();
    if lines.len() > LINES {
        lines[LINES] = "  ...";
    }
    lines.join("\n")
}

/// A step that is not a test counts as one.
fn one(step: Result) -> Result<Tally> {
    step.map(|()| Tally {
        passed: 1,
        ..Tally::default()
    })
}

fn format() -> Result {
    process::run(process::cargo().args(["fmt", "--all", "--check"]))
}

fn clippy() -> Result {
    process::run(process::cargo().args([
        "clippy",
        "--quiet",
        "--workspace",
        "--all-targets",
        "--all-features",
        "--",
        "--deny=warnings",
    ]))
}

fn documentation() -> Result {
    let mut command = process::cargo();
    command.env("RUSTDOCFLAGS", "--deny=warnings").args([
        "doc",
        "--quiet",
        "--workspace",
        "--no-deps",
        "--all-features",
    ]);
    process::run(&mut command)
}
