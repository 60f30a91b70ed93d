//! `cargo xtask test-all`: every test, over every backend.

use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use lexopt::prelude::*;

use crate::backends::{self, Backend, EVERYDAY, Variant};
use crate::options::Options;
use crate::programs::{self, Program, judge, line};
use crate::report::{self, Case};
use crate::tally::Tally;
use crate::workspace::Workspace;
use crate::{Result, conformance, needs, process, table};

pub const HELP: &str = "
Run every test over every backend.

  1. says what it will do, how long that takes and what this machine lacks;
  2. builds all test programs once;
  3. runs the conformance suite over each backend
     (store-conformance/tests/BACKEND.rs), the unit and integration tests, and
     the documentation's examples, several programs at a time;
     each backend on the server that is found first, or with --every-server on
     each of those in xtask/src/backends.rs: other versions, containers, poolers;
  4. prints one table of backend x contract, what was proven and what was not,
     and how long each part took; writes target/conformance.json
     (an array of {backend, server, contract, case, outcome, millis, message?});
     the last line is `N passed, N failed`.

It fails if a test fails, a program crashes or does not end, a backend did not
run or left no report, or two backends did not run the same cases. A server that
could not be had on this machine is listed as NOT PROVEN.

`unsupported` counts cases of a capability that the backend declares it does not
have: the case then proves that the call is refused with a clear error. The
README's matrix lists the capabilities.

The full output of each program is in target/test-logs.

Usage: cargo xtask test-all [OPTIONS]

Options:
  --backend NAME   only the conformance suite of this backend; may be repeated
  --every-server   each backend on every server that it is tested on
  --strict         a server that is not available is a failure
  --no-docker      do not use containers for servers
  --install        fetch missing servers into target/servers, without root
  --jobs N         how many test programs run at a time; by default as many as
                   there are processors

Examples:
  cargo xtask test-all
  cargo xtask test-all --backend memory
  cargo test -p store-conformance --test memory -- records     one contract
";

pub fn run(mut arguments: lexopt::Parser) -> Result {
    let mut options = Options::default();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("backend") => options.backends.push(arguments.value()?.string()?),
            Long("no-docker") => options.no_docker = true,
            Long("install") => options.install = true,
            Long("every-server") => options.every_server = true,
            Long("strict") => options.strict = true,
            Long("jobs") => options.jobs = Some(arguments.value()?.parse()?),
            other => return Err(other.unexpected().into()),
        }
    }
    let tally = test_all(&options)?;
    println!("\n{}", tally.summary());
    if tally.failed > 0 {
        return Err("test-all failed; what failed is listed above".into());
    }
    Ok(())
}

/// Runs the tests and prints all but the last lines.
///
/// # Errors
/// If the tests could not be run at all. What failed is in the tally.
pub fn test_all(options: &Options) -> Result<Tally> {
    let begin = Instant::now();
    let workspace = Workspace::load()?;
    let backends = backends::select(&options.backends, &workspace)?;
    needs::introduce(options, &backends);
    let mut tally = Tally::default();
    let programs = match programs::build(&workspace, options) {
        Ok(programs) => programs,
        Err(error) => {
            println!("\nthe tests do not build: {error}");
            tally.fail(error.to_string());
            return Ok(tally);
        }
    };
    let built = begin.elapsed();

    let jobs = jobs(&workspace, options, &backends, &programs);
    println!(
        "\nRunning {} test programs, {} at a time",
        jobs.len(),
        options.width().min(jobs.len())
    );
    let done = in_parallel(jobs, options.width())?;
    let mut cases = Vec::new();
    for backend in &backends {
        let of_backend = |one: &&Done| one.backend == Some(backend.name) && !one.cases.is_empty();
        if !done.iter().any(|one| of_backend(&one)) {
            tally.fail(format!("{} did not run", backend.name));
        }
    }
    let mut times = Vec::new();
    for one in done {
        cases.extend(one.cases);
        tally.add(one.tally);
        times.push((one.took, one.title));
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
    if let Some(explained) = report::unsupported(&cases) {
        println!("{explained}");
    }
    println!("Written: {}", workspace.shown(&file).display());
    println!("\n{}", time_table(built, begin.elapsed(), times));

    if !tally.failures.is_empty() {
        println!("\nFailures");
        for failure in &tally.failures {
            println!("\n{failure}");
        }
    }
    Ok(tally)
}

/// The parts that took longest.
fn time_table(built: Duration, all: Duration, mut times: Vec<(Duration, String)>) -> String {
    const SHOWN: usize = 8;
    times.sort();
    let mut text = format!(
        "Time: {} in all, {} of it building. The longest, several at a time:",
        process::seconds(all),
        process::seconds(built)
    );
    for (took, title) in times.iter().rev().take(SHOWN) {
        text.push_str(&format!("\n  {title:<44} {}", process::seconds(*took)));
    }
    text
}

/// One test program, or several that use one server.
struct Job<'a> {
    title: String,
    backend: Option<&'static str>,
    run: Box<dyn FnOnce() -> Result<(Vec<Case>, Tally)> + Send + 'a>,
}

