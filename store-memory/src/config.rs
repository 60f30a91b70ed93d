//! How to open a store in memory.

use std::sync::Arc;

use store_core::{Clock, SystemClock};

use crate::MemoryStore;

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

    /// Opens the store.
    pub fn build(self) -> MemoryStore {
        MemoryStore::open(self)
    }
}
