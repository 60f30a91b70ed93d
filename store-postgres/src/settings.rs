//! A store's options for configuration files.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use store_core::config::{Overrides, Tls};

use crate::PostgresBuilder;

/// The options of a [`PostgresBuilder`] as data, for configuration files. An option that
/// is not given has the builder's default.
///
/// ```
/// use store_postgres::{PostgresBuilder, PostgresConfig};
/// let config: PostgresConfig = serde_json::from_str(
///     r#"{"url": "postgres://app@db.example.org/app", "namespace": "store"}"#,
/// )?;
/// let builder = PostgresBuilder::from(config);
/// # let _ = builder;
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct PostgresConfig {
    /// See [`PostgresBuilder::url`], which lists the options that it may have.
    pub url: Option<String>,
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
    pub tls: Option<Tls>,
}

impl From<PostgresConfig> for PostgresBuilder {
    fn from(config: PostgresConfig) -> Self {
        let mut builder = Self::default();
        builder.common.replace(Overrides {
            url: config.url,
            namespace: config.namespace,
            timeout: config.timeout_ms.map(Duration::from_millis),
            connect_timeout: config.connect_timeout_ms.map(Duration::from_millis),
            tls: config.tls,
            ..Overrides::default()
        });
        if let Some(connections) = config.max_connections {
            builder = builder.max_connections(connections);
        }
        if let Some(announced) = config.change_notice {
            builder = builder.change_notice(announced);
        }
        builder
    }
}

impl fmt::Debug for PostgresConfig {
    /// Without the URL, which may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresConfig")
            .field("namespace", &self.namespace)
            .field("max_connections", &self.max_connections)
            .field("timeout_ms", &self.timeout_ms)
            .field("connect_timeout_ms", &self.connect_timeout_ms)
            .field("change_notice", &self.change_notice)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}
