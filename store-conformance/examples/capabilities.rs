//! Prints what each backend answers to `capabilities()`, as JSON:
//! `cargo xtask matrix` makes the README's table of it.

use store_core::{Capabilities, Durability, Store};
use store_dynamodb::DynamoDbStore;
use store_memory::MemoryStore;
use store_postgres::PostgresStore;
use store_redis::RedisStore;
use store_s3::S3Store;

fn main() {
    let memory = Store::from(&MemoryStore::new());
    let all = [
        memory.records().capabilities(),
        // As the suite opens it, on a server that is configured as it is delivered.
        PostgresStore::builder()
            .change_notice(true)
            .capabilities(Durability::Crash),
        // As Redis is delivered: all of it is saved now and then, and in the end.
        RedisStore::builder()
            .change_notice(true)
            .capabilities(Durability::Restart),
        DynamoDbStore::builder().capabilities(),
        // In a bucket of Amazon's.
        S3Store::builder().url("s3://bucket").capabilities(),
    ];
    println!("{}", serde_json::Value::from_iter(all.iter().map(json)));
}

fn json(capabilities: &Capabilities) -> serde_json::Value {
    serde_json::json!({ "backend": capabilities.backend, "rows": capabilities.rows() })
}
