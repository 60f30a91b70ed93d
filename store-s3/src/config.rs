//! How to open a store in S3.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, S3ConditionalPut};
use object_store::memory::InMemory;
use object_store::{Certificate, ClientOptions, ObjectStore, RetryConfig};
use store_core::{
    Capabilities, Clock, Collection, Durability, Result, Support, SystemClock, collections,
};
use url::Url;

use crate::S3Store;
use crate::blobs::{self, Parts};
use crate::error::{BACKEND, config};
use crate::shared::unknown_scheme;

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
pub struct Builder {
    source: Source,
    credentials: Option<(String, String)>,
    session_token: Option<String>,
    ca: Option<Vec<u8>>,
    prefix: Option<String>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) collections: Vec<Collection>,
    pub(crate) lease: Duration,
    pub(crate) blobs: blobs::Options,
    timeout: Duration,
    connect_timeout: Duration,
}

#[derive(Clone)]
enum Source {
    None,
    Url(String),
    Driver(Arc<dyn ObjectStore>),
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            source: Source::None,
            credentials: None,
            session_token: None,
            ca: None,
            prefix: None,
            clock: Arc::new(SystemClock),
            collections: collections::all(),
            lease: Duration::from_secs(5),
            blobs: blobs::Options::default(),
            timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(5),
        }
    }
}

impl Builder {
    /// Where the bucket is: `s3://bucket/prefix?region=…&endpoint=…`.
    ///
    /// - `region`: `us-east-1` unless the environment says otherwise.
    /// - `endpoint`: another server than Amazon's, as in
    ///   `endpoint=http://localhost:9000`.
    /// - `virtual_hosted=true`: the bucket in the host's name instead of the
    ///   path.
    ///
    /// Credentials come from [`Builder::credentials`], or as Amazon's own
    /// clients find them: `AWS_ACCESS_KEY_ID` and the like in the environment, a
    /// web identity, a container's or a machine's role.
    ///
    /// `memory://` is a bucket in memory that nobody else sees, for tests.
    pub fn url(mut self, url: impl Into<String>) -> Self {
        self.source = Source::Url(url.into());
        self
    }

    /// A bucket through the driver's own client, instead of a URL.
    ///
    /// It must send a conditional put **once**: turn its retries off
    /// (`with_retry(RetryConfig { max_retries: 0, .. })`). A put that is sent
    /// again by itself fails on its own success. The store finds out where it
    /// can and says `Ambiguous` where it cannot, so this costs answers, not
    /// promises. It must be no cache, and send to one place only. A part of a
    /// streamed object that fails then fails the write.
    pub fn object_store(mut self, driver: Arc<dyn ObjectStore>) -> Self {
        self.source = Source::Driver(driver);
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

    /// A certificate authority to trust beside the system's, in PEM.
    pub fn ca_certificate(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.ca = Some(pem.into());
        self
    }

    /// What the names of all objects begin with, instead of the URL's path:
    /// at most 60 letters, digits, dashes, underscores, dots and slashes. Two
    /// prefixes in one bucket are two stores, if neither is in the other.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = Some(prefix.into());
        self
    }

    /// The clock that decides expiry and refill. The machine's by default.
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Declares collections of the application's own, so that the sweep removes
    /// what is deleted or expired in those that are
    /// [single-use](store_core::Collection::single_use). Nothing else needs them
    /// declared.
    pub fn collections(mut self, collections: impl IntoIterator<Item = Collection>) -> Self {
        self.collections.extend(collections);
        self
    }

    /// How long a commit of several records may hold one that another wants, and
    /// a tenth of it more for each of its records; 5 s by default. After that
    /// the other aborts it. It decides how long a process that died is waited
    /// for and nothing else: a commit that was slower is begun anew.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// Streamed objects of up to so many bytes are kept with what is known of
    /// them: published by one put, opened by one get. 1 MiB by default, which is
    /// the most too. To begin to replace one sends it once more, so a smaller
    /// bound serves objects well that are often rewritten.
    pub fn inline(mut self, bytes: usize) -> Self {
        self.blobs.inline = bytes.min(blobs::MAX_INLINE);
        self
    }

