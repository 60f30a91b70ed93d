//! `cargo xtask tree-check`: what a user of one backend compiles.

use std::collections::BTreeSet;

use crate::backends::{self, BACKENDS, FORBIDDEN, HEAVY, MOST_CRATES_OF_CORE};
use crate::workspace::Workspace;
use crate::{Result, process};

pub const HELP: &str = "
Prove by `cargo tree` what a user of one backend compiles: of this workspace
only store-core and that backend; of the heavy crates only those of its own
driver; for TLS rustls alone; and no more crates in all than its ceiling.
Ceilings and lists are in xtask/src/backends.rs.

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

/// Checks, and prints the counts.
pub fn tree_check() -> Result {
    let workspace = Workspace::load()?;
    backends::select(&[], &workspace)?;
    let members: BTreeSet<_> = workspace
        .packages
        .iter()
        .map(|one| one.name.as_str())
        .collect();
    let mut faults = Vec::new();

    let mut rows = vec![("store-core", None, &[][..], MOST_CRATES_OF_CORE)];
    rows.extend(BACKENDS.iter().map(|backend| {
        (
            backend.package,
            Some("store-core"),
            backend.heavy,
            backend.most_crates,
        )
    }));
    for (package, core, heavy, most) in rows {
        let default = tree(package, &[])?;
        println!(
            "  {package:<16} {:>3} crates (at most {most})",
            default.len()
        );
        if default.len() > most {
            faults.push(format!(
                "{package} brings {} crates, over its ceiling of {most} in xtask/src/backends.rs",
                default.len()
            ));
        }
        let names = default.names();
        for &name in &names {
            if members.contains(name) && name != package && Some(name) != core {
                faults.push(format!("{package} compiles {name} of this workspace"));
            }
            if HEAVY.contains(&name) && !heavy.contains(&name) {
                faults.push(format!("{package} compiles {name}, which is not its own"));
            }
        }
        for name in heavy {
            if !names.contains(name) {
                faults.push(format!(
                    "{package} no longer compiles {name}: drop it from its row"
                ));
            }
        }
        let all = tree(package, &["--all-features"])?;
        for name in FORBIDDEN.iter().filter(|name| all.names().contains(*name)) {
            faults.push(format!("{package} compiles {name}; TLS is rustls"));
        }
    }
    if faults.is_empty() {
        return Ok(());
    }
    Err(faults.join("\n       ").into())
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
    fn a_crate_counts_once_and_two_versions_of_it_twice() {
        let tree = Tree::read("a v1.0.0 (/here)\nb v1.0.0\nb v1.0.0 (*)\nb v2.0.0\n\n");
        assert_eq!(tree.len(), 3);
        assert_eq!(tree.names(), BTreeSet::from(["a", "b"]));
    }
}
