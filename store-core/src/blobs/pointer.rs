//! All that is known of one object, in one small thing, so that content and
//! metadata change together; and who wins, decided in it alone.

use serde::{Deserialize, Serialize};

use crate::body::Unknown;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::record::Version;

use super::{BlobMetadata, BlobStat, Publication, PutMode};

/// The stored form's number. A release that changes its meaning raises it.
const FORMAT: u32 = 1;

/// The most writes of one object that may be open at once.
const MAX_UPLOADS: usize = 256;

/// For an implementer of [`BlobStore`](super::BlobStore): what is known of one
/// object, its open writes included, and every rule of who wins.
///
/// Keep it in one place that is changed by compare-and-swap: read it, call one
/// of its methods, write it back on condition that nobody else did meanwhile,
/// and decide anew if somebody did. Nothing here touches content; it is named by
/// a *generation*, which no other write ever uses.
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
/// are kept when an older one rewrites it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pointer {
    format: u32,
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
    /// That there is no object of this key, and that none was ever begun.
    pub fn new(key: &str) -> Self {
        Self {
            format: FORMAT,
            key: key.to_owned(),
            next: 1,
            floor: 0,
            published: None,
            uploads: Vec::new(),
            unknown: Unknown::new(),
        }
    }

    /// To be called on one that was read.
    ///
    /// # Errors
    /// `Corrupt` if it is of a form that this release does not know.
    pub fn check(&self) -> Result<()> {
        let whole = self.content().is_none_or(|content| {
            content.chunk_size > 0 && content.chunks() <= u64::from(u32::MAX)
        });
        let counted = self.floor < self.next && self.next < u64::MAX;
        if self.format == FORMAT && whole && counted {
            return Ok(());
        }
        Err(Error::corrupt(
            "what is known of the object is of a form that this release does not know; \
             was it written by a later one?",
        ))
    }

    /// The object's key in full.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// What is known of the published object.
    pub fn stat(&self) -> Option<BlobStat> {
        self.published.as_ref().map(Published::stat)
    }

    /// Where the published object's content is.
    pub fn content(&self) -> Option<Content> {
        self.published.as_ref().map(|published| published.content)
    }

    /// Whether this is the published object's content.
    pub fn is_published(&self, generation: Version) -> bool {
        self.content()
            .is_some_and(|content| content.generation == generation)
    }

    /// Nothing is published and nothing is under way: it need not be kept.
    /// Sequence numbers may then begin anew, because a commit must find its own
    /// write here, and there is none.
    pub fn is_blank(&self) -> bool {
        self.published.is_none() && self.uploads.is_empty()
    }

    /// From when on it need not be kept: without a published object it matters
    /// only to open writes. `None` if it must be kept, or is blank.
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

    /// Ends a write, which can then not publish any more; true if it was open. To
    /// be written down before what it wrote is freed.
    pub fn end(&mut self, generation: Version) -> bool {
        let before = self.uploads.len();
        self.uploads
            .retain(|upload| upload.generation != generation);
        self.uploads.len() < before
    }

    /// Ends a write by publishing its content, or says why not. Either way it is
    /// not open any more. Asked again once it is published it says so again.
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

    /// Removes the object, and with it the chances of every write begun so far.
    /// True if there was one.
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
