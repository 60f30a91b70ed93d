//! Rate limits: a sharded table of buckets, with one lock for each shard.
//!
//! A lock is held only for the work on the table. A take is a few dozen
//! instructions under it, and a caller's closure runs without a lock.

use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use async_trait::async_trait;
use foldhash::fast::RandomState;
use parking_lot::Mutex;
use store_core::backend::Attempts;
use store_core::limits::{Bucket, BucketUpdate, Decision, LimitKey, Take};
use store_core::record_store::Ping;
use store_core::{Clock, Error, ErrorKind, RateLimitStore, Result, Timestamp};

use crate::buckets::Buckets;
use crate::eviction::BucketEviction;
use crate::state::State;

/// A power of two: enough that threads rarely wait for each other, few enough to scan.
const SHARDS: usize = 64;

pub(crate) struct MemoryLimits {
    shards: Box<[Shard]>,
    hasher: RandomState,
    /// The number of buckets, including those about to be written.
    buckets: AtomicUsize,
    max_buckets: usize,
    eviction: BucketEviction,
    /// The shard with which the next eviction begins.
    next_shard: AtomicUsize,
    clock: Arc<dyn Clock>,
    state: Arc<State>,
}

/// Aligned to cache lines, so that threads in different shards share none.
#[repr(C, align(128))]
struct Shard {
    buckets: Mutex<Buckets>,
    /// No bucket of this shard is full before this time, in nanoseconds. A store that
    /// must free a bucket need not search the shard earlier.
    busy_until: AtomicU64,
}

impl MemoryLimits {
    pub(crate) fn new(
        max_buckets: usize,
        eviction: BucketEviction,
        clock: Arc<dyn Clock>,
        state: Arc<State>,
    ) -> Self {
        let shard = |_| Shard {
            buckets: Mutex::default(),
            busy_until: AtomicU64::new(u64::MAX),
        };
        Self {
            shards: (0..SHARDS).map(shard).collect(),
            hasher: RandomState::default(),
            buckets: AtomicUsize::new(0),
            max_buckets,
            eviction,
            next_shard: AtomicUsize::new(0),
            clock,
            state,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.buckets.load(Ordering::Relaxed)
    }

    #[inline]
    fn check_open(&self) -> Result<()> {
        self.state.check_open()
    }

    fn hash(&self, key: LimitKey<'_>) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(key.as_str().as_bytes());
        hasher.finish()
    }

    /// Selects the shard by the top bits of the hash, because the table uses the others.
    fn shard(&self, hash: u64) -> &Shard {
        &self.shards[(hash >> 32) as usize % SHARDS]
    }

    #[inline]
    fn decide(&self, take: &Take<'_>) -> Result<Decision> {
        self.check_open()?;
        let hash = self.hash(take.key());
        let decision = self.shard(hash).buckets.lock().take(hash, take);
        decision.map_or_else(|| self.take_from_full(hash, take), Ok)
    }

    /// A take under a key without a stored bucket, which means a full bucket.
    #[cold]
    fn take_from_full(&self, hash: u64, take: &Take<'_>) -> Result<Decision> {
        // The caller's time may be far ahead. Buckets that are in use would then look
        // full, and removing them would grant tokens.
        let now = take.now().min(self.clock.now());
        self.reserve(now)?;
        let shard = self.shard(hash);
        let mut buckets = shard.buckets.lock();
        let removed = buckets.remove_some_expired(now);
        let mut added = false;
        // Another thread may have created the bucket in the meantime.
        let decision = buckets.take(hash, take).unwrap_or_else(|| {
            let mut bucket = Bucket::default();
            let decision = take.apply(&mut bucket);
            if decision.is_allowed() {
                added = self.put(shard, &mut buckets, hash, take.key(), bucket);
            }
            decision
        });
        drop(buckets);
        self.release(removed + usize::from(!added));
        Ok(decision)
    }

    /// Writes `bucket`, whose shard is locked; true if the key had none.
    fn put(
        &self,
        shard: &Shard,
        buckets: &mut Buckets,
        hash: u64,
        key: LimitKey<'_>,
        bucket: Bucket,
    ) -> bool {
        // A take can only make this time later.
        let full_at = bucket.entries().iter().map(|entry| match entry.state {
            store_core::limits::State::Tat(tat) => tat,
            store_core::limits::State::Tokens(_) => entry.expires_at,
        });
        let full_at = full_at.max().unwrap_or_default().as_nanos();
        shard.busy_until.fetch_min(full_at, Ordering::Relaxed);
        buckets.put(hash, key.as_str(), bucket)
    }

    /// Counts one more bucket, after removing others if the maximum is reached.
    fn reserve(&self, now: Timestamp) -> Result<()> {
        let one_more = |held: usize| (held < self.max_buckets).then_some(held + 1);
        let count = || {
            self.buckets
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more)
                .is_ok()
        };
        if count() {
            return Ok(());
        }
        for shard in &self.shards {
            if self.make_room(shard, now) && count() {
                return Ok(());
            }
        }
        // Repeated, because other threads may use the freed bucket first.
        for _ in 0..SHARDS {
            if self.eviction != BucketEviction::ForgetFullest || !self.evict() {
                break;
            }
            if count() {
                return Ok(());
            }
        }
        Err(Error::new(
            ErrorKind::LimitExceeded,
            format!(
                "all {} buckets are in use; count by fewer keys, raise \
                 MemoryBuilder::max_buckets, or choose another bucket_eviction",
                self.max_buckets
            ),
        )
        .with_backend("memory"))
    }

