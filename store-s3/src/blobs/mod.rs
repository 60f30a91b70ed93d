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
//! one put, and opening it one get. Larger content is written by one put if it
//! fits one part, else as multipart uploads of a fixed number of parts each, so
//! that the number of parts is not limited. A note also names the upload that is in
//! progress, so that a sweep can abort what a process that died had begun.
//!
//! To list all content and read each pointer would cost a request for every object
//! in the bucket. Notes make a sweep cost what is due.
//!
//! A pointer stays when its object is deleted, as records do and for the same
//! reason; it is small then.

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

/// The most content that is stored with the pointer.
pub(crate) const MAX_INLINE: usize = 1 << 20;

/// The least that S3 accepts for every part of an upload but the last.
pub(crate) const MIN_PART: usize = 5 << 20;

/// How objects are written and read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    pub(crate) inline: usize,
    pub(crate) part_size: usize,
    pub(crate) in_flight: usize,
    /// How many parts one multipart upload has at most; S3 accepts 10 000.
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
