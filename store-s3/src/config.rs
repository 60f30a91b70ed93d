//! How to open a store in S3.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use object_store::ObjectStore;
use serde::Deserialize;
use store_core::config::{Overrides, Settings, Source, Tls};
use store_core::{Capabilities, Durability, Result, Support, collections};

use crate::S3Store;
use crate::blobs;
use crate::error::{BACKEND, config};

/// Options for an [`S3Store`].
///
/// ```no_run
/// # async fn f() -> store_core::Result<()> {
/// use store_s3::S3Store;
///
/// let store = S3Store::builder()
///     .url("s3://my-bucket/app?region=eu-central-1")
///     .credentials("AKIA…", "secret")
///     .connect()
///     .await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
#[must_use = "a builder opens nothing until `connect`"]
pub struct S3Builder {
    pub(crate) common: Settings<Arc<dyn ObjectStore>>,
    pub(crate) credentials: Option<(String, String)>,
    pub(crate) session_token: Option<String>,
    pub(crate) location: Location,
    pub(crate) lease: Duration,
    pub(crate) blobs: blobs::Options,
}

/// The options in a URL that the builder has no methods for.
#[derive(Clone, Default)]
pub(crate) struct Location {
    pub(crate) region: Option<String>,
    pub(crate) endpoint: Option<String>,
    pub(crate) virtual_hosted: bool,
}

/// The options of an [`S3Builder`] as data, for configuration files. An option that is
/// not given has the builder's default. Credentials are not part of it, see
/// [`S3Builder::url`].
///
/// ```
/// use store_s3::{S3Builder, S3Config};
/// let config: S3Config = serde_json::from_str(r#"{"url": "s3://bucket", "timeout_ms": 5000}"#)?;
/// let builder = S3Builder::from(config);
/// # let _ = builder;
/// # Ok::<(), serde_json::Error>(())
/// ```
#[non_exhaustive]
#[derive(Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct S3Config {
    /// See [`S3Builder::url`].
    pub url: Option<String>,
    /// See [`S3Builder::namespace`].
    pub namespace: Option<String>,
    /// See [`S3Builder::tls`].
    pub tls: Option<Tls>,
    /// See [`S3Builder::timeout`], in milliseconds.
    pub timeout_ms: Option<u64>,
    /// See [`S3Builder::connect_timeout`], in milliseconds.
    pub connect_timeout_ms: Option<u64>,
    /// See [`S3Builder::inline`].
    pub inline: Option<usize>,
    /// See [`S3Builder::part_size`].
    pub part_size: Option<usize>,
    /// See [`S3Builder::in_flight`].
    pub in_flight: Option<usize>,
}

impl From<S3Config> for S3Builder {
    fn from(config: S3Config) -> Self {
        let mut builder = Self::default();
        builder.common.replace(Overrides {
            url: config.url,
            namespace: config.namespace,
            timeout: config.timeout_ms.map(Duration::from_millis),
            connect_timeout: config.connect_timeout_ms.map(Duration::from_millis),
            tls: config.tls,
            ..Overrides::default()
        });
        if let Some(bytes) = config.inline {
            builder = builder.inline(bytes);
        }
        if let Some(bytes) = config.part_size {
            builder = builder.part_size(bytes);
        }
        if let Some(parts) = config.in_flight {
            builder = builder.in_flight(parts);
        }
        builder
    }
}

impl Default for S3Builder {
    fn default() -> Self {
        let mut common = Settings::new(Duration::from_secs(30), Duration::from_secs(5));
        common.collections = collections::all();
        Self {
            common,
            credentials: None,
            session_token: None,
            location: Location::default(),
            lease: Duration::from_secs(5),
            blobs: blobs::Options::default(),
        }
    }
}

