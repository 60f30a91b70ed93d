//! No two public types of store-core have one name: a rule of `cargo xtask tidy`.
//!
//! A reader, a search engine and an editor's import see only the name.

use std::collections::BTreeMap;
use std::fs;

use crate::workspace::Workspace;
use crate::{Result, tidy};

/// Reports each name that two public types of store-core have.
pub fn check(workspace: &Workspace, faults: &mut Vec<String>) -> Result {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for path in tidy::sources(&workspace.root.join("store-core/src"))? {
        for name in types(&fs::read_to_string(&path)?) {
            let files = places.entry(name.to_owned()).or_default();
            files.push(tidy::shown(workspace, &path));
        }
    }
    let shared = places.iter().filter(|(_, files)| files.len() > 1);
    faults.extend(shared.map(|(name, files)| {
        format!(
            "{}: declare a public `{name}` each; rename one",
            files.join(", ")
        )
    }));
    Ok(())
}

/// The names of the public types and traits that `text` declares.
fn types(text: &str) -> impl Iterator<Item = &str> {
    let kinds = ["struct ", "enum ", "trait ", "type "];
    text.lines().filter_map(move |line| {
        let item = line.trim_start().strip_prefix("pub ")?;
        let name = kinds.iter().find_map(|kind| item.strip_prefix(kind))?;
        let end = name.find(|c: char| !c.is_alphanumeric() && c != '_');
        let name = &name[..end.unwrap_or(name.len())];
        // Empty for a macro's `$name`.
        (!name.is_empty()).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_types_are_found_and_others_are_not() {
        let text = "pub struct A<T>(T);\n    pub enum B {\npub(crate) struct C;\nstruct D;\n\
                    pub trait E: F {}\npub type $name = G;\npub fn type_of() {}\n";
        assert_eq!(types(text).collect::<Vec<_>>(), ["A", "B", "E"]);
    }
}
