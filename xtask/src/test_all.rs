//! `cargo xtask test-all`: every test, over every backend.

use std::fs;
use std::process::Command;
use std::time::Instant;

use lexopt::prelude::*;

use crate::backends::{self, Backend, EVERYDAY, Variant};
use crate::programs::{self, MISSING, Program, judge, line, log_file, reason, slug, tail};
use crate::report::{self, Case, Outcome};
use crate::tally::Tally;
use crate::workspace::Workspace;
use crate::{Result, process, table};

pub const HELP: &str = "
Run every test over every backend.

  1. builds all test programs once;
  2. runs the unit and integration tests, and the documentation's examples;
  3. runs the conformance suite over each backend
     (store-conformance/tests/BACKEND.rs);
     on the server that is found first, or with --every-server on each of those
     in xtask/src/backends.rs: other versions, other ways, poolers;
  4. prints one table of backend x contract, writes target/conformance.json
     (an array of {backend, server, contract, case, outcome, millis, message?})
     and, as the last line, `N passed, N failed`, and how many servers could
     not be had on this machine: they are NOT PROVEN, and named above it.

It fails if a test fails, a program crashes, a backend did not run or left no
report, or two backends did not run the same cases. A case whose capability a
backend declines asserts the refusal and is counted as unsupported, not passed.
The full output of each program is in target/test-logs.

Usage: cargo xtask test-all [OPTIONS]

Options:
  --backend NAME   only the conformance suite of this backend; may be repeated
  --every-server   each backend on every server that it is tested on
  --strict         a server that cannot be had is a failure
  --no-docker      do not use containers for servers
  --install        fetch missing servers into target/servers, without root

A backend in memory needs nothing. The last two options matter only to a
backend that needs a server.

Examples:
  cargo xtask test-all
  cargo xtask test-all --backend memory
  cargo test -p store-conformance --test memory -- records     one contract
";

/// What to run.
#[derive(Debug, Default)]
pub struct Options {
    /// Only these; all, and the tests without a backend too, if empty.
    pub backends: Vec<String>,
    /// Every server of each backend, not the first found.
    pub every_server: bool,
    /// What is not proven has failed.
    pub strict: bool,
    /// Servers: no containers.
    pub no_docker: bool,
    /// Servers: fetch what is missing.
    pub install: bool,
}

impl Options {
    /// Tells a program that needs servers what it may use for them.
    pub fn apply(&self, command: &mut Command) {
        for (name, wanted) in [
            ("STORE_TEST_NO_DOCKER", self.no_docker),
            ("STORE_TEST_INSTALL", self.install),
        ] {
            if wanted {
                command.env(name, "1");
            }
        }
    }
}

pub fn run(mut arguments: lexopt::Parser) -> Result {
    let mut options = Options::default();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("backend") => options.backends.push(arguments.value()?.string()?),
            Long("no-docker") => options.no_docker = true,
            Long("install") => options.install = true,
            Long("every-server") => options.every_server = true,
            Long("strict") => options.strict = true,
            other => return Err(other.unexpected().into()),
        }
    }
    let no_server = backends::BACKENDS.iter().all(|one| one.server.is_none());
    if no_server && (options.no_docker || options.install) {
        println!("note: --no-docker and --install change nothing: no backend here needs a server");
    }
    let tally = test_all(&options)?;
    println!("\n{}", tally.summary());
    if tally.failed > 0 {
        return Err("test-all failed; what failed is listed above".into());
    }
    Ok(())
}

