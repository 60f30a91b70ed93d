//! Prints what each backend answers to `capabilities()`, as JSON:
//! `cargo xtask matrix` makes the README's table of it.

use store_conformance::core::{Capabilities, Durability, Store};
use store_memory::MemoryStore;

fn main() {
    let memory = Store::from(&MemoryStore::new());
    let all = [
        memory.records().capabilities(),
        // On a server that is configured as it is delivered.
        store_postgres::capabilities(Durability::Crash),
    ];
    println!("{}", serde_json::Value::from_iter(all.iter().map(json)));
}

fn json(capabilities: &Capabilities) -> serde_json::Value {
    serde_json::json!({ "backend": capabilities.backend, "rows": capabilities.rows() })
}
