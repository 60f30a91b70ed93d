//! `cargo xtask tidy`: the rules that no compiler checks.

use std::fs;
use std::path::{Path, PathBuf};

use crate::backends::BACKENDS;
use crate::generated::inside;
use crate::workspace::{Package, Workspace};
use crate::{Result, ci, imports, public_names};

pub const HELP: &str = "
Check the house rules that no compiler checks:

  - every crate begins with its documentation and takes the workspace's lints
  - no file is longer than 500 lines, except for a short list with reasons
  - no to-do is left, no test is ignored, every example is compiled
  - nothing sleeps: tests move the clock or wait for a condition
  - modules import each other in one direction (xtask/src/imports.rs)
  - no two public types of store-core have one name (xtask/src/public_names.rs)
  - every backend has the same files, by name
  - a published crate's metadata is complete, and the forge compiles it with the
    oldest compiler that it promises
  - CHANGELOG.md has an Unreleased section
  - the README's fifteen lines are store-memory's quickstart, word for word;
    .ci/run runs the commands that it shows; what it links to is there

Usage: cargo xtask tidy

It names each file and line. The rules are in xtask/src/tidy.rs.
";

/// The longest file that needs no excuse.
const MOST_LINES: usize = 500;

/// Longer files, and why they are one.
const LONG: &[(&str, &str)] = &[];

/// The files that wait in real time, and why.
const SLEEPERS: &[(&str, &str)] = &[
    (
        "store-conformance/src/proxy/mod.rs",
        "holds requests back as a network does",
    ),
    (
        "store-conformance/src/servers/mod.rs",
        "waits until a starting server answers",
    ),
    (
        "store-conformance/src/simulation/scheduler.rs",
        "moves virtual time, and gives up on a schedule without progress",
    ),
    (
        "store-conformance/tests/servers.rs",
        "waits until nothing is left of a killed process",
    ),
    (
        "store-core/src/backend/background.rs",
        "repeats work at an interval",
    ),
    (
        "store-core/src/backend/retry.rs",
        "backs off between attempts",
    ),
    ("store-core/src/clock/system.rs", "the system clock"),
    (
        "store-core/src/turns.rs",
        "its tests hold turns in paused time",
    ),
    (
        "store-dynamodb/src/setup.rs",
        "waits until a new table can be used",
    ),
    (
        "store-postgres/src/sessions.rs",
        "finds out why no connection is made while it waits for one",
    ),
    (
        "store-redis/src/cluster.rs",
        "waits for a slot that is being moved",
    ),
    (
        "store-s3/src/objects.rs",
        "waits for another writer's commit until its lease is over",
    ),
    (
        "xtask/src/servers.rs",
        "waits until a server has started or stopped",
    ),
];

/// Tests that run only by name, and why.
const BY_NAME: &[(&str, &str)] = &[(
    "store-core/tests/identity/golden.rs",
    "writes the golden file that another test reads",
)];

/// Text that no source file may contain, and why. In two halves, so that this file does
/// not contain it.
const BANNED: &[(&str, &str, &str)] = &[
    ("todo", "!(", "finish it, or leave it out"),
    ("unimplemented", "!(", "finish it, or answer `Unsupported`"),
    ("#[ig", "nore", "a test that does not run proves nothing"),
    ("```ig", "nore", "compile it: `no_run` if it cannot run"),
    ("assert!(", "true", "a test that cannot fail proves nothing"),
];

/// What a file that must not wait in real time may not contain.
const SLEEPS: &[(&str, &str)] = &[("thread::", "sleep"), ("time::", "sleep(")];

/// The files that every backend has in src, and those that one with a server has too.
const FILES_OF_BACKENDS: &[&str] = &["lib.rs", "config.rs", "records.rs"];
const FILES_WITH_SERVER: &[&str] = &["setup.rs", "error.rs"];

pub fn run(mut arguments: lexopt::Parser) -> Result {
    if let Some(argument) = arguments.next()? {
        return Err(argument.unexpected().into());
    }
    tidy()
}

