//! The buckets of one shard. Everything here runs under the shard's lock.

use std::sync::Arc;

use hashbrown::HashTable;
use store_core::Timestamp;
use store_core::limits::{Bucket, Decision, Entry, Quota, State, Take};

/// How many slots an insertion checks for expired buckets. It is more than one for each
/// bucket that is added, so that expired buckets never outnumber the others for long.
const EXPIRY_CHECKS_PER_INSERT: usize = 4;

/// How many buckets an eviction compares.
const EVICTION_CANDIDATES: usize = 16;

/// Keys up to this length are stored in the table itself, so that a take follows
/// no pointer to compare them.
const INLINE: usize = 22;

/// After how many consecutive takes of one key from the table its bucket moves to the
/// front. The number is so high that two alternating keys do not displace each other.
const TAKES_TO_MOVE_TO_FRONT: u32 = 16;

/// The fields are in this order because a take of a hot key uses only the first ones,
/// which are on the lock's cache line.
#[derive(Default)]
#[repr(C)]
pub(crate) struct Buckets {
    /// The bucket of a key that was used many times in a row, moved out of the table.
    /// Here it is on the lock's cache line, so that threads that use the same key
    /// exchange only that line.
    front: Option<Held>,
    front_hash: u64,
    /// The hash of the key that was last looked up in the table, and how often in a row.
    last_hash: u64,
    in_a_row: u32,
    /// Where the next check for expired buckets begins.
    cursor: u32,
    /// All other buckets.
    table: HashTable<Slot>,
}

/// A slot of the table: exactly one cache line.
#[repr(align(64))]
struct Slot {
    hash: u64,
    held: Held,
}

/// One key and its bucket.
struct Held {
    key: Key,
    state: BucketState,
}

enum Key {
    Inline(u8, [u8; INLINE]),
    Heap(Box<str>),
}

/// A bucket of one quota is stored inline, any other behind a pointer.
enum BucketState {
    One {
        quota: Arc<str>,
        tat: Timestamp,
        expires_at: Timestamp,
    },
    Any(Box<Bucket>),
}

impl Buckets {
    /// Takes from the bucket of the request's key; `None` if there is none.
    #[inline]
    pub(crate) fn take(&mut self, hash: u64, take: &Take<'_>) -> Option<Decision> {
        let key = take.key().as_str();
        if let Some(front) = &mut self.front
            && front.key.is(key)
        {
            return Some(front.state.take(take));
        }
        self.count(hash, key);
        Some(self.find(hash, key)?.state.take(take))
    }

    /// The bucket of `key`, expired or not.
    pub(crate) fn get(&mut self, hash: u64, key: &str) -> Option<Bucket> {
        self.find(hash, key).map(|held| held.state.to_bucket())
    }

    /// Writes `bucket`; true if `key` had none.
    pub(crate) fn put(&mut self, hash: u64, key: &str, bucket: Bucket) -> bool {
        let state = BucketState::from(bucket);
        if let Some(held) = self.find(hash, key) {
            held.state = state;
            return false;
        }
        let key = Key::new(key);
        self.insert(hash, Held { key, state });
        true
    }

    /// Removes the bucket of `key`; true if there was one.
    pub(crate) fn remove(&mut self, hash: u64, key: &str) -> bool {
        self.front.take_if(|held| held.key.is(key)).is_some()
            || self.remove_from_table(hash, key).is_some()
    }

    /// Checks a few slots, removes expired buckets and returns their number.
    pub(crate) fn remove_some_expired(&mut self, now: Timestamp) -> usize {
        let expired = |held: &Held| held.state.expires_at() <= now;
        let mut removed = usize::from(self.front.take_if(|held| expired(held)).is_some());
        let places = self.table.num_buckets();
        for _ in 0..EXPIRY_CHECKS_PER_INSERT.min(places) {
            self.cursor = self.cursor.wrapping_add(1);
            if let Ok(slot) = self.table.get_bucket_entry(self.cursor as usize % places)
                && expired(&slot.get().held)
            {
                slot.remove();
                removed += 1;
            }
        }
        removed
    }

    /// Removes every bucket that is full by `now`: returns their number, and when the first
    /// of the others will be full.
    pub(crate) fn remove_full(&mut self, now: Timestamp) -> (usize, Option<Timestamp>) {
        self.return_front();
        let before = self.table.len();
        let mut next = None;
        self.table.retain(|slot| {
            let full_at = slot.held.state.full_at();
            if full_at > now {
                next = Some(next.map_or(full_at, |next: Timestamp| next.min(full_at)));
            }
            full_at > now
        });
        (before - self.table.len(), next)
    }

