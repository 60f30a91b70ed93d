//! Test programs: building, running and judging them.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::backends::{self, Backend};
use crate::options::Options;
use crate::tally::Tally;
use crate::workspace::Workspace;
use crate::{Result, process};

/// The exit code of a test program that could not get its server
/// (`store_conformance::servers::MISSING`).
pub const MISSING: i32 = 77;

/// A test program that has not ended after this long is stuck. Each case has a deadline
/// of its own (`store_conformance::suite`); this one is for everything else.
pub const DEADLINE: Duration = Duration::from_secs(20 * 60);

/// A built test program.
pub struct Program {
    pub package: String,
    pub target: String,
    /// The kind of target: `test`, `example`, `lib` …
    pub kind: String,
    pub executable: PathBuf,
    dir: PathBuf,
}

/// The part of cargo's messages that is read.
#[derive(Deserialize)]
struct Artifact {
    manifest_path: PathBuf,
    target: Target,
    profile: Profile,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

/// Builds every test program with one set of features, regardless of what is selected,
/// so that nothing is compiled twice.
pub fn build(workspace: &Workspace, options: &Options) -> Result<Vec<Program>> {
    let begin = Instant::now();
    println!("Building the tests");
    let mut command = process::cargo();
    command.args(["test", "--no-run"]).args(process::TESTED);
    command.args(["--features", "store-conformance/servers"]);
    command.arg("--message-format=json-render-diagnostics");
    for backend in backends::BACKENDS {
        if options.backends.iter().any(|name| name == backend.name) {
            command.args(["--test", backend.name]);
            for (other, _) in backend.variants.iter().flat_map(|variant| variant.also) {
                command.args(["--test", other]);
            }
        }
    }
    let messages = process::stdout(&mut command)?;
    let mut programs = Vec::new();
    for line in messages.lines() {
        let message: serde_json::Value = serde_json::from_str(line)?;
        if message["reason"] != "compiler-artifact" {
            continue;
        }
        let artifact: Artifact = serde_json::from_value(message)?;
        let package = workspace
            .packages
            .iter()
            .find(|package| package.manifest_path == artifact.manifest_path);
        let (Some(package), Some(executable), true) =
            (package, artifact.executable, artifact.profile.test)
        else {
            continue;
        };
        programs.push(Program {
            package: package.name.clone(),
            target: artifact.target.name,
            kind: artifact.target.kind.concat(),
            executable,
            dir: package.dir().into(),
        });
    }
    programs
        .sort_by(|a, b| (&a.package, &a.kind, &a.target).cmp(&(&b.package, &b.kind, &b.target)));
    println!("  {}", process::seconds(begin.elapsed()));
    Ok(programs)
}

impl Program {
    /// Whether it is the suite over a backend.
    pub fn is_conformance(&self) -> bool {
        backends::BACKENDS
            .iter()
            .any(|backend| self.is_suite_of(backend))
    }

    /// Whether it is the suite over this backend.
    pub fn is_suite_of(&self, backend: &Backend) -> bool {
        self.package == "store-conformance" && self.kind == "test" && self.target == backend.name
    }

    /// The path by which it is found.
    pub fn name(&self) -> String {
        match self.kind.as_str() {
            "test" => format!("{}/tests/{}", self.package, self.target),
            "example" => format!("{}/examples/{}", self.package, self.target),
            _ => format!("{} ({})", self.package, self.kind),
        }
    }

    /// The command that runs it, with the variables for its servers.
    pub fn command(&self, options: &Options) -> Command {
        let mut command = Command::new(&self.executable);
        command
            .current_dir(&self.dir)
            .env("CARGO_MANIFEST_DIR", &self.dir);
        options.apply(&mut command);
        command
    }

    /// Runs it and counts its tests.
    pub fn test(&self, workspace: &Workspace, options: &Options) -> Result<Tally> {
        let log = format!("{}-{}-{}", self.package, self.kind, self.target);
        let may_lack = backends::MAY_LACK.contains(&&*self.target);
        run_logged(
            workspace,
            self.command(options),
            &self.name(),
            &log,
            may_lack,
        )
    }
}

/// Runs a test program and counts its tests. If its server is missing, it counts as not
/// proven instead of failed.
pub fn run_logged(
    workspace: &Workspace,
    mut command: Command,
    title: &str,
    log: &str,
    may_lack: bool,
) -> Result<Tally> {
    let begin = Instant::now();
    let log = log_file(workspace, log);
    let (status, output) = process::logged(&mut command, &log, DEADLINE)?;
    let mut tally = Tally::read(&output);
    if status.code() == Some(MISSING) && may_lack {
        tally
            .unproven
            .push(format!("{}: {}", title.trim(), reason(&output)));
        line(title, "NOT PROVEN", begin);
        return Ok(tally);
    }
    if tally == Tally::default() && status.success() && !output.contains("test result: ") {
        // A program that does not count its tests counts as one.
        tally.passed = 1;
    }
    judge(&mut tally, title, status, &output, workspace.shown(&log));
    line(title, &tally.shown(), begin);
    Ok(tally)
}

/// A name for its log file.
pub fn slug(name: &str) -> String {
    let words = name.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join("-")
}

/// The file with the output of a program.
pub fn log_file(workspace: &Workspace, name: &str) -> PathBuf {
    workspace
        .target
        .join("test-logs")
        .join(format!("{name}.log"))
}

/// Why a program could not get its server: the first line of its advice.
pub fn reason(output: &str) -> &str {
    let begins = |line: &&str| line.starts_with("No ") || line.starts_with("no ");
    output
        .lines()
        .find(begins)
        .unwrap_or("no reason was printed")
}

/// Counts a program that failed, and records why.
pub fn judge(tally: &mut Tally, name: &str, status: ExitStatus, output: &str, log: &Path) {
    if status.success() {
        return;
    }
    let failure = format!("{name} ended with {status}\n{}", tail(output, log));
    if tally.failed > 0 {
        tally.failures.push(failure);
    } else {
        tally.fail(failure);
    }
}

/// The end of a failed program's output: from `failures:` on, if it has that.
pub fn tail(output: &str, log: &Path) -> String {
    const MOST: usize = 60;
    let from = output.find("\nfailures:\n").map_or(0, |at| at + 1);
    let lines: Vec<_> = output[from..].trim_end().lines().collect();
    let shown = if from > 0 {
        &lines[..lines.len().min(MOST)]
    } else {
        &lines[lines.len().saturating_sub(MOST)..]
    };
    let mut text: String = shown.iter().map(|line| format!("  {line}\n")).collect();
    text.push_str(&format!("  (full output: {})", log.display()));
    text
}

/// Prints the result of one program.
pub fn line(what: &str, result: &str, begin: Instant) {
    println!(
        "  {what:<56} {result:<24} {}",
        process::seconds(begin.elapsed())
    );
}