/// The result of a job.
struct Done {
    title: String,
    backend: Option<&'static str>,
    cases: Vec<Case>,
    tally: Tally,
    took: Duration,
}

/// Everything to run, the longest first: suites over servers spend much time waiting,
/// during which other programs run.
fn jobs<'a>(
    workspace: &'a Workspace,
    options: &'a Options,
    backends: &[&'static Backend],
    programs: &'a [Program],
) -> Vec<Job<'a>> {
    let mut jobs = Vec::new();
    for &backend in backends.iter().rev() {
        for variant in variants(backend, options) {
            jobs.push(Job {
                title: conformance::title(backend, variant),
                backend: Some(backend.name),
                run: Box::new(|| conformance::run(workspace, options, backend, variant, programs)),
            });
        }
    }
    if options.backends.is_empty() {
        jobs.push(Job {
            title: "examples in the documentation".into(),
            backend: None,
            run: Box::new(|| Ok((Vec::new(), documentation(workspace)?))),
        });
        for program in programs.iter().filter(|program| !program.is_conformance()) {
            jobs.push(Job {
                title: program.name(),
                backend: None,
                run: Box::new(|| Ok((Vec::new(), program.test(workspace, options)?))),
            });
        }
    }
    jobs
}

/// Runs all jobs, `width` at a time, and returns their results in the order of the jobs.
fn in_parallel(jobs: Vec<Job<'_>>, width: usize) -> Result<Vec<Done>> {
    let count = jobs.len();
    let waiting = Mutex::new(jobs.into_iter().enumerate());
    let results = Mutex::new(Vec::with_capacity(count));
    let left = AtomicUsize::new(count);
    thread::scope(|scope| {
        for _ in 0..width {
            scope.spawn(|| {
                loop {
                    // The lock ends with this line, not with the job.
                    let next = waiting.lock().expect("no job holds it").next();
                    let Some((index, job)) = next else { return };
                    let begin = Instant::now();
                    // The error is not `Send`; its text is.
                    let ended = (job.run)().map_err(|error| error.to_string());
                    let took = begin.elapsed();
                    let left = left.fetch_sub(1, Ordering::Relaxed) - 1;
                    if left > 0 && left.is_multiple_of(10) {
                        println!("  ({left} to go)");
                    }
                    let done = ended.map(|(cases, tally)| Done {
                        title: job.title,
                        backend: job.backend,
                        cases,
                        tally,
                        took,
                    });
                    results.lock().expect("no job holds it").push((index, done));
                }
            });
        }
    });
    let mut results = results.into_inner().expect("no job holds it");
    results.sort_by_key(|(index, _)| *index);
    let all: std::result::Result<Vec<_>, _> = results.into_iter().map(|(_, done)| done).collect();
    Ok(all?)
}

/// The servers on which a backend is tested.
fn variants(backend: &Backend, options: &Options) -> &'static [Variant] {
    if options.every_server && !backend.variants.is_empty() {
        backend.variants
    } else {
        &[EVERYDAY]
    }
}

/// The contracts that have a suite over a backend: the modules of the suite's cases
/// with a function `over`.
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
    let (status, output) = process::logged(&mut command, &log, programs::DEADLINE * 2)?;
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
