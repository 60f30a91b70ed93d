//! Metadata of objects, and options of writes and reads.

use std::collections::BTreeMap;
use std::ops::{Bound, Range, RangeBounds};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::body::Unknown;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::record::Version;

use super::BlobReader;

/// The most bytes of tag and attributes of one object, names included.
pub const MAX_METADATA: usize = 16 * 1024;

/// What a writer records about an object. Published together with the content.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BlobMetadata {
    /// The content's validator, such as an HTTP `ETag` with its quotes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// Marks a cached "not found": an object without content that records that
    /// the origin has none.
    #[serde(default)]
    pub negative: bool,
    /// When the content was last known to be fresh; the moment of publication
    /// if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached_at: Option<Timestamp>,
    /// The application's own attributes: a content type, an owner.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
    /// Fields of a later release.
    #[doc(hidden)]
    #[serde(flatten)]
    pub unknown: Unknown,
}

impl BlobMetadata {
    /// Metadata with this tag alone.
    pub fn tagged(tag: impl Into<String>) -> Self {
        Self {
            tag: Some(tag.into()),
            ..Self::default()
        }
    }

    /// This metadata with one more attribute.
    pub fn attribute(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.attributes.insert(name.into(), value.into());
        self
    }

    /// Checks what every store requires; for implementers of
    /// [`BlobStore::begin`](super::BlobStore::begin).
    ///
    /// # Errors
    /// `InvalidInput` over [`MAX_METADATA`] bytes or with a NUL.
    pub fn check(&self) -> Result<()> {
        let attributes = self
            .attributes
            .iter()
            .flat_map(|(name, value)| [name, value]);
        let texts = self.tag.iter().chain(attributes);
        let mut size = 0;
        for text in texts {
            size += text.len();
            if text.as_bytes().contains(&0) {
                return Err(Error::invalid(
                    "an object's metadata holds a NUL; remove it",
                ));
            }
        }
        if size > MAX_METADATA {
            return Err(Error::invalid(format!(
                "an object's metadata is {size} bytes and may be {MAX_METADATA}; \
                 put what is larger into the content"
            )));
        }
        Ok(())
    }
}

/// A published object's size, version and metadata.
#[derive(Clone, Debug, PartialEq)]
#[doc(alias("head", "metadata"))]
pub struct BlobStat {
    /// The content's length in bytes.
    pub size: u64,
    /// Names this publication; never used again, so that an object deleted and put
    /// again is never mistaken for the old one.
    pub version: Version,
    /// When it was published.
    pub published_at: Timestamp,
    /// What its writer recorded; `cached_at` is always set.
    pub metadata: BlobMetadata,
}

/// What must be true of the published object for a commit to replace it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PutMode {
    /// There is no condition.
    #[default]
    Overwrite,
    /// There is no object.
    CreateOnly,
    /// It is still this publication.
    IfUnchanged(Version),
}

/// How an object is put.
#[non_exhaustive]
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PutOptions {
    /// The metadata to publish.
    pub metadata: BlobMetadata,
    /// When to refuse. Decided at commit, atomically with publishing.
    pub mode: PutMode,
    /// How many bytes the content must have. A commit of another length publishes
    /// nothing, so that a source that was cut short does not pass for whole.
    pub expected_size: Option<u64>,
    /// The SHA-256 digest that the content must have. A commit of other bytes
    /// publishes nothing.
    pub expected_sha256: Option<[u8; 32]>,
}

impl PutOptions {
    /// These options with this mode.
    pub fn mode(mut self, mode: PutMode) -> Self {
        self.mode = mode;
        self
    }

    /// These options with a promise of how many bytes the content has.
    pub fn expect_size(mut self, bytes: u64) -> Self {
        self.expected_size = Some(bytes);
        self
    }

    /// These options with a promise of the content's SHA-256 digest.
    pub fn expect_sha256(mut self, digest: [u8; 32]) -> Self {
        self.expected_sha256 = Some(digest);
        self
    }

    /// What checks the content against these promises; for implementers.
    pub fn content_check(&self) -> ContentCheck {
        ContentCheck {
            size: 0,
            expected_size: self.expected_size,
            digest: self.expected_sha256.map(|digest| (Sha256::new(), digest)),
        }
    }
}

/// For an implementer of [`BlobSink`](super::BlobSink): checks content against
/// what its writer promised in [`PutOptions`].
#[derive(Clone, Debug)]
pub struct ContentCheck {
    size: u64,
    expected_size: Option<u64>,
    digest: Option<(Sha256, [u8; 32])>,
}

impl ContentCheck {
    /// To be called with every piece of the content, in order.
    pub fn update(&mut self, bytes: &[u8]) {
        self.size += bytes.len() as u64;
        if let Some((digest, _)) = &mut self.digest {
            digest.update(bytes);
        }
    }

    /// To be called by a commit, before it publishes.
    ///
    /// # Errors
    /// `InvalidInput` if the content is not what was promised.
    pub fn finish(&self) -> Result<()> {
        if let Some(expected) = self.expected_size.filter(|&size| size != self.size) {
            return Err(Error::invalid(format!(
                "{expected} bytes of content were promised and {} were written, so nothing was \
                 published; was the source cut short? Begin again",
                self.size
            )));
        }
        if let Some((digest, expected)) = &self.digest
            && digest.clone().finalize()[..] != expected[..]
        {
            return Err(Error::invalid(
                "the content does not have the digest that was promised, so nothing was \
                 published; begin again",
            ));
        }
        Ok(())
    }
}

