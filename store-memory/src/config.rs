//! How to open a store in memory.

use std::convert::Infallible;
use std::time::Duration;

use serde::Deserialize;
use store_core::config::{Settings, StoreUrl};
use store_core::{Error, ErrorKind, Result};

use crate::MemoryStore;
use crate::eviction::BucketEviction;

/// Options for a [`MemoryStore`].
///
/// ```
/// let store = store_memory::MemoryStore::builder()
///     .max_records(100_000)
///     .max_bytes(64 << 20)
///     .build();
/// # let _ = store;
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder opens nothing until `build` or `connect`"]
pub struct MemoryBuilder {
    pub(crate) common: Settings<Infallible>,
    pub(crate) max_records: usize,
    pub(crate) max_bytes: usize,
    pub(crate) max_buckets: usize,
    pub(crate) bucket_eviction: BucketEviction,
    pub(crate) strict: bool,
}

/// The options of a [`MemoryBuilder`] as data, for configuration files. An option that is
/// not given has the builder's default.
///
/// ```
/// use store_memory::{MemoryBuilder, MemoryConfig};
/// let config: MemoryConfig = serde_json::from_str(r#"{"max_records": 1000}"#)?;
/// let store = MemoryBuilder::from(config).build();
/// # let _ = store;
/// # Ok::<(), serde_json::Error>(())
/// ```
#[non_exhaustive]
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MemoryConfig {
    /// See [`MemoryBuilder::max_records`].
    pub max_records: Option<usize>,
    /// See [`MemoryBuilder::max_bytes`].
    pub max_bytes: Option<usize>,
    /// See [`MemoryBuilder::max_buckets`].
    pub max_buckets: Option<usize>,
    /// See [`MemoryBuilder::bucket_eviction`].
    pub bucket_eviction: Option<BucketEviction>,
    /// See [`MemoryBuilder::strict`].
    pub strict: Option<bool>,
}

impl From<MemoryConfig> for MemoryBuilder {
    fn from(config: MemoryConfig) -> Self {
        Self::default().with(config)
    }
}

impl Default for MemoryBuilder {
    fn default() -> Self {
        Self {
            common: Settings::new(Duration::MAX, Duration::MAX),
            max_records: usize::MAX,
            max_bytes: usize::MAX,
            max_buckets: 100_000,
            bucket_eviction: BucketEviction::default(),
            strict: cfg!(debug_assertions),
        }
    }
}

impl MemoryBuilder {
    store_core::builder_methods! {
        /// A URL with options: `memory://`, and after a `?` any of `max_records`,
        /// `max_bytes`, `max_buckets`, `bucket_eviction` and `strict`, joined by `&`.
        /// [`MemoryBuilder::connect`] reads it.
        url;

        store_url;

        /// Has no effect, because each opened store in memory is separate. It exists because
        /// all backends have the same options.
        namespace;

        /// Has no effect, because collections in memory need no declaration. It exists
        /// because all backends have the same options.
        collection;

        clock;
    }

    /// The maximum number of records. A commit that would exceed it is refused with
    /// `LimitExceeded`, after expired records were removed.
    pub fn max_records(mut self, records: usize) -> Self {
        self.max_records = records;
        self
    }

    /// The maximum number of bytes of partitions, ids and bodies. A commit that would
    /// exceed it is refused in the same way.
    pub fn max_bytes(mut self, bytes: usize) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// The maximum number of buckets of rate limits, 100 000 by default. A bucket takes
    /// about 100 bytes, plus the length of a long key. At the maximum, buckets that are
    /// full again are removed first. If all are in use, a take under a new key is refused
    /// with `LimitExceeded`, so that a client that chooses the keys cannot exhaust the
    /// memory.
    pub fn max_buckets(mut self, buckets: usize) -> Self {
        self.max_buckets = buckets;
        self
    }

    /// What a take under a new key does while all buckets are in use.
    /// [`BucketEviction::Refuse`] by default.
    pub fn bucket_eviction(mut self, eviction: BucketEviction) -> Self {
        self.bucket_eviction = eviction;
        self
    }

    /// Whether each body is encoded and decoded when it is written, so that a body that
    /// is accepted here is accepted by a server. On in debug builds.
    pub fn strict(mut self, strict: bool) -> Self {
        self.strict = strict;
        self
    }

    /// Opens the store and ignores the URL; [`MemoryBuilder::connect`] reads it.
    pub fn build(self) -> MemoryStore {
        MemoryStore::open(self)
    }

    /// Opens the store with the options of the URL, if one was given.
    ///
    /// # Errors
    /// `Config` if the URL has another scheme, a host, a path or an unknown
    /// option.
    pub async fn connect(mut self) -> Result<MemoryStore> {
        match self.common.url()?.cloned() {
            Some(url) => Ok(self.read(&url)?.build()),
            None => Ok(self.build()),
        }
    }

    /// Applies the options of `url`.
    pub(crate) fn read(self, url: &StoreUrl) -> Result<Self> {
        url.expect_scheme(&["memory"])?;
        if !url.hosts().is_empty() || url.user().is_some() || !url.path().is_empty() {
            return Err(Error::new(
                ErrorKind::Config,
                "a store in memory has no user, host or path; write memory:// or \
                 memory://?max_records=N&max_bytes=N&max_buckets=N",
            ));
        }
        let mut options = url.options();
        let config = MemoryConfig {
            max_records: options.take("max_records")?,
            max_bytes: options.take("max_bytes")?,
            max_buckets: options.take("max_buckets")?,
            bucket_eviction: options.take("bucket_eviction")?,
            strict: options.take("strict")?,
        };
        options.finish()?;
        Ok(self.with(config))
    }

    fn with(mut self, config: MemoryConfig) -> Self {
        self.max_records = config.max_records.unwrap_or(self.max_records);
        self.max_bytes = config.max_bytes.unwrap_or(self.max_bytes);
        self.max_buckets = config.max_buckets.unwrap_or(self.max_buckets);
        self.bucket_eviction = config.bucket_eviction.unwrap_or(self.bucket_eviction);
        self.strict = config.strict.unwrap_or(self.strict);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str) -> Result<MemoryBuilder> {
        MemoryBuilder::default().read(&url.parse()?)
    }

    #[test]
    fn a_url_sets_the_bounds() {
        let builder = read("memory://?max_records=7&max_bytes=900&strict=false").unwrap();
        assert_eq!(builder.bucket_eviction, BucketEviction::Refuse);
        let forgets = read("memory://?bucket_eviction=forget_fullest").unwrap();
        assert_eq!(forgets.bucket_eviction, BucketEviction::ForgetFullest);
        assert_eq!((builder.max_records, builder.max_bytes), (7, 900));
        assert!(!builder.strict);
        assert_eq!(read("memory://").unwrap().max_records, usize::MAX);
    }

    #[test]
    fn a_url_of_another_form_is_refused_and_no_value_is_shown() {
        for url in [
            "redis://:hunter2@localhost",
            "memory://hunter2",
            "memory:///hunter2",
            "memory://?zone=hunter2",
            "memory://?max_records=hunter2",
        ] {
            let error = read(url).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }
}
