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
//! a bad network, [`proxy`] and [`storm`] for one before a real server, [`crash`]
//! kills servers, [`promises`] tells who watches over what, [`trips`] what a call
//! costs, and [`saboteurs`] are stores with one planted bug each, which the suite
//! must catch. All of it is the feature `suite`, on by default; [`mod@bench`] is
//! there without it.

pub mod bench;
#[cfg(feature = "suite")]
pub mod cases;
#[cfg(feature = "suite")]
pub mod crash;
#[cfg(feature = "suite")]
pub mod faults;
#[cfg(feature = "suite")]
pub mod harness;
#[cfg(feature = "suite")]
pub mod history;
#[cfg(feature = "suite")]
pub mod promises;
#[cfg(feature = "suite")]
pub mod proxy;
#[cfg(feature = "suite")]
pub mod report;
#[cfg(feature = "suite")]
pub mod saboteurs;
#[cfg(feature = "servers")]
pub mod servers;
#[cfg(feature = "suite")]
pub mod simulation;
#[cfg(feature = "suite")]
pub mod storm;
#[cfg(feature = "suite")]
pub mod suite;
#[cfg(feature = "suite")]
pub mod trips;

#[cfg(feature = "suite")]
mod front;

#[cfg(feature = "suite")]
pub use front::main;
#[cfg(feature = "suite")]
pub use harness::{Harness, Opened, Over};
#[cfg(feature = "suite")]
pub use report::{CaseReport, Outcome, Report};
pub use store_core;
#[cfg(feature = "suite")]
pub use suite::{Case, CaseResult, Suite};

/// Compiles the README's example.
#[cfg(all(doctest, feature = "suite"))]
#[doc = include_str!("../README.md")]
struct Readme;
