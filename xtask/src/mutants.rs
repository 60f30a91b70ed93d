//! `cargo xtask mutants`: small changes to the code that the tests must notice.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use lexopt::prelude::*;

use crate::workspace::Workspace;
use crate::{Result, process};

/// The files whose mutants must be killed: what decides whether a promise holds.
const FILES: [&str; 26] = [
    // Commits, updates and transactions.
    "store-core/src/batch/mod.rs",
    "store-core/src/update.rs",
    "store-core/src/transaction.rs",
    "store-core/src/turns.rs",
    "store-core/src/backend/lost_reply.rs",
    "store-memory/src/records.rs",
    "store-memory/src/shard.rs",
    // Takes.
    "store-core/src/backend/gcra.rs",
    "store-core/src/limits/bucket.rs",
    "store-core/src/limits/take.rs",
    // Authentication.
    "store-core/src/api_keys/records/mod.rs",
    "store-core/src/api_keys/records/write.rs",
    "store-core/src/api_keys/records/revoke.rs",
    "store-core/src/api_keys/access.rs",
    "store-core/src/iam/credentials.rs",
    // Nonces and sealing.
    "store-core/src/lti/records/nonces.rs",
    "store-core/src/secret/seal.rs",
    "store-core/src/secret/digest.rs",
    // Publication and sweeping of objects.
    "store-core/src/blobs/pointer.rs",
    "store-core/src/blobs/engine/sink.rs",
    "store-core/src/blobs/engine/reclaim.rs",
    // Gates and rosters.
    "store-core/src/tenants/gate.rs",
    "store-core/src/tenants/records.rs",
    "store-core/src/iam/layout.rs",
    "store-core/src/iam/principals.rs",
    "store-core/src/iam/transaction.rs",
];

/// The survivors that are explained, one a line: `FILE: MUTANT  # REASON`.
const EXPLAINED: &str = "store-conformance/MUTANTS.txt";

pub const HELP: &str = "
Change the code in small ways with cargo-mutants, and check that the unit tests and
the suite over memory notice each change. Fails if a mutant survives that
store-conformance/MUTANTS.txt does not explain.

Each mutant is compiled and tested by itself, which takes from half a minute to two
minutes; all files together take a night. Results are left in target/mutants.

Usage: cargo xtask mutants [OPTIONS] [FILE]...

Options:
  FILE            only these files; by default those that decide whether a promise
                  holds
  --changed BASE  only what differs from this commit, as before a merge
  --list          print the mutants and run nothing
  --minutes N     stop after so many minutes, as with a failure

cargo-mutants is installed with
  cargo install --locked cargo-mutants --version 25

Example:
  cargo xtask mutants --changed origin/main
";

pub fn run(mut arguments: lexopt::Parser) -> Result {
    let (mut files, mut base, mut list, mut minutes) = (Vec::new(), None, false, None);
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("changed") => base = Some(arguments.value()?.string()?),
            Long("list") => list = true,
            Long("minutes") => minutes = Some(arguments.value()?.parse::<u64>()?),
            Value(file) => files.push(file.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    mutants(&files, base.as_deref(), list, minutes)
}

/// Runs cargo-mutants over `files`, or over all of them if there are none.
pub fn mutants(files: &[String], base: Option<&str>, list: bool, minutes: Option<u64>) -> Result {
    let target = Workspace::load()?.target;
    let mut command = match minutes {
        Some(minutes) => {
            let mut timeout = Command::new("timeout");
            timeout.args(["--signal=INT", &format!("{minutes}m"), "cargo"]);
            timeout.current_dir(process::root());
            timeout
        }
        None => process::cargo(),
    };
    command.arg("mutants").arg("--output").arg(&target);
    command.args(["--no-shuffle", "--colors=never", "--timeout=300"]);
    match files {
        [] => command.args(FILES.iter().flat_map(|file| ["--file", file])),
        files => command.args(files.iter().flat_map(|file| ["--file", file])),
    };
    if let Some(base) = base {
        command.arg("--in-diff").arg(difference(base, &target)?);
    }
    if list {
        return process::run(command.arg("--list"));
    }
    for package in ["store-core", "store-memory", "store-conformance"] {
        command.args(["--test-package", package]);
    }
    command.args(["--", "--lib", "--test=memory"]);
    // It fails if any mutant survives; which of them are explained is decided here.
    let status = command
        .status()
        .map_err(|error| format!("cargo-mutants does not start: {error}"))?;
    let results = target.join("mutants.out");
    let read = |name| fs::read_to_string(results.join(name)).unwrap_or_default();
    let explained = fs::read_to_string(process::root().join(EXPLAINED))?;
    let missed = read("missed.txt");
    let survivors = unexplained(&missed, &explained);
    if survivors.is_empty() && matches!(status.code(), Some(0 | 2 | 3)) {
        let killed = read("caught.txt").lines().count();
        println!("{killed} mutants were killed, and every survivor is explained");
        return Ok(());
    }
    if survivors.is_empty() {
        return Err(format!("cargo-mutants ended with {status}; see {results:?}").into());
    }
    Err(format!(
        "these mutants survive; add a case that fails on each, or explain it in {EXPLAINED}:\n{}",
        survivors.join("\n")
    )
    .into())
}

/// Writes what differs from `base` to a file, for cargo-mutants.
fn difference(base: &str, target: &std::path::Path) -> Result<PathBuf> {
    let mut git = Command::new("git");
    git.current_dir(process::root());
    let changes = process::stdout(git.args(["diff", "--merge-base", base]))?;
    let file = target.join("mutants.diff");
    fs::create_dir_all(target)?;
    fs::write(&file, changes)?;
    Ok(file)
}

/// The survivors that no line of `explained` names. Lines and columns are left out of
/// the comparison, because they move with every edit.
fn unexplained<'a>(survivors: &'a str, explained: &str) -> Vec<&'a str> {
    let known: Vec<String> = explained
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| Some(line.split_once("  # ")?.0.trim().to_owned()))
        .collect();
    let survivors = survivors.lines().filter(|line| !line.is_empty());
    survivors
        .filter(|line| !known.contains(&without_place(line)))
        .collect()
}

/// `FILE:LINE:COLUMN: MUTANT` as `FILE: MUTANT`.
fn without_place(line: &str) -> String {
    match line.splitn(4, ':').collect::<Vec<_>>()[..] {
        [file, _, _, mutant] => format!("{file}:{mutant}"),
        _ => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_survivor_is_explained_wherever_its_line_is() {
        let explained = "# A comment.\na/b.rs: replace f -> bool with true  # Only saves time.\n";
        let survivors =
            "a/b.rs:7:5: replace f -> bool with true\na/b.rs:9:5: replace g -> bool with true\n";
        let left = unexplained(survivors, explained);
        assert_eq!(left, ["a/b.rs:9:5: replace g -> bool with true"]);
    }

    #[test]
    fn every_named_file_exists() {
        for file in FILES {
            assert!(process::root().join(file).exists(), "{file}");
        }
    }
}
