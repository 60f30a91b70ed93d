//! Content as chunks: their names, writing, reading and removing them.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use crate::batch::{Batch, Expect, MAX_ITEMS};
use crate::blobs::engine::{ContentStore, ContentWriter, Cover, InFlight};
use crate::blobs::{BLOB_CHUNKS, Content};
use crate::body::{Body, MAX_BODY};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result, Retry};
use crate::key::{Partition, RecordKey};
use crate::record::{Record, Version};
use crate::record_store::RecordStore;

/// Over how many partitions the chunks of one generation are spread: so many
/// may be written at once without meeting, and a removal batches the rest.
const LANES: u64 = 16;

/// How many chunks the first note covers; each later one covers [`COVER_GROWTH`]
/// times as many, so that a long write costs few notes and the sweep of an
/// abandoned one removes few chunks that never existed.
const FIRST_COVER: u64 = 4;
const COVER_GROWTH: u64 = 4;

/// Gives the chunks of a write an end, until it is published: for a server that
/// removes expired records by itself, and at less cost than a sweep.
#[async_trait]
pub trait ProvisionalChunks: Send + Sync + fmt::Debug {
    /// When a chunk that is written at `now` expires, unless it is made permanent.
    /// A write that takes longer is not published.
    fn end(&self, now: Timestamp) -> Timestamp;

    /// Makes these chunks of one partition permanent,
    /// [`MAX_ITEMS`](crate::batch::MAX_ITEMS) at most. Called for every chunk once
    /// all are written, before the object is published, for several partitions at a
    /// time.
    ///
    /// # Errors
    /// `Superseded` if one has expired; the store's own. Nothing is published then.
    async fn keep(&self, partition: &Partition, chunks: &[RecordKey]) -> Result<()>;
}

/// A [`ContentStore`] over records: a chunk is a record of bytes. The chunks of a
/// generation are spread over 16 partitions.
#[derive(Clone, Debug)]
pub struct RecordChunks {
    records: Arc<dyn RecordStore>,
    pub(super) provisional: Option<Arc<dyn ProvisionalChunks>>,
    pub(super) size: usize,
    pub(super) in_flight: usize,
}

fn lane(generation: Version, lane: u64) -> Result<Partition> {
    Partition::new(format!("{generation}.{lane:x}"))
}

fn key(index: u64) -> Result<RecordKey> {
    RecordKey::new(BLOB_CHUNKS, format!("{index:08x}"))
}

/// The requested part of a chunk; nothing is copied.
fn cut(content: Content, range: &Range<u64>, chunk: &Record) -> Result<Bytes> {
    let start = range.start / content.chunk_size * content.chunk_size;
    let length = content.chunk_size.min(content.size - start);
    let bytes = chunk.body().as_bytes();
    let bytes = bytes.filter(|bytes| bytes.len() as u64 == length);
    let bytes = bytes.ok_or_else(|| {
        Error::corrupt("a piece of the object is not of the size it was written with")
            .with_key(chunk.at())
    })?;
    Ok(bytes.slice((range.start - start) as usize..(range.end - start) as usize))
}

impl RecordChunks {
    pub(super) fn new(records: Arc<dyn RecordStore>) -> Self {
        Self {
            records,
            provisional: None,
            size: MAX_BODY,
            in_flight: 8,
        }
    }

    /// Writes one chunk.
    async fn put(&self, generation: Version, index: u64, bytes: Bytes) -> Result<()> {
        let now = self.records.clock().now();
        let end = self.provisional.as_ref().map(|chunks| chunks.end(now));
        let mut batch = Batch::new(lane(generation, index % LANES)?, now);
        batch.put_until(key(index)?, Expect::Absent, Body::bytes(bytes)?, end)?;
        self.records.commit(&batch).await.map(drop)
    }

    /// The keys of the chunks of `indexes`, by partition, as many as one commit
    /// takes.
    fn batches(
        generation: Version,
        indexes: Range<u64>,
    ) -> impl Iterator<Item = Result<(Partition, Vec<RecordKey>)>> + Send {
        (0..LANES).flat_map(move |number| {
            let first = indexes.start + (number + LANES - indexes.start % LANES) % LANES;
            let mut left = (first..indexes.end).step_by(LANES as usize).peekable();
            std::iter::from_fn(move || {
                left.peek()?;
                let keys: Result<_> = left.by_ref().take(MAX_ITEMS).map(key).collect();
                Some(keys.and_then(|keys| Ok((lane(generation, number)?, keys))))
            })
        })
    }
}

#[async_trait]
impl ContentStore for RecordChunks {
    type Writer = ChunkWriter;

    fn piece_size(&self) -> usize {
        self.size
    }

    fn chunk_size(&self) -> u64 {
        self.size as u64
    }

