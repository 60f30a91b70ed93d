//! How to open a store in memory.

use std::sync::Arc;

use store_core::{Clock, Error, ErrorKind, Result, SystemClock};

use crate::MemoryStore;

const FORM: &str = "write memory:// or memory://?max_records=N&max_bytes=N&max_buckets=N";

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
pub struct Builder {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) max_records: usize,
    pub(crate) max_bytes: usize,
    pub(crate) max_buckets: usize,
    pub(crate) strict: bool,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            max_records: usize::MAX,
            max_bytes: usize::MAX,
            max_buckets: 100_000,
            strict: cfg!(debug_assertions),
        }
    }
}

impl Builder {
    /// The clock that decides expiry and refill. The machine's by default.
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// The most records to hold; a commit that would exceed it is refused with
    /// `LimitExceeded`. Expired records are removed to make room first.
    pub fn max_records(mut self, records: usize) -> Self {
        self.max_records = records;
        self
    }

    /// The most bytes of partitions, ids and bodies to hold, likewise.
    pub fn max_bytes(mut self, bytes: usize) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// The most buckets of rate limits to hold, 100 000 if never called: of
    /// about 100 bytes each, and longer keys beside. Without room, buckets that
    /// are full again are forgotten first; if all are in use, a take under a
    /// new key is refused with `LimitExceeded`, so that whoever chooses the
    /// keys cannot fill the memory.
    pub fn max_buckets(mut self, buckets: usize) -> Self {
        self.max_buckets = buckets;
        self
    }

    /// Whether each body is encoded and read back when it is written, so that
    /// whatever works here works on a server. On in debug builds.
    pub fn strict(mut self, strict: bool) -> Self {
        self.strict = strict;
        self
    }

    /// The options that a URL names: `memory://`, and after a `?` any of
    /// `max_records`, `max_bytes` and `max_buckets`, joined by `&`.
    ///
    /// # Errors
    /// `Config` for another scheme, a host or path, or an unknown option.
    pub fn from_url(url: &str) -> Result<Self> {
        let wrong = |what: &str| Error::new(ErrorKind::Config, format!("{what}; {FORM}"));
        let rest = url
            .strip_prefix("memory://")
            .ok_or_else(|| wrong("the URL is not of this backend"))?;
        let (place, options) = rest.split_once('?').unwrap_or((rest, ""));
        if !place.is_empty() {
            return Err(wrong("memory has neither host nor path"));
        }
        let mut builder = Self::default();
        for option in options.split('&').filter(|option| !option.is_empty()) {
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            let number = || value.parse().map_err(|_| wrong("an option is no number"));
            builder = match name {
                "max_records" => builder.max_records(number()?),
                "max_bytes" => builder.max_bytes(number()?),
                "max_buckets" => builder.max_buckets(number()?),
                _ => return Err(wrong("an option is unknown")),
            };
        }
        Ok(builder)
    }

    /// Opens the store.
    pub fn build(self) -> MemoryStore {
        MemoryStore::open(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_the_bounds() {
        let builder = Builder::from_url("memory://?max_records=7&max_bytes=900").unwrap();
        assert_eq!((builder.max_records, builder.max_bytes), (7, 900));
        assert_eq!(
            Builder::from_url("memory://").unwrap().max_records,
            usize::MAX
        );
    }

    #[test]
    fn a_url_of_another_form_is_refused_and_not_quoted() {
        for url in [
            "redis://:hunter2@localhost",
            "memory://hunter2",
            "memory://?hunter2=1",
            "memory://?max_records=hunter2",
        ] {
            let error = Builder::from_url(url).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }
}
