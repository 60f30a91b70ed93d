//! The structures of one shard: a hash table for points, an ordered set for
//! scans, and the order of expiry. All three hold the same records.
//!
//! Everything here runs under the shard's lock, so nothing here runs foreign
//! code: a removed record is handed out, to be dropped after the lock, because
//! the value inside may have a `Drop` of its own.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::ops::Bound;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use store_core::{Record, RecordRef, Timestamp};

/// A record and the hash it is found by.
#[derive(Clone)]
struct Slot {
    hash: u64,
    record: Record,
}

#[derive(Default)]
pub(crate) struct Shard {
    points: HashTable<Slot>,
    ordered: BTreeSet<Ordered>,
    expiring: BTreeSet<Expiring>,
}

impl Shard {
    #[inline]
    pub(crate) fn get(&self, hash: u64, at: RecordRef<'_>) -> Option<&Record> {
        self.points
            .find(hash, |slot| slot.hash == hash && slot.record.at() == at)
            .map(|slot| &slot.record)
    }

    /// Puts `record` in its place; returns the one that it replaces.
    pub(crate) fn put(&mut self, hash: u64, record: Record) -> Option<Record> {
        let slot = Slot {
            hash,
            record: record.clone(),
        };
        if let Some(expiring) = Expiring::of(&slot) {
            self.expiring.insert(expiring);
        }
        let replaced = match self.points.entry(
            hash,
            |slot| slot.hash == hash && slot.record.at() == record.at(),
            |slot| slot.hash,
        ) {
            Entry::Occupied(mut entry) => Some(std::mem::replace(entry.get_mut(), slot)),
            Entry::Vacant(entry) => {
                entry.insert(slot);
                None
            }
        };
        // A set's `replace` keeps one key and hands out the other.
        self.ordered.replace(Ordered(record));
        replaced.map(|slot| self.forget_expiry(slot))
    }

    pub(crate) fn remove(&mut self, hash: u64, at: RecordRef<'_>) -> Option<Record> {
        let slot = self
            .points
            .find_entry(hash, |slot| slot.hash == hash && slot.record.at() == at)
            .ok()?
            .remove()
            .0;
        self.ordered.remove(&at as &dyn Placed);
        Some(self.forget_expiry(slot))
    }

    fn forget_expiry(&mut self, slot: Slot) -> Record {
        if let Some(expiring) = Expiring::of(&slot) {
            self.expiring.remove(&expiring);
        }
        slot.record
    }

    /// Takes out one record with `expires_at <= until`, the earliest first.
    pub(crate) fn pop_expired(&mut self, until: Timestamp) -> Option<Record> {
        if !self.has_expired(until) {
            return None;
        }
        let Slot { hash, record } = self.expiring.first()?.slot.clone();
        self.remove(hash, record.at())
    }

    pub(crate) fn has_expired(&self, until: Timestamp) -> bool {
        self.expiring.first().is_some_and(|first| first.at <= until)
    }

    /// The records from `from` on, in order of collection, partition and id.
    pub(crate) fn range(&self, from: Bound<RecordRef<'_>>) -> impl Iterator<Item = &Record> {
        let from = from.as_ref().map(|at| at as &dyn Placed);
        self.ordered
            .range::<dyn Placed + '_, _>((from, Bound::Unbounded))
            .map(|ordered| &ordered.0)
    }
}

/// A record in the order of expiry.
struct Expiring {
    at: Timestamp,
    slot: Slot,
}

impl Expiring {
    fn of(slot: &Slot) -> Option<Self> {
        let at = slot.record.expires_at()?;
        let slot = slot.clone();
        Some(Self { at, slot })
    }
}

impl Ord for Expiring {
    /// Two records may share a name for a moment, while one replaces the other:
    /// the version tells them apart.
    fn cmp(&self, other: &Self) -> Ordering {
        let version = |expiring: &Self| expiring.slot.record.version().to_bytes();
        self.at
            .cmp(&other.at)
            .then_with(|| self.slot.record.at().cmp(&other.slot.record.at()))
            .then_with(|| version(self).cmp(&version(other)))
    }
}

impl PartialOrd for Expiring {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Expiring {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Expiring {}

/// A record in the order that scans follow: collection, partition, id.
struct Ordered(Record);

/// Lets the set be searched by a borrowed name, whether or not a record is there.
trait Placed {
    fn place(&self) -> RecordRef<'_>;
}

impl Placed for Ordered {
    fn place(&self) -> RecordRef<'_> {
        self.0.at()
    }
}

impl Placed for RecordRef<'_> {
    fn place(&self) -> RecordRef<'_> {
        *self
    }
}

impl<'a> Borrow<dyn Placed + 'a> for Ordered {
    fn borrow(&self) -> &(dyn Placed + 'a) {
        self
    }
}

/// `Borrow` asks that both sides compare alike.
macro_rules! compared_by_place {
    ($type:ty) => {
        impl PartialEq for $type {
            fn eq(&self, other: &Self) -> bool {
                self.place() == other.place()
            }
        }

        impl Eq for $type {}

        impl PartialOrd for $type {
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        }

        impl Ord for $type {
            fn cmp(&self, other: &Self) -> Ordering {
                self.place().cmp(&other.place())
            }
        }
    };
}

compared_by_place!(Ordered);
compared_by_place!(dyn Placed + '_);
