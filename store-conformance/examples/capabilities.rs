//! Prints the `capabilities()` of each backend as JSON, from which `cargo xtask matrix`
//! makes the table of the README.

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
        // As in the suite, on a server with the default configuration.
        PostgresStore::builder()
            .change_notice(true)
            .capabilities(Durability::Crash),
        // The default configuration of Redis: snapshots at intervals and at shutdown.
        RedisStore::builder()
            .change_notice(true)
            .capabilities(Durability::Restart),
        DynamoDbStore::builder().capabilities(),
        // In a bucket at Amazon.
        S3Store::builder().url("s3://bucket").capabilities(),
    ];
    println!("{}", serde_json::Value::from_iter(all.iter().map(json)));
}

fn json(capabilities: &Capabilities) -> serde_json::Value {
    serde_json::json!({ "backend": capabilities.backend, "rows": capabilities.rows() })
}
