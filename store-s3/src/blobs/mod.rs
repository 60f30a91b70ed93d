//! Streamed objects as objects of the bucket: an [`Engine`] whose pointers and
//! notes are small objects that are changed by conditional puts, and whose content
//! is objects that are written once.
//!
//! | | object |
//! |---|---|
//! | a pointer, and up to 1 MiB of content | `blobs/=reports/=2030.2Fq1..csv` |
//! | larger content | `content/0f3c…/0` |
//! | a note of content that may have to be freed | `reclaim/17f0….0f3c….u` |
//!
//! Small content follows the pointer in its own object, so that publishing it is
//! one put, and opening it one get. Larger content is written by one put if it fits in
//! one part, otherwise by multipart uploads with a fixed number of parts each, so that
//! the number of parts is not limited. A note also contains the id of the upload in
//! progress, so that a sweep can abort the upload of a dead process.
//!
//! Listing all content and reading each pointer would cost a request for every object in
//! the bucket. With notes, the cost of a sweep depends only on the notes that are due.
//!
//! When an object is deleted its pointer remains, without content, as a tombstone does
//! for a record.

mod content;
mod head;
mod pointers;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use store_core::blobs::engine::{Engine, EngineOptions};

use crate::shared::Shared;

pub(crate) use content::Parts;
use content::S3Content;
use pointers::S3Pointers;

/// The maximum size of content that is stored with the pointer.
pub(crate) const MAX_INLINE: usize = 1 << 20;

/// The minimum size that S3 accepts for every part of an upload except the last.
pub(crate) const MIN_PART: usize = 5 << 20;

/// How objects are written and read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    pub(crate) inline: usize,
    pub(crate) part_size: usize,
    pub(crate) in_flight: usize,
    /// The maximum number of parts of one multipart upload; S3 accepts 10 000.
    pub(crate) parts: u64,
    pub(crate) lease: Duration,
    pub(crate) grace: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            inline: MAX_INLINE,
            part_size: MIN_PART,
            in_flight: 4,
            parts: 8192,
            lease: Duration::from_secs(3600),
            grace: Duration::from_secs(300),
        }
    }
}

/// Streamed objects in the bucket.
pub(crate) type S3Blobs = Engine<S3Pointers, S3Content>;

pub(crate) fn open(shared: &Arc<Shared>, options: Options) -> S3Blobs {
    let Options {
        inline,
        lease,
        grace,
        ..
    } = options;
    Engine::from_parts(
        S3Pointers::new(Arc::clone(shared)),
        S3Content::new(Arc::clone(shared), options),
        EngineOptions {
            inline,
            lease,
            grace,
        },
        Arc::clone(&shared.background),
    )
}
