//! The chunks of a generation: their names, writing, reading and removing them.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::batch::{Batch, Expect, MAX_ITEMS};
use crate::blobs::BLOB_CHUNKS;
use crate::body::Body;
use crate::error::Result;
use crate::key::{Partition, RecordKey};
use crate::record::{Record, Version};

use super::Shared;
use super::in_flight::InFlight;

/// Over how many partitions the chunks of one generation are spread: so many
/// may be written at once without meeting, and a removal batches the rest.
const LANES: u64 = 16;

fn lane(generation: Version, lane: u64) -> Result<Partition> {
    Partition::new(format!("{generation}.{lane:x}"))
}

fn key(index: u64) -> Result<RecordKey> {
    RecordKey::new(BLOB_CHUNKS, format!("{index:08x}"))
}

impl Shared {
    /// Writes one chunk.
    pub(super) async fn put_chunk(
        &self,
        generation: Version,
        index: u64,
        bytes: Bytes,
    ) -> Result<()> {
        let now = self.now();
        let end = self.provisional.as_ref().map(|chunks| chunks.end(now));
        let mut batch = Batch::new(lane(generation, index % LANES)?, now);
        batch.put_until(key(index)?, Expect::Absent, Body::bytes(bytes)?, end)?;
        self.records.commit(&batch).await.map(drop)
    }

    /// Lets the first `count` chunks stay for good, if they would not.
    pub(super) async fn keep_chunks(&self, generation: Version, count: u64) -> Result<()> {
        let Some(provisional) = &self.provisional else {
            return Ok(());
        };
        let mut in_flight = InFlight::default();
        for number in 0..LANES.min(count) {
            let all: Vec<u64> = (number..count).step_by(LANES as usize).collect();
            for some in all.chunks(MAX_ITEMS) {
                let partition = lane(generation, number)?;
                let keys: Vec<_> = some
                    .iter()
                    .map(|index| key(*index))
                    .collect::<Result<_>>()?;
                let provisional = Arc::clone(provisional);
                in_flight.push(async move { provisional.keep(&partition, &keys).await });
                in_flight.fewer_than(self.options.in_flight).await?;
            }
        }
        in_flight.fewer_than(1).await
    }

    /// The chunk, if the store can answer at once.
    pub(super) fn chunk_now(
        &self,
        generation: Version,
        index: u64,
    ) -> Option<Result<Option<Record>>> {
        let (partition, key) = match (lane(generation, index % LANES), key(index)) {
            (Ok(partition), Ok(key)) => (partition, key),
            (Err(error), _) | (_, Err(error)) => return Some(Err(error)),
        };
        self.records.get_now(key.at(&partition))
    }

    /// The chunk; `None` if it is gone.
    pub(super) async fn chunk(&self, generation: Version, index: u64) -> Result<Option<Record>> {
        let partition = lane(generation, index % LANES)?;
        self.records.get(key(index)?.at(&partition)).await
    }

    /// Removes the chunks of `indexes`, there or not.
    pub(super) async fn remove_chunks(
        self: &Arc<Self>,
        generation: Version,
        indexes: Range<u64>,
    ) -> Result<()> {
        let mut in_flight = InFlight::default();
        for number in 0..LANES {
            let first = indexes.start + (number + LANES - indexes.start % LANES) % LANES;
            let mut left = (first..indexes.end).step_by(LANES as usize).peekable();
            while left.peek().is_some() {
                let mut batch = Batch::new(lane(generation, number)?, self.now());
                for index in left.by_ref().take(MAX_ITEMS) {
                    batch.delete(key(index)?, Expect::Any)?;
                }
                let shared = Arc::clone(self);
                in_flight.push(async move { shared.records.commit(&batch).await.map(drop) });
                in_flight.fewer_than(self.options.in_flight).await?;
            }
        }
        in_flight.fewer_than(1).await
    }
}
