//! A test suite that checks every promise of a store.
//!
//! To test a backend, or one contract over your own table, implement [`Harness`] (how to
//! open a new namespace with two handles) and run the cases against it:
//!
//! - [`main`] is a whole test program: `harness = false` and one line;
//! - [`Suite::run`] returns a [`Report`], for anything else.
//!
//! A case is named after the promise that it checks. Races use two handles, and the
//! clock is moved by hand, so nothing sleeps. If a store declares that it does not have
//! a capability, the case is not skipped: it asserts that the call is refused. The
//! message of a failed case names what may be declared in [`Harness::unsupported`].
//!
//! [`history`] checks recorded races for linearizability, and [`faults`] puts an
//! unreliable network in front of a store.
//!
//! The feature `internals` contains what the tests of this project need in addition:
//! mutants that the cases must kill, crash tests, tests with injected faults, counted
//! round trips, benchmarks. The feature `servers` starts real servers. Neither is needed
//! to test a store, and their content may change in any release.

#[cfg(feature = "internals")]
pub mod bench;
pub mod cases;
#[cfg(feature = "internals")]
pub mod crash;
pub mod faults;
pub mod harness;
pub mod history;
#[cfg(feature = "internals")]
pub mod mutants;
#[cfg(feature = "internals")]
pub mod promises;
#[cfg(feature = "internals")]
pub mod proxy;
pub mod report;
#[cfg(feature = "servers")]
pub mod servers;
#[cfg(feature = "internals")]
pub mod simulation;
#[cfg(feature = "internals")]
pub mod storm;
pub mod suite;
#[cfg(feature = "internals")]
pub mod trips;

mod front;

pub use front::main;
pub use harness::{Harness, Opened, Over};
pub use report::{CaseReport, Outcome, Report};
pub use store_core;
pub use suite::{Case, CaseResult, Suite};

/// Compiles the README's example.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
