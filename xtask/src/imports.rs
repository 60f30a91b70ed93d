//! Which module may import which: a rule of `cargo xtask tidy`.
//!
//! The modules of store-core are on three levels. The model (keys, records, batches,
//! errors) imports only the model. The level of the store (the traits that a backend
//! implements, what wraps them and what backends share) imports no contract. A contract
//! imports no other contract, except that identities depend on each other in one
//! direction: iam on tenants, tenants on entity.
//!
//! `limits` and `blobs` belong to the level of the store, because a backend implements
//! their traits itself. A backend imports no contract. It learns what the contracts
//! declare from `collections`, which lists it as data.

use std::collections::BTreeSet;
use std::fs;

use crate::backends::BACKENDS;
use crate::workspace::Workspace;
use crate::{Result, tidy};

/// The modules of store-core on which everything depends.
const MODEL: &[&str] = &[
    "batch",
    "body",
    "capability",
    "chance",
    "changes",
    "clock",
    "collection",
    "config",
    "error",
    "key",
    "page",
    "record",
    "scan",
    "secret",
];

/// The modules of store-core between the model and the contracts.
const STORE: &[&str] = &[
    "backend",
    "blobs",
    "hint",
    "layers",
    "limits",
    "open",
    "record_store",
    "store",
    "transaction",
    "turns",
    "update",
];

/// Contracts that store records of their own.
const CONTRACTS: &[&str] = &["api_keys", "entity", "iam", "lti", "tenants"];

/// Lists what the contracts declare, as data for backends.
const DECLARATIONS: &str = "collections";

/// The other contracts that a contract may import.
const MAY_IMPORT: &[(&str, &[&str])] = &[("tenants", &["entity"]), ("iam", &["entity", "tenants"])];

/// Reports every import that breaks the rule, and every module that is on no level.
pub fn check(workspace: &Workspace, faults: &mut Vec<String>) -> Result {
    for backend in BACKENDS {
        let folder = workspace.root.join(backend.package).join("src");
        for path in tidy::sources(&folder)? {
            let text = code(&fs::read_to_string(&path)?);
            for module in imported(&text, "store_core::") {
                if CONTRACTS.contains(&module) {
                    faults.push(broken(&tidy::shown(workspace, &path), module));
                }
            }
        }
    }
    let folder = workspace.root.join("store-core/src");
    let front = code(&fs::read_to_string(folder.join("lib.rs"))?);
    for path in tidy::sources(&folder)? {
        let inner = path.strip_prefix(&folder)?.with_extension("");
        let mut place: Vec<_> = inner.iter().filter_map(|part| part.to_str()).collect();
        if place == ["lib"] {
            continue;
        }
        if place.last() == Some(&"mod") {
            place.pop();
        }
        let own = place[0];
        let shown = tidy::shown(workspace, &path);
        if !is_listed(own) {
            faults.push(format!(
                "{shown}: {own} is on no level; add it to a list in xtask/src/imports.rs"
            ));
        }
        let text = from_the_root(&code(&fs::read_to_string(&path)?), place.len());
        for name in imported(&text, "crate::") {
            let module = exported_by(&front, name).unwrap_or(name);
            if is_listed(module) && !may_import(own, module) {
                faults.push(broken(&shown, module));
            }
        }
    }
    Ok(())
}

fn broken(file: &str, module: &str) -> String {
    format!("{file}: imports {module}, which breaks the rule in xtask/src/imports.rs")
}

fn is_listed(module: &str) -> bool {
    module == DECLARATIONS || [MODEL, STORE, CONTRACTS].concat().contains(&module)
}

/// Whether a module of store-core may import another one.
fn may_import(own: &str, other: &str) -> bool {
    let may = |list: &[&str]| list.contains(&other);
    let contracts = MAY_IMPORT.iter().find(|(name, _)| *name == own);
    match own {
        _ if own == other || own == DECLARATIONS => true,
        _ if MODEL.contains(&own) => may(MODEL),
        _ if STORE.contains(&own) => may(MODEL) || may(STORE),
        _ => may(MODEL) || may(STORE) || contracts.is_some_and(|(_, list)| may(list)),
    }
}

/// The module from which the front page of store-core exports `name`.
fn exported_by<'a>(front: &'a str, name: &str) -> Option<&'a str> {
    front.split("pub use ").skip(1).find_map(|statement| {
        let (path, _) = statement.split_once(';')?;
        let (module, names) = path.split_once("::")?;
        let mut names = names.split(|c: char| !c.is_alphanumeric() && c != '_');
        names.any(|one| one == name).then_some(module)
    })
}

/// The text of a module that is `depth` levels below the root, with `crate::` in place
/// of `super::` where that means the root.
fn from_the_root(text: &str, depth: usize) -> String {
    text.replace(&"super::".repeat(depth), "crate::")
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
    fn what_the_front_page_exports_belongs_to_its_module() {
        let front = "pub use batch::{Batch, Change};\npub use body::Body;";
        assert_eq!(exported_by(front, "Change"), Some("batch"));
        assert_eq!(exported_by(front, "Body"), Some("body"));
        assert_eq!(exported_by(front, "Bod"), None);
    }

    #[test]
    fn super_is_the_root_in_a_module_below_it() {
        let text = from_the_root("use super::super::lti;", 2);
        assert_eq!(imported(&text, "crate::"), BTreeSet::from(["lti"]));
        let text = from_the_root("use super::lti;", 2);
        assert_eq!(imported(&text, "crate::"), BTreeSet::new());
    }

    #[test]
    fn the_levels_import_downwards_only() {
        assert!(may_import("iam", "tenants") && !may_import("tenants", "iam"));
        assert!(may_import("layers", "store") && !may_import("layers", "api_keys"));
        assert!(may_import("store", "record") && !may_import("record", "store"));
        assert!(!may_import("api_keys", "lti") && !may_import("lti", "collections"));
    }

    #[test]
    fn comments_and_unit_tests_import_what_they_like() {
        let text = "//! [`x`](crate::lti)\nuse crate::a;\n#[cfg(test)]\nmod tests {\n    use crate::b;\n}\n";
        let code = code(text);
        assert_eq!(imported(&code, "crate::"), BTreeSet::from(["a"]));
    }
}
