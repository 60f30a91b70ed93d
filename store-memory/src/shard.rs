//! The structures of one shard: a hash table for points, an ordered set for
//! scans, and the order of expiry. All three hold the same records.
//!
//! Everything here runs under the shard's lock, so nothing here runs foreign
//! code: a removed record is handed out, to be dropped after the lock, because
//! the value inside may have a `Drop` of its own.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use store_core::{Collection, Record, RecordRef, Timestamp};

/// A record, the hash it is found by, and its place in the order of expiry.
struct Slot {
    hash: u64,
    expiry: u64,
    record: Record,
}

#[derive(Default)]
pub(crate) struct Shard {
    points: HashTable<Slot>,
    ordered: BTreeSet<Ordered>,
    expiry: BTreeMap<(Timestamp, u64), (u64, Record)>,
    next_expiry: u64,
}

impl Shard {
    pub(crate) fn get(&self, hash: u64, at: RecordRef<'_>) -> Option<&Record> {
        self.points
            .find(hash, |slot| slot.hash == hash && slot.record.at() == at)
            .map(|slot| &slot.record)
    }

    /// Puts `record` in its place; returns the one that it replaces.
    pub(crate) fn put(&mut self, hash: u64, record: Record) -> Option<Record> {
        let number = self.next_expiry;
        if let Some(at) = record.expires_at() {
            self.next_expiry += 1;
            self.expiry.insert((at, number), (hash, record.clone()));
        }
        let slot = Slot {
            hash,
            expiry: number,
            record: record.clone(),
        };
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
        self.ordered
            .remove(&Place::of(slot.record.at()) as &dyn Placed);
        Some(self.forget_expiry(slot))
    }

    fn forget_expiry(&mut self, slot: Slot) -> Record {
        if let Some(at) = slot.record.expires_at() {
            self.expiry.remove(&(at, slot.expiry));
        }
        slot.record
    }

    /// Takes out one record with `expires_at <= until`, the earliest first.
    pub(crate) fn pop_expired(&mut self, until: Timestamp) -> Option<Record> {
        let first = self.expiry.first_entry()?;
        if first.key().0 > until {
            return None;
        }
        let (hash, record) = first.get().clone();
        self.remove(hash, record.at())
    }

    pub(crate) fn has_expired(&self, until: Timestamp) -> bool {
        self.expiry
            .first_key_value()
            .is_some_and(|((at, _), _)| *at <= until)
    }

    /// The records of `collection` from `from` on, in order of partition and id.
    pub(crate) fn range(&self, from: Bound<Place<'_>>) -> impl Iterator<Item = &Record> {
        let from: Bound<&dyn Placed> = match &from {
            Bound::Included(place) => Bound::Included(place),
            Bound::Excluded(place) => Bound::Excluded(place),
            Bound::Unbounded => Bound::Unbounded,
        };
        self.ordered
            .range::<dyn Placed + '_, _>((from, Bound::Unbounded))
            .map(|ordered| &ordered.0)
    }
}

/// A record in the order that scans follow.
struct Ordered(Record);

/// A place in that order, whether or not a record is there.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place<'a> {
    pub(crate) collection: Collection,
    pub(crate) partition: &'a str,
    pub(crate) id: &'a str,
}

impl<'a> Place<'a> {
    fn of(at: RecordRef<'a>) -> Self {
        Self {
            collection: at.collection(),
            partition: at.partition(),
            id: at.id(),
        }
    }
}

/// Lets the set be searched by a borrowed [`Place`].
trait Placed {
    fn place(&self) -> Place<'_>;
}

impl Placed for Ordered {
    fn place(&self) -> Place<'_> {
        Place::of(self.0.at())
    }
}

impl Placed for Place<'_> {
    fn place(&self) -> Place<'_> {
        *self
    }
}

impl PartialEq for dyn Placed + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.place() == other.place()
    }
}

impl Eq for dyn Placed + '_ {}

impl PartialOrd for dyn Placed + '_ {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for dyn Placed + '_ {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.place().cmp(&other.place())
    }
}

impl<'a> Borrow<dyn Placed + 'a> for Ordered {
    fn borrow(&self) -> &(dyn Placed + 'a) {
        self
    }
}

impl PartialEq for Ordered {
    fn eq(&self, other: &Self) -> bool {
        self.place() == other.place()
    }
}

impl Eq for Ordered {}

impl PartialOrd for Ordered {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Ordered {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.place().cmp(&other.place())
    }
}
