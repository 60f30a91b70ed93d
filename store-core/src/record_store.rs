//! The one trait that a backend implements.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;

use crate::batch::{Batch, Committed};
use crate::capability::Capabilities;
use crate::changes::Changes;
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::error::{Error, Result};
use crate::key::RecordRef;
use crate::record::Record;
use crate::scan::{Records, Scan};

/// Stores records. Implement the first four methods and every contract works.
///
/// # What an implementer promises
/// - **Names**: no partition, id or prefix, whatever its characters, reaches
///   another's record, and ids sort bytewise (R1, R5).
/// - **Expiry**: a record with `expires_at <= now` is absent to reads, scans and
///   expectations alike, whether or not it was removed yet (R2). Reads take
///   `now` from [`RecordStore::clock`], commits from [`Batch::now`].
/// - **Commits**: all or nothing and serializable within the partition,
///   `Check` and `Absent` included; every later read by any client sees them
///   (R3). A failed expectation writes nothing and is a `Conflict` that names
///   the failed items with their current records (R4).
/// - **Outages**: an outage is an error, never an absence, and its
///   [`Retry`](crate::Retry) says whether the write certainly did not happen (R7).
/// - **Cancellation**: a dropped future leaves the write wholly done or wholly
///   not, and the store usable (R8). Its request may still be on the way to the
///   server, so a commit of [`Expect::Any`](crate::Expect::Any) that was dropped can
///   overwrite a later one that was acknowledged; expect a version where this matters.
///
/// Limits (R6) were checked when the arguments were made.
///
/// The suite in `store-conformance` proves all of this for any implementation.
#[async_trait]
pub trait RecordStore: Send + Sync + fmt::Debug {
    /// The record at `at`, or `None` if it is absent.
    async fn get(&self, at: RecordRef<'_>) -> Result<Option<Record>>;

    /// The records at each of `at`, in that order; each is read atomically, but all of
    /// them are no snapshot. A name may occur twice.
    async fn get_many(&self, at: &[RecordRef<'_>]) -> Result<Vec<Option<Record>>>;

    /// One page of a scan. See [`Scope`](crate::scan::Scope) for its order. A
    /// page with a cursor is never empty; one without is the last.
    async fn scan(&self, scan: &Scan) -> Result<Records>;

    /// Applies `batch` wholly or not at all. An empty batch does nothing.
    async fn commit(&self, batch: &Batch) -> Result<Committed>;

    /// Like [`RecordStore::get`], for a store that can answer synchronously. `None`
    /// means that it cannot, and that the caller has to call `get`.
    fn get_now(&self, at: RecordRef<'_>) -> Option<Result<Option<Record>>> {
        let _ = at;
        None
    }

    /// The clock that decides expiry: the system clock unless the application set
    /// another.
    fn clock(&self) -> &dyn Clock {
        &SystemClock
    }

    /// What this store can do.
    fn capabilities(&self) -> Capabilities {
        Capabilities::new("custom")
    }

    /// Asks the server whether it is there, reading and writing nothing.
    /// [`Ping::skew`] is how far its clock is ahead of or behind ours.
    async fn ping(&self) -> Result<Ping> {
        Ok(Ping::default())
    }

    /// A subscription to the changes that any client makes in
    /// [cacheable](crate::Collection::cacheable) collections from now on; see
    /// [`changes`](crate::changes). `Unsupported` unless
    /// [`Capabilities::change_notice`] says otherwise; some backends must enable it,
    /// because it slows down commits.
    async fn changes(&self) -> Result<Changes> {
        Err(Error::unsupported(
            "this store sends no change notices; limit the lifetime of what is cached",
        ))
    }

    /// Removes some records that expired longer than `grace` ago. Returns how many, and
    /// whether there may be more. It only frees space: an expired record is absent
    /// already.
    async fn sweep(&self, grace: Duration) -> Result<Swept> {
        let _ = grace;
        Ok(Swept::default())
    }

    /// Closes all clones of this opened store: stops background work and waits for it.
    /// Afterwards every operation fails as `Closed`. Idempotent. A client that belongs to
    /// the application stays open.
    async fn close(&self) -> Result<()> {
        Ok(())
    }
}

/// A server's answer to [`RecordStore::ping`].
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[doc(alias("health check", "liveness"))]
pub struct Ping {
    /// The server's own time, if the answer contained it.
    pub server_time: Option<Timestamp>,
    /// The difference between the server's clock and ours, if the answer contained its
    /// time.
    pub skew: Option<Duration>,
}

impl Ping {
    /// An answer with the server's time, received at `now`.
    pub fn at(server_time: Timestamp, now: Timestamp) -> Self {
        Self {
            server_time: Some(server_time),
            skew: Some(server_time.since(now).max(now.since(server_time))),
        }
    }
}

/// What one [`RecordStore::sweep`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// How many records were removed.
    pub removed: u64,
    /// Whether another sweep now might remove more.
    pub more: bool,
    /// When the earliest of what waits to be removed is due, as far as the sweep
    /// came; `None` if nothing waits, or the store does not know.
    pub next_due: Option<Timestamp>,
}
