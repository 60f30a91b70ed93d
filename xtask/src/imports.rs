//! Which module may import which: a rule of `cargo xtask tidy`.
//!
//! The model (keys, records, batches, errors) imports no store, a store imports no
//! contract, and a contract imports no other one. Identities depend on each other in one
//! direction: iam on tenants, tenants on entity. A backend imports no contract that
//! stores data of its own.

use std::collections::BTreeSet;
use std::fs;

use crate::backends::BACKENDS;
use crate::workspace::Workspace;
use crate::{Result, tidy};

/// The modules of store-core on which everything depends.
const MODEL: &[&str] = &["batch", "body", "clock", "error", "key", "record", "scan"];

/// Contracts that store records of their own.
const CONTRACTS: &[&str] = &["api_keys", "entity", "iam", "lti", "tenants"];

/// The contracts that each module of store-core may import, in addition to itself. A
/// module that is not listed may import none.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    // These gather what the contracts declare.
    ("collections", CONTRACTS),
    ("lib", CONTRACTS),
    ("tenants", &["entity"]),
    ("iam", &["entity", "tenants"]),
];

/// The exceptions to the rule: the file or folder, and the module that it imports.
const EXCEPTIONS: &[(&str, &str)] = &[];

/// Reports every import that breaks the rule, and prints exceptions that are not needed.
pub fn check(workspace: &Workspace, faults: &mut Vec<String>) -> Result {
    let mut used = BTreeSet::new();
    let mut judge = |file: &str, module: &str, is_allowed: bool| {
        let exception = EXCEPTIONS
            .iter()
            .position(|(place, except)| file.starts_with(place) && *except == module);
        match (is_allowed, exception) {
            (true, _) => {}
            (false, Some(index)) => drop(used.insert(index)),
            (false, None) => faults.push(format!(
                "{file}: imports {module}, which breaks the rule in xtask/src/imports.rs"
            )),
        }
    };
    let crates = BACKENDS.iter().map(|backend| backend.package);
    for package in crates.chain(["store-core"]) {
        let folder = workspace.root.join(package).join("src");
        for path in tidy::sources(&folder)? {
            let file = tidy::shown(workspace, &path);
            let inner = file.split("/src/").nth(1).unwrap_or_default();
            let own = inner.split(['/', '.']).next().unwrap_or_default();
            let text = code(&fs::read_to_string(&path)?);
            if package != "store-core" {
                for module in imported(&text, "store_core::") {
                    judge(&file, module, !CONTRACTS.contains(&module));
                }
                continue;
            }
            for module in imported(&text, "crate::") {
                let may = MAY_IMPORT.iter().find(|(name, _)| *name == own);
                let may = may.map_or(&[][..], |(_, may)| *may);
                let contract = CONTRACTS.contains(&module);
                let is_store = ["store", "record_store", "layers"].contains(&module);
                let allowed = module == own
                    || may.contains(&module)
                    || !(contract || MODEL.contains(&own) && is_store);
                judge(&file, module, allowed);
            }
        }
    }
    for (index, (place, module)) in EXCEPTIONS.iter().enumerate() {
        if !used.contains(&index) {
            println!(
                "{place} no longer imports {module}: drop the exception in xtask/src/imports.rs"
            );
        }
    }
    Ok(())
}

/// The code of a file without comments and without its unit tests.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or(text);
    let lines = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

/// The modules named right after `root`, alone or in braces.
fn imported<'a>(text: &'a str, root: &str) -> BTreeSet<&'a str> {
    let mut found = BTreeSet::new();
    for (at, _) in text.match_indices(root) {
        let is_part = text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let rest = &text[at + root.len()..];
        match rest.strip_prefix('{') {
            _ if is_part => {}
            None => drop(found.insert(word(rest))),
            Some(list) => {
                let mut depth = 0;
                let mut begins = true;
                for (index, c) in list.char_indices() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => begins = true,
                        c if begins && depth == 0 && !c.is_whitespace() => {
                            found.insert(word(&list[index..]));
                            begins = false;
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    found
}

/// The identifier with which `text` begins.
fn word(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_');
    &text[..end.unwrap_or(text.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_found_alone_and_in_braces() {
        let text = "use crate::lti;\nuse crate::{a, b::{c, d}, e::f};\nmycrate::no";
        let found: Vec<_> = imported(text, "crate::").into_iter().collect();
        assert_eq!(found, ["a", "b", "e", "lti"]);
    }

    #[test]
    fn comments_and_unit_tests_import_what_they_like() {
        let text = "//! [`x`](crate::lti)\nuse crate::a;\n#[cfg(test)]\nmod tests {\n    use crate::b;\n}\n";
        let code = code(text);
        assert_eq!(imported(&code, "crate::"), BTreeSet::from(["a"]));
    }
}
