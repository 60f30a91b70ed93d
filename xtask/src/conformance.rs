//! The conformance suite over one backend on one server, and the other test programs
//! that run on that server.

use std::fs;
use std::time::Instant;

use crate::backends::{Backend, Variant};
use crate::options::Options;
use crate::programs::{self, MISSING, Program, line, log_file, reason, slug, tail};
use crate::report::{self, Case, Outcome};
use crate::tally::Tally;
use crate::workspace::Workspace;
use crate::{Result, process};

/// The readable name of a backend on one of its servers.
pub fn title(backend: &Backend, variant: &Variant) -> String {
    match variant.name {
        "" => backend.name.to_owned(),
        special => format!("{}, {special}", backend.name),
    }
}

/// Runs them. Returns the cases of the suite, and the counts of the suite and of the
/// other programs.
///
/// # Errors
/// If they could not be run at all.
pub fn run(
    workspace: &Workspace,
    options: &Options,
    backend: &Backend,
    variant: &Variant,
    programs: &[Program],
) -> Result<(Vec<Case>, Tally)> {
    let begin = Instant::now();
    let mut tally = Tally::default();
    let name = title(backend, variant);
    if variant.installs && !options.install {
        tally
            .unproven
            .push(format!("{name}: allow it with --install"));
        return Ok((Vec::new(), tally));
    }
    let whole = variant.runs_whole_suite(options);
    if !whole {
        tally.add(all_also(
            workspace,
            options,
            variant,
            programs,
            variant.also,
        )?);
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
    // The report of an earlier run must not be read as the report of this one.
    let _ = fs::remove_file(&file);
    let mut command = program.command(options);
    command.envs(variant.environment.iter().copied());
    command.env("STORE_CONFORMANCE_REPORT", &file);
    let log = log_file(workspace, &slug(&name));
    let (status, output) = process::logged(&mut command, &log, programs::DEADLINE)?;
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
        let what = format!("{name}: no case failed, but it ended with {status}");
        tally.fail(format!("{what}\n{}", tail(&output, log)));
    }
    line(&name, &tally.shown(), begin);
    // The whole suite ran, so no part of it runs again.
    let is_other = |(name, _): &&(&str, _)| *name != backend.name;
    let others: Vec<_> = variant.also.iter().filter(is_other).copied().collect();
    tally.add(all_also(workspace, options, variant, programs, &others)?);
    Ok((cases, tally))
}

/// Runs the other programs on the server of a variant, until one finds that the server
/// is not available here.
fn all_also(
    workspace: &Workspace,
    options: &Options,
    variant: &Variant,
    programs: &[Program],
    others: &[(&str, &[&str])],
) -> Result<Tally> {
    let mut tally = Tally::default();
    for (other, arguments) in others {
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
        &format!("{} on {}", title, variant.name),
        &log,
        !variant.runs_whole_suite(options),
    )
}

/// `A=b C=d `, as a prefix of a command.
fn shown(environment: &[(&str, &str)]) -> String {
    let pairs = environment
        .iter()
        .map(|(name, value)| format!("{name}={value} "));
    pairs.collect()
}
