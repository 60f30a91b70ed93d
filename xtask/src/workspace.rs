//! What cargo knows about this workspace.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::{Result, process};

/// The members, and the folders.
#[derive(Debug, Deserialize)]
pub struct Workspace {
    #[serde(rename = "workspace_root")]
    pub root: PathBuf,
    #[serde(rename = "target_directory")]
    pub target: PathBuf,
    pub packages: Vec<Package>,
}

/// A member.
#[derive(Debug, Deserialize)]
pub struct Package {
    pub name: String,
    pub version: String,
    pub manifest_path: PathBuf,
    pub targets: Vec<Target>,
    pub description: Option<String>,
    pub license: Option<String>,
    pub readme: Option<PathBuf>,
    pub rust_version: Option<String>,
    pub keywords: Vec<String>,
    pub categories: Vec<String>,
    /// The registries to which it may be published: any if absent, none if empty.
    publish: Option<Vec<String>>,
}

/// A library, program, test, benchmark or example of a member.
#[derive(Debug, Deserialize)]
pub struct Target {
    pub name: String,
    pub kind: Vec<String>,
    pub src_path: PathBuf,
}

impl Workspace {
    /// Reads it from cargo.
    pub fn load() -> Result<Self> {
        let json = process::stdout(process::cargo().args([
            "metadata",
            "--no-deps",
            "--format-version=1",
        ]))?;
        Ok(serde_json::from_str(&json)?)
    }

    /// The members that are published.
    pub fn published(&self) -> impl Iterator<Item = &Package> {
        self.packages
            .iter()
            .filter(|package| package.is_published())
    }

    /// The member of this name.
    pub fn package(&self, name: &str) -> Option<&Package> {
        self.packages.iter().find(|package| package.name == name)
    }

    /// A path relative to the root.
    pub fn shown<'a>(&self, path: &'a Path) -> &'a Path {
        path.strip_prefix(&self.root).unwrap_or(path)
    }
}

impl Package {
    /// Whether it is published.
    pub fn is_published(&self) -> bool {
        self.publish.as_ref().is_none_or(|to| !to.is_empty())
    }

    /// Its targets of this kind: `test`, `bench`, `example` …
    pub fn targets_of<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Target> {
        let is_kind = move |target: &&Target| target.kind.iter().any(|own| own == kind);
        self.targets.iter().filter(is_kind)
    }

    /// The folder of its manifest.
    pub fn dir(&self) -> &Path {
        self.manifest_path.parent().unwrap_or(Path::new("."))
    }
}