    /// In parts of how many bytes larger objects are written and read. 5 MiB by
    /// default, which is the least that S3 takes; 512 MiB at most.
    pub fn part_size(mut self, bytes: usize) -> Self {
        self.blobs.part_size = bytes.clamp(1, 512 << 20);
        self
    }

    /// How many parts an open sink has under way at a time, 4 by default, beside
    /// the one that it fills: 25 MiB by default. A reader holds as many, with the
    /// one that it gave last.
    pub fn in_flight(mut self, parts: usize) -> Self {
        self.blobs.in_flight = parts.max(1);
        self
    }

    /// How long the write of a streamed object may stand still before it is
    /// taken for abandoned; an hour by default. A write that goes on renews its
    /// lease.
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

    /// How long a request may take, 30 s by default.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How long to wait for a connection, 5 s by default.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// What a store opened so can do.
    pub fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::new(BACKEND);
        capabilities.transactions = Support::Emulated;
        capabilities.ordered_scans = Support::Native;
        capabilities.collection_scans = Support::Native;
        capabilities.native_expiry = Support::No;
        capabilities.blobs = Support::Native;
        capabilities.rate_limits = Support::Emulated;
        capabilities.durability = match &self.source {
            Source::Url(url) if url.starts_with("memory:") => Durability::Process,
            // Where it leads, nobody said.
            Source::Driver(_) => Durability::Unknown,
            _ => Durability::Replicated,
        };
        capabilities
    }

    /// Opens the store. The server is asked for what [`S3Store::setup`] found
    /// out, so that a wrong URL is found here.
    ///
    /// # Errors
    /// `Config` for a wrong option, or a server that `setup` refused;
    /// `PermissionDenied`, or `Unavailable`.
    pub async fn connect(self) -> Result<S3Store> {
        S3Store::open(self).await
    }

    /// The driver, and where it leads.
    pub(crate) fn driver(&self) -> Result<Driver> {
        let prefix = |path: &str| self.prefix.clone().unwrap_or_else(|| path.to_owned());
        let text = match &self.source {
            Source::None => {
                return Err(config(
                    "no bucket is named; call Builder::url or Builder::object_store",
                ));
            }
            Source::Driver(driver) => {
                return Ok(Driver {
                    driver: Arc::clone(driver),
                    parts: Parts::Lent(Arc::clone(driver)),
                    place: driver.to_string(),
                    prefix: prefix(""),
                });
            }
            Source::Url(url) => url,
        };
        let url = Url::parse(text)
            // The parser's own words may hold the URL, secrets and all.
            .map_err(|_| config("the URL is not of the form s3://bucket/prefix?region=…"))?;
        match url.scheme() {
            "memory" => {
                let driver = Arc::new(InMemory::new());
                Ok(Driver {
                    parts: Parts::Lent(Arc::clone(&driver) as _),
                    driver,
                    place: "a bucket in memory".into(),
                    prefix: prefix(url.path()),
                })
            }
            "s3" => self.bucket(&url, prefix(url.path())),
            other => Err(unknown_scheme(other)),
        }
    }

    fn bucket(&self, url: &Url, prefix: String) -> Result<Driver> {
        let Some(bucket) = url.host_str() else {
            return Err(config("the URL names no bucket: s3://bucket/prefix"));
        };
        if bucket.ends_with("--x-s3") {
            return Err(config(
                "a directory bucket (S3 Express One Zone) lists its objects in no order, which \
                 every scan needs; use a general purpose bucket",
            ));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(config(
                "credentials do not belong into the URL; call Builder::credentials",
            ));
        }
        if self.blobs.part_size < blobs::MIN_PART {
            return Err(config(
                "S3 takes no parts of under 5 MiB; give Builder::part_size that or more",
            ));
        }
        // Unless the application chose another.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut options = ClientOptions::new()
            .with_timeout(self.timeout)
            .with_connect_timeout(self.connect_timeout);
        let mut driver = AmazonS3Builder::from_env()
            .with_bucket_name(bucket)
            .with_conditional_put(S3ConditionalPut::ETagMatch);
        let mut place = format!("s3://{bucket}");
        for (name, value) in url.query_pairs() {
            driver = match &*name {
                "region" => driver.with_region(&*value),
                "endpoint" => {
                    options = options.with_allow_http(value.starts_with("http:"));
                    place = format!("{value}/{bucket}");
                    driver.with_endpoint(&*value)
                }
                "virtual_hosted" => driver.with_virtual_hosted_style_request(value == "true"),
                _ => {
                    return Err(config(
                        "the URL may say region, endpoint and virtual_hosted, and nothing else",
                    ));
                }
            };
        }
        if driver
            .get_config_value(&AmazonS3ConfigKey::Region)
            .is_none()
        {
            driver = driver.with_region("us-east-1");
        }
        if let Some((key, secret)) = &self.credentials {
            driver = driver
                .with_access_key_id(key)
                .with_secret_access_key(secret);
        }
        if let Some(token) = &self.session_token {
            driver = driver.with_token(token);
        }
        if let Some(pem) = &self.ca {
            let certificates = Certificate::from_pem_bundle(pem)
                .map_err(|_| config("the certificate authority is not in PEM"))?;
            for certificate in certificates {
                options = options.with_root_certificate(certificate);
            }
        }
        let driver = driver.with_client_options(options);
        let build = |driver: AmazonS3Builder| {
            let built = driver.build().map_err(|_| {
                // The driver's own words may hold what is configured.
                config("the bucket is configured wrongly; check the URL and the credentials")
            });
            built.map(Arc::new)
        };
        Ok(Driver {
            // A conditional put that is sent again fails on its own success.
            driver: build(driver.clone().with_retry(RetryConfig {
                max_retries: 0,
                ..RetryConfig::default()
            }))?,
            // A part may be sent again, by its number.
            parts: Parts::ById(build(driver)?),
            place,
            prefix,
        })
    }
}

