//! The state of one object in one value, so that content and metadata change
//! together, and the rules that decide which write wins.

use bytes::Bytes;
use data_encoding::BASE64;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

use crate::body::{Format, Unknown};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::record::Version;

use super::{BlobMetadata, BlobStat, Publication, PutMode};

/// The most writes of one object that may be open at once.
const MAX_UPLOADS: usize = 256;

/// For an implementer of [`BlobStore`](super::BlobStore): the state of one
/// object, its open writes included, and the rules that decide which write wins.
///
/// Store it in one place that is changed by compare-and-swap: read it, call one
/// of its methods, write it back on condition that it is unchanged, and decide
/// again if it is not. Content has a *generation* as its name, which no other
/// write ever uses; small content may be stored here.
///
/// ```
/// use store_core::blobs::{BlobMetadata, Content, Pointer, Publication, PutMode};
/// use store_core::{Timestamp, Version};
///
/// let now = Timestamp::from_nanos(0);
/// let hour = std::time::Duration::from_secs(3600);
/// let mut pointer = Pointer::new("2030/q1.csv");
/// let (early, late) = (Version::unique(), Version::unique());
/// pointer.begin(early, now + hour, now)?;
/// pointer.begin(late, now + hour, now)?;
///
/// let content = |generation| Content { generation, size: 5, chunk_size: 5 };
/// let metadata = BlobMetadata::default();
/// let mut publish =
///     |generation| pointer.publish(content(generation), &metadata, PutMode::Overwrite, now);
/// assert!(matches!(publish(late), Publication::Published(_)));
/// // It began before the one that is published now.
/// assert_eq!(publish(early), Publication::Superseded);
/// # Ok::<(), store_core::Error>(())
/// ```
///
/// The stored form is what serde makes of it. Fields that a later release adds
/// are preserved when an older one rewrites it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pointer {
    format: Format<1>,
    /// The object's key in full: the record's id may be a digest.
    key: String,
    /// The sequence number that the next write gets.
    next: u64,
    /// Writes up to this number have lost: the object was deleted after them.
    floor: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    published: Option<Published>,
    /// Open writes. One that lost stays until its lease ends or its sink is
    /// done, so that the sweep does not free what the sink still writes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    uploads: Vec<Upload>,
    #[serde(flatten)]
    unknown: Unknown,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Published {
    /// When its write began, in order.
    sequence: u64,
    version: Version,
    content: Content,
    /// The content itself, if it is small; there are no chunks then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    inline: Option<Inline>,
    published_at: Timestamp,
    metadata: BlobMetadata,
    #[serde(flatten)]
    unknown: Unknown,
}

/// Some bytes, in chunks of one size; the last may be shorter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// Names the chunks; never used for other bytes.
    pub generation: Version,
    /// How many bytes there are in all.
    pub size: u64,
    /// How many bytes each chunk has; not zero.
    pub chunk_size: u64,
}

impl Content {
    /// How many chunks there are; none if there are no bytes.
    pub fn chunks(&self) -> u64 {
        self.size.div_ceil(self.chunk_size)
    }
}

/// Small content, stored as Base64 unless the store of pointers stores it beside
/// the pointer.
#[derive(Clone, PartialEq)]
enum Inline {
    Read(Bytes),
    /// It is stored with the pointer, and only the pointer was read.
    Unread,
}

impl std::fmt::Debug for Inline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Read(bytes) => write!(f, "{} bytes", bytes.len()),
            Self::Unread => f.write_str("unread"),
        }
    }
}

impl Serialize for Inline {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Read(bytes) => serializer.serialize_str(&BASE64.encode(bytes)),
            Self::Unread => Err(ser::Error::custom("the content of an object was not read")),
        }
    }
}

impl<'de> Deserialize<'de> for Inline {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = BASE64.decode(text.as_bytes());
        let malformed = |_| de::Error::custom("the content of an object is not Base64");
        bytes
            .map(|bytes| Self::Read(bytes.into()))
            .map_err(malformed)
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Upload {
    sequence: u64,
    generation: Version,
    lease_until: Timestamp,
    #[serde(flatten)]
    unknown: Unknown,
}

impl Published {
    fn stat(&self) -> BlobStat {
        BlobStat {
            size: self.content.size,
            version: self.version,
            published_at: self.published_at,
            metadata: self.metadata.clone(),
        }
    }
}

impl Pointer {
    /// The state of a key that was never written.
    pub fn new(key: &str) -> Self {
        Self {
            format: Format,
            key: key.to_owned(),
            next: 1,
            floor: 0,
            published: None,
            uploads: Vec::new(),
            unknown: Unknown::new(),
        }
    }

