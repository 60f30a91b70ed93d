//! The pointer record: all that is known of one object, in one record, so that
//! content and metadata change together.

use serde::{Deserialize, Serialize};

use crate::blobs::name::Place;
use crate::blobs::{BlobMetadata, BlobStat, Publication, PutMode};
use crate::body::Unknown;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::record::{Record, Version};

/// The stored form's number. A release that changes its meaning raises it.
const FORMAT: u32 = 1;

/// The most writes of one object that may be open at once.
const MAX_UPLOADS: usize = 256;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Pointer {
    format: u32,
    /// The object's key in full: the record's id may be a digest.
    key: String,
    /// The sequence number that the next write gets.
    next: u64,
    /// Writes up to this number have lost: the object was deleted after them.
    floor: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) published: Option<Published>,
    /// Open writes. One that lost stays until its lease ends or its sink is
    /// done, so that the sweep does not free what the sink still writes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    uploads: Vec<Upload>,
    #[serde(flatten)]
    unknown: Unknown,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Published {
    /// When its write began, in order.
    sequence: u64,
    version: Version,
    pub(super) content: Content,
    published_at: Timestamp,
    metadata: BlobMetadata,
    #[serde(flatten)]
    unknown: Unknown,
}

/// Some bytes, in chunks of one size; the last may be shorter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Content {
    /// Names the chunks; never used for other bytes.
    pub(super) generation: Version,
    pub(super) size: u64,
    pub(super) chunk_size: u32,
}

impl Content {
    pub(super) fn chunks(&self) -> u64 {
        self.size.div_ceil(u64::from(self.chunk_size))
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
    pub(super) fn stat(&self) -> BlobStat {
        BlobStat {
            size: self.content.size,
            version: self.version,
            published_at: self.published_at,
            metadata: self.metadata.clone(),
        }
    }
}

impl Pointer {
    pub(super) fn new(key: &str) -> Self {
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

    /// What a record holds, whatever its key.
    pub(super) fn of(record: &Record) -> Result<std::sync::Arc<Self>> {
        let pointer = record.decode::<Self>()?;
        let whole = pointer.published.as_ref().is_none_or(|published| {
            published.content.chunk_size > 0 && published.content.chunks() <= u64::from(u32::MAX)
        });
        if pointer.format != FORMAT || !whole {
            return Err(Error::corrupt(
                "the object's record is of a form that this release does not know; \
                 was it written by a later one?",
            )
            .with_key(record.at()));
        }
        Ok(pointer)
    }

    /// What the record of `place` holds.
    pub(super) fn at(place: &Place, record: &Record) -> Result<std::sync::Arc<Self>> {
        let pointer = Self::of(record)?;
        if *pointer.key != *place.key {
            return Err(
                Error::corrupt("the object's record belongs to another key").with_key(place.at())
            );
        }
        Ok(pointer)
    }

    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// Nothing published and nothing under way: the record can go. Sequence
    /// numbers may then begin anew, because a commit must find its own upload
    /// here, and there is none.
    pub(super) fn is_blank(&self) -> bool {
        self.published.is_none() && self.uploads.is_empty()
    }

    /// From when on the record may be absent: without a published object it
    /// matters only to open writes.
    pub(super) fn expires_at(&self) -> Option<Timestamp> {
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

    /// Adds an open write.
    pub(super) fn begin(
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

    /// Until when this write may go on; `None` if it is not open.
    pub(super) fn lease_of(&self, generation: Version) -> Option<Timestamp> {
        let open = |upload: &&Upload| upload.generation == generation;
        self.uploads.iter().find(open).map(|u| u.lease_until)
    }

    /// Extends this write's lease; false if it cannot win any more.
    pub(super) fn renew(
        &mut self,
        generation: Version,
        lease_until: Timestamp,
        now: Timestamp,
    ) -> bool {
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

    /// Ends a write; true if it was open.
    pub(super) fn end(&mut self, generation: Version) -> bool {
        let before = self.uploads.len();
        self.uploads
            .retain(|upload| upload.generation != generation);
        self.uploads.len() < before
    }

    /// Ends a write by publishing its content, or says why not.
    pub(super) fn publish(
        &mut self,
        content: Content,
        metadata: &BlobMetadata,
        mode: PutMode,
        now: Timestamp,
    ) -> Publication {
        if let Some(published) = self.published_as(content.generation) {
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
    pub(super) fn restamp(
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

    /// The published object, if this is its content.
    pub(super) fn published_as(&self, generation: Version) -> Option<&Published> {
        let published = self.published.as_ref()?;
        (published.content.generation == generation).then_some(published)
    }

    /// Removes the object, and with it the chances of every write begun so far.
    pub(super) fn delete(&mut self, now: Timestamp) -> bool {
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
