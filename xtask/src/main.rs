//! The project's own commands: `cargo xtask --help`.
//!
//! One file a command, one row a command in [`COMMANDS`]; what they share is
//! in `backends` (which backends there are), `process` (running programs),
//! `workspace` (what cargo knows about this one) and `table`.

mod backends;
mod process;
mod report;
mod table;
mod tally;
mod workspace;

mod test_all;

use std::process::ExitCode;

use lexopt::prelude::*;

/// Every failure is a sentence for a person.
type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

struct Command {
    name: &'static str,
    /// One line, for the list.
    summary: &'static str,
    /// What it does, what it needs, an example.
    help: &'static str,
    run: fn(lexopt::Parser) -> Result,
}

const COMMANDS: &[Command] = &[Command {
    name: "test-all",
    summary: "Run every test over every backend; write target/conformance.json",
    help: test_all::HELP,
    run: test_all::run,
}];

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
         More about one:   cargo xtask COMMAND --help\n",
    );
    text
}
