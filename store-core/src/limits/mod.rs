//! Rate limits: how often something may happen, counted by a key and enforced
//! for all processes that share a store.
//!
//! A [`Quota`] is a bucket of tokens that refills evenly. A [`RateLimiter`]
//! takes tokens from the bucket of a key, or says how long to wait. [`gcra`] is the
//! algorithm: an exact token bucket, stored as one integer.
//!
//! # Use
//!
//! ```
//! use std::time::Duration;
//! use store_core::limits::{Decision, Quota, QuotaSet, RateLimiter};
//!
//! # #[tokio::main] async fn main() -> store_core::Result<()> {
//! # let store = store_memory::MemoryStore::new();
//! // A call must fit into every quota, and takes from all of them or from none.
//! let quotas = QuotaSet::new([
//!     Quota::per_second(10)?.with_burst(20)?.named("second")?,
//!     Quota::new(1_000, Duration::from_secs(3600))?.named("hour")?,
//! ])?;
//! let limiter = RateLimiter::new(store, quotas);
//!
//! match limiter.take("user:7", 3).await? {
//!     Decision::Allowed { remaining, .. } => assert_eq!(remaining, 17),
//!     Decision::Denied { quota, retry_after } => {
//!         println!("{}: try again in {retry_after:?}", limiter.quotas()[quota].name());
//!     }
//! }
//!
//! // Look without taking.
//! for level in limiter.peek("user:7").await? {
//!     println!("{}: {} of {}", level.quota, level.remaining, level.burst);
//! }
//!
//! // Full again: after a support call, or at the start of a paid plan.
//! limiter.reset("user:7").await?;
//! # Ok(()) }
//! ```
//!
//! - **To wait** for tokens up to a deadline: [`RateLimiter::wait`].
//! - **To run work** only if it is allowed: [`RateLimiter::execute`].
//! - **Requests of your own type**, and the key in them: [`RateLimiter::keyed`].
//! - **Without a future**, where the store can answer synchronously:
//!   [`RateLimiter::take_now`].
//! - **Whether the store can serve**, and how far its clock is from ours:
//!   [`RateLimiter::health`]. It creates no bucket.
//!
//! ## When the store is down
//!
//! By default a call without an answer is an error: the limiter *fails closed*.
//! [`RateLimiter::fail_open`] allows such calls instead, and hooks see each one
//! of them. Choose by what a flood of calls would cost: open if the limit only makes a
//! service fairer, closed if it protects a password, a bill or a fragile server.
//!
//! ```
//! use store_core::limits::{Outcome, Quota, RateLimiter};
//!
//! # #[tokio::main] async fn main() -> store_core::Result<()> {
//! # let store = store_memory::MemoryStore::new();
//! let limiter = RateLimiter::new(store, Quota::per_second(1)?)
//!     .fail_open(true)
//!     .on_limit(|event| println!("denied: {event:?}")) // shows a digest of the key
//!     .audit(|event| {
//!         if let Outcome::FailedOpen(error) = event.outcome {
//!             println!("allowed without an answer: {error}");
//!         }
//!     });
//! assert!(limiter.allow("203.0.113.9").await?);
//! assert!(!limiter.allow("203.0.113.9").await?);
//! # Ok(()) }
//! ```
//!
//! ## Rules of your own
//!
//! [`RateLimitStoreExt::update_tokens`] changes a bucket by a closure, in one
//! atomic step. Nothing is locked while the closure runs: if another process was
//! faster, it runs again with what that one left. It works on the bucket that a
//! limiter of the same key and quota takes from.
//!
//! ```
//! use store_core::limits::{LimitKey, Quota, RateLimitStoreExt, RateLimiter, Tokens};
//!
//! # #[tokio::main] async fn main() -> store_core::Result<()> {
//! # let store = store_memory::MemoryStore::new();
//! let quota = Quota::per_second(10)?;
//! let limiter = RateLimiter::new(store, quota.clone());
//!
//! // A failed login costs half of what is left.
//! let key = LimitKey::new("login:ada")?;
//! let halve = |tokens: Option<Tokens>, quota: &Quota, now| {
//!     let full = Tokens { tokens: f64::from(quota.burst()), last_refill: now };
//!     let left = tokens.unwrap_or(full).refilled(quota, now);
//!     Some(Tokens { tokens: left.tokens / 2.0, ..left })
//! };
//! limiter.store().update_tokens(key, &quota, halve).await?;
//! assert!(limiter.peek("login:ada").await?[0].remaining < 10);
//! # Ok(()) }
//! ```
//!
//! ## Keys and names
//!
//! Buckets belong to a key and the name of a quota. Limiters that share a store
//! share a bucket where both agree, also when rate or burst differ; so put what
//! is counted into the key (`login:ada`, `upload:ada`) or name the quotas.
//! A change of the rate or burst of a quota in use does not change the moment at which
//! each bucket will be full.
//!
//! # Bring your own
//!
//! Implement [`RateLimitStore`]: one required method, `update`. Here is all of
//! it over a table, which a `Mutex` stands for, and then the suite over it.
//!
//! ```
//! use std::collections::HashMap;
//! use std::sync::{Arc, Mutex};
//! use std::sync::atomic::{AtomicBool, Ordering};
//! use store_core::limits::{Bucket, BucketUpdate, LimitKey, RateLimitStore};
//! use store_core::backend::Attempts;
//! use store_core::{Clock, Error, ManualClock, Ping, Result};
//!
//! #[derive(Debug)]
//! struct Mine {
//!     table: Arc<Mutex<HashMap<String, Bucket>>>,
//!     clock: ManualClock, // the default is the system clock
//!     closed: AtomicBool,
//! }
//!
//! impl Mine {
//!     fn check_open(&self) -> Result<()> {
//!         if self.closed.load(Ordering::Acquire) {
//!             return Err(Error::closed());
//!         }
//!         Ok(())
//!     }
//!
//!     // In SQL: UPDATE … WHERE version = what was read, or INSERT, or DELETE.
//!     fn swap(&self, key: &str, found: Option<&Bucket>, next: &Bucket) -> bool {
//!         let mut table = self.table.lock().expect("no panics");
//!         if table.get(key) != found {
//!             return false;
//!         }
//!         if next.is_empty() {
//!             table.remove(key);
//!         } else {
//!             table.insert(key.into(), next.clone());
//!         }
//!         true
//!     }
//! }
//!
//! #[async_trait::async_trait]
//! impl RateLimitStore for Mine {
//!     async fn update(&self, key: LimitKey<'_>, change: BucketUpdate<'_>) -> Result<Option<Bucket>> {
//!         let mut attempts = Attempts::new();
//!         loop {
//!             self.check_open()?;
//!             let found = self.table.lock().expect("no panics").get(key.as_str()).cloned();
//!             // What has expired is absent, whether it was removed or not.
//!             let mut bucket = found.clone().unwrap_or_default();
//!             bucket.forget_expired(self.clock.now());
//!             let bucket = (!bucket.is_empty()).then_some(bucket);
//!             // Nothing is locked while the closure runs.
//!             let Some(next) = change(bucket.as_ref()) else {
//!                 return Ok(bucket);
//!             };
//!             if self.swap(key.as_str(), found.as_ref(), &next) {
//!                 return Ok((!next.is_empty()).then_some(next));
//!             }
//!             attempts.failed().await?;
//!         }
//!     }
//!
//!     fn clock(&self) -> &dyn Clock {
//!         &self.clock
//!     }
//!
//!     async fn ping(&self) -> Result<Ping> {
//!         self.check_open().map(|()| Ping::default())
//!     }
//!
//!     async fn close(&self) -> Result<()> {
//!         self.closed.store(true, Ordering::Release);
//!         Ok(())
//!     }
//! }
//!
//! // In a test: how to open two handles on a fresh table.
//! use store_conformance::{Harness, Opened, Suite, cases};
//!
//! struct OfMine;
//!
//! #[async_trait::async_trait]
//! impl Harness<dyn RateLimitStore> for OfMine {
//!     fn backend(&self) -> String {
//!         "mine".into()
//!     }
//!
//!     async fn open(&self, (): ()) -> Result<Opened<dyn RateLimitStore>> {
//!         let clock = ManualClock::default();
//!         let table = Arc::default();
//!         let handle = || {
//!             let (table, clock) = (Arc::clone(&table), clock.clone());
//!             Arc::new(Mine { table, clock, closed: AtomicBool::new(false) })
//!         };
//!         Ok(Opened::new(handle(), handle(), clock))
//!     }
//! }
//!
//! # #[tokio::main] async fn main() {
//! let suite = Suite::new("limits", Arc::new(OfMine), cases::limits::cases());
//! let report = suite.run().await;
//! assert_eq!(report.failed().count(), 0, "{report:?}");
//! # }
//! ```
//!
//! If the table has a version, it must never repeat: with one that restarts at 1
//! after a delete, a stale writer wins. Sweep rows whose
//! [`Bucket::expires_at`] has passed when you like; no call depends on it.
//!
//! To store records rather than buckets, implement
//! [`RecordStore`](crate::RecordStore) alone: [`RecordLimits`] does the rest.
//!
//! ## Deciding on the server
//!
//! The default [`RateLimitStore::take`] reads, decides here and writes. A
//! server that can compare and add decides by itself, in one round trip. It
//! needs no arithmetic on quotas: [`gcra::Terms`] has it multiplied out, in
//! integers.
//!
//! ```text
//! -- one quota; :now, :increment, :latest and :expires_at are the Terms
//! INSERT INTO buckets (key, quota, tat, expires_at)
//! VALUES (:key, :quota, :now + :increment, :expires_at)
//! ON CONFLICT (key, quota) DO UPDATE
//!    SET tat = greatest(buckets.tat, :now) + :increment, expires_at = :expires_at
//!  WHERE greatest(buckets.tat, :now) <= :latest
//! RETURNING tat
//! ```
//!
//! A row is [`Decision::Allowed`]; no row is a denial, and the stored arrival
//! time gives [`gcra::Terms::retry_after`]. [`Decisions`] makes one
//! answer of several quotas, whose writes must be one transaction. A closure may
//! have written [`State::Tokens`]: store its arrival time, [`gcra::tat_of`],
//! beside it, and let a take write the arrival time alone. Never send a take
//! twice after a lost reply: report it as `Ambiguous`.
//!
//! # Leaving memory for a server
//!
//! Change the constructor of the store; no call changes. What does change:
//!
//! - **The limit** holds over all processes together. In memory each process
//!   has its own, so N processes grant N times as much.
//! - **Latency.** Each take is a round trip or two (over [`RecordLimits`], a
//!   read and, if it is allowed, a commit) where it was less than a microsecond,
//!   and [`RateLimiter::take_now`] is `None`. Limit the time that a call may
//!   take, and decide whether to fail open.
//! - **Clocks.** Requests carry the time of [`RateLimitStore::clock`], by default
//!   the system clock. Synchronize clocks with NTP. Processes whose clocks differ
//!   grant, together, at most what is refilled during the difference beyond the
//!   burst, and only once: a clock that goes back creates no tokens.
//! - **Hot keys.** One key is one row, and its takes follow one another. Where
//!   one key is used many thousand times a second, split it (`all:0` … `all:7`,
//!   each with an eighth of the quota) or count by a finer one.
//! - **Errors** exist: see below.
//!
//! Buckets need not be moved: new ones are full, which grants at most
//! one burst more to each key.
//!
//! # Troubleshooting
//!
//! - **High latency**: compare [`RateLimiter::health`], one round trip, with a
//!   take. If both are slow it is the network or the server: bring them closer,
//!   or set a timeout and fail open. If only takes are slow it is one hot key
//!   (see above), or a backend that decides by read and commit. Share one store
//!   and its pool; do not open one for each request.
//! - **Limits are not enforced**: each process has its own memory store; or keys
//!   differ from call to call (a port in the address, upper case, a proxy's
//!   address that is not the client's); or quotas have different names; or the
//!   limiter fails open: look for [`Outcome::FailedOpen`] in
//!   [`RateLimiter::audit`]. [`RateLimiter::peek`] shows what a key has left.
//! - **Limits are too strict**: two limiters share key and quota name, or one
//!   key stands for many people, as behind a common address.
//! - **Errors**: `Unavailable` and `Timeout` are outages; only those fail open.
//!   If they are [`Ambiguous`](crate::Retry::Ambiguous) the tokens may have been
//!   taken: a second take pays twice at worst. `InvalidInput` is a request that can
//!   never be allowed, such as more tokens than the burst, and is refused whether the
//!   limiter fails open or not.
//! - **`Contended`**: one key is changed too often at the same moment. Nothing
//!   was taken. Split the key, or use a backend that decides on the server. It
//!   does not fail open: a client could cause it.
//! - **`LimitExceeded` from memory**: as many keys as `MemoryBuilder::max_buckets` are
//!   in use and none is full again. Count by fewer keys (an address's network rather
//!   than each address), use quotas that refill sooner, or raise the bound. Keys that
//!   have a bucket already continue to work.
//! - **Denied for long though nothing is taken**: a clock far ahead wrote the
//!   bucket; `full_after` in [`Level`] is longer than a full refill, and
//!   [`Ping::skew`](crate::record_store::Ping::skew) may show the difference.
//!   Correct the clock, then [`RateLimiter::reset`] the key.

mod bucket;
mod events;
mod key;
mod keyed;
mod limiter;
mod quota;
mod records;
mod store;
mod take;
mod text;

use crate::backend::gcra;
pub use bucket::{Bucket, Entry, State, Tokens};
pub use events::{Denial, Event, Outcome, Refused};
pub use key::{LimitKey, MAX_LIMIT_KEY};
pub use keyed::KeyedLimiter;
pub use limiter::{Level, RateLimiter};
pub use quota::{MAX_QUOTA_NAME, MAX_QUOTAS, MAX_REFILL, Quota, QuotaSet};
pub(crate) use records::BUCKETS;
pub use records::RecordLimits;
pub use store::{BucketUpdate, RateLimitStore, RateLimitStoreExt, take_by_update};
pub use take::{Decision, Decisions, Take};
