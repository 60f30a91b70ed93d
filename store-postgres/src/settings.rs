//! The options of a store as a configuration file has them.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use store_core::config::Tls;

use crate::PostgresBuilder;

/// The options of a [`PostgresStore`](crate::PostgresStore), read from a configuration file.
///
/// ```
/// let config: store_postgres::Config = serde_json::from_str(
///     r#"{"url": "postgres://app@db.example.org/app", "namespace": "store"}"#,
/// ).unwrap();
/// let builder = config.builder();
/// # let _ = builder;
/// ```
#[derive(Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Config {
    /// See [`PostgresBuilder::url`], which lists the options that it may have.
    pub url: String,
    /// See [`PostgresBuilder::namespace`].
    #[serde(alias = "schema")]
    pub namespace: Option<String>,
    /// See [`PostgresBuilder::max_connections`].
    pub max_connections: Option<u32>,
    /// See [`PostgresBuilder::timeout`], in milliseconds.
    pub timeout_ms: Option<u64>,
    /// See [`PostgresBuilder::connect_timeout`], in milliseconds.
    pub connect_timeout_ms: Option<u64>,
    /// See [`PostgresBuilder::change_notice`].
    pub change_notice: Option<bool>,
    /// See [`PostgresBuilder::tls`].
    pub tls: Tls,
}

impl Config {
    /// A builder with these options, to which others can be added.
    pub fn builder(self) -> PostgresBuilder {
        let mut builder = PostgresBuilder::default().url(self.url).tls(self.tls);
        if let Some(name) = self.namespace {
            builder = builder.namespace(name);
        }
        if let Some(connections) = self.max_connections {
            builder = builder.max_connections(connections);
        }
        if let Some(timeout) = self.timeout_ms {
            builder = builder.timeout(Duration::from_millis(timeout));
        }
        if let Some(timeout) = self.connect_timeout_ms {
            builder = builder.connect_timeout(Duration::from_millis(timeout));
        }
        if let Some(announced) = self.change_notice {
            builder = builder.change_notice(announced);
        }
        builder
    }
}

impl fmt::Debug for Config {
    /// Without the URL, which may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("namespace", &self.namespace)
            .field("max_connections", &self.max_connections)
            .field("timeout_ms", &self.timeout_ms)
            .field("connect_timeout_ms", &self.connect_timeout_ms)
            .field("change_notice", &self.change_notice)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}
