//! The README's example on PostgreSQL: `examples/quickstart.rs` and one line.
//!
//! `KEY_RING=… cargo run -p store-postgres --example postgres_quickstart -- 'postgres://user@host/database'`

use store_postgres::PostgresStore as Backend; // the only line that names a backend

#[path = "../../examples/quickstart.rs"]
mod quickstart;

fn main() -> quickstart::Result {
    quickstart::main()
}