    /// Removes the full buckets of `shard`; true if there were any.
    fn make_room(&self, shard: &Shard, now: Timestamp) -> bool {
        if shard.busy_until.load(Ordering::Relaxed) > now.as_nanos() {
            return false;
        }
        let mut buckets = shard.buckets.lock();
        let (removed, next) = buckets.remove_full(now);
        let busy_until = next.map_or(u64::MAX, Timestamp::as_nanos);
        shard.busy_until.store(busy_until, Ordering::Relaxed);
        drop(buckets);
        self.release(removed);
        removed > 0
    }

    /// Removes one bucket that is in use; false if there is none.
    fn evict(&self) -> bool {
        let first = self.next_shard.fetch_add(1, Ordering::Relaxed);
        let evicted = (0..SHARDS).any(|step| {
            let shard = &self.shards[first.wrapping_add(step) % SHARDS];
            shard.buckets.lock().evict_fullest()
        });
        self.release(usize::from(evicted));
        evicted
    }

    fn release(&self, buckets: usize) {
        self.buckets.fetch_sub(buckets, Ordering::Relaxed);
    }

    /// The bucket of `key` without its expired parts.
    fn read(&self, buckets: &mut Buckets, hash: u64, key: LimitKey<'_>) -> Option<Bucket> {
        let mut bucket = buckets.get(hash, key.as_str())?;
        bucket.forget_expired(self.clock.now());
        (!bucket.is_empty()).then_some(bucket)
    }

    /// Writes `next` if the bucket still equals `seen`. A bucket that was deleted and
    /// written again with the same content counts as unchanged.
    fn swap(
        &self,
        hash: u64,
        key: LimitKey<'_>,
        seen: Option<&Bucket>,
        next: Bucket,
    ) -> Result<bool> {
        let reserved = seen.is_none() && !next.is_empty();
        if reserved {
            self.reserve(self.clock.now())?;
        }
        let shard = self.shard(hash);
        let mut buckets = shard.buckets.lock();
        let unchanged = self.read(&mut buckets, hash, key).as_ref() == seen;
        let (mut added, mut removed) = (false, false);
        if unchanged && next.is_empty() {
            removed = buckets.remove(hash, key.as_str());
        } else if unchanged {
            added = self.put(shard, &mut buckets, hash, key, next);
        }
        drop(buckets);
        self.release(usize::from(reserved && !added) + usize::from(removed));
        Ok(unchanged)
    }
}

#[async_trait]
impl RateLimitStore for MemoryLimits {
    async fn update(&self, key: LimitKey<'_>, change: BucketUpdate<'_>) -> Result<Option<Bucket>> {
        let hash = self.hash(key);
        let mut attempts = Attempts::new();
        loop {
            self.check_open()?;
            let seen = self.read(&mut self.shard(hash).buckets.lock(), hash, key);
            let Some(next) = change(seen.as_ref()) else {
                return Ok(seen);
            };
            if self.swap(hash, key, seen.as_ref(), next.clone())? {
                return Ok((!next.is_empty()).then_some(next));
            }
            let failed = attempts.failed().await;
            failed.map_err(|error| error.with_backend("memory"))?;
        }
    }

    async fn take(&self, take: &Take<'_>) -> Result<Decision> {
        self.decide(take)
    }

    fn take_now(&self, take: &Take<'_>) -> Option<Result<Decision>> {
        Some(self.decide(take))
    }

    fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    async fn ping(&self) -> Result<Ping> {
        self.check_open()?;
        let now = self.clock.now();
        Ok(Ping::at(now, now))
    }

    async fn close(&self) -> Result<()> {
        self.state.close();
        Ok(())
    }
}

impl fmt::Debug for MemoryLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryLimits")
            .field("buckets", &self.len())
            .field("max_buckets", &self.max_buckets)
            .finish_non_exhaustive()
    }
}
