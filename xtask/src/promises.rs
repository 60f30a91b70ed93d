//! `cargo xtask promises`: the cases that check each promise, and the mutants that each
//! case kills.

use crate::generated::{Mode, settle};
use crate::{Result, process};

pub const HELP: &str = "
Write store-conformance/PROMISES.md: each promise, the cases that check it, and the
mutants that the cases kill. It is generated from the code.

Usage: cargo xtask promises [--check]

Options:
  --check   write nothing; fail if the file is out of date

Example, after adding a case or a mutant:
  cargo xtask promises && git diff store-conformance/PROMISES.md
";

pub fn run(arguments: lexopt::Parser) -> Result {
    promises(Mode::of(arguments)?)
}

/// Writes or checks the file.
pub fn promises(mode: Mode) -> Result {
    let text = process::example("promises")?;
    let file = process::root().join("store-conformance/PROMISES.md");
    settle(mode, &file, &text, "cargo xtask promises")
}
