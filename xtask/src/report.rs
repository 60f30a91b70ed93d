//! The reports of the conformance programs, and checks that they are complete.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::backends::Backend;

/// How a case ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    Passed,
    Failed,
    Unsupported,
}

/// One case against one backend: an element of `target/conformance.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Case {
    pub backend: String,
    pub server: String,
    pub contract: String,
    pub case: String,
    pub outcome: Outcome,
    pub millis: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl Case {
    /// Its name in the test program.
    pub fn path(&self) -> String {
        format!("{}::{}::{}", self.backend, self.contract, self.case)
    }
}

/// Reads the report of one program.
pub fn read(file: &Path) -> Result<Vec<Case>> {
    let text = std::fs::read(file).map_err(|error| format!("it left no report: {error}"))?;
    serde_json::from_slice(&text)
        .map_err(|error| format!("its report is malformed: {error}").into())
}

/// Why `cases` is not a full run of `backend`; empty if it is one.
pub fn complete(backend: &Backend, cases: &[Case]) -> Vec<String> {
    let mut faults = Vec::new();
    if !cases.iter().any(|case| case.backend == backend.name) {
        faults.push(format!(
            "{}: its report has no case of the bare backend",
            backend.name
        ));
    }
    let mut seen = BTreeSet::new();
    for case in cases {
        if innermost(&case.backend) != backend.name {
            faults.push(format!(
                "{}: its report names `{}`",
                backend.name, case.backend
            ));
        }
        if !seen.insert(case.path()) {
            faults.push(format!("{}: reported twice: {}", backend.name, case.path()));
        }
        if backend.server.is_some() && case.server.is_empty() {
            faults.push(format!("{}: names no server", case.path()));
        }
    }
    faults
}

/// Every bare backend must run the same cases on each of its servers; returns what is
/// missing.
pub fn same_cases(backends: &[&Backend], cases: &[Case]) -> Vec<String> {
    let mut all: BTreeMap<(&str, &str), BTreeSet<(&str, &str)>> = BTreeMap::new();
    let mut places = BTreeSet::new();
    for case in cases {
        if backends.iter().any(|backend| backend.name == case.backend) {
            let place = (case.backend.as_str(), case.server.as_str());
            places.insert(place);
            let ran = all.entry((&case.contract, &case.case)).or_default();
            ran.insert(place);
        }
    }
    let mut faults = Vec::new();
    for ((contract, case), ran) in &all {
        for (backend, server) in places.difference(ran) {
            let on = if server.is_empty() { "" } else { " on " };
            faults.push(format!(
                "{backend}{on}{server}: did not run {contract}::{case}"
            ));
        }
    }
    faults
}

/// Every bare backend that ran must have a case of every contract.
pub fn every_contract(contracts: &[String], backends: &[&Backend], cases: &[Case]) -> Vec<String> {
    let mut faults = Vec::new();
    for backend in backends {
        let own: BTreeSet<_> = cases
            .iter()
            .filter(|case| case.backend == backend.name)
            .map(|case| case.contract.as_str())
            .collect();
        for contract in contracts {
            if !own.is_empty() && !own.contains(contract.as_str()) {
                faults.push(format!(
                    "{}: no case of the contract {contract}",
                    backend.name
                ));
            }
        }
    }
    faults
}

/// Backend × contract, with counts and servers; the first row is the heading.
pub fn table(selected: &[&Backend], cases: &[Case]) -> Vec<Vec<String>> {
    let mut contracts: Vec<&str> = Vec::new();
    let mut backends: Vec<(&str, &str)> = Vec::new();
    for case in cases {
        let backend = (case.backend.as_str(), case.server.as_str());
        if !backends.contains(&backend) {
            backends.push(backend);
        }
        if !contracts.contains(&case.contract.as_str()) {
            contracts.push(&case.contract);
        }
    }
    contracts.sort_by_key(|contract| (*contract != "records", *contract));
    let mut rows = vec![vec!["backend".to_string(), "server".to_string()]];
    rows[0].extend(contracts.iter().map(|contract| contract.to_string()));
    rows[0].push("all".into());
    for (backend, server) in backends {
        let of = |contract: Option<&str>| {
            counts(cases.iter().filter(|case| {
                (case.backend.as_str(), case.server.as_str()) == (backend, server)
                    && contract.is_none_or(|contract| contract == case.contract)
            }))
        };
        let server = if server.is_empty() {
            "in process"
        } else {
            server
        };
        let mut row = vec![backend.to_string(), server.to_string()];
        row.extend(contracts.iter().map(|contract| of(Some(contract))));
        row.push(of(None));
        rows.push(row);
    }
    for backend in selected {
        if !cases.iter().any(|case| case.backend == backend.name) {
            rows.push(vec![backend.name.into(), "did not run".into()]);
        }
    }
    rows
}

/// What `unsupported` means, if the table has it.
pub fn unsupported(cases: &[Case]) -> Option<String> {
    let of = |case: &&Case| case.outcome == Outcome::Unsupported;
    let count = cases.iter().filter(of).count();
    let known = cases
        .iter()
        .filter(of)
        .filter(|case| case.message.is_some());
    let known = known.count();
    (count > 0).then(|| {
        let mut text = format!(
            "unsupported: in {} cases the backend declares that it lacks what the case needs, \
             and the case\nproved that the call is refused with a clear error. The matrix in \
             README.md lists these capabilities.",
            count - known
        );
        if known > 0 {
            text.push_str(&format!(
                "\nIn {known} more, the server used for the test is known to be at fault; \
                 target/conformance.json has the reasons."
            ));
        }
        text
    })
}

