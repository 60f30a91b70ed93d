//! The state that all parts of an opened store share: the bucket, the protocol, the
//! clock.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use store_core::blobs::engine::DetachedTasks;
use store_core::{Clock, Ping, Result, Timestamp, Version};
use tokio::time::Instant;

use crate::blobs::Parts;
use crate::config::S3Builder;
use crate::driver::Driver;
use crate::error::closed;
use crate::keys::Namespace;
use crate::objects::{Bucket, Objects};
use crate::protocol::Protocol;
use crate::setup::{self, Marker};

pub(crate) struct Shared {
    pub(crate) protocol: Protocol<Arc<Bucket>>,
    pub(crate) parts: Parts,
    pub(crate) clock: Arc<dyn Clock>,
    /// The collections whose ids are never used again.
    pub(crate) single_use: BTreeSet<&'static str>,
    pub(crate) lease: Duration,
    /// How old a tombstone must be before it is removed.
    pub(crate) tombstone_age: Duration,
    /// Whether `setup` found that the server has an atomic conditional `DELETE`.
    removes: AtomicBool,
    /// The location of the bucket for messages, without credentials.
    pub(crate) place: String,
    pub(crate) progress: Mutex<Progress>,
    /// Tasks that free the content of dropped sinks.
    pub(crate) background: Arc<DetachedTasks>,
    closed: AtomicBool,
}

/// The position of the sweep.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// The last name that was read; `None` at the beginning.
    pub(crate) after: Option<String>,
    /// Undecided transactions, and when each was first found.
    pub(crate) pending: HashMap<Version, Instant>,
}

impl Shared {
    /// Opens the store, and reads the result of `setup`.
    pub(crate) async fn open(builder: &S3Builder) -> Result<Self> {
        let Driver {
            driver,
            remover,
            parts,
            place,
            prefix,
        } = builder.driver()?;
        let names = Namespace::new(&prefix)?;
        let bucket = Arc::new(Bucket::new(driver, remover, builder.lease));
        let shared = Self {
            parts,
            protocol: Protocol::new(bucket, names),
            clock: Arc::clone(&builder.common.clock),
            single_use: builder
                .common
                .collections
                .iter()
                .filter(|collection| collection.is_single_use())
                .map(|collection| collection.name())
                .collect(),
            lease: builder.lease,
            tombstone_age: tombstone_age(builder.common.timeout),
            removes: AtomicBool::new(false),
            place,
            progress: Mutex::default(),
            background: Arc::default(),
            closed: AtomicBool::new(false),
        };
        // A server that failed the test once is always refused.
        if let Some(marker) = shared.marker().await? {
            shared.accept(&marker)?;
        }
        Ok(shared)
    }

    pub(crate) fn bucket(&self) -> &Arc<Bucket> {
        &self.protocol.objects
    }

    pub(crate) fn names(&self) -> &Namespace {
        &self.protocol.names
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) async fn setup(&self) -> Result<()> {
        self.check_open()?;
        if let Some(marker) = self.marker().await? {
            return self.accept(&marker);
        }
        let marker = setup::probe(&**self.bucket(), self.names()).await?;
        let name = self.names().setup();
        setup::store(&**self.bucket(), &name, &marker).await?;
        self.accept(&marker)
    }

    /// Refuses a server that lacks a required property; records whether it has a
    /// conditional `DELETE`.
    fn accept(&self, marker: &Marker) -> Result<()> {
        marker.check(&self.place)?;
        self.removes.store(marker.removes(), Ordering::Release);
        Ok(())
    }

    /// Whether the sweep removes tombstones.
    pub(crate) fn removes(&self) -> bool {
        self.removes.load(Ordering::Acquire)
    }

    async fn marker(&self) -> Result<Option<Marker>> {
        let found = self.bucket().get(&self.names().setup()).await?;
        found.map(|found| Marker::decode(&found.bytes)).transpose()
    }

    /// One request for a small object.
    pub(crate) async fn ping(&self) -> Result<Ping> {
        self.check_open()?;
        self.bucket().get(&self.names().setup()).await?;
        Ok(Ping::default())
    }

    pub(crate) fn check_open(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) {
            return Err(closed());
        }
        Ok(())
    }

    pub(crate) async fn close(&self) {
        self.background.finished().await;
        self.closed.store(true, Ordering::Release);
    }

    pub(crate) fn progress(&self) -> std::sync::MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The age at which a tombstone may be removed. It is longer than any call takes, even if
/// requests are delayed, because a put that was sent before a tombstone was written must
/// not arrive after it was removed (I14). S3 refuses a request a quarter of an hour after
/// it was signed, and a put is sent at most eight times.
fn tombstone_age(timeout: Duration) -> Duration {
    Duration::from_secs(24 * 60 * 60).max(timeout.saturating_mul(20))
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("place", &self.place)
            .field("clock", &self.clock)
            .finish_non_exhaustive()
    }
}
