//! Streamed objects as records: an [`Engine`] whose pointers and notes are records
//! ([`BLOBS`](super::BLOBS), [`BLOB_RECLAIM`](super::BLOB_RECLAIM)) and whose
//! content is chunks ([`BLOB_CHUNKS`](super::BLOB_CHUNKS)).

mod chunks;
mod pointers;

use std::sync::Arc;
use std::time::Duration;

use crate::body::MAX_BODY;
use crate::record_store::RecordStore;

use super::engine::{DetachedTasks, Engine, EngineOptions};

pub use chunks::{ProvisionalChunks, RecordChunks};
pub use pointers::RecordPointers;

/// The most content that is stored in an object's record. As Base64, with the
/// largest metadata and as many open writes as there may be, it fits a record.
const MAX_INLINE: usize = 64 * 1024;

/// Streamed objects over any record store. Cheap to clone.
///
/// Each object is cut into chunks, and at most [`RecordBlobs::in_flight`] of
/// them are held at a time by each open sink and reader. See the
/// [module](crate::blobs) for what is promised.
pub type RecordBlobs = Engine<RecordPointers, RecordChunks>;

impl RecordBlobs {
    /// Streamed objects in `records`, with chunks of 256 KiB, eight of them in
    /// flight, a lease of an hour and a grace of five minutes.
    pub fn new(records: Arc<dyn RecordStore>) -> Self {
        let options = EngineOptions {
            inline: MAX_INLINE,
            lease: Duration::from_secs(3600),
            grace: Duration::from_secs(300),
        };
        let chunks = RecordChunks::new(Arc::clone(&records));
        let background = Arc::new(DetachedTasks::default());
        Self::from_parts(RecordPointers::new(records), chunks, options, background)
    }

    /// Makes chunks expire until their object is published, so that those of an
    /// abandoned write are removed without a sweep. Making them permanent costs a
    /// call for each of the sixteen partitions that they are spread over, or more
    /// for 400 MiB and above. The sweep frees what is left of a write that ends
    /// between that and its publication.
    pub fn provisional(self, provisional: Arc<dyn ProvisionalChunks>) -> Self {
        self.with(|chunks, _| chunks.provisional = Some(provisional))
    }

    /// The same objects, newly written ones in chunks of `bytes`: at least 1, at
    /// most [`MAX_BODY`]; a value outside of that is replaced by the nearer bound.
    pub fn chunk_size(self, bytes: usize) -> Self {
        self.with(|chunks, _| chunks.size = bytes.clamp(1, MAX_BODY))
    }

    /// Content of up to so many bytes is stored in the object's record: 64 KiB by
    /// default, which is the most; zero turns it off. A put, a read and a delete
    /// then cost the fewest round trips, and nothing has to be freed later. In
    /// return a list and a stat read that content too, and a bucket's publications
    /// share the throughput of one partition. Lower it for buckets that are listed
    /// often, or whose server charges by the bytes of a record.
    pub fn inline(self, bytes: usize) -> Self {
        self.with(|_, options| options.inline = bytes.min(MAX_INLINE))
    }

    /// How many chunks a sink or reader has in flight at a time; at least one.
    pub fn in_flight(self, chunks: usize) -> Self {
        self.with(|contents, _| contents.in_flight = chunks.max(1))
    }

    /// How long a write may be idle before it counts as abandoned. An active write
    /// renews its lease.
    pub fn lease(self, lease: Duration) -> Self {
        self.with(|_, options| options.lease = lease)
    }

    /// How long content stays readable after it was replaced or deleted, for
    /// the readers that have it open.
    pub fn grace(self, grace: Duration) -> Self {
        self.with(|_, options| options.grace = grace)
    }
}