impl S3Builder {
    store_core::builder_methods! {
        /// Where the bucket is: `s3://bucket/prefix?region=…&endpoint=…`.
        ///
        /// - `region`: `us-east-1` unless the environment says otherwise.
        /// - `endpoint`: the URL of a server other than Amazon's, as in
        ///   `endpoint=http://localhost:9000`.
        /// - `virtual_hosted=true`: puts the bucket's name into the host name instead of the
        ///   path.
        /// - `namespace`, `timeout`, `connect_timeout`, each like the method of its name, and
        ///   `ca_file`, a [file of certificate authorities](Tls::ca_file). They take
        ///   precedence over the builder's options.
        ///
        /// Credentials come from [`S3Builder::credentials`], or from where Amazon's clients
        /// find them: environment variables such as `AWS_ACCESS_KEY_ID`, a web identity, or
        /// the role of a container or machine.
        ///
        /// `memory://` is a new bucket in this process's memory, for tests. It has the option
        /// `namespace`.
        url;

        store_url;

        /// Separates this store from others in the bucket: the prefix of the names of all
        /// objects, instead of the URL's path. At most 60 letters, digits,
        /// dashes, underscores, dots and slashes. Two namespaces in one bucket are two
        /// stores, unless one is inside the other.
        namespace;

        /// Declares a collection of the application. The sweep removes deleted and expired
        /// records of those that are
        /// [single-use](store_core::Collection::single_use), and `setup` refuses a later
        /// declaration with other flags. Nothing else needs the declaration.
        collection;

        clock;

        /// How long a request may take, 30 s by default.
        timeout;

        /// How long to wait for a connection, 5 s by default.
        connect_timeout;

        /// Which certificate authorities to trust; the system's by default.
        tls;
    }

    /// A client of `object_store` for the bucket, instead of a URL.
    ///
    /// It must send a conditional put **once**: turn its retries off
    /// (`with_retry(RetryConfig { max_retries: 0, .. })`). A put that the
    /// client repeats fails because its first copy succeeded. The store then determines
    /// the outcome if it can, and otherwise reports `Ambiguous`. The client must not
    /// cache, and must send to one server only. Without retries, the failure of one part
    /// of a streamed object fails the whole write.
    pub fn object_store(mut self, driver: Arc<dyn ObjectStore>) -> Self {
        self.common.source = Source::Client(driver);
        self
    }

    /// The access key and its secret.
    pub fn credentials(mut self, key_id: impl Into<String>, secret: impl Into<String>) -> Self {
        self.credentials = Some((key_id.into(), secret.into()));
        self
    }

    /// The token of a temporary access key.
    pub fn session_token(mut self, token: impl Into<String>) -> Self {
        self.session_token = Some(token.into());
        self
    }

    /// The same as [`S3Builder::namespace`], under S3's name for it.
    pub fn prefix(self, prefix: impl Into<String>) -> Self {
        self.namespace(prefix)
    }

    /// How long a commit of several records may hold a record that another commit needs,
    /// 5 s by default; a tenth of it is added for each of the commit's records. After
    /// that the other commit aborts it. The lease only determines how long to wait for a
    /// process that died: a slow commit that is aborted starts again.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// Streamed objects of up to this many bytes are stored with their metadata:
    /// published by one put, opened by one get. 1 MiB by default, which is also the
    /// maximum. Beginning to replace such an object sends its content once more, so set a
    /// smaller bound for objects that are often rewritten.
    pub fn inline(mut self, bytes: usize) -> Self {
        self.blobs.inline = bytes.min(blobs::MAX_INLINE);
        self
    }

    /// The size of the parts in which larger objects are written and read, in bytes. 5 MiB
    /// by default, which is the minimum of S3; 512 MiB at most.
    pub fn part_size(mut self, bytes: usize) -> Self {
        self.blobs.part_size = bytes.clamp(1, 512 << 20);
        self
    }

    /// How many parts an open sink has in flight at a time, 4 by default, in addition to
    /// the one that it fills. With the default part size a sink uses up to 25 MiB of
    /// memory. A reader holds `in_flight` parts, including the one that it returned last.
    pub fn in_flight(mut self, parts: usize) -> Self {
        self.blobs.in_flight = parts.max(1);
        self
    }

    /// How long the write of a streamed object may be idle before it counts as
    /// abandoned; an hour by default. An active write renews its lease.
    pub fn write_lease(mut self, lease: Duration) -> Self {
        self.blobs.lease = lease;
        self
    }

    /// How long content stays readable after it was replaced or deleted, for the
    /// readers that have it open; five minutes by default.
    pub fn reader_grace(mut self, grace: Duration) -> Self {
        self.blobs.grace = grace;
        self
    }

