//! One suite for every store.
//!
//! Whoever writes a backend, or one contract over a table of his own,
//! implements [`Harness`] (how to open a fresh namespace, twice) and runs the
//! cases against it:
//!
//! - [`main`] is a whole test program: `harness = false` and one line;
//! - [`Suite::run`] gives a [`Report`], for anything else.
//!
//! A case is named after the promise it keeps. Races use two handles and the
//! clock is moved by hand, so nothing sleeps. What a store declares that it
//! does not support is asserted to be refused, never skipped.
//!
//! [`history`] checks recorded races for linearizability, [`faults`] stands for
//! a bad network, [`promises`] tells who watches over what, and [`saboteurs`]
//! are stores with one planted bug each, which the suite must catch.

pub mod bench;
pub mod cases;
pub mod faults;
pub mod harness;
pub mod history;
pub mod promises;
pub mod report;
pub mod saboteurs;
pub mod suite;

mod front;

pub use front::main;
pub use harness::{Harness, Opened, Over};
pub use report::{CaseReport, Outcome, Report};
pub use store_core as core;
pub use suite::{Case, CaseResult, Suite};

/// Compiles the README's example.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