/// What leads to a bucket.
pub(crate) struct Driver {
    /// Sends each request once.
    pub(crate) driver: Arc<dyn ObjectStore>,
    pub(crate) parts: Parts,
    /// What to call the place in messages.
    pub(crate) place: String,
    pub(crate) prefix: String,
}

impl fmt::Debug for Builder {
    /// Without the URL, the credentials and the driver.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("prefix", &self.prefix)
            .field("clock", &self.clock)
            .field("lease", &self.lease)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use store_core::ErrorKind;

    use super::*;

    async fn refusal(url: &str) -> store_core::Error {
        S3Store::connect(url).await.expect_err("a wrong URL")
    }

    #[tokio::test]
    async fn a_file_system_is_refused_with_the_reason() {
        let error = refusal("file:///var/data").await;
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.message().contains("only if it is unchanged"));
    }

    #[tokio::test]
    async fn a_directory_bucket_is_refused_with_the_reason() {
        let error = refusal("s3://fast--use1-az4--x-s3/app").await;
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.message().contains("in no order"));
    }

    #[tokio::test]
    async fn what_a_url_may_not_say_is_refused_and_not_repeated() {
        for url in [
            "s3://user:hunter2@bucket",
            "s3://bucket?secret=hunter2",
            "s3://bucket/a%20b",
            "gs://bucket",
            "hunter2",
            "s3:///hunter2",
        ] {
            let error = refusal(url).await;
            assert_eq!(error.kind(), ErrorKind::Config, "{url}");
            assert!(!format!("{error:?} {error}").contains("hunter2"), "{url}");
        }
    }

    #[test]
    fn a_builder_shows_no_secret() {
        let builder = S3Store::builder()
            .url("s3://hunter2")
            .credentials("id", "hunter2")
            .session_token("hunter2");
        assert!(!format!("{builder:?}").contains("hunter2"));
    }
}