/// Runs the tests and prints all but the last line.
///
/// # Errors
/// If the tests could not be run at all. What failed is in the tally.
pub fn test_all(options: &Options) -> Result<Tally> {
    let workspace = Workspace::load()?;
    let backends = backends::select(&options.backends, &workspace)?;
    let mut tally = Tally::default();
    let programs = match programs::build(&workspace, options) {
        Ok(programs) => programs,
        Err(error) => {
            println!("\nthe tests do not build: {error}");
            tally.fail(error.to_string());
            return Ok(tally);
        }
    };

    if options.backends.is_empty() {
        println!("\nUnit and integration tests");
        for program in programs.iter().filter(|program| !program.is_conformance()) {
            tally.add(program.test(&workspace, options)?);
        }
        println!("\nDocumentation tests");
        tally.add(documentation(&workspace)?);
    }

    println!("\nConformance");
    let mut cases = Vec::new();
    for backend in &backends {
        let mut ran = false;
        for variant in variants(backend, options) {
            let (found, counted) = conformance(&workspace, options, backend, variant, &programs)?;
            ran |= !found.is_empty();
            cases.extend(found);
            tally.add(counted);
        }
        if !ran {
            tally.fail(format!("{} did not run", backend.name));
        }
    }
    if options.strict {
        for unproven in std::mem::take(&mut tally.unproven) {
            tally.fail(format!("not proven: {unproven}"));
        }
    }
    for fault in report::same_cases(&backends, &cases) {
        tally.fail(fault);
    }
    for fault in report::every_contract(&contracts(&workspace)?, &backends, &cases) {
        tally.fail(fault);
    }
    let file = workspace.target.join("conformance.json");
    fs::write(&file, serde_json::to_vec_pretty(&cases)?)?;
    println!("\n{}", table::plain(&report::table(&backends, &cases)));
    println!("Written: {}", workspace.shown(&file).display());

    if !tally.failures.is_empty() {
        println!("\nFailures");
        for failure in &tally.failures {
            println!("\n{failure}");
        }
    }
    Ok(tally)
}

/// The servers to test it on.
fn variants(backend: &Backend, options: &Options) -> &'static [Variant] {
    if options.every_server && !backend.variants.is_empty() {
        backend.variants
    } else {
        &[EVERYDAY]
    }
}

/// The contracts that have a suite over a backend: the modules of the suite's
/// cases that say so.
fn contracts(workspace: &Workspace) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(workspace.root.join("store-conformance/src/cases"))? {
        let path = entry?.path();
        let module = if path.is_dir() {
            path.join("mod.rs")
        } else {
            path.clone()
        };
        if fs::read_to_string(module)?.contains("pub fn over(") {
            let name = path.file_stem().unwrap_or_default();
            found.push(name.to_string_lossy().into_owned());
        }
    }
    found.sort();
    Ok(found)
}

fn documentation(workspace: &Workspace) -> Result<Tally> {
    let begin = Instant::now();
    let log = workspace.target.join("test-logs").join("documentation.log");
    let mut command = process::cargo();
    command.args(["test", "--doc", "--no-fail-fast"]);
    command.args(process::TESTED);
    let (status, output) = process::logged(&mut command, &log)?;
    let mut tally = Tally::read(&output);
    judge(
        &mut tally,
        "documentation",
        status,
        &output,
        workspace.shown(&log),
    );
    line("examples in the documentation", &tally.shown(), begin);
    Ok(tally)
}