    fn reads_ahead(&self) -> usize {
        self.in_flight
    }

    fn writer(&self, generation: Version) -> ChunkWriter {
        ChunkWriter {
            store: self.clone(),
            generation,
            chunks: 0,
            covered: 0,
            in_flight: InFlight::default(),
            may_appear: false,
        }
    }

    fn read_now(&self, content: Content, range: &Range<u64>) -> Option<Result<Option<Bytes>>> {
        let index = range.start / content.chunk_size;
        let (partition, key) = match (lane(content.generation, index % LANES), key(index)) {
            (Ok(partition), Ok(key)) => (partition, key),
            (Err(error), _) | (_, Err(error)) => return Some(Err(error)),
        };
        let chunk = match self.records.get_now(key.at(&partition))? {
            Ok(chunk) => chunk,
            Err(error) => return Some(Err(error)),
        };
        Some(chunk.map(|chunk| cut(content, range, &chunk)).transpose())
    }

    async fn read(&self, content: Content, range: Range<u64>) -> Result<Option<Bytes>> {
        let index = range.start / content.chunk_size;
        let partition = lane(content.generation, index % LANES)?;
        let chunk = self.records.get(key(index)?.at(&partition)).await?;
        chunk.map(|chunk| cut(content, &range, &chunk)).transpose()
    }

    async fn remove(&self, generation: Version, chunks: Range<u64>, _: Option<&str>) -> Result<()> {
        let mut in_flight = InFlight::default();
        for batch in Self::batches(generation, chunks) {
            let (partition, keys) = batch?;
            let mut batch = Batch::new(partition, self.records.clock().now());
            for key in keys {
                batch.delete(key, Expect::Any)?;
            }
            let records = Arc::clone(&self.records);
            in_flight.push(async move { records.commit(&batch).await.map(drop) });
            in_flight.fewer_than(self.in_flight).await?;
        }
        in_flight.fewer_than(1).await
    }
}

/// Writes the chunks of one generation.
pub struct ChunkWriter {
    store: RecordChunks,
    generation: Version,
    /// How many were sent.
    chunks: u64,
    /// How many the notes cover.
    covered: u64,
    in_flight: InFlight<()>,
    /// A chunk's request ended without a reply, so the chunk may still appear.
    may_appear: bool,
}

impl ChunkWriter {
    /// Waits until fewer than `limit` chunks are in flight.
    async fn fewer_in_flight(&mut self, limit: usize) -> Result<()> {
        let answer = self.in_flight.fewer_than(limit).await;
        self.may_appear |= is_ambiguous(&answer);
        answer
    }
}

/// Whether the request may still take effect.
fn is_ambiguous<T>(answer: &Result<T>) -> bool {
    matches!(answer, Err(error) if error.retry() == Retry::Ambiguous)
}

impl fmt::Debug for ChunkWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChunkWriter")
            .field("chunks", &self.chunks)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl ContentWriter for ChunkWriter {
    async fn prepare(&mut self, _: bool) -> Result<Option<Cover>> {
        if self.chunks == u64::from(u32::MAX) {
            return Err(Error::new(
                ErrorKind::LimitExceeded,
                "an object has at most 4 294 967 295 chunks; write it in larger ones",
            ));
        }
        if self.chunks < self.covered {
            return Ok(None);
        }
        self.covered = (self.covered * COVER_GROWTH).max(FIRST_COVER);
        Ok(Some(Cover {
            chunks: self.covered,
            upload: None,
        }))
    }

    async fn settle(&mut self) -> Result<()> {
        self.fewer_in_flight(1).await
    }

    async fn send(&mut self, piece: Bytes, _: bool) -> Result<()> {
        let (store, generation, index) = (self.store.clone(), self.generation, self.chunks);
        self.chunks += 1;
        let put = async move { store.put(generation, index, piece).await };
        self.in_flight.push(put);
        self.fewer_in_flight(self.store.in_flight).await
    }

    async fn finish(&mut self) -> Result<()> {
        self.fewer_in_flight(1).await?;
        let Some(provisional) = &self.store.provisional else {
            return Ok(());
        };
        let mut in_flight = InFlight::default();
        for batch in RecordChunks::batches(self.generation, 0..self.chunks) {
            let (partition, keys) = batch?;
            let provisional = Arc::clone(provisional);
            in_flight.push(async move { provisional.keep(&partition, &keys).await });
            in_flight.fewer_than(self.store.in_flight).await?;
        }
        in_flight.fewer_than(1).await
    }

    fn chunks(&self) -> u64 {
        self.chunks
    }

    async fn abort(&mut self) -> Result<bool> {
        while let Some(answer) = self.in_flight.next().await {
            self.may_appear |= is_ambiguous(&answer);
        }
        Ok(self.may_appear)
    }
}
