//! Scans: one partition in order, or every partition, shard by shard.

use std::ops::Bound;

use store_core::{Error, Record, RecordRef, Records, Result, Scan, Timestamp};

use crate::records::{MemoryRecords, SHARDS};

impl MemoryRecords {
    pub(crate) fn scan_partition(
        &self,
        scan: &Scan,
        partition: &str,
        now: Timestamp,
    ) -> Result<Records> {
        let from = match scan.position_id()? {
            Some(after) => Bound::Excluded(after),
            None => Bound::Included(scan.prefix()),
        };
        let has_prefix = |record: &Record| record.id().starts_with(scan.prefix());
        let wanted = scan.page_size() + 1;
        let mut found: Vec<Record> = Vec::with_capacity(wanted);
        let shard = self.shard_of(partition).read();
        if let Some(records) = shard.in_partition(scan.in_collection(), partition, from) {
            let records = records
                .take_while(|record| !record.is_expired(now) || has_prefix(record))
                .filter(|record| !record.is_expired(now))
                .take(wanted)
                .cloned();
            found.extend(records);
        }
        drop(shard);
        // The ids are sorted, so if the last one has the prefix, all have it.
        if !found.last().is_some_and(has_prefix) {
            found.truncate(found.partition_point(has_prefix));
        }
        let next = (found.len() == wanted).then(|| {
            found.truncate(scan.page_size());
            scan.cursor(found[found.len() - 1].id())
        });
        Ok(Records::new(found, next))
    }

    pub(crate) fn scan_collection(
        &self,
        scan: &Scan,
        prefix: &str,
        now: Timestamp,
    ) -> Result<Records> {
        let position = Position::of(scan)?;
        let wanted = scan.page_size() + 1;
        let mut found: Vec<(usize, Record)> = Vec::new();
        for index in position.shard..SHARDS {
            let after = match &position.place {
                Some((partition, id)) if index == position.shard => Some((&**partition, &**id)),
                _ => None,
            };
            let shard = self.shard_at(index).read();
            let records = shard
                .in_partitions(scan.in_collection(), prefix, after)
                .filter(|record| record.id().starts_with(scan.prefix()))
                .filter(|record| !record.is_expired(now))
                .take(wanted - found.len())
                .map(|record| (index, record.clone()));
            found.extend(records);
            if found.len() == wanted {
                break;
            }
        }
        let next = (found.len() == wanted).then(|| {
            found.truncate(scan.page_size());
            let (index, last) = &found[found.len() - 1];
            scan.cursor(Position::encode(*index, last.at()))
        });
        let items = found.into_iter().map(|(_, record)| record).collect();
        Ok(Records::new(items, next))
    }
}

/// The position of a scan over all partitions.
struct Position {
    shard: usize,
    place: Option<(String, String)>,
}

impl Position {
    fn encode(shard: usize, at: RecordRef<'_>) -> Vec<u8> {
        let mut bytes = vec![shard as u8];
        bytes.append(&mut Scan::record_position(at));
        bytes
    }

    fn of(scan: &Scan) -> Result<Self> {
        let Some(bytes) = scan.position() else {
            return Ok(Self {
                shard: 0,
                place: None,
            });
        };
        let (&shard, rest) = bytes
            .split_first()
            .filter(|(shard, _)| usize::from(**shard) < SHARDS)
            .ok_or_else(|| Error::invalid("the cursor was altered; pass one as it was returned"))?;
        let (partition, id) = scan.position_record(rest)?;
        Ok(Self {
            shard: usize::from(shard),
            place: Some((partition.into(), id.into())),
        })
    }
}
