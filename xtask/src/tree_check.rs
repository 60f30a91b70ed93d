//! `cargo xtask tree-check`: what a user of one backend compiles.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::backends::{self, BACKENDS, CONFORMANCE, CORE, HEAVY};
use crate::workspace::Workspace;
use crate::{Result, process};

pub const HELP: &str = "
Check with `cargo tree` what a user of one backend compiles: only store-core and
that backend from this workspace; only the heavy crates of its own driver; no more
crates in all than its limit; and no crate that needs a newer Rust than the backend
promises. Banned crates are in deny.toml. Limits and lists are in
xtask/src/backends.rs.

Usage: cargo xtask tree-check

To see why a crate is there:
  cargo tree -p store-memory -e no-dev -i THE_CRATE
";

pub fn run(mut arguments: lexopt::Parser) -> Result {
    if let Some(argument) = arguments.next()? {
        return Err(argument.unexpected().into());
    }
    tree_check()
}

/// Runs the check, and prints the counts.
pub fn tree_check() -> Result {
    let workspace = Workspace::load()?;
    backends::select(&[], &workspace)?;
    let members: BTreeSet<_> = workspace
        .packages
        .iter()
        .map(|one| one.name.as_str())
        .collect();
    let mut faults = Vec::new();

    let versions = rust_versions()?;
    for row in rows() {
        let package = row.package;
        let default = tree(package, &[])?;
        let all = tree(package, &["--all-features"])?;
        let own = workspace
            .package(package)
            .and_then(|own| own.rust_version.as_deref());
        let (asked, by) = oldest_compiler(&all, &versions, &members);
        println!(
            "  {package:<18} {:>3} crates (at most {}), Rust {} ({by} needs {asked})",
            default.len(),
            row.most,
            own.unwrap_or("unknown"),
        );
        if own.is_none_or(|own| number(own) < number(&asked)) {
            faults.push(format!(
                "{package} promises an older Rust than {by} needs: {asked}"
            ));
        }
        if default.len() > row.most {
            faults.push(format!(
                "{package} brings {} crates, over its limit of {} in xtask/src/backends.rs",
                default.len(),
                row.most
            ));
        }
        let names = default.names();
        for &name in &names {
            if members.contains(name) && name != package && name != "store-core" {
                faults.push(format!("{package} compiles {name} of this workspace"));
            }
            if HEAVY.contains(&name) && !row.heavy.contains(&name) {
                faults.push(format!(
                    "{package} compiles {name}, which belongs to another backend"
                ));
            }
        }
        for name in row.heavy {
            if !names.contains(name) {
                faults.push(format!(
                    "{package} no longer compiles {name}: remove it from its row"
                ));
            }
        }
    }
    if faults.is_empty() {
        return Ok(());
    }
    Err(faults.join("\n       ").into())
}

/// A crate that a user adds, and the crates that it may depend on.
struct Row {
    package: &'static str,
    heavy: &'static [&'static str],
    most: usize,
}

/// Core, the suite, and every backend.
fn rows() -> Vec<Row> {
    let mut rows = Vec::from([CORE, CONFORMANCE].map(|(package, heavy, most)| Row {
        package,
        heavy,
        most,
    }));
    rows.extend(BACKENDS.iter().map(|backend| Row {
        package: backend.package,
        heavy: backend.heavy,
        most: backend.most_crates,
    }));
    rows
}

/// The `rust-version` that each crate of the lock file declares, by name and version.
fn rust_versions() -> Result<BTreeMap<(String, String), String>> {
    #[derive(Deserialize)]
    struct Metadata {
        packages: Vec<Package>,
    }
    #[derive(Deserialize)]
    struct Package {
        name: String,
        version: String,
        rust_version: Option<String>,
    }
    let mut command = process::cargo();
    let json = process::stdout(command.args(["metadata", "--format-version=1", "--all-features"]))?;
    let metadata: Metadata = serde_json::from_str(&json)?;
    let declared = |package: Package| {
        let version = package.rust_version?;
        Some(((package.name, format!("v{}", package.version)), version))
    };
    Ok(metadata.packages.into_iter().filter_map(declared).collect())
}

/// The newest compiler that a dependency needs, and which dependency that is.
fn oldest_compiler(
    tree: &Tree,
    declared: &BTreeMap<(String, String), String>,
    members: &BTreeSet<&str>,
) -> (String, String) {
    tree.0
        .iter()
        .filter(|(name, _)| !members.contains(name.as_str()))
        .filter_map(|one| Some((declared.get(one)?.clone(), one.0.clone())))
        .max_by_key(|(version, _)| number(version))
        .unwrap_or(("any".into(), "no crate".into()))
}

/// `1.85.0` as numbers that compare.
fn number(version: &str) -> Vec<u32> {
    let mut parts: Vec<u32> = version
        .split('.')
        .map(|part| part.parse().unwrap_or(0))
        .collect();
    parts.resize(3, 0);
    parts
}

/// What is compiled with `package`, it included, on one fixed platform, so that
/// the count is the same everywhere.
fn tree(package: &str, features: &[&str]) -> Result<Tree> {
    let mut command = process::cargo();
    command.args(["tree", "--edges=no-dev", "--prefix=none", "--format={p}"]);
    command.args(["--target=x86_64-unknown-linux-gnu", "--package", package]);
    command.args(features);
    Ok(Tree::read(&process::stdout(&mut command)?))
}

/// Names with versions: two versions of one crate are compiled twice.
struct Tree(BTreeSet<(String, String)>);

impl Tree {
    /// From lines such as `serde v1.0.229 (*)`.
    fn read(text: &str) -> Self {
        let crates = text.lines().filter_map(|line| {
            let mut words = line.split_whitespace();
            Some((words.next()?.to_owned(), words.next()?.to_owned()))
        });
        Self(crates.collect())
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn names(&self) -> BTreeSet<&str> {
        self.0.iter().map(|(name, _)| name.as_str()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rust_versions_compare_as_numbers() {
        assert!(number("1.9") < number("1.89"));
        assert_eq!(number("1.85"), number("1.85.0"));
    }

    #[test]
    fn a_crate_counts_once_and_two_versions_of_it_twice() {
        let tree = Tree::read("a v1.0.0 (/here)\nb v1.0.0\nb v1.0.0 (*)\nb v2.0.0\n\n");
        assert_eq!(tree.len(), 3);
        assert_eq!(tree.names(), BTreeSet::from(["a", "b"]));
    }
}