    /// Checks a pointer that was read.
    ///
    /// # Errors
    /// `Corrupt` if its numbers contradict each other.
    pub fn check(&self) -> Result<()> {
        let is_whole = |published: &Published| {
            let content = published.content;
            content.chunk_size > 0
                && content.chunks() <= u64::from(u32::MAX)
                && published.sequence < self.next
                && match &published.inline {
                    Some(Inline::Read(bytes)) => bytes.len() as u64 == content.size,
                    Some(Inline::Unread) | None => true,
                }
        };
        let numbers = self.floor < self.next
            && self.next < u64::MAX
            && self
                .uploads
                .iter()
                .all(|upload| upload.sequence < self.next);
        if numbers && self.published.as_ref().is_none_or(is_whole) {
            return Ok(());
        }
        Err(Error::corrupt(
            "the object's pointer contradicts itself; was it changed by hand? Put the object again",
        ))
    }

    /// The object's key in full.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The published object's metadata, size and version.
    pub fn stat(&self) -> Option<BlobStat> {
        self.published.as_ref().map(Published::stat)
    }

    /// The name and size of the published object's content.
    pub fn content(&self) -> Option<Content> {
        self.published.as_ref().map(|published| published.content)
    }

    /// Names the publication.
    pub(super) fn version(&self) -> Option<Version> {
        self.published.as_ref().map(|published| published.version)
    }

    /// The published object's content itself, if it is stored here and was read.
    pub fn inline(&self) -> Option<&Bytes> {
        match self.published.as_ref()?.inline.as_ref()? {
            Inline::Read(bytes) => Some(bytes),
            Inline::Unread => None,
        }
    }

    /// Whether the published object's content is stored here and was not read.
    /// Such a pointer cannot be written.
    pub fn is_unread(&self) -> bool {
        let inline = |published: &Published| published.inline == Some(Inline::Unread);
        self.published.as_ref().is_some_and(inline)
    }

    /// The published object's content, if it is stored elsewhere and has to be
    /// freed once it is replaced.
    pub fn stored_apart(&self) -> Option<Content> {
        let apart = |published: &&Published| published.inline.is_none();
        let published = self.published.as_ref().filter(apart)?;
        (published.content.chunks() > 0).then_some(published.content)
    }

    /// Stores the content that was just published here as well.
    pub fn set_inline(&mut self, bytes: Bytes) {
        if let Some(published) = &mut self.published {
            published.inline = Some(Inline::Read(bytes));
        }
    }

    /// For a store that stores small content beside the pointer: takes it out, so
    /// that the rest can be serialized.
    pub fn take_inline(&mut self) -> Option<Bytes> {
        match self.published.as_mut()?.inline.take()? {
            Inline::Read(bytes) => Some(bytes),
            Inline::Unread => None,
        }
    }

    /// For a store that stores small content beside the pointer: the published
    /// object has such content, which was not read or is not needed in memory.
    pub fn leave_unread(&mut self) {
        if let Some(published) = &mut self.published {
            published.inline = Some(Inline::Unread);
        }
    }

    /// Whether this is the published object's content.
    pub fn is_published(&self, generation: Version) -> bool {
        self.content()
            .is_some_and(|content| content.generation == generation)
    }

    /// Whether nothing is published and no write is open, so that it can be
    /// deleted. Sequence numbers may then start again, because a commit must find
    /// its own write here, and there is none.
    pub fn is_blank(&self) -> bool {
        self.published.is_none() && self.uploads.is_empty()
    }

    /// When it may expire: without a published object it matters only to open
    /// writes. `None` if it must not expire, or is blank.
    pub fn expires_at(&self) -> Option<Timestamp> {
        let open = self.uploads.iter().map(|upload| upload.lease_until).max();
        match self.published {
            Some(_) => None,
            None => open,
        }
    }

    /// Forgets the writes whose lease has run out. They can never commit.
    fn expire(&mut self, now: Timestamp) {
        self.uploads.retain(|upload| upload.lease_until > now);
    }

