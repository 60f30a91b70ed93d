//! The README's example on Redis: `examples/quickstart.rs` and one line.
//!
//! `KEY_RING=… cargo run -p store-redis --example redis_quickstart -- 'redis://host'`

use store_redis::RedisStore as Backend; // the only line that names a backend

#[path = "../../examples/quickstart.rs"]
mod quickstart;

fn main() -> quickstart::Result {
    quickstart::main()
}