    /// Evicts, of a few buckets, the one that will be full first, because its removal
    /// grants the fewest tokens. Returns false if there is no bucket.
    pub(crate) fn evict_fullest(&mut self) -> bool {
        self.return_front();
        let places = self.table.num_buckets();
        let (mut seen, mut fullest) = (0, None);
        for _ in 0..places {
            self.cursor = self.cursor.wrapping_add(1);
            let place = self.cursor as usize % places;
            let Ok(slot) = self.table.get_bucket_entry(place) else {
                continue;
            };
            let full_at = slot.get().held.state.full_at();
            if fullest.is_none_or(|(_, earliest)| full_at < earliest) {
                fullest = Some((place, full_at));
            }
            seen += 1;
            if seen == EVICTION_CANDIDATES {
                break;
            }
        }
        let found = fullest.and_then(|(place, _)| self.table.get_bucket_entry(place).ok());
        found.map(|slot| slot.remove()).is_some()
    }

    #[inline]
    fn find(&mut self, hash: u64, key: &str) -> Option<&mut Held> {
        match &mut self.front {
            Some(front) if front.key.is(key) => Some(front),
            _ => self
                .table
                .find_mut(hash, |slot| slot.is(hash, key))
                .map(|slot| &mut slot.held),
        }
    }

    fn insert(&mut self, hash: u64, held: Held) {
        self.table
            .insert_unique(hash, Slot { hash, held }, |slot| slot.hash);
    }

    fn remove_from_table(&mut self, hash: u64, key: &str) -> Option<Held> {
        let found = self.table.find_entry(hash, |slot| slot.is(hash, key));
        found.ok().map(|slot| slot.remove().0.held)
    }

    /// Counts a take of a key that is not in front.
    #[inline]
    fn count(&mut self, hash: u64, key: &str) {
        if self.last_hash != hash {
            (self.last_hash, self.in_a_row) = (hash, 0);
        }
        self.in_a_row += 1;
        if self.in_a_row == TAKES_TO_MOVE_TO_FRONT {
            self.in_a_row = 0;
            self.move_to_front(hash, key);
        }
    }

    #[cold]
    fn move_to_front(&mut self, hash: u64, key: &str) {
        if let Some(held) = self.remove_from_table(hash, key) {
            self.return_front();
            (self.front, self.front_hash) = (Some(held), hash);
        }
    }

    fn return_front(&mut self) {
        if let Some(held) = self.front.take() {
            self.insert(self.front_hash, held);
        }
    }
}

impl Slot {
    fn is(&self, hash: u64, key: &str) -> bool {
        self.hash == hash && self.held.key.is(key)
    }
}

/// Compares pointers first, because limiters usually share the name.
fn is_named(quota: &Quota, name: &Arc<str>) -> bool {
    Arc::ptr_eq(quota.shared_name(), name) || quota.name() == &**name
}

impl Key {
    fn new(key: &str) -> Self {
        let mut bytes = [0; INLINE];
        match bytes.get_mut(..key.len()) {
            Some(place) => {
                place.copy_from_slice(key.as_bytes());
                Self::Inline(key.len() as u8, bytes)
            }
            None => Self::Heap(key.into()),
        }
    }

    fn is(&self, key: &str) -> bool {
        match self {
            Self::Inline(length, bytes) => {
                bytes.get(..usize::from(*length)) == Some(key.as_bytes())
            }
            Self::Heap(own) => **own == *key,
        }
    }
}

impl BucketState {
    fn expires_at(&self) -> Timestamp {
        match self {
            Self::One { expires_at, .. } => *expires_at,
            Self::Any(bucket) => bucket.expires_at().unwrap_or_default(),
        }
    }

    /// A time from which on the bucket is certainly full.
    fn full_at(&self) -> Timestamp {
        match self {
            Self::One { tat, .. } => *tat,
            Self::Any(_) => self.expires_at(),
        }
    }

    fn to_bucket(&self) -> Bucket {
        match self {
            Self::One {
                quota,
                tat,
                expires_at,
            } => Bucket::from_iter([Entry {
                quota: Arc::clone(quota),
                state: State::Tat(*tat),
                expires_at: *expires_at,
            }]),
            Self::Any(bucket) => (**bucket).clone(),
        }
    }

