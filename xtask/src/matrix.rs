//! `cargo xtask matrix`: what each backend can do, in the README.

use std::fs;

use serde::Deserialize;

use crate::backends::{self, BACKENDS};
use crate::generated::{Mode, between, settle};
use crate::report::{self, Case, Outcome};
use crate::workspace::Workspace;
use crate::{Result, process};

pub const HELP: &str = "
Write the capability matrix between `<!-- matrix -->` and `<!-- /matrix -->` of
README.md. A backend's row has what its `capabilities()` answers, and what it
was tested on: the server of the last `cargo xtask test-all`, if every one of
its cases passed there.

Usage: cargo xtask matrix [--check]

Options:
  --check   write nothing; fail if the matrix is out of date

Example:
  cargo xtask test-all && cargo xtask matrix
";

/// What store-conformance/examples/capabilities.rs prints.
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
    let text = between(&readme, "matrix", &markdown(&capabilities, &cases)?)
        .map_err(|error| format!("README.md: {error}"))?;
    settle(mode, &file, &text, "cargo xtask matrix")
}

fn markdown(capabilities: &[Capabilities], cases: &[Case]) -> Result<String> {
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
        let tested = tested_on(backend.name, cases);
        lines.push(format!(
            "| {} | {tested} | {} |",
            backend.name,
            answers.join(" | ")
        ));
    }
    Ok(lines.join("\n"))
}

/// The servers on which all cases of the bare backend passed.
fn tested_on(backend: &str, cases: &[Case]) -> String {
    let of_it: Vec<_> = cases
        .iter()
        .filter(|case| case.backend == backend)
        .collect();
    if of_it.is_empty() || of_it.iter().any(|case| case.outcome == Outcome::Failed) {
        return "not tested".into();
    }
    // Without the version, which differs from machine to machine.
    let mut servers: Vec<_> = of_it
        .iter()
        .filter_map(|case| case.server.split(' ').next())
        .collect();
    servers.sort_unstable();
    servers.dedup();
    match servers.as_slice() {
        [""] => "in process".into(),
        _ => servers.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_server_is_named_only_if_every_case_passed_on_it() {
        let passed = case("Redis 7.0", Outcome::Passed);
        assert_eq!(tested_on("redis", std::slice::from_ref(&passed)), "Redis");
        let failed = case("Redis 7.0", Outcome::Failed);
        assert_eq!(tested_on("redis", &[passed, failed]), "not tested");
        assert_eq!(tested_on("redis", &[]), "not tested");
    }
}
