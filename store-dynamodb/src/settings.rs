//! A store's options for configuration files.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use store_core::config::{Overrides, Tls};

use crate::DynamoDbBuilder;
use crate::url::Own;

/// The options of a [`DynamoDbBuilder`] as data, for configuration files. An option that
/// is not given has the builder's default.
///
/// ```
/// use store_dynamodb::{DynamoDbBuilder, DynamoDbConfig};
/// let config: DynamoDbConfig = serde_json::from_str(
///     r#"{"url": "dynamodb://app?region=eu-central-1", "timeout_ms": 2000}"#,
/// )?;
/// let builder = DynamoDbBuilder::from(config);
/// # let _ = builder;
/// # Ok::<(), serde_json::Error>(())
/// ```
#[non_exhaustive]
#[derive(Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DynamoDbConfig {
    /// See [`DynamoDbBuilder::url`], which lists the options that it may have.
    pub url: Option<String>,
    /// See [`DynamoDbBuilder::namespace`].
    #[serde(alias = "table")]
    pub namespace: Option<String>,
    /// See [`DynamoDbBuilder::region`].
    pub region: Option<String>,
    /// See [`DynamoDbBuilder::endpoint`].
    pub endpoint: Option<String>,
    /// See [`DynamoDbBuilder::tls`].
    pub tls: Option<Tls>,
    /// See [`DynamoDbBuilder::timeout`], in milliseconds.
    pub timeout_ms: Option<u64>,
    /// See [`DynamoDbBuilder::connect_timeout`], in milliseconds.
    pub connect_timeout_ms: Option<u64>,
    /// See [`DynamoDbBuilder::grace`], in milliseconds.
    pub grace_ms: Option<u64>,
    /// See [`DynamoDbBuilder::scan_segments`].
    pub scan_segments: Option<u32>,
    /// See [`DynamoDbBuilder::point_in_time_recovery`].
    pub point_in_time_recovery: Option<bool>,
}

impl fmt::Debug for DynamoDbConfig {
    /// Without URL and endpoint, which may hold a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DynamoDbConfig")
            .field("namespace", &self.namespace)
            .field("region", &self.region)
            .field("tls", &self.tls)
            .field("timeout_ms", &self.timeout_ms)
            .field("connect_timeout_ms", &self.connect_timeout_ms)
            .field("grace_ms", &self.grace_ms)
            .field("scan_segments", &self.scan_segments)
            .field("point_in_time_recovery", &self.point_in_time_recovery)
            .finish_non_exhaustive()
    }
}

impl From<DynamoDbConfig> for DynamoDbBuilder {
    fn from(config: DynamoDbConfig) -> Self {
        Self::default().with(Own {
            common: Overrides {
                url: config.url,
                namespace: config.namespace,
                timeout: config.timeout_ms.map(Duration::from_millis),
                connect_timeout: config.connect_timeout_ms.map(Duration::from_millis),
                tls: config.tls,
                ..Overrides::default()
            },
            region: config.region,
            endpoint: config.endpoint,
            grace: config.grace_ms.map(Duration::from_millis),
            scan_segments: config.scan_segments,
            point_in_time_recovery: config.point_in_time_recovery,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_file_sets_the_builders_options() {
        let text = r#"{"url": "dynamodb://?region=eu-central-1", "table": "app",
                       "endpoint": "http://id:hunter2@h", "timeout_ms": 7, "grace_ms": 9,
                       "tls": {"ca_file": "/ca.pem"}}"#;
        let config: DynamoDbConfig = serde_json::from_str(text).expect("a valid configuration");
        assert!(!format!("{config:?}").contains("hunter2"));
        let builder = DynamoDbBuilder::from(config)
            .resolved()
            .expect("a valid configuration");
        assert_eq!(builder.table_name(), "app");
        assert_eq!(builder.region.as_deref(), Some("eu-central-1"));
        assert_eq!(builder.common.timeout, Duration::from_millis(7));
        assert_eq!(builder.grace, Duration::from_millis(9));
        assert_eq!(builder.common.tls, Tls::new().ca_file("/ca.pem"));
        let unknown = serde_json::from_str::<DynamoDbConfig>(r#"{"secret": "x"}"#);
        assert!(unknown.is_err());
    }
}