impl From<BlobMetadata> for PutOptions {
    fn from(metadata: BlobMetadata) -> Self {
        Self {
            metadata,
            ..Self::default()
        }
    }
}

/// How a commit ended: the object is published, or one of three reasons why
/// nothing was.
#[must_use = "only `Published` means that the object is there"]
#[derive(Clone, Debug, PartialEq)]
pub enum Publication {
    /// The object is there for every later reader.
    Published(BlobStat),
    /// A write begun later was published, or the object was deleted, after this
    /// write began; or the write was idle for longer than its lease, or took
    /// longer than the store holds unpublished content.
    Superseded,
    /// [`PutMode::CreateOnly`], and the object exists.
    AlreadyExists,
    /// [`PutMode::IfUnchanged`], and another publication is there.
    Changed,
}

impl Publication {
    /// The published object; anything else as an error.
    ///
    /// # Errors
    /// `Superseded`, `AlreadyExists` or `Conflict`. Nothing was published.
    pub fn published(self) -> Result<BlobStat> {
        let (kind, message) = match self {
            Self::Published(stat) => return Ok(stat),
            Self::Superseded => (
                ErrorKind::Superseded,
                "a newer write or a delete came first, or the write took too long; begin again if it still matters",
            ),
            Self::AlreadyExists => (
                ErrorKind::AlreadyExists,
                "the object exists; overwrite it or use another key",
            ),
            Self::Changed => (
                ErrorKind::Conflict,
                "the object is not the one that was to be replaced; stat it and decide again",
            ),
        };
        Err(Error::new(kind, message))
    }
}

/// Which part of an object to read. It is clipped to the object, as an HTTP
/// range is; past the end it is empty. See [`Blob::range`].
///
/// ```
/// use store_core::blobs::ByteRange;
/// assert_eq!(ByteRange::from(2..=4).within(10), 2..5);
/// assert_eq!(ByteRange::from(8..).within(10), 8..10);
/// assert_eq!(ByteRange::Suffix(3).within(10), 7..10);
/// assert_eq!(ByteRange::from(..).within(10), 0..10);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteRange {
    /// From the first number on, up to but without the second.
    Span(u64, u64),
    /// The last so many bytes.
    Suffix(u64),
}

impl Default for ByteRange {
    fn default() -> Self {
        Self::Span(0, u64::MAX)
    }
}

impl<R: RangeBounds<u64>> From<R> for ByteRange {
    fn from(range: R) -> Self {
        let start = match range.start_bound() {
            Bound::Included(&start) => start,
            Bound::Excluded(&before) => before.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(&last) => last.saturating_add(1),
            Bound::Excluded(&end) => end,
            Bound::Unbounded => u64::MAX,
        };
        Self::Span(start, end)
    }
}

impl ByteRange {
    /// This range within an object of `size` bytes: never beyond it, and never
    /// with an end before its start.
    pub fn within(self, size: u64) -> Range<u64> {
        match self {
            Self::Span(start, end) => {
                let start = start.min(size);
                start..end.clamp(start, size)
            }
            Self::Suffix(length) => size.saturating_sub(length)..size,
        }
    }
}

/// How an object is opened.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenOptions {
    /// Which part to read; all of it by default.
    pub range: ByteRange,
    /// Open only this publication, as when a download is resumed; another one
    /// is refused with `Superseded`.
    pub version: Option<Version>,
}

impl OpenOptions {
    /// These options with this publication alone.
    pub fn version(mut self, version: Version) -> Self {
        self.version = Some(version);
        self
    }
}

impl<R: Into<ByteRange>> From<R> for OpenOptions {
    fn from(range: R) -> Self {
        Self {
            range: range.into(),
            ..Self::default()
        }
    }
}

/// An opened object: its metadata and its bytes.
#[derive(Debug)]
pub struct Blob {
    /// The whole object, of the very publication that is read.
    pub stat: BlobStat,
    /// Which part of it is read.
    pub range: Range<u64>,
    /// The bytes of that part.
    pub reader: Box<dyn BlobReader>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_never_leaves_the_object() {
        #[allow(clippy::reversed_empty_ranges)]
        let ranges = [
            (ByteRange::from(0..0), 0..0),
            (ByteRange::from(..=u64::MAX), 0..4),
            (ByteRange::from(4..), 4..4),
            (ByteRange::from(5..9), 4..4),
            (ByteRange::from(3..1), 3..3),
            (
                ByteRange::from((Bound::Excluded(1), Bound::Included(2))),
                2..3,
            ),
            (ByteRange::Suffix(0), 4..4),
            (ByteRange::Suffix(u64::MAX), 0..4),
        ];
        for (range, within) in ranges {
            assert_eq!(range.within(4), within, "{range:?}");
        }
    }

    #[test]
    fn metadata_that_some_store_could_not_hold_is_refused() {
        assert!(BlobMetadata::tagged("\"v1\"").check().is_ok());
        assert!(BlobMetadata::tagged("a\0").check().is_err());
        let large = "x".repeat(MAX_METADATA);
        assert!(
            BlobMetadata::default()
                .attribute("", &large)
                .check()
                .is_ok()
        );
        assert!(
            BlobMetadata::default()
                .attribute("n", &large)
                .check()
                .is_err()
        );
    }
}