/// Checks all rules and reports all faults.
pub fn tidy() -> Result {
    let workspace = Workspace::load()?;
    let mut faults = Vec::new();
    let mut files = 0;
    for package in &workspace.packages {
        roots(package, &mut faults)?;
        if package.is_published() {
            metadata(package, &mut faults);
        }
        for file in sources(package.dir())? {
            let text = fs::read_to_string(&file)?;
            source(&shown(&workspace, &file), &text, &mut faults);
            files += 1;
        }
    }
    imports::check(&workspace, &mut faults)?;
    public_names::check(&workspace, &mut faults)?;
    same_files(&workspace, &mut faults);
    changelog(&workspace, &mut faults)?;
    forge(&workspace, &mut faults)?;
    commands(&workspace, &mut faults)?;
    links(&workspace, &mut faults)?;
    quickstart(&workspace, &mut faults)?;
    for (file, _) in LONG {
        let lines = fs::read_to_string(workspace.root.join(file)).map_or(0, |t| t.lines().count());
        if lines <= MOST_LINES {
            println!("{file}: {lines} lines; drop it from the list of long files");
        }
    }
    if faults.is_empty() {
        println!("{files} source files are tidy");
        return Ok(());
    }
    Err(format!("not tidy:\n  {}", faults.join("\n  ")).into())
}

/// The path from the root, with slashes on every system.
pub fn shown(workspace: &Workspace, file: &Path) -> String {
    workspace.shown(file).to_string_lossy().replace('\\', "/")
}