    #[inline]
    fn take(&mut self, take: &Take<'_>) -> Decision {
        if let (
            Self::One {
                quota,
                tat,
                expires_at,
            },
            [only],
        ) = (&mut *self, &**take.quotas())
            && is_named(only, quota)
        {
            let (decision, next) = take.apply_to_one(only, Some(*tat));
            if let Some(next) = next {
                *tat = next;
                *expires_at = take.terms(only).expires_at;
            }
            return decision;
        }
        self.take_from_any(take)
    }

    #[inline(never)]
    fn take_from_any(&mut self, take: &Take<'_>) -> Decision {
        let live = |bucket: &Bucket| bucket.entries().iter().all(|e| e.expires_at > take.now());
        if let Self::Any(bucket) = self
            && live(bucket)
        {
            return take.apply(bucket);
        }
        // An expired quota counts as absent even if it would not be full under the quota
        // of this take. A denied take changes nothing, in case the clock goes back.
        let mut bucket = self.to_bucket();
        bucket.forget_expired(take.now());
        let decision = take.apply(&mut bucket);
        if decision.is_allowed() {
            *self = bucket.into();
        }
        decision
    }
}

impl From<Bucket> for BucketState {
    fn from(bucket: Bucket) -> Self {
        match bucket.entries() {
            [
                Entry {
                    quota,
                    state: State::Tat(tat),
                    expires_at,
                },
            ] => Self::One {
                quota: Arc::clone(quota),
                tat: *tat,
                expires_at: *expires_at,
            },
            _ => Self::Any(Box::new(bucket)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use store_core::limits::QuotaSet;

    use super::*;

    #[test]
    fn a_slot_is_one_cache_line() {
        assert_eq!(size_of::<Slot>(), 64);
    }

    #[test]
    fn the_front_is_on_the_locks_cache_line() {
        let lock = parking_lot::Mutex::new(Buckets::default());
        let begin = std::ptr::from_ref(&lock).addr();
        let buckets = lock.lock();
        let front = std::ptr::from_ref(&buckets.front).addr();
        assert!(front - begin + size_of_val(&buckets.front) <= 64);
    }

    /// Takes, writes and removals in long and short runs of one key, so that buckets move
    /// to the front and are replaced, changed and removed there.
    #[test]
    fn a_bucket_in_front_behaves_as_in_the_table() {
        let quotas = QuotaSet::from(Quota::per_second(40).expect("a valid quota"));
        let mut buckets = Buckets::default();
        let mut reference = BTreeMap::<String, Bucket>::new();
        let (mut now, mut dice) = (Timestamp::from_seconds(1_000_000), 1u64);
        let mut below = |n: u64| {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (dice >> 33) % n
        };
        let (mut fronts, mut empty) = (0, 0);
        for _ in 0..4_000 {
            let (key, run) = (format!("key {}", below(5)), 1 + below(3) * below(20));
            // Some keys share a hash.
            let hash = u64::from(key.as_bytes()[4]) % 3;
            for _ in 0..run {
                now = now + Duration::from_millis(below(20));
                let take = Take::new(&key, &quotas, 1, now).expect("a valid take");
                let expected = reference.get_mut(&key).map(|bucket| take.apply(bucket));
                assert_eq!(buckets.take(hash, &take), expected);
            }
            match below(6) {
                0 => {
                    let known = reference.remove(&key).is_some();
                    assert_eq!(buckets.remove(hash, &key), known);
                }
                1 => {
                    let (removed, _) = buckets.remove_full(now);
                    let before = reference.len();
                    let full = |bucket: &Bucket| bucket.tat(&quotas[0]) <= Some(now);
                    reference.retain(|_, bucket| !full(bucket));
                    assert_eq!(removed, before - reference.len());
                }
                2 | 3 => {
                    let mut bucket = Bucket::default();
                    bucket.set_tat(&quotas[0], now + Duration::from_millis(below(900)), now);
                    let new = reference.insert(key.clone(), bucket.clone()).is_none();
                    assert_eq!(buckets.put(hash, &key, bucket), new);
                }
                _ => assert_eq!(buckets.get(hash, &key), reference.get(&key).cloned()),
            }
            fronts += u32::from(buckets.front.is_some());
            empty += u32::from(buckets.front.is_none());
        }
        assert!(fronts > 100 && empty > 100, "{fronts} and {empty}");
    }
}
