//! Records, sharded by partition. Each shard has one lock, which is never held across a
//! caller's code or an await.

use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use foldhash::fast::RandomState;
use parking_lot::RwLock;
use smallvec::SmallVec;
use store_core::changes::Changes;
use store_core::error::FailedItem;
use store_core::{
    Batch, Capabilities, Change, Clock, Committed, Conflict, Durability, Error, ErrorKind, Ping,
    Record, RecordRef, RecordStore, Records, Result, Scan, Scope, Support, Swept, Timestamp,
};

use crate::MemoryUsage;
use crate::config::MemoryBuilder;
use crate::shard::{Shard, weight};
use crate::state::State;

/// A power of two: enough that threads rarely wait for each other, few enough to scan.
pub(crate) const SHARDS: usize = 64;

/// How many expired records a commit removes for each of its items. That is more than it
/// can add, so expired records never outnumber the others for long.
const SWEPT_PER_ITEM: usize = 2;

/// How many records a sweep removes before it releases the lock for others.
const SWEEP_BATCH: usize = 256;

pub(crate) struct MemoryRecords {
    shards: Box<[RwLock<Shard>]>,
    hasher: RandomState,
    /// `None` if neither records nor bytes are bounded.
    bounds: Option<Bounds>,
    state: Arc<State>,
    /// Whether any record ever had an expiry; if not, no call needs the clock.
    expires: AtomicBool,
    config: MemoryBuilder,
}

/// The number and bytes of all records, including those about to be written, and their
/// maximums.
struct Bounds {
    records: AtomicUsize,
    bytes: AtomicUsize,
    max_records: usize,
    max_bytes: usize,
}

/// What a commit adds and removes.
#[derive(Clone, Copy, Default)]
struct Growth {
    records: isize,
    bytes: isize,
}

impl Growth {
    fn add(&mut self, record: &Record) {
        self.records += 1;
        self.bytes += weight(record) as isize;
    }

    fn take(&mut self, record: &Record) {
        self.records -= 1;
        self.bytes -= weight(record) as isize;
    }
}

impl Bounds {
    fn of(config: &MemoryBuilder) -> Option<Self> {
        let &MemoryBuilder {
            max_records,
            max_bytes,
            ..
        } = config;
        (max_records.min(max_bytes) < usize::MAX).then(|| Self {
            records: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            max_records,
            max_bytes,
        })
    }

    /// Counts `growth`, unless a bound would be exceeded.
    fn reserve(&self, growth: Growth) -> bool {
        let fits = |counter: &AtomicUsize, by: isize, max: usize| {
            if by <= 0 {
                counter.fetch_sub(by.unsigned_abs(), Ordering::Relaxed);
                return true;
            }
            let grown = |now: usize| now.checked_add(by as usize).filter(|&sum| sum <= max);
            counter
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown)
                .is_ok()
        };
        if !fits(&self.records, growth.records, self.max_records) {
            return false;
        }
        if !fits(&self.bytes, growth.bytes, self.max_bytes) {
            // Undo the first count. Subtraction wraps, so this is right for either
            // sign.
            self.records
                .fetch_sub(growth.records as usize, Ordering::Relaxed);
            return false;
        }
        true
    }
}

