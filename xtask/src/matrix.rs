//! `cargo xtask matrix`: what each backend can do, in the README.

use std::fs;

use serde::Deserialize;

use crate::backends::{self, BACKENDS, Backend};
use crate::generated::{Mode, between, settle};
use crate::report::{self, Case, Outcome};
use crate::workspace::Workspace;
use crate::{Result, process};

pub const HELP: &str = "
Write the capability matrix between `<!-- matrix -->` and `<!-- /matrix -->` of
README.md. A backend's row has what its `capabilities()` answers, and what it
was tested on: of the versions in xtask/src/backends.rs those of the last
`cargo xtask test-all --every-server`, if every case passed.

Usage: cargo xtask matrix [--check]

Options:
  --check   write nothing; fail if the matrix is out of date. A version that it
            lists and that did not run here is reported, but is not a failure:
            not every machine has every server

Example:
  cargo xtask test-all --every-server --install && cargo xtask matrix
";

/// The output of store-conformance/examples/capabilities.rs.
#[derive(Debug, Deserialize)]
struct Capabilities {
    backend: String,
    rows: Vec<(String, String)>,
}

pub fn run(arguments: lexopt::Parser) -> Result {
    matrix(Mode::of(arguments)?)
}

/// Writes or checks the matrix.
pub fn matrix(mode: Mode) -> Result {
    let workspace = Workspace::load()?;
    backends::select(&[], &workspace)?;
    let cases = report::read(&workspace.target.join("conformance.json"))
        .map_err(|error| format!("run `cargo xtask test-all` first: {error}"))?;
    let json = process::example("capabilities")?;
    let capabilities: Vec<Capabilities> = serde_json::from_str(&json)?;
    let file = workspace.root.join("README.md");
    let readme = fs::read_to_string(&file)?;
    let made = |seen: Seen| -> Result<String> {
        let table = markdown(&capabilities, &cases, seen)?;
        between(&readme, "matrix", &table).map_err(|error| format!("README.md: {error}").into())
    };
    let here = made(Seen::Here)?;
    if mode == Mode::Check && readme != here && readme == made(Seen::Anywhere)? {
        println!("README.md is up to date, and lists versions that did not run here:");
        println!("{}", markdown(&capabilities, &cases, Seen::Here)?);
        return Ok(());
    }
    settle(mode, &file, &here, "cargo xtask matrix")
}

/// Which versions the matrix lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    /// Those that the last run tested.
    Here,
    /// All that the project tests, if the last run tested any.
    Anywhere,
}

fn markdown(capabilities: &[Capabilities], cases: &[Case], seen: Seen) -> Result<String> {
    let mut lines: Vec<String> = Vec::new();
    for backend in BACKENDS {
        let own = capabilities
            .iter()
            .find(|own| own.backend == backend.name)
            .ok_or_else(|| {
                format!(
                    "store-conformance/examples/capabilities.rs does not open {}",
                    backend.name
                )
            })?;
        if lines.is_empty() {
            let names: Vec<_> = own.rows.iter().map(|(name, _)| name.as_str()).collect();
            lines.push(format!("| backend | tested on | {} |", names.join(" | ")));
            lines.push(format!("|---|---|{}", "---|".repeat(names.len())));
        }
        let answers: Vec<_> = own.rows.iter().map(|(_, answer)| answer.as_str()).collect();
        let tested = tested_on(backend, cases, seen);
        lines.push(format!(
            "| {} | {tested} | {} |",
            backend.name,
            answers.join(" | ")
        ));
    }
    Ok(lines.join("\n"))
}

/// The server and its major versions on which all cases of the bare backend
/// passed. Minor ones differ from machine to machine.
fn tested_on(backend: &Backend, cases: &[Case], seen: Seen) -> String {
    let of_it: Vec<_> = cases
        .iter()
        .filter(|case| case.backend == backend.name)
        .collect();
    if of_it.is_empty() || of_it.iter().any(|case| case.outcome == Outcome::Failed) {
        return "not tested".into();
    }
    let Some(server) = backend.server else {
        return "in process".into();
    };
    let ran = |version: &&&str| {
        // `8`, or `Valkey 8`: another server of the same protocol.
        let name = match version.starts_with(char::is_alphabetic) {
            true => (*version).to_string(),
            false => format!("{server} {version}"),
        };
        let is_it = |case: &&Case| {
            let rest = case.server.strip_prefix(&*name);
            rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_digit()))
        };
        seen == Seen::Anywhere || of_it.iter().any(is_it)
    };
    let versions: Vec<_> = backend.versions.iter().filter(ran).copied().collect();
    format!("{server} {}", versions.join(", "))
        .trim_end()
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const REDIS: Backend = Backend {
        name: "redis",
        package: "store-redis",
        server: Some("Redis"),
        variants: &[],
        versions: &["7", "8", "Valkey 8"],
        crash: None,
        heavy: &[],
        most_crates: 0,
    };

    fn case(server: &str, outcome: Outcome) -> Case {
        Case {
            backend: "redis".into(),
            server: server.into(),
            contract: "records".into(),
            case: "a".into(),
            outcome,
            millis: 1,
            message: None,
        }
    }

    #[test]
    fn a_version_is_named_only_if_every_case_passed_on_it() {
        let tested = |cases: &[Case]| tested_on(&REDIS, cases, Seen::Here);
        let seven = case("Redis 7.0.15, program", Outcome::Passed);
        let eight = case("Redis 8.2, container", Outcome::Passed);
        assert_eq!(tested(std::slice::from_ref(&seven)), "Redis 7");
        assert_eq!(tested(&[seven.clone(), eight.clone()]), "Redis 7, 8");
        let valkey = case("Valkey 8.1.1, installed", Outcome::Passed);
        assert_eq!(tested(&[seven.clone(), valkey]), "Redis 7, Valkey 8");
        let failed = case("Redis 8.2, container", Outcome::Failed);
        assert_eq!(tested(&[seven, failed]), "not tested");
        assert_eq!(tested(&[]), "not tested");
        // A version that the project does not promise to test.
        assert_eq!(tested(&[case("Redis 77", Outcome::Passed)]), "Redis");
    }

    #[test]
    fn what_did_not_run_here_is_named_only_beside_what_did() {
        let tested = |cases: &[Case]| tested_on(&REDIS, cases, Seen::Anywhere);
        let seven = case("Redis 7.0.15, program", Outcome::Passed);
        assert_eq!(tested(&[seven]), "Redis 7, 8, Valkey 8");
        assert_eq!(tested(&[]), "not tested");
    }
}
