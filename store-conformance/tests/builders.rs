//! No builder and no configuration shows a secret that it was given.

use std::fmt::Debug;

use store_core::config::{StoreUrl, Tls};
use store_dynamodb::{DynamoDbConfig, DynamoDbStore};
use store_memory::{MemoryConfig, MemoryStore};
use store_postgres::{PostgresConfig, PostgresStore};
use store_redis::{RedisConfig, RedisStore};
use store_s3::{S3Config, S3Store};

const SECRET: &str = "hunter2";

/// The URL of a store of this scheme, with the secret wherever one may be written.
fn url(scheme: &str) -> String {
    format!(
        "{scheme}://app:{SECRET}@host/path?endpoint=http%3A%2F%2Fid%3A{SECRET}%40host&token={SECRET}"
    )
}

fn config<T: serde::de::DeserializeOwned>(scheme: &str) -> T {
    let json = serde_json::json!({ "url": url(scheme) });
    serde_json::from_value(json).expect("a configuration has a URL")
}

fn shown(name: &str, values: &[&dyn Debug]) {
    for value in values {
        let text = format!("{value:?} {value:#?}");
        assert!(!text.contains(SECRET), "{name} shows a secret: {text}");
    }
}

#[test]
fn no_builder_shows_a_secret() {
    let parsed = |scheme: &str| -> StoreUrl { url(scheme).parse().expect("it has a URL's form") };
    shown("a URL", &[&parsed("postgres"), &Tls::new()]);
    // Whatever was given to a builder by mistake is not shown either.
    for scheme in ["memory", "postgres", "redis", "dynamodb", "s3"] {
        shown(
            scheme,
            &[
                &MemoryStore::builder().url(url(scheme)),
                &PostgresStore::builder().url(url(scheme)),
                &PostgresStore::builder().store_url(parsed(scheme)),
                &PostgresStore::builder().listener_url(url(scheme)),
                &RedisStore::builder().url(url(scheme)),
                &RedisStore::builder().store_url(parsed(scheme)),
                &RedisStore::builder().credentials("app", SECRET),
                &DynamoDbStore::builder().url(url(scheme)),
                &DynamoDbStore::builder().store_url(parsed(scheme)),
                &DynamoDbStore::builder().endpoint(url("http")),
                &DynamoDbStore::builder().credentials("id", SECRET),
                &S3Store::builder().url(url(scheme)),
                &S3Store::builder().credentials("id", SECRET),
                &S3Store::builder().session_token(SECRET),
            ],
        );
    }
}

#[test]
fn no_configuration_shows_a_secret() {
    let endpoint = serde_json::json!({ "endpoint": url("http") });
    let endpoint: DynamoDbConfig = serde_json::from_value(endpoint).expect("it has an endpoint");
    shown(
        "a configuration",
        &[
            &MemoryConfig::default(),
            &config::<PostgresConfig>("postgres"),
            &config::<RedisConfig>("redis"),
            &config::<DynamoDbConfig>("dynamodb"),
            &endpoint,
            &config::<S3Config>("s3"),
        ],
    );
}