impl MemoryRecords {
    pub(crate) fn new(config: MemoryBuilder, state: Arc<State>) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            hasher: RandomState::default(),
            bounds: Bounds::of(&config),
            state,
            expires: AtomicBool::new(false),
            config,
        }
    }

    pub(crate) fn usage(&self) -> MemoryUsage {
        let mut all = MemoryUsage::default();
        for shard in &self.shards {
            let MemoryUsage { records, bytes, .. } = shard.read().usage();
            all.records += records;
            all.bytes += bytes;
        }
        all
    }

    #[inline]
    fn check_open(&self) -> Result<()> {
        self.state.check_open()
    }

    #[inline]
    fn partition_hash(&self, partition: &str) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(partition.as_bytes());
        hasher.finish()
    }

    #[inline]
    fn point_hash(&self, partition_hash: u64, at: RecordRef<'_>) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write_u64(partition_hash);
        std::hash::Hash::hash(&at.collection(), &mut hasher);
        hasher.write(at.id().as_bytes());
        hasher.finish()
    }

    /// Selects the shard by the top bits of the hash, because the table uses the others.
    fn shard(&self, partition_hash: u64) -> &RwLock<Shard> {
        &self.shards[(partition_hash >> 32) as usize % SHARDS]
    }

    pub(crate) fn shard_of(&self, partition: &str) -> &RwLock<Shard> {
        self.shard(self.partition_hash(partition))
    }

    pub(crate) fn shard_at(&self, index: usize) -> &RwLock<Shard> {
        &self.shards[index]
    }

    #[inline]
    fn find(&self, at: RecordRef<'_>) -> Option<Record> {
        let partition_hash = self.partition_hash(at.partition());
        let hash = self.point_hash(partition_hash, at);
        let found = self.shard(partition_hash).read().get(hash, at).cloned();
        found.filter(|record| {
            record.expires_at().is_none() || !record.is_expired(self.config.common.clock.now())
        })
    }

    /// Counts `growth`, unless a bound would be exceeded.
    fn reserve(&self, growth: Growth) -> bool {
        self.bounds
            .as_ref()
            .is_none_or(|bounds| bounds.reserve(growth))
    }

    /// Subtracts removed records from the counts.
    fn release(&self, removed: &[Record]) {
        let mut growth = Growth::default();
        removed.iter().for_each(|record| growth.take(record));
        self.reserve(growth);
    }

    /// The records that `batch` writes, built before the lock is taken.
    fn prepare(&self, batch: &Batch) -> Result<Prepared> {
        let partition_hash = self.partition_hash(batch.partition().as_str());
        let mut expires = false;
        let mut items = SmallVec::with_capacity(batch.items().len());
        for i in 0..batch.items().len() {
            let record = match batch.record(i) {
                Some(record) if self.config.strict => Some(round_trip(&record)?),
                record => record,
            };
            expires |= record.as_ref().is_some_and(|r| r.expires_at().is_some());
            let hash = self.point_hash(partition_hash, batch.at(i));
            items.push(PreparedItem {
                hash,
                record,
                held: false,
            });
        }
        if expires && !self.expires.load(Ordering::Relaxed) {
            self.expires.store(true, Ordering::Relaxed);
        }
        Ok(Prepared {
            partition_hash,
            items,
        })
    }

    fn try_commit(&self, batch: &Batch, prepared: &mut Prepared) -> Attempt {
        let swept_until = self
            .expires
            .load(Ordering::Relaxed)
            .then(|| self.config.common.clock.now());
        // Dropped after the lock: a body's value may have a `Drop` of its own.
        let mut removed = Removed::new();
        let mut shard = self.shard(prepared.partition_hash).write();
        match check_expectations(&shard, batch, prepared) {
            Ok(growth) if self.reserve(growth) => {}
            Ok(_) => return Attempt::Full,
            Err(failed) => return Attempt::Failed(failed),
        }
        for (i, item) in batch.items().iter().enumerate() {
            let PreparedItem { hash, record, held } = &mut prepared.items[i];
            let old = match (item.change(), record.take()) {
                (Change::Put { .. }, Some(record)) if *held => shard.replace(*hash, record),
                (Change::Put { .. }, Some(record)) => {
                    shard.insert(*hash, record);
                    None
                }
                (Change::Delete, _) => shard.remove(*hash, batch.at(i)),
                _ => None,
            };
            if let Some(old) = old {
                removed.push(old);
            }
        }
        if let Some(until) = swept_until {
            let replaced = removed.len();
            let expired = std::iter::from_fn(|| shard.pop_expired(until));
            removed.extend(expired.take(SWEPT_PER_ITEM * prepared.items.len()));
            self.release(&removed[replaced..]);
        }
        drop(shard);
        Attempt::Done
    }

    /// Removes what expired by `until`, shard by shard, at most `limit` records.
    fn sweep_until(&self, until: Timestamp, limit: usize) -> Swept {
        let mut swept = Swept::default();
        for lock in &self.shards {
            loop {
                let batch = SWEEP_BATCH.min(limit - swept.removed as usize);
                let mut shard = lock.write();
                let removed: Vec<_> = std::iter::from_fn(|| shard.pop_expired(until))
                    .take(batch)
                    .collect();
                let left = shard.has_expired(until);
                self.release(&removed);
                drop(shard);
                swept.removed += removed.len() as u64;
                if !left {
                    break;
                }
                if swept.removed as usize == limit {
                    swept.more = true;
                    return swept;
                }
            }
        }
        swept
    }
}

/// Only large commits allocate.
type Removed = SmallVec<[Record; 4]>;

struct Prepared {
    partition_hash: u64,
    items: SmallVec<[PreparedItem; 2]>,
}

struct PreparedItem {
    hash: u64,
    /// The record that a put writes.
    record: Option<Record>,
    /// Whether there is a record of that name, expired or not; set by [`check_expectations`].
    held: bool,
}

enum Attempt {
    Done,
    Failed(Vec<(usize, Option<Record>)>),
    Full,
}

