//! `cargo xtask trips`: the round trips of each call.

use crate::generated::Mode;
use crate::{Result, process};

pub const HELP: &str = "
Write store-conformance/TRIPS.md: every main call of every contract, and the
round trips that it took. The tests count them, over records in memory and over
the wire to each server, and `cargo xtask test-all` fails where the table
differs.

Usage: cargo xtask trips [--check]

Options:
  --check   write nothing; fail if the table is out of date

Example, after changing what a call sends:
  cargo xtask trips && git diff store-conformance/TRIPS.md
";

/// The test programs that count, and which of their tests.
const COUNTS: &[(&str, &str)] = &[
    ("trips", ""),
    ("postgres_own", "the_table_says_what_goes_over_the_wire"),
    ("redis_own", "the_table_says_what_goes_over_the_wire"),
    ("dynamodb_own", "the_table_says_what_goes_over_the_wire"),
    ("s3_own", "the_table_says_what_goes_over_the_wire"),
];

pub fn run(arguments: lexopt::Parser) -> Result {
    let mode = Mode::of(arguments)?;
    for (program, test) in COUNTS {
        let mut command = process::cargo();
        command.args(["test", "--quiet", "-p", "store-conformance"]);
        command.args(["--features", "servers", "--test", program, "--", test]);
        if mode == Mode::Write {
            command.env("STORE_TRIPS_WRITE", "1");
        }
        process::run(&mut command)?;
    }
    Ok(())
}