    /// Adds an open write, which must be published or renewed before
    /// `lease_until`.
    ///
    /// # Errors
    /// `LimitExceeded` if too many are open.
    pub fn begin(
        &mut self,
        generation: Version,
        lease_until: Timestamp,
        now: Timestamp,
    ) -> Result<()> {
        self.expire(now);
        if self.uploads.len() >= MAX_UPLOADS {
            return Err(Error::new(
                ErrorKind::LimitExceeded,
                format!(
                    "{MAX_UPLOADS} writes of this object are open already; let one caller \
                     write it for all, or wait until abandoned ones lose their lease"
                ),
            ));
        }
        self.uploads.push(Upload {
            sequence: self.next,
            generation,
            lease_until,
            unknown: Unknown::new(),
        });
        self.next += 1;
        Ok(())
    }

    /// Until when this write may go on; `None` if it is not open. One that cannot
    /// win any more stays open until it is ended or its lease is over.
    pub fn lease_of(&self, generation: Version) -> Option<Timestamp> {
        let open = |upload: &&Upload| upload.generation == generation;
        self.uploads.iter().find(open).map(|u| u.lease_until)
    }

    /// Extends this write's lease; false if it cannot win any more.
    pub fn renew(&mut self, generation: Version, lease_until: Timestamp, now: Timestamp) -> bool {
        self.expire(now);
        let beaten = self.beaten();
        let open = |upload: &&mut Upload| upload.generation == generation;
        match self.uploads.iter_mut().find(open) {
            Some(upload) if upload.sequence > beaten => {
                upload.lease_until = lease_until;
                true
            }
            _ => false,
        }
    }

    /// Ends a write, which can then not publish any more; true if it was open. Write
    /// the pointer before you free what the write stored.
    pub fn end(&mut self, generation: Version) -> bool {
        let before = self.uploads.len();
        self.uploads
            .retain(|upload| upload.generation != generation);
        self.uploads.len() < before
    }

    /// Ends a write by publishing its content, or says why not. Either way it is
    /// not open any more. A second call after the publication returns the same.
    pub fn publish(
        &mut self,
        content: Content,
        metadata: &BlobMetadata,
        mode: PutMode,
        now: Timestamp,
    ) -> Publication {
        if let Some(published) = &self.published
            && published.content.generation == content.generation
        {
            return Publication::Published(published.stat());
        }
        self.expire(now);
        let open = |upload: &Upload| upload.generation == content.generation;
        let Some(index) = self.uploads.iter().position(open) else {
            return Publication::Superseded;
        };
        let sequence = self.uploads.remove(index).sequence;
        self.replace(sequence, content, metadata, mode, now)
    }

    /// Begins a write and publishes it, in one step.
    pub fn publish_at_once(
        &mut self,
        content: Content,
        metadata: &BlobMetadata,
        mode: PutMode,
        now: Timestamp,
    ) -> Publication {
        self.expire(now);
        let sequence = self.next;
        self.next += 1;
        self.replace(sequence, content, metadata, mode, now)
    }

    /// Publishes the content of a write that is no longer open, or says why not.
    fn replace(
        &mut self,
        sequence: u64,
        content: Content,
        metadata: &BlobMetadata,
        mode: PutMode,
        now: Timestamp,
    ) -> Publication {
        if sequence <= self.beaten() {
            return Publication::Superseded;
        }
        match (mode, &self.published) {
            (PutMode::CreateOnly, Some(_)) => return Publication::AlreadyExists,
            (PutMode::IfUnchanged(version), current)
                if current.as_ref().map(|published| published.version) != Some(version) =>
            {
                return Publication::Changed;
            }
            _ => {}
        }
        let mut metadata = metadata.clone();
        metadata.cached_at.get_or_insert(now);
        let published = self.published.insert(Published {
            sequence,
            version: Version::unique(),
            content,
            inline: None,
            published_at: now,
            metadata,
            unknown: Unknown::new(),
        });
        Publication::Published(published.stat())
    }

    /// Gives the published object other metadata, if it is still `version`.
    pub fn restamp(
        &mut self,
        version: Version,
        metadata: BlobMetadata,
        now: Timestamp,
    ) -> Publication {
        match &mut self.published {
            Some(published) if published.version == version => {
                published.version = Version::unique();
                published.published_at = now;
                published.metadata = metadata;
                published.metadata.cached_at.get_or_insert(now);
                Publication::Published(published.stat())
            }
            _ => Publication::Changed,
        }
    }

    /// Removes the object, and makes every write that has begun lose. True if there was
    /// one.
    pub fn delete(&mut self, now: Timestamp) -> bool {
        self.expire(now);
        self.floor = self.next - 1;
        self.published.take().is_some()
    }

    /// Writes up to this number have lost.
    fn beaten(&self) -> u64 {
        let published = self.published.as_ref().map_or(0, |p| p.sequence);
        self.floor.max(published)
    }
}
