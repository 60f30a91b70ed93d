//! Every family of identities, in memory.

#[path = "own/memory.rs"]
mod memory;

use std::process::ExitCode;
use std::sync::Arc;

use store_conformance::cases;

use memory::Memory;

fn main() -> ExitCode {
    store_conformance::main(cases::families(Arc::new(Memory)))
}
