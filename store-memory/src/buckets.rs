//! The buckets of one shard. Everything here runs under the shard's lock.

use std::sync::Arc;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry as TableEntry;
use store_core::Timestamp;
use store_core::limits::{Bucket, Decision, Entry, Quota, State, Take};

/// How many places an insertion looks at for what has expired: several for
/// each bucket that it adds, so that garbage never outgrows what is live.
const LOOKED_AT_IN_PASSING: usize = 4;

/// Keys up to this long are kept in the table itself, and a take need not
/// follow a pointer to compare them.
const INLINE: usize = 22;

#[derive(Default)]
pub(crate) struct Buckets {
    table: HashTable<Slot>,
    /// Where the next look for what has expired begins.
    cursor: usize,
}

/// One key's bucket: exactly one cache line, whichever it is of a table.
#[repr(align(64))]
struct Slot {
    hash: u64,
    key: Key,
    kept: Kept,
}

enum Key {
    Inline(u8, [u8; INLINE]),
    Heap(Box<str>),
}

/// The usual bucket in place, any other behind a pointer.
enum Kept {
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
        let slot = self.find(hash, take.key().as_str())?;
        if let (
            Kept::One {
                quota,
                tat,
                expires_at,
            },
            [only],
        ) = (&mut slot.kept, &**take.quotas())
            && is_named(only, quota)
        {
            let (decision, next) = take.apply_to_one(only, Some(*tat));
            if let Some(next) = next {
                *tat = next;
                *expires_at = take.now() + only.full_refill();
            }
            return Some(decision);
        }
        Some(slot.kept.take(take))
    }

    /// The bucket of `key`, expired or not.
    pub(crate) fn get(&mut self, hash: u64, key: &str) -> Option<Bucket> {
        self.find(hash, key).map(|slot| slot.kept.to_bucket())
    }

    /// Puts `bucket` in the place of the one that `key` has; true if it had none.
    pub(crate) fn put(&mut self, hash: u64, key: &str, bucket: Bucket) -> bool {
        let kept = Kept::from(bucket);
        let is_it = |slot: &Slot| slot.hash == hash && slot.key.is(key);
        match self.table.entry(hash, is_it, |slot| slot.hash) {
            TableEntry::Occupied(mut slot) => {
                slot.get_mut().kept = kept;
                false
            }
            TableEntry::Vacant(place) => {
                let key = Key::new(key);
                place.insert(Slot { hash, key, kept });
                true
            }
        }
    }

    /// True if there was one.
    pub(crate) fn remove(&mut self, hash: u64, key: &str) -> bool {
        let is_it = |slot: &Slot| slot.hash == hash && slot.key.is(key);
        let found = self.table.find_entry(hash, is_it);
        found.map(|slot| drop(slot.remove())).is_ok()
    }

    /// Looks at a few places for what expired by `now`; says how many buckets
    /// that removed.
    pub(crate) fn forget_in_passing(&mut self, now: Timestamp) -> usize {
        let mut removed = 0;
        for _ in 0..LOOKED_AT_IN_PASSING.min(self.table.num_buckets()) {
            self.cursor = (self.cursor + 1) % self.table.num_buckets();
            if let Ok(slot) = self.table.get_bucket_entry(self.cursor)
                && slot.get().kept.expires_at() <= now
            {
                slot.remove();
                removed += 1;
            }
        }
        removed
    }

    /// Removes every bucket that is full by `now`: how many, and when the first
    /// of the others will be.
    pub(crate) fn forget_full(&mut self, now: Timestamp) -> (usize, Option<Timestamp>) {
        let before = self.table.len();
        let mut next = None;
        self.table.retain(|slot| {
            let full_at = slot.kept.full_at();
            if full_at > now {
                next = Some(next.map_or(full_at, |next: Timestamp| next.min(full_at)));
            }
            full_at > now
        });
        (before - self.table.len(), next)
    }

    fn find(&mut self, hash: u64, key: &str) -> Option<&mut Slot> {
        self.table
            .find_mut(hash, |slot| slot.hash == hash && slot.key.is(key))
    }
}

/// Limiters share a name as a pointer more often than not.
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

impl Kept {
    fn expires_at(&self) -> Timestamp {
        match self {
            Self::One { expires_at, .. } => *expires_at,
            Self::Any(bucket) => bucket.expires_at().unwrap_or_default(),
        }
    }

    /// From when on the bucket is surely full.
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

    #[inline(never)]
    fn take(&mut self, take: &Take<'_>) -> Decision {
        if let Self::Any(bucket) = self {
            return take.apply(bucket);
        }
        let mut bucket = self.to_bucket();
        let decision = take.apply(&mut bucket);
        *self = bucket.into();
        decision
    }
}

impl From<Bucket> for Kept {
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
    use super::*;

    #[test]
    fn a_slot_is_one_cache_line() {
        assert_eq!(size_of::<Slot>(), 64);
    }
}