/// Every source file below `folder`, in order.
pub fn sources(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut entries: Vec<_> = fs::read_dir(folder)?.collect::<std::io::Result<_>>()?;
    entries.sort_by_key(|entry| entry.file_name());
    for entry in entries {
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            if entry.file_name() != "target" {
                found.extend(sources(&path)?);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    Ok(found)
}

fn source(name: &str, text: &str, faults: &mut Vec<String>) {
    let count = text.lines().count();
    if count > MOST_LINES && !LONG.iter().any(|(file, _)| *file == name) {
        faults.push(format!(
            "{name}: {count} lines; one purpose each, at most {MOST_LINES}"
        ));
    }
    for (line, content) in text.lines().enumerate() {
        let mut ban = |what: &str, why: &str| {
            if content.contains(what) {
                faults.push(format!("{name}:{}: `{what}`: {why}", line + 1));
            }
        };
        let by_name = BY_NAME.iter().any(|(file, _)| *file == name);
        for (start, end, why) in BANNED {
            if !(by_name && *start == "#[ig") {
                ban(&format!("{start}{end}"), why);
            }
        }
        if !SLEEPERS.iter().any(|(file, _)| *file == name) {
            for (start, end) in SLEEPS {
                ban(
                    &format!("{start}{end}"),
                    "move the clock, or wait for a condition",
                );
            }
        }
    }
}

/// Every library and program begins with its documentation; every manifest
/// takes the workspace's lints.
fn roots(package: &Package, faults: &mut Vec<String>) -> Result {
    let name = &package.name;
    for target in &package.targets {
        let text = fs::read_to_string(&target.src_path)?;
        if !text.starts_with("//!") {
            faults.push(format!(
                "{name}: {} does not begin with its documentation",
                target.src_path.display()
            ));
        }
    }
    let manifest = fs::read_to_string(&package.manifest_path)?;
    if !manifest.contains("[lints]\nworkspace = true") {
        faults.push(format!(
            "{name}: its manifest does not take the workspace's lints"
        ));
    }
    Ok(())
}

fn metadata(package: &Package, faults: &mut Vec<String>) {
    for (field, present) in [
        ("description", package.description.is_some()),
        ("license", package.license.is_some()),
        ("readme", package.readme.is_some()),
        ("rust-version", package.rust_version.is_some()),
        ("keywords", !package.keywords.is_empty()),
        ("categories", !package.categories.is_empty()),
    ] {
        if !present {
            faults.push(format!("{}: its manifest has no {field}", package.name));
        }
    }
}

fn same_files(workspace: &Workspace, faults: &mut Vec<String>) {
    for backend in BACKENDS {
        let Some(package) = workspace.package(backend.package) else {
            continue;
        };
        let of_servers = backend.server.map_or(&[][..], |_| FILES_WITH_SERVER);
        for file in FILES_OF_BACKENDS.iter().chain(of_servers) {
            if !package.dir().join("src").join(file).exists() {
                faults.push(format!(
                    "{}: has no src/{file}, as every backend",
                    package.name
                ));
            }
        }
    }
}

fn changelog(workspace: &Workspace, faults: &mut Vec<String>) -> Result {
    let text = fs::read_to_string(workspace.root.join("CHANGELOG.md"))?;
    if !text.contains("\n## [Unreleased]\n") {
        faults.push("CHANGELOG.md: has no section `## [Unreleased]`".into());
    }
    Ok(())
}

/// The forge compiles every published crate with the oldest compiler it promises.
fn forge(workspace: &Workspace, faults: &mut Vec<String>) -> Result {
    const FILE: &str = ".github/workflows/ci.yml";
    let text = fs::read_to_string(workspace.root.join(FILE))?;
    let listed = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("package: ["));
    let listed: Vec<_> = listed
        .unwrap_or("")
        .trim_end_matches(']')
        .split(", ")
        .collect();
    for package in workspace.published() {
        if !listed.contains(&package.name.as_str()) {
            faults.push(format!("{FILE}: its job `minimum` lacks {}", package.name));
        }
    }
    Ok(())
}

/// `.ci/run` runs every cargo command that the README shows.
fn commands(workspace: &Workspace, faults: &mut Vec<String>) -> Result {
    let readme = fs::read_to_string(workspace.root.join("README.md"))?;
    let run = fs::read_to_string(workspace.root.join(".ci/run"))?;
    for command in shown_commands(&readme) {
        // `cargo xtask ci --option` runs each of its steps with the option.
        let step = command.strip_prefix("cargo xtask ").is_some_and(|step| {
            let mut words = step.split(' ');
            words.next().is_some_and(ci::has_step)
                && words.all(|option| run.contains(&format!("cargo xtask ci {option}")))
        });
        let addition = command.starts_with("cargo add ");
        if !step && !addition && !run.lines().any(|line| line == format!("step {command}")) {
            faults.push(format!("README.md: .ci/run does not run `{command}`"));
        }
    }
    Ok(())
}

/// The lines that begin with `cargo` in a README's blocks of ```sh, without
/// their comments.
fn shown_commands(readme: &str) -> impl Iterator<Item = &str> {
    let blocks = readme.split("```sh\n").skip(1);
    let lines = blocks.flat_map(|block| block.split("```").next().unwrap_or("").lines());
    lines
        .map(|line| line.split(" #").next().unwrap_or(line).trim())
        .filter(|line| line.starts_with("cargo "))
}

/// Every link to a file of this repository leads to one.
fn links(workspace: &Workspace, faults: &mut Vec<String>) -> Result {
    let mut pages = vec![workspace.root.clone()];
    pages.extend(
        workspace
            .packages
            .iter()
            .map(|package| package.dir().to_owned()),
    );
    for folder in pages {
        for entry in fs::read_dir(&folder)? {
            let page = entry?.path();
            if page.extension().is_none_or(|extension| extension != "md") {
                continue;
            }
            let text = fs::read_to_string(&page)?;
            let targets = text
                .split("](")
                .skip(1)
                .filter_map(|rest| rest.split(')').next());
            for target in targets {
                let file = target.split('#').next().unwrap_or(target);
                if !target.contains("://") && !folder.join(file).exists() {
                    let page = shown(workspace, &page);
                    faults.push(format!("{page}: links to {target}, which does not exist"));
                }
            }
        }
    }
    Ok(())
}

/// The block of the README and the program agree.
fn quickstart(workspace: &Workspace, faults: &mut Vec<String>) -> Result {
    const PROGRAM: &str = "store-memory/examples/quickstart.rs";
    let readme = fs::read_to_string(workspace.root.join("README.md"))?;
    let block = inside(&readme, "quickstart");
    let program = fs::read_to_string(workspace.root.join(PROGRAM));
    match (block, program) {
        (Err(_), Err(_)) => {}
        (Ok(_), Err(error)) => faults.push(format!("{PROGRAM}: README.md shows it, and {error}")),
        (Err(error), Ok(_)) => faults.push(format!("README.md: does not show {PROGRAM}: {error}")),
        (Ok(block), Ok(program)) => {
            let lines = block
                .strip_prefix("```rust\n")
                .and_then(|b| b.strip_suffix("```"));
            let Some(shown) = lines else {
                faults.push("README.md: its quickstart is not one block of ```rust".into());
                return Ok(());
            };
            let (shown, own) = (shown.trim(), marked(&program));
            if shown != own {
                let same = shown
                    .lines()
                    .zip(own.lines())
                    .take_while(|(a, b)| a == b)
                    .count();
                let line = |text: &str| text.lines().nth(same).unwrap_or("(the end)").to_owned();
                faults.push(format!(
                    "README.md: its quickstart is not {PROGRAM}'s; they part at its line {}:\n    \
                     README.md: {}\n    program:   {}",
                    same + 1,
                    line(shown),
                    line(&own)
                ));
            }
        }
    }
    Ok(())
}

/// The lines of a program between `// README` and `// README ends`, or everything
/// except its documentation if it has no such lines.
fn marked(program: &str) -> String {
    let body: Vec<_> = match program.split_once("// README\n") {
        Some((_, rest)) => {
            let end = rest.find("// README ends").unwrap_or(rest.len());
            let before = rest[..end].rfind('\n').map_or("", |at| &rest[..at]);
            before.lines().collect()
        }
        None => program
            .lines()
            .skip_while(|line| line.starts_with("//!"))
            .collect(),
    };
    let indent = body
        .iter()
        .filter(|line| !line.trim().is_empty())
        .map(|line| line.len() - line.trim_start().len())
        .min()
        .unwrap_or(0);
    let lines: Vec<_> = body
        .iter()
        .map(|line| line.get(indent..).unwrap_or(""))
        .collect();
    lines.join("\n").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_banned_word_is_named_with_its_line() {
        let mut faults = Vec::new();
        let text = format!("fn f() {{\n    {}!()\n}}\n", "todo");
        source("store-x/src/lib.rs", &text, &mut faults);
        assert_eq!(faults.len(), 1);
        assert!(
            faults[0].starts_with("store-x/src/lib.rs:2: "),
            "{faults:?}"
        );
    }

    #[test]
    fn a_sleep_is_named_except_in_the_clock() {
        let text = format!("tokio::time::{}(x).await;\n", "sleep");
        let mut faults = Vec::new();
        source(SLEEPERS[0].0, &text, &mut faults);
        assert!(faults.is_empty());
        source("store-x/tests/a.rs", &text, &mut faults);
        assert_eq!(faults.len(), 1);
    }

    #[test]
    fn commands_are_taken_from_blocks_of_sh_without_their_comments() {
        let readme = "```rust\ncargo no\n```\n```sh\ncargo xtask ci   # all\nls\n```\n";
        assert_eq!(
            shown_commands(readme).collect::<Vec<_>>(),
            ["cargo xtask ci"]
        );
    }

    #[test]
    fn a_long_file_is_named() {
        let mut faults = Vec::new();
        source("a.rs", &"//\n".repeat(MOST_LINES), &mut faults);
        assert!(faults.is_empty());
        source("a.rs", &"//\n".repeat(MOST_LINES + 1), &mut faults);
        assert_eq!(faults.len(), 1);
    }

    #[test]
    fn the_marked_lines_of_a_program_are_taken_without_their_indent() {
        let program =
            "//! doc\nfn main() {\n    // README\n    a();\n\n    b();\n    // README ends\n}\n";
        assert_eq!(marked(program), "a();\n\nb();");
        assert_eq!(marked("//! doc\n\nfn main() {}\n"), "fn main() {}");
    }
}