    /// The capabilities of a store with this configuration.
    pub fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::new(BACKEND);
        capabilities.transactions = Support::Emulated;
        capabilities.ordered_scans = Support::Native;
        capabilities.collection_scans = Support::Native;
        capabilities.native_expiry = Support::No;
        capabilities.blobs = Support::native_if(cfg!(feature = "blobs"));
        capabilities.rate_limits = Support::Emulated;
        capabilities.durability = match &self.common.source {
            Source::Url(url) if url.starts_with("memory:") => Durability::Process,
            Source::Parsed(url) if url.scheme() == "memory" => Durability::Process,
            // It is unknown where an application's client stores objects.
            Source::Client(_) => Durability::Unknown,
            _ => Durability::Replicated,
        };
        capabilities.compiled()
    }

    /// Opens the store. It reads the result of [`S3Store::setup`], so that a wrong URL is
    /// reported here.
    ///
    /// # Errors
    /// `Config` for a wrong option, or a server that `setup` refused;
    /// `PermissionDenied`, or `Unavailable`.
    pub async fn connect(self) -> Result<S3Store> {
        S3Store::open(self.resolved()?).await
    }
}

impl S3Builder {
    /// These options, replaced by those of the URL. No error shows a value.
    pub(crate) fn resolved(mut self) -> Result<Self> {
        let Some(url) = self.common.url()? else {
            return Ok(self);
        };
        if url.scheme() == "file" {
            return Err(config(
                "a file system cannot replace a file only if it is unchanged, which each commit \
                 needs; use s3://, or memory:// for tests",
            ));
        }
        url.expect_scheme(&["s3", "memory"])?;
        if url.user().is_some() || url.secret().is_some() {
            return Err(config(
                "credentials do not belong in the URL; call S3Builder::credentials",
            ));
        }
        let mut options = url.options();
        let mut common = Overrides::default();
        if url.scheme() == "s3" {
            common = Overrides::take(&mut options)?;
            self.location = Location {
                region: options.take_text("region").map(str::to_owned),
                endpoint: options.take_text("endpoint").map(str::to_owned),
                virtual_hosted: options.take("virtual_hosted")?.unwrap_or(false),
            };
        } else {
            common.namespace = options.take_text("namespace").map(str::to_owned);
        }
        options.finish()?;
        self.common.replace(common);
        Ok(self)
    }
}

impl fmt::Debug for S3Builder {
    /// Without the URL, the credentials and the driver.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Builder")
            .field("common", &self.common)
            .field("lease", &self.lease)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for S3Config {
    /// Without the URL, which may hold credentials by mistake.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Config")
            .field("namespace", &self.namespace)
            .field("tls", &self.tls)
            .field("timeout_ms", &self.timeout_ms)
            .field("connect_timeout_ms", &self.connect_timeout_ms)
            .field("inline", &self.inline)
            .field("part_size", &self.part_size)
            .field("in_flight", &self.in_flight)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_builder_shows_no_secret() {
        let builder = S3Store::builder()
            .url("s3://hunter2")
            .credentials("id", "hunter2")
            .session_token("hunter2");
        assert!(!format!("{builder:?}").contains("hunter2"));
    }

    #[test]
    fn a_configuration_file_sets_the_builders_options() {
        let text = r#"{"url": "memory://", "namespace": "app", "inline": 100, "timeout_ms": 7}"#;
        let builder =
            S3Builder::from(serde_json::from_str::<S3Config>(text).expect("a valid configuration"));
        assert_eq!(builder.common.namespace.as_deref(), Some("app"));
        assert_eq!(builder.blobs.inline, 100);
        assert_eq!(builder.common.timeout, Duration::from_millis(7));
        assert!(serde_json::from_str::<S3Config>(r#"{"secret": "hunter2"}"#).is_err());
    }

    #[test]
    fn the_urls_options_take_precedence_over_the_builders() {
        let builder = S3Builder::default()
            .url(
                "s3://bucket/app?namespace=url&timeout=1s&connect_timeout=2s&ca_file=/ca.pem\
                 &region=eu-central-1&virtual_hosted=true",
            )
            .namespace("builder")
            .resolved()
            .expect("a valid configuration");
        assert_eq!(builder.common.namespace.as_deref(), Some("url"));
        assert_eq!(builder.common.timeout, Duration::from_secs(1));
        assert_eq!(builder.common.connect_timeout, Duration::from_secs(2));
        assert_eq!(builder.common.tls, Tls::new().ca_file("/ca.pem"));
        assert_eq!(builder.location.region.as_deref(), Some("eu-central-1"));
        assert!(builder.location.virtual_hosted);
    }
}
