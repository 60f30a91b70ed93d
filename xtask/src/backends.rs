//! The backends of this workspace: one row each. Every command works from
//! these rows, so a new backend is a crate, a row here, and
//! `store-conformance/tests/NAME.rs`.

use crate::Result;
use crate::workspace::Workspace;

/// One backend.
#[derive(Debug)]
pub struct Backend {
    /// As it calls itself in reports, and the name of its test program.
    pub name: &'static str,
    /// Its crate.
    pub package: &'static str,
    /// The server that it needs, as a person calls it; `None` if it runs in process.
    pub server: Option<&'static str>,
}

/// All of them, in the order of every table.
pub const BACKENDS: &[Backend] = &[Backend {
    name: "memory",
    package: "store-memory",
    server: None,
}];

/// Members that are named like a backend and are none.
const OTHERS: [&str; 2] = ["store-core", "store-conformance"];

/// The backends to work on: those named, or all.
///
/// # Errors
/// If a name is unknown (the message lists the known ones), or if the rows and
/// the workspace's members differ.
pub fn select(names: &[String], workspace: &Workspace) -> Result<Vec<&'static Backend>> {
    agree(workspace)?;
    if names.is_empty() {
        return Ok(BACKENDS.iter().collect());
    }
    let mut selected: Vec<&'static Backend> = Vec::new();
    for name in names {
        let Some(backend) = BACKENDS.iter().find(|backend| backend.name == name) else {
            return Err(format!("there is no backend `{name}`; there is: {}", list()).into());
        };
        if !selected.iter().any(|known| known.name == backend.name) {
            selected.push(backend);
        }
    }
    Ok(selected)
}

/// The names of all backends, for a message.
pub fn list() -> String {
    let names: Vec<_> = BACKENDS.iter().map(|backend| backend.name).collect();
    names.join(", ")
}

/// A backend without a row would never be tested, and nobody would notice.
fn agree(workspace: &Workspace) -> Result {
    for package in &workspace.packages {
        let name = package.name.as_str();
        let rowed = BACKENDS.iter().any(|backend| backend.package == name);
        if name.starts_with("store-") && !OTHERS.contains(&name) && !rowed {
            return Err(format!(
                "{name} is in the workspace and has no row in xtask/src/backends.rs"
            )
            .into());
        }
    }
    for backend in BACKENDS {
        if workspace.package(backend.package).is_none() {
            return Err(format!(
                "{} has a row in xtask/src/backends.rs and is not in the workspace",
                backend.package
            )
            .into());
        }
    }
    Ok(())
}
