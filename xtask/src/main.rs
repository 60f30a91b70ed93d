//! The project's own commands: `cargo xtask --help`.
//!
//! Each command has a file and a row in [`COMMANDS`]. Shared code is in `backends` (which backends there are), `process` (running programs),
//! `programs` (test programs), `workspace` (what cargo knows about this workspace) and `table`.

// Shared.
mod backends;
mod conformance;
mod generated;
mod imports;
mod needs;
mod options;
mod process;
mod programs;
mod report;
mod table;
mod tally;
mod workspace;

// One command each.
mod bench;
mod ci;
mod deny;
mod features;
mod matrix;
mod mutants;
mod package_check;
mod promises;
mod public_names;
mod servers;
mod soak;
mod test_all;
mod tidy;
mod tree_check;
mod trips;
mod without_root;

use std::process::ExitCode;

use lexopt::prelude::*;

/// Every failure is a readable sentence.
type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

struct Command {
    name: &'static str,
    /// One line, for the list.
    summary: &'static str,
    /// What it does, what it needs, an example.
    help: &'static str,
    run: fn(lexopt::Parser) -> Result,
}

const COMMANDS: &[Command] = &[
    Command {
        name: "test-all",
        summary: "Run every test over every backend; write target/conformance.json",
        help: test_all::HELP,
        run: test_all::run,
    },
    Command {
        name: "ci",
        summary: "Everything that must hold before a merge",
        help: ci::HELP,
        run: ci::run,
    },
    Command {
        name: "tidy",
        summary: "Check the rules that no compiler checks",
        help: tidy::HELP,
        run: tidy::run,
    },
    Command {
        name: "tree-check",
        summary: "Check what a user of one backend compiles",
        help: tree_check::HELP,
        run: tree_check::run,
    },
    Command {
        name: "package-check",
        summary: "Package each crate; build and run a program that uses it",
        help: package_check::HELP,
        run: package_check::run,
    },
    Command {
        name: "deny",
        summary: "Check licences, bans and sources of all dependencies",
        help: deny::HELP,
        run: deny::run,
    },
    Command {
        name: "promises",
        summary: "Write store-conformance/PROMISES.md, or check it",
        help: promises::HELP,
        run: promises::run,
    },
    Command {
        name: "trips",
        summary: "Write store-conformance/TRIPS.md, or check it",
        help: trips::HELP,
        run: trips::run,
    },
    Command {
        name: "matrix",
        summary: "Write the capability matrix into README.md, or check it",
        help: matrix::HELP,
        run: matrix::run,
    },
    Command {
        name: "bench",
        summary: "Run the benchmarks",
        help: bench::HELP,
        run: bench::run,
    },
    Command {
        name: "soak",
        summary: "Run the long tests",
        help: soak::HELP,
        run: soak::run,
    },
    Command {
        name: "mutants",
        summary: "Change the code in small ways, and check that tests notice",
        help: mutants::HELP,
        run: mutants::run,
    },
    Command {
        name: "up",
        summary: "Start the servers that the tests need, and leave them running",
        help: servers::UP,
        run: servers::up,
    },
    Command {
        name: "down",
        summary: "Stop the servers that `up` started",
        help: servers::DOWN,
        run: servers::down,
    },
];

fn main() -> ExitCode {
    let mut arguments = lexopt::Parser::from_env();
    let name = match arguments.next() {
        Ok(Some(Value(name))) => name.to_string_lossy().into_owned(),
        Ok(None | Some(Short('h') | Long("help"))) => {
            print!("{}", overview());
            return ExitCode::SUCCESS;
        }
        Ok(Some(other)) => return misuse(&other.unexpected().to_string()),
        Err(error) => return misuse(&error.to_string()),
    };
    let asked_for_help = name == "help";
    let name = match asked_for_help.then(|| arguments.next()) {
        None => name,
        Some(Ok(Some(Value(topic)))) => topic.to_string_lossy().into_owned(),
        Some(_) => {
            print!("{}", overview());
            return ExitCode::SUCCESS;
        }
    };
    let Some(command) = COMMANDS.iter().find(|command| command.name == name) else {
        return misuse(&format!("there is no command `{name}`"));
    };
    let wants_help = asked_for_help
        || std::env::args()
            .skip(2)
            .take_while(|argument| argument != "--")
            .any(|argument| argument == "--help" || argument == "-h");
    if wants_help {
        println!("{}", command.help.trim());
        return ExitCode::SUCCESS;
    }
    match (command.run)(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<lexopt::Error>() => misuse(&format!("{name}: {error}")),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn misuse(message: &str) -> ExitCode {
    let names: Vec<_> = COMMANDS.iter().map(|command| command.name).collect();
    eprintln!("error: {message}\n");
    eprintln!("Commands: {}", names.join(", "));
    eprintln!("`cargo xtask COMMAND --help` says what a command does and takes.");
    ExitCode::from(2)
}

fn overview() -> String {
    let mut text = String::from(
        "The project's own commands.\n\nUsage: cargo xtask COMMAND [OPTIONS]\n\nCommands:\n",
    );
    for command in COMMANDS {
        text.push_str(&format!("  {:<14} {}\n", command.name, command.summary));
    }
    text.push_str(
        "\nBefore a commit:  cargo xtask test-all\n\
         Before a merge:   cargo xtask ci\n\
         More about one:   cargo xtask COMMAND --help\n",
    );
    text
}