/// Returns what the commit would add, or the items whose expectation failed.
fn check_expectations(
    shard: &Shard,
    batch: &Batch,
    prepared: &mut Prepared,
) -> Result<Growth, Vec<(usize, Option<Record>)>> {
    let mut growth = Growth::default();
    let mut failed = Vec::new();
    for (i, item) in batch.items().iter().enumerate() {
        let prepared = &mut prepared.items[i];
        let held = shard.get(prepared.hash, batch.at(i));
        prepared.held = held.is_some();
        let current = held.filter(|record| !record.is_expired(batch.now()));
        if !item.expect().holds(current) {
            failed.push((i, current.cloned()));
        }
        if !matches!(item.change(), Change::Check) {
            held.into_iter().for_each(|record| growth.take(record));
            prepared.record.iter().for_each(|new| growth.add(new));
        }
    }
    if failed.is_empty() {
        Ok(growth)
    } else {
        Err(failed)
    }
}

#[async_trait]
impl RecordStore for MemoryRecords {
    async fn get(&self, at: RecordRef<'_>) -> Result<Option<Record>> {
        self.check_open()?;
        Ok(self.find(at))
    }

    async fn get_many(&self, at: &[RecordRef<'_>]) -> Result<Vec<Option<Record>>> {
        self.check_open()?;
        Ok(at.iter().map(|&at| self.find(at)).collect())
    }

    async fn scan(&self, scan: &Scan) -> Result<Records> {
        self.check_open()?;
        let now = self.config.common.clock.now();
        match scan.scope() {
            Scope::Partition(partition) => self.scan_partition(scan, partition.as_str(), now),
            Scope::Partitions(prefix) => self.scan_collection(scan, prefix, now),
        }
    }

    async fn commit(&self, batch: &Batch) -> Result<Committed> {
        self.check_open()?;
        let mut prepared = self.prepare(batch)?;
        let mut attempt = self.try_commit(batch, &mut prepared);
        if matches!(attempt, Attempt::Full) {
            self.sweep_until(self.config.common.clock.now(), usize::MAX);
            attempt = self.try_commit(batch, &mut prepared);
        }
        match attempt {
            Attempt::Done => {
                self.state.changes.committed(batch);
                Ok(Committed::new())
            }
            Attempt::Full => Err(Error::new(
                ErrorKind::LimitExceeded,
                "the store is full; delete records, or raise MemoryBuilder::max_records or max_bytes",
            )
            .with_backend("memory")
            .with_operation("commit")),
            Attempt::Failed(failed) => {
                let failed = failed
                    .into_iter()
                    .map(|(i, current)| FailedItem::new(i, batch.at(i), current))
                    .collect();
                Err(Error::from_conflict(Conflict::new(failed))
                    .with_backend("memory")
                    .with_operation("commit"))
            }
        }
    }

    fn get_now(&self, at: RecordRef<'_>) -> Option<Result<Option<Record>>> {
        Some(self.check_open().map(|()| self.find(at)))
    }

    fn clock(&self) -> &dyn Clock {
        &*self.config.common.clock
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::new("memory");
        capabilities.transactions = Support::Native;
        capabilities.ordered_scans = Support::Native;
        capabilities.collection_scans = Support::Native;
        capabilities.native_expiry = Support::Native;
        capabilities.change_notice = Support::Native;
        capabilities.blobs = Support::Emulated;
        capabilities.rate_limits = Support::native_if(cfg!(feature = "limits"));
        capabilities.immediate_answers = Support::Native;
        capabilities.durability = Durability::Process;
        capabilities.compiled()
    }

    async fn ping(&self) -> Result<Ping> {
        self.check_open()?;
        let now = self.config.common.clock.now();
        Ok(Ping::at(now, now))
    }

    async fn changes(&self) -> Result<Changes> {
        self.check_open()?;
        Ok(self.state.changes.subscribe())
    }

    async fn sweep(&self, grace: Duration) -> Result<Swept> {
        self.check_open()?;
        Ok(self.sweep_until(self.config.common.clock.now() - grace, 100_000))
    }

    async fn close(&self) -> Result<()> {
        self.state.close();
        Ok(())
    }
}

/// The record with its body encoded and decoded, as a server would return it.
fn round_trip(record: &Record) -> Result<Record> {
    Ok(Record::new(
        record.partition().clone(),
        record.key().clone(),
        record.version(),
        record.expires_at(),
        record.body().round_trip()?,
    ))
}

impl fmt::Debug for MemoryRecords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryRecords")
            .field("usage", &self.usage())
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
