//! `cargo xtask package-check`: the packages that a user would get from the registry.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::backends::{self, BACKENDS, CONFORMANCE};
use crate::workspace::{Package, Workspace};
use crate::{Result, process};

pub const HELP: &str = "
Package every published crate, and use the packages as a new user would:

  1. each package contains its README, both licences, and no conformance tests;
  2. core and each other crate pass `cargo publish --dry-run` as a pair (the other
     crate cannot pass alone, because core must be on the registry first);
  3. a new program that depends on that one crate, taken from the packages,
     compiles and runs; for a backend it is the backend's quickstart from this
     folder, which is only type-checked if it needs a server.

Nothing is published. The programs are left in target/package-check.

Usage: cargo xtask package-check
";

/// The files that every package contains.
const REQUIRED: [&str; 5] = [
    "Cargo.toml",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "src/lib.rs",
];

/// What a quickstart may use in addition to the backend and `store-core`, as the README says.
const BESIDE: &str = r#"tokio = { version = "1", features = ["macros", "rt-multi-thread"] }"#;

pub fn run(mut arguments: lexopt::Parser) -> Result {
    if let Some(argument) = arguments.next()? {
        return Err(argument.unexpected().into());
    }
    package_check()
}

/// Runs the check.
pub fn package_check() -> Result {
    let workspace = Workspace::load()?;
    backends::select(&[], &workspace)?;
    for package in workspace.published() {
        contents(package)?;
    }
    let mut users = vec![(CONFORMANCE.0, true)];
    users.extend(
        BACKENDS
            .iter()
            .map(|backend| (backend.package, backend.server.is_none())),
    );
    let folder = workspace.target.join("package-check");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    let mut core = None;
    for (package, runs) in users {
        println!("  store-core with {package}");
        let pair = ["--package", "store-core", "--package", package];
        // The program below compiles both. Cargo's own verification may use an
        // earlier store-core of the same version instead of this one.
        let flags = ["--no-verify", "--quiet", "--allow-dirty"];
        process::run(
            process::cargo()
                .args(["publish", "--dry-run"])
                .args(flags)
                .args(pair),
        )?;
        process::run(process::cargo().arg("package").args(flags).args(pair))?;
        // Unpacked once, so that it is compiled once for all programs.
        let core = match &core {
            Some(core) => core,
            None => core.insert(unpack(&workspace, "store-core", &folder)?),
        };
        consume(&workspace, package, core, runs)?;
    }
    Ok(())
}

/// Checks that a package contains the required files and no others.
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
    for required in REQUIRED {
        if !files.iter().any(|file| file == required) {
            return Err(format!("the package of {} has no {required}", package.name).into());
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

/// Builds a program that depends on this crate alone, and runs it if it needs no server.
fn consume(workspace: &Workspace, package: &str, core: &Path, runs: bool) -> Result {
    let folder = workspace.target.join("package-check").join(package);
    fs::create_dir_all(folder.join("src"))?;
    let own = unpack(workspace, package, &folder)?;
    let version = workspace
        .package(package)
        .map_or("*", |package| &package.version);
    let manifest = |beside: &str| {
        format!(
            "[package]\nname = \"consumer\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n\
             [dependencies]\n{package} = \"{version}\"\n{beside}\n\n\
             [patch.crates-io]\nstore-core = {{ path = {core:?} }}\n{package} = {{ path = {own:?} }}\n\n\
             [workspace]\n"
        )
    };
    let in_it = |arguments: &[&str]| {
        let mut command = process::cargo();
        // The workspace's folder, where most dependencies are compiled already.
        command
            .current_dir(&folder)
            .env("CARGO_TARGET_DIR", &workspace.target);
        process::run(command.args(arguments))
    };
    // The versions that were tested, not newer ones.
    fs::copy(workspace.root.join("Cargo.lock"), folder.join("Cargo.lock"))?;
    // First without other dependencies, whose features might hide a missing one.
    fs::write(folder.join("Cargo.toml"), manifest(""))?;
    fs::write(folder.join("src/lib.rs"), "")?;
    in_it(&["check", "--quiet"])?;
    fs::remove_file(folder.join("src/lib.rs"))?;

    fs::write(
        folder.join("Cargo.toml"),
        manifest(&format!("store-core = \"{version}\"\n{BESIDE}")),
    )?;
    let examples = workspace.root.join(package).join("examples");
    let quickstart = match package.trim_start_matches("store-") {
        "memory" => examples.join("quickstart.rs"),
        backend => examples.join(format!("{backend}_quickstart.rs")),
    };
    let (program, what) = if quickstart.exists() {
        // The part that all backends with a server share.
        const SHARED: &str = "examples/quickstart.rs";
        let shared = folder.join("src/quickstart.rs");
        fs::copy(workspace.root.join(SHARED), shared)?;
        let program = fs::read_to_string(&quickstart)?;
        let program = program.replace(&format!("../../{SHARED}"), "quickstart.rs");
        (program, "its quickstart")
    } else {
        // Shows that the crate compiles, links and re-exports core.
        let name = package.replace('-', "_");
        let line = format!("println!(\"{{}}\", {name}::store_core::Support::Native);");
        (
            format!("fn main() {{\n    {line}\n}}\n"),
            "one line of core's",
        )
    };
    fs::write(folder.join("src/main.rs"), program)?;
    // Generating code for a program that is not run would prove no more.
    let verb = if runs { "run" } else { "check" };
    println!("  {verb} a new program with {package}: {what}");
    in_it(&[verb, "--quiet"])
}

/// Unpacks the package of this member into `folder`, and returns its path.
fn unpack(workspace: &Workspace, name: &str, folder: &Path) -> Result<PathBuf> {
    let version = workspace
        .package(name)
        .map_or("*", |package| &package.version);
    let stem = format!("{name}-{version}");
    let file = workspace
        .target
        .join("package")
        .join(format!("{stem}.crate"));
    // tar is part of every system that Rust runs on, Windows since 10. Files get the
    // current time (-m): all files of a package have one old time, so cargo would not
    // notice that a file has changed since it was compiled.
    let mut tar = Command::new("tar");
    process::run(tar.arg("-xzmf").arg(&file).arg("-C").arg(folder))?;
    Ok(folder.join(stem))
}
