//! Running other programs.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::Result;

/// The cargo that runs this, at the root of the workspace.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    // The variables that cargo sets for this program do not concern the other one:
    // some build scripts depend on them, and would build everything again.
    for (name, _) in std::env::vars_os() {
        let text = name.to_str().unwrap_or_default();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command
}

/// The members from which tests are built. Every command selects the same ones, so that
/// nothing is compiled twice. The benchmarks are excluded: they would enable features of
/// dependencies that only they need.
pub const TESTED: [&str; 3] = ["--workspace", "--exclude", "benches"];

/// The root of the workspace: the folder above this crate.
pub fn root() -> &'static Path {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own)
}

/// The standard output of a command; the rest goes to the screen.
///
/// # Errors
/// If it cannot be started or fails.
pub fn stdout(command: &mut Command) -> Result<String> {
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("cannot start {}: {error}", shown(command)))?;
    if !output.status.success() {
        return Err(format!("{} ended with {}", shown(command), output.status).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// Runs a command, with its output on the screen.
///
/// # Errors
/// If it cannot be started or fails.
pub fn run(command: &mut Command) -> Result {
    let status = command
        .status()
        .map_err(|error| format!("cannot start {}: {error}", shown(command)))?;
    if !status.success() {
        return Err(format!("{} ended with {status}", shown(command)).into());
    }
    Ok(())
}

/// What this example of a member prints. It is built with the features of the
/// whole workspace, as the tests are, so that nothing is compiled twice.
///
/// # Errors
/// If there is no such example, or it fails.
pub fn example(name: &str) -> Result<String> {
    let program = built_example(name, &["store-conformance/internals"])?;
    stdout(Command::new(program).current_dir(root()))
}

/// The program of this example, built with these features.
///
/// # Errors
/// If there is no such example, or it does not build.
pub fn built_example(name: &str, features: &[&str]) -> Result<String> {
    let mut build = cargo();
    build.args(["build", "--quiet"]);
    build.args(TESTED).args(["--example", name]);
    for feature in features {
        build.args(["--features", feature]);
    }
    let messages = stdout(build.arg("--message-format=json-render-diagnostics"))?;
    let built = messages.lines().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let named = message["target"]["name"] == name;
        named.then(|| message["executable"].as_str().map(str::to_owned))?
    });
    built.ok_or_else(|| format!("cargo built no example `{name}`").into())
}

/// Runs a program and returns its status and its output, which is also written to
/// `log`. A program that has not ended by the deadline is killed, and the output says
/// so.
///
/// # Errors
/// If it cannot be started or the log cannot be written.
pub fn logged(
    command: &mut Command,
    log: &Path,
    deadline: Duration,
) -> Result<(ExitStatus, String)> {
    if let Some(folder) = log.parent() {
        fs::create_dir_all(folder)?;
    }
    let file = File::create(log)?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .spawn()
        .map_err(|error| format!("cannot start {}: {error}", shown(command)))?;
    let (ended, end) = mpsc::channel::<()>();
    let id = child.id().to_string();
    let watch = thread::spawn(move || {
        let hangs = end.recv_timeout(deadline) == Err(mpsc::RecvTimeoutError::Timeout);
        if hangs {
            // Nothing has waited for the process yet, so its id is not reused.
            let _ = Command::new("kill").args(["-KILL", &id]).status();
        }
        hangs
    });
    let status = child.wait();
    drop(ended);
    let hung = watch.join().unwrap_or(false);
    let mut text = String::from_utf8_lossy(&fs::read(log)?).into_owned();
    if hung {
        let after = seconds(deadline);
        text.push_str(&format!("\nkilled: it had not ended after {after}\n"));
    }
    Ok((status?, text))
}

/// The command as it would be typed.
pub fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let mut text = program
        .file_name()
        .unwrap_or(program.as_os_str())
        .to_string_lossy()
        .into_owned();
    for argument in command.get_args() {
        text.push(' ');
        text.push_str(&argument.to_string_lossy());
    }
    text
}

/// A readable duration: `0.4 s`, `2 min 5 s`.
pub fn seconds(duration: Duration) -> String {
    let whole = duration.as_secs();
    if whole < 100 {
        format!("{:.1} s", duration.as_secs_f64())
    } else {
        format!("{} min {} s", whole / 60, whole % 60)
    }
}
