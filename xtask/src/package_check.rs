//! `cargo xtask package-check`: what a user would get from the registry.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::backends::{self, BACKENDS, Backend};
use crate::workspace::{Package, Workspace};
use crate::{Result, process};

pub const HELP: &str = "
Package every published crate, and use the packages as a stranger would:

  1. each package holds its README, both licences, and no conformance tests;
  2. core and each backend pass `cargo publish --dry-run` as a pair (alone, a
     backend cannot: core must be on the registry first);
  3. a new program that depends on that one backend, taken from the packages,
     compiles, and runs the backend's quickstart if it needs no server.

Nothing is published. Works are left in target/package-check.

Usage: cargo xtask package-check
";

/// What every package holds.
const HELD: [&str; 5] = [
    "Cargo.toml",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "src/lib.rs",
];

/// What a quickstart may use besides the backend, as the README says.
const BESIDE: &str = r#"tokio = { version = "1", features = ["macros", "rt-multi-thread"] }"#;

pub fn run(mut arguments: lexopt::Parser) -> Result {
    if let Some(argument) = arguments.next()? {
        return Err(argument.unexpected().into());
    }
    package_check()
}

/// Checks.
pub fn package_check() -> Result {
    let workspace = Workspace::load()?;
    backends::select(&[], &workspace)?;
    for package in workspace.published() {
        contents(package)?;
    }
    for backend in BACKENDS {
        println!("  store-core with {}", backend.package);
        let pair = ["--package", "store-core", "--package", backend.package];
        let mut dry = process::cargo();
        dry.args([
            "publish",
            "--dry-run",
            "--no-verify",
            "--quiet",
            "--allow-dirty",
        ]);
        process::run(dry.args(pair))?;
        let mut package = process::cargo();
        package.args(["package", "--no-verify", "--quiet", "--allow-dirty"]);
        process::run(package.args(pair))?;
        consume(&workspace, backend)?;
    }
    let mut suite = process::cargo();
    suite.args(["publish", "--dry-run", "--quiet", "--allow-dirty"]);
    println!("  store-core with store-conformance");
    process::run(suite.args(["--package", "store-core", "--package", "store-conformance"]))
}

/// Does its package hold what it should, and nothing that it should not?
fn contents(package: &Package) -> Result {
    let mut command = process::cargo();
    command.args([
        "package",
        "--list",
        "--allow-dirty",
        "--package",
        &package.name,
    ]);
    let listed = process::stdout(&mut command)?;
    let files: Vec<_> = listed.lines().map(|file| file.replace('\\', "/")).collect();
    for held in HELD {
        if !files.iter().any(|file| file == held) {
            return Err(format!("the package of {} has no {held}", package.name).into());
        }
    }
    let stray = files.iter().find(|file| {
        file.starts_with("target/")
            || package.name == "store-conformance" && file.starts_with("tests/")
    });
    match stray {
        Some(file) => Err(format!("the package of {} has {file}", package.name).into()),
        None => {
            println!("  {:<20} {} files", package.name, files.len());
            Ok(())
        }
    }
}

/// Builds, and runs if it can, a program that depends on the backend alone.
fn consume(workspace: &Workspace, backend: &Backend) -> Result {
    let folder = workspace.target.join("package-check").join(backend.name);
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(folder.join("src"))?;
    let core = unpack(workspace, "store-core", &folder)?;
    let own = unpack(workspace, backend.package, &folder)?;
    let version = workspace
        .package(backend.package)
        .map_or("*", |package| &package.version);
    let manifest = format!(
        "[package]\nname = \"consumer\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n\
         [dependencies]\n{0} = \"{version}\"\n{BESIDE}\n\n\
         [patch.crates-io]\nstore-core = {{ path = {core:?} }}\n{0} = {{ path = {own:?} }}\n\n\
         [workspace]\n",
        backend.package
    );
    fs::write(folder.join("Cargo.toml"), manifest)?;
    // The versions that were tested, and nothing newer.
    fs::copy(workspace.root.join("Cargo.lock"), folder.join("Cargo.lock"))?;
    let quickstart = own.join("examples/quickstart.rs");
    let has_quickstart = quickstart.exists();
    let program = if has_quickstart {
        fs::read_to_string(&quickstart)?
    } else {
        // It compiles, links, and re-exports core.
        let name = backend.package.replace('-', "_");
        format!("fn main() {{\n    println!(\"{{}}\", {name}::core::Support::Native);\n}}\n")
    };
    fs::write(folder.join("src/main.rs"), program)?;
    let runs = backend.server.is_none();
    println!(
        "  {} of a new program with {}{}",
        if runs { "run" } else { "build" },
        backend.package,
        if has_quickstart {
            ": its quickstart"
        } else {
            ": it has no quickstart yet"
        }
    );
    let mut command = process::cargo();
    command
        .current_dir(&folder)
        .env(
            "CARGO_TARGET_DIR",
            workspace.target.join("package-check/target"),
        )
        .args([if runs { "run" } else { "build" }, "--quiet"]);
    process::run(&mut command)
}

/// Unpacks the package of this member into `folder`; says where it is.
fn unpack(workspace: &Workspace, name: &str, folder: &Path) -> Result<PathBuf> {
    let version = workspace
        .package(name)
        .map_or("*", |package| &package.version);
    let stem = format!("{name}-{version}");
    let file = workspace
        .target
        .join("package")
        .join(format!("{stem}.crate"));
    // tar is part of every system that Rust runs on, Windows since 10.
    let mut tar = Command::new("tar");
    process::run(tar.arg("-xzf").arg(&file).arg("-C").arg(folder))?;
    Ok(folder.join(stem))
}