/// The suite over one backend on one server: its cases and the count of them,
/// and of the other programs that run on it.
fn conformance(
    workspace: &Workspace,
    options: &Options,
    backend: &Backend,
    variant: &Variant,
    programs: &[Program],
) -> Result<(Vec<Case>, Tally)> {
    let begin = Instant::now();
    let mut tally = Tally::default();
    let name = match variant.name {
        "" => backend.name.to_owned(),
        special => format!("{}, {special}", backend.name),
    };
    if variant.installs && !options.install {
        tally
            .unproven
            .push(format!("{name}: allow it with --install"));
        return Ok((Vec::new(), tally));
    }
    if !variant.suite {
        println!("  {name}");
        tally.add(all_also(workspace, options, variant, programs)?);
        return Ok((Vec::new(), tally));
    }
    let Some(program) = programs.iter().find(|program| program.is_suite_of(backend)) else {
        tally.fail(format!(
            "{0} did not run: there is no store-conformance/tests/{0}.rs",
            backend.name
        ));
        return Ok((Vec::new(), tally));
    };
    let folder = workspace.target.join("conformance");
    fs::create_dir_all(&folder)?;
    let file = folder.join(format!("{}.json", slug(&name)));
    // A report of an earlier run must not be taken for this one's.
    let _ = fs::remove_file(&file);
    let mut command = program.command(options);
    command.envs(variant.environment.iter().copied());
    command.env("STORE_CONFORMANCE_REPORT", &file);
    let log = log_file(workspace, &slug(&name));
    let (status, output) = process::logged(&mut command, &log)?;
    let log = workspace.shown(&log);
    if status.code() == Some(MISSING) && !variant.name.is_empty() {
        tally.unproven.push(format!("{name}: {}", reason(&output)));
        line(&name, "NOT PROVEN", begin);
        return Ok((Vec::new(), tally));
    }
    let cases = match report::read(&file) {
        Ok(cases) => cases,
        Err(fault) => {
            let what = format!("{name} did not run to its end ({status}): {fault}");
            tally.fail(format!("{what}\n{}", tail(&output, log)));
            line(&name, "did not run", begin);
            return Ok((Vec::new(), tally));
        }
    };
    for case in &cases {
        match case.outcome {
            Outcome::Passed => tally.passed += 1,
            Outcome::Unsupported => {}
            Outcome::Failed => tally.fail(format!(
                "{} on {} ({} ms)\n  {}\n  again: {}cargo test -p store-conformance \
                 --features servers --test {} -- --exact '{}'",
                case.path(),
                if case.server.is_empty() {
                    "no server"
                } else {
                    &case.server
                },
                case.millis,
                case.message
                    .as_deref()
                    .unwrap_or("no message")
                    .replace('\n', "\n  "),
                shown(variant.environment),
                backend.name,
                case.path()
            )),
        }
    }
    for fault in report::complete(backend, &cases) {
        tally.fail(fault);
    }
    if !status.success() && tally.failed == 0 {
        let what = format!("{name}: no case failed, yet it ended with {status}");
        tally.fail(format!("{what}\n{}", tail(&output, log)));
    }
    line(&name, &tally.shown(), begin);
    tally.add(all_also(workspace, options, variant, programs)?);
    Ok((cases, tally))
}

/// The other programs on the server of a variant, until it turns out that there
/// is no such server here.
fn all_also(
    workspace: &Workspace,
    options: &Options,
    variant: &Variant,
    programs: &[Program],
) -> Result<Tally> {
    let mut tally = Tally::default();
    for (other, arguments) in variant.also {
        tally.add(also(
            workspace, options, variant, programs, other, arguments,
        )?);
        if !tally.unproven.is_empty() {
            break;
        }
    }
    Ok(tally)
}

/// Another program of store-conformance on the server of a variant.
fn also(
    workspace: &Workspace,
    options: &Options,
    variant: &Variant,
    programs: &[Program],
    name: &str,
    arguments: &[&str],
) -> Result<Tally> {
    let is_it = |program: &&Program| {
        (&*program.package, &*program.kind, &*program.target) == ("store-conformance", "test", name)
    };
    let Some(program) = programs.iter().find(is_it) else {
        let mut tally = Tally::default();
        tally.fail(format!("there is no store-conformance/tests/{name}.rs"));
        return Ok(tally);
    };
    let mut command = program.command(options);
    command
        .envs(variant.environment.iter().copied())
        .args(arguments);
    let title = [&[name], arguments].concat().join(" ");
    let log = slug(&format!("{title}, {}", variant.name));
    programs::run_logged(
        workspace,
        command,
        &format!("  {title}"),
        &log,
        !variant.suite,
    )
}

/// `A=b C=d `, to be put before a command.
fn shown(environment: &[(&str, &str)]) -> String {
    let pairs = environment
        .iter()
        .map(|(name, value)| format!("{name}={value} "));
    pairs.collect()
}