/// `7`, `7, 1 failed`, `6, 1 unsupported`; `-` if there is none.
fn counts<'a>(cases: impl Iterator<Item = &'a Case>) -> String {
    let (mut passed, mut failed, mut unsupported) = (0, 0, 0);
    for case in cases {
        match case.outcome {
            Outcome::Passed => passed += 1,
            Outcome::Failed => failed += 1,
            Outcome::Unsupported => unsupported += 1,
        }
    }
    if passed + failed + unsupported == 0 {
        return "-".into();
    }
    let mut text = passed.to_string();
    for (count, what) in [(failed, "failed"), (unsupported, "unsupported")] {
        if count > 0 {
            text.push_str(&format!(", {count} {what}"));
        }
    }
    text
}

/// `redis` of `cached(encrypted(redis))`.
fn innermost(backend: &str) -> &str {
    backend
        .rsplit('(')
        .next()
        .unwrap_or(backend)
        .trim_end_matches(')')
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMORY: Backend = Backend {
        name: "memory",
        package: "store-memory",
        server: None,
        variants: &[],
        versions: &[],
        crash: None,
        heavy: &[],
        most_crates: 0,
    };
    const REDIS: Backend = Backend {
        name: "redis",
        package: "store-redis",
        server: Some("Redis"),
        variants: &[],
        versions: &[],
        crash: None,
        heavy: &[],
        most_crates: 0,
    };

    fn case(backend: &str, contract: &str, case: &str, outcome: Outcome) -> Case {
        Case {
            backend: backend.into(),
            server: String::new(),
            contract: contract.into(),
            case: case.into(),
            outcome,
            millis: 1,
            message: None,
        }
    }

    #[test]
    fn a_report_without_a_case_of_the_bare_backend_is_a_fault() {
        assert_eq!(complete(&MEMORY, &[]).len(), 1);
        let only_cached = [case("cached(memory)", "records", "a", Outcome::Passed)];
        assert_eq!(complete(&MEMORY, &only_cached).len(), 1);
        let both = [
            case("memory", "records", "a", Outcome::Passed),
            case("cached(memory)", "records", "a", Outcome::Passed),
        ];
        assert!(complete(&MEMORY, &both).is_empty());
    }

    #[test]
    fn a_case_of_another_backend_or_reported_twice_is_a_fault() {
        let a = case("memory", "records", "a", Outcome::Passed);
        let stray = case("redis", "records", "a", Outcome::Passed);
        assert_eq!(complete(&MEMORY, &[a.clone(), stray]).len(), 1);
        assert_eq!(complete(&MEMORY, &[a.clone(), a]).len(), 1);
    }

    #[test]
    fn a_backend_with_a_server_must_name_it() {
        let mut nameless = case("redis", "records", "a", Outcome::Passed);
        assert_eq!(complete(&REDIS, &[nameless.clone()]).len(), 1);
        nameless.server = "Redis 7.0".into();
        assert!(complete(&REDIS, &[nameless]).is_empty());
    }

    #[test]
    fn a_bare_backend_that_lacks_a_case_of_another_is_named() {
        let cases = [
            case("memory", "records", "a", Outcome::Passed),
            case("memory", "limits", "b", Outcome::Passed),
            case("redis", "records", "a", Outcome::Unsupported),
            case("cached(redis)", "limits", "b", Outcome::Passed),
        ];
        assert_eq!(
            same_cases(&[&MEMORY, &REDIS], &cases),
            ["redis: did not run limits::b"]
        );
    }

    #[test]
    fn a_case_that_ran_on_one_server_and_not_on_another_is_named() {
        let on = |server: &str, name: &str| Case {
            server: server.into(),
            ..case("redis", "records", name, Outcome::Passed)
        };
        let cases = [on("Redis 7", "a"), on("Redis 7", "b"), on("Redis 8", "a")];
        assert_eq!(
            same_cases(&[&REDIS], &cases),
            ["redis on Redis 8: did not run records::b"]
        );
    }

    #[test]
    fn a_contract_without_a_case_is_named() {
        let contracts = ["records", "iam"].map(String::from);
        let ran = [case("memory", "records", "a", Outcome::Passed)];
        assert_eq!(
            every_contract(&contracts, &[&MEMORY], &ran),
            ["memory: no case of the contract iam"]
        );
        // A backend that did not run is reported only as that.
        assert!(every_contract(&contracts, &[&REDIS], &ran).is_empty());
    }

    #[test]
    fn the_table_shows_what_failed_and_what_is_unsupported() {
        let cases = [
            case("memory", "limits", "b", Outcome::Failed),
            case("memory", "records", "a", Outcome::Passed),
            case("memory", "records", "c", Outcome::Unsupported),
        ];
        let rows = table(&[&MEMORY, &REDIS], &cases);
        assert_eq!(rows[0], ["backend", "server", "records", "limits", "all"]);
        assert_eq!(
            rows[1],
            [
                "memory",
                "in process",
                "1, 1 unsupported",
                "0, 1 failed",
                "1, 1 failed, 1 unsupported"
            ]
        );
        assert_eq!(rows[2], ["redis", "did not run"]);
    }
}
