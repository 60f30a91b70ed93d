//! The data structures of one shard: a hash table for reads of one record, ordered sets
//! for scans, and a set ordered by expiry. The first two contain all records.
//!
//! Everything here runs under the shard's lock and never runs a caller's code: a removed
//! record is returned, to be dropped after the lock is released, because its value may
//! have a `Drop` of its own.

// A record caches its decoded body; the name by which it is sorted never changes.
#![allow(clippy::mutable_key_type)]

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use hashbrown::HashTable;
use store_core::{Collection, Partition, Record, RecordRef, Timestamp};

use crate::MemoryUsage;

/// A record and its hash.
#[derive(Clone)]
struct Slot {
    hash: u64,
    record: Record,
}

#[derive(Default)]
pub(crate) struct Shard {
    points: HashTable<Slot>,
    ordered: BTreeMap<Collection, BTreeMap<Partition, BTreeSet<ById>>>,
    expiring: BTreeSet<Expiring>,
    /// The bytes of names and bodies.
    bytes: usize,
}

/// How many bytes a record counts for.
pub(crate) fn weight(record: &Record) -> usize {
    record.partition().as_str().len() + record.id().len() + record.body().size()
}

impl Shard {
    pub(crate) fn usage(&self) -> MemoryUsage {
        MemoryUsage {
            records: self.points.len(),
            bytes: self.bytes,
            buckets: 0,
        }
    }

    #[inline]
    pub(crate) fn get(&self, hash: u64, at: RecordRef<'_>) -> Option<&Record> {
        self.points
            .find(hash, |slot| slot.hash == hash && slot.record.at() == at)
            .map(|slot| &slot.record)
    }

    /// Puts a record under a name that has none.
    pub(crate) fn insert(&mut self, hash: u64, record: Record) {
        let slot = self.account(hash, &record);
        self.points.insert_unique(hash, slot, |slot| slot.hash);
        self.put_in_order(record);
    }

    /// Replaces the record of the same name, and returns that.
    pub(crate) fn replace(&mut self, hash: u64, record: Record) -> Option<Record> {
        let slot = self.account(hash, &record);
        let held = self.points.find_mut(hash, |slot| {
            slot.hash == hash && slot.record.at() == record.at()
        })?;
        let old = std::mem::replace(held, slot);
        self.put_in_order(record);
        Some(self.unaccount(old))
    }

    /// Counts a record that is about to be inserted, and adds it to the order of expiry.
    fn account(&mut self, hash: u64, record: &Record) -> Slot {
        self.bytes += weight(record);
        let record = record.clone();
        let slot = Slot { hash, record };
        if let Some(expiring) = Expiring::of(&slot) {
            self.expiring.insert(expiring);
        }
        slot
    }

    fn put_in_order(&mut self, record: Record) {
        let partitions = self.ordered.entry(record.key().collection()).or_default();
        match partitions.get_mut(record.partition().as_str()) {
            Some(records) => {
                // `insert` would leave the old record in the set.
                records.replace(ById(record));
            }
            None => {
                let partition = record.partition().clone();
                partitions.insert(partition, BTreeSet::from([ById(record)]));
            }
        }
    }

    pub(crate) fn remove(&mut self, hash: u64, at: RecordRef<'_>) -> Option<Record> {
        let slot = self
            .points
            .find_entry(hash, |slot| slot.hash == hash && slot.record.at() == at)
            .ok()?
            .remove()
            .0;
        let partitions = self.ordered.get_mut(&at.collection())?;
        let records = partitions.get_mut(at.partition())?;
        records.remove(at.id());
        if records.is_empty() {
            partitions.remove(at.partition());
        }
        Some(self.unaccount(slot))
    }

    /// Undoes [`Shard::account`] for a record that was removed from the table.
    fn unaccount(&mut self, slot: Slot) -> Record {
        self.bytes -= weight(&slot.record);
        if let Some(expiring) = Expiring::of(&slot) {
            self.expiring.remove(&expiring);
        }
        slot.record
    }

    /// Removes one record with `expires_at <= until`, the earliest first.
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

    /// A partition's records in order of id; `None` if it has none.
    pub(crate) fn in_partition(
        &self,
        collection: Collection,
        partition: &str,
        from: Bound<&str>,
    ) -> Option<impl Iterator<Item = &Record>> {
        let records = self.ordered.get(&collection)?.get(partition)?;
        let range = records.range::<str, _>((from, Bound::Unbounded));
        Some(range.map(|by_id| &by_id.0))
    }

    /// The records of the partitions whose names start with `prefix`, in order
    /// of partition and id, after the one with the name `after`.
    pub(crate) fn in_partitions<'a>(
        &'a self,
        collection: Collection,
        prefix: &'a str,
        after: Option<(&'a str, &'a str)>,
    ) -> impl Iterator<Item = &'a Record> {
        let first = after.map_or(prefix, |(partition, _)| partition);
        self.ordered
            .get(&collection)
            .into_iter()
            .flat_map(move |partitions| {
                partitions.range::<str, _>((Bound::Included(first), Bound::Unbounded))
            })
            .take_while(move |(partition, _)| partition.as_str().starts_with(prefix))
            .flat_map(move |(partition, records)| {
                let from = match after {
                    Some((last, id)) if last == partition.as_str() => Bound::Excluded(id),
                    _ => Bound::Unbounded,
                };
                records.range::<str, _>((from, Bound::Unbounded))
            })
            .map(|by_id| &by_id.0)
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
    /// While one record replaces another, both are in the set under one name; their
    /// versions differ.
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

/// A record in the order that scans of its partition follow.
struct ById(Record);

impl Borrow<str> for ById {
    fn borrow(&self) -> &str {
        self.0.id()
    }
}

impl PartialEq for ById {
    fn eq(&self, other: &Self) -> bool {
        self.0.id() == other.0.id()
    }
}

impl Eq for ById {}

impl PartialOrd for ById {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ById {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.id().cmp(other.0.id())
    }
}
