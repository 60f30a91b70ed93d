//! Rate limits: a sharded table of buckets, one short lock a shard.
//!
//! A lock is held for the table's own work alone: a take is some dozens of
//! instructions under it, and a caller's closure runs with nothing locked.

use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use async_trait::async_trait;
use foldhash::fast::RandomState;
use parking_lot::Mutex;
use store_core::backend::{MAX_ATTEMPTS, back_off, contended};
use store_core::limits::{Bucket, BucketUpdate, Decision, LimitKey, Take};
use store_core::record_store::Ping;
use store_core::{Clock, Error, ErrorKind, RateLimitStore, Result, Timestamp};

use crate::buckets::Buckets;
use crate::eviction::BucketEviction;
use crate::state::State;

/// A power of two: enough that threads rarely meet, few enough to scan.
const SHARDS: usize = 64;

pub(crate) struct MemoryLimits {
    shards: Box<[Shard]>,
    hasher: RandomState,
    /// How many buckets there are, and how many are about to be.
    buckets: AtomicUsize,
    max_buckets: usize,
    eviction: BucketEviction,
    /// Which shard the next eviction begins with.
    next_shard: AtomicUsize,
    clock: Arc<dyn Clock>,
    state: Arc<State>,
}

/// On cache lines of its own, so that threads in different shards never meet.
#[repr(C, align(128))]
struct Shard {
    buckets: Mutex<Buckets>,
    /// No bucket here is full before this moment, in nanoseconds: a store
    /// without room need not look here any earlier.
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

    /// From the top bits: the table itself uses the rest.
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

    /// A take from a bucket that was never written.
    #[cold]
    fn take_from_full(&self, hash: u64, take: &Take<'_>) -> Result<Decision> {
        // Not by the caller's time alone: if it is far ahead, buckets that are
        // in use look full, and removing them would grant tokens.
        let now = take.now().min(self.clock.now());
        self.reserve(now)?;
        let shard = self.shard(hash);
        let mut buckets = shard.buckets.lock();
        let removed = buckets.remove_some_expired(now);
        let mut added = false;
        // Another thread may have been faster.
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
        // Takes only move that moment away.
        let full_at = bucket.entries().iter().map(|entry| match entry.state {
            store_core::limits::State::Tat(tat) => tat,
            store_core::limits::State::Tokens(_) => entry.expires_at,
        });
        let full_at = full_at.max().unwrap_or_default().as_nanos();
        shard.busy_until.fetch_min(full_at, Ordering::Relaxed);
        buckets.put(hash, key.as_str(), bucket)
    }

    /// Makes sure of room for one more bucket, and counts it.
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
        // As often as other threads may take what was made free.
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

    /// Forgets one bucket that is in use; false if there is none.
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

    /// The bucket of `key` without what expired.
    fn read(&self, buckets: &mut Buckets, hash: u64, key: LimitKey<'_>) -> Option<Bucket> {
        let mut bucket = buckets.get(hash, key.as_str())?;
        bucket.forget_expired(self.clock.now());
        (!bucket.is_empty()).then_some(bucket)
    }

    /// Writes `next` if the bucket is still as it was `seen`. A bucket that
    /// went and came back with the same content is the same bucket.
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
        for attempt in 0..MAX_ATTEMPTS {
            self.check_open()?;
            let seen = self.read(&mut self.shard(hash).buckets.lock(), hash, key);
            let Some(next) = change(seen.as_ref()) else {
                return Ok(seen);
            };
            if self.swap(hash, key, seen.as_ref(), next.clone())? {
                return Ok((!next.is_empty()).then_some(next));
            }
            back_off(attempt).await;
        }
        Err(contended().with_backend("memory"))
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
