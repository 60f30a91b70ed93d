//! Names: of collections, partitions and records.
//!
//! Names are checked when they are made, so a backend can store each of them: at most
//! [`MAX_NAME`] bytes, no NUL, any other character. Their `Debug` is
//! [redacted](RedactedKey), because an id may be an e-mail address or a digest.

use std::borrow::{Borrow, Cow};
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::Arc;

use data_encoding::BASE32_NOPAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{Error, RedactedKey, Result};

pub use crate::collection::Collection;

/// The longest id and the longest partition, in bytes.
pub const MAX_NAME: usize = 255;

fn check_name(what: &'static str, name: &str) -> Result<()> {
    if name.len() > MAX_NAME {
        return Err(Error::invalid(format!(
            "{what} is {} bytes long and may be {MAX_NAME}; shorten it or pass it through key::bounded",
            name.len()
        )));
    }
    if name.as_bytes().contains(&0) {
        return Err(Error::invalid(format!("{what} holds a NUL; remove it")));
    }
    Ok(())
}

/// The unit of atomicity and of scale: records of one partition can change
/// together, and a partition lives in one place. Cheap to clone. Serialized as its
/// name, which is checked when it is read.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Partition(Arc<str>);

impl Partition {
    /// A partition of this name.
    ///
    /// # Errors
    /// `InvalidInput` over [`MAX_NAME`] bytes or with a NUL.
    pub fn new(name: impl AsRef<str>) -> Result<Self> {
        let name = name.as_ref();
        check_name("a partition's name", name)?;
        Ok(Self(name.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<&str> for Partition {
    type Error = Error;

    fn try_from(name: &str) -> Result<Self> {
        Self::new(name)
    }
}

impl TryFrom<String> for Partition {
    type Error = Error;

    fn try_from(name: String) -> Result<Self> {
        Self::new(name)
    }
}

impl From<Partition> for String {
    fn from(partition: Partition) -> Self {
        partition.as_str().into()
    }
}

impl FromStr for Partition {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::new(name)
    }
}

impl Borrow<str> for Partition {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "partition#{:08x}", short_digest(&[&self.0]))
    }
}

/// A record's name within its partition. Cheap to clone.
///
/// It is not read from configuration or bodies: collections are declared in code.
/// Store the id.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordKey {
    collection: Collection,
    id: Arc<str>,
}

impl RecordKey {
    /// The key `id` in `collection`.
    ///
    /// # Errors
    /// `InvalidInput` if the id is over [`MAX_NAME`] bytes or holds a NUL;
    /// `Config` if this process declared the collection with other flags before.
    pub fn new(collection: Collection, id: impl AsRef<str>) -> Result<Self> {
        let id = id.as_ref();
        check_name("a record's id", id)?;
        collection.check_flags()?;
        Ok(Self {
            collection,
            id: id.into(),
        })
    }

    /// The collection.
    pub fn collection(&self) -> Collection {
        self.collection
    }

    /// The id.
    #[inline]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// This key in `partition`.
    #[inline]
    pub fn at<'a>(&'a self, partition: &'a Partition) -> RecordRef<'a> {
        RecordRef {
            partition: &partition.0,
            collection: self.collection,
            id: &self.id,
        }
    }

    /// The key in a notice, which is not a use of the collection by this program.
    pub(crate) fn received(collection: Collection, id: &str) -> Result<Self> {
        let id = check_name("a record's id", id).map(|()| id.into())?;
        Ok(Self { collection, id })
    }
}

impl fmt::Debug for RecordKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}#{:08x}",
            self.collection.name(),
            short_digest(&[&self.id])
        )
    }
}

/// The full, checked name of one record, borrowed: what reads take.
#[derive(Clone, Copy)]
pub struct RecordRef<'a> {
    collection: Collection,
    partition: &'a str,
    id: &'a str,
}

impl PartialEq for RecordRef<'_> {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
            && self.same_partition(other.partition)
            && self.collection == other.collection
    }
}

impl Eq for RecordRef<'_> {}

impl PartialOrd for RecordRef<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for RecordRef<'_> {
    /// By collection, then partition, then id, each bytewise.
    fn cmp(&self, other: &Self) -> Ordering {
        let partition = || {
            if std::ptr::eq(self.partition, other.partition) {
                return Ordering::Equal;
            }
            self.partition.cmp(other.partition)
        };
        self.collection
            .cmp(&other.collection)
            .then_with(partition)
            .then_with(|| self.id.cmp(other.id))
    }
}

impl Hash for RecordRef<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.collection.hash(state);
        self.partition.hash(state);
        self.id.hash(state);
    }
}

impl<'a> RecordRef<'a> {
    /// The record `id` of `collection` in `partition`; allocates nothing.
    ///
    /// # Errors
    /// `InvalidInput` if a name is over [`MAX_NAME`] bytes or holds a NUL;
    /// `Config` if this process declared the collection with other flags before.
    pub fn new(partition: &'a str, collection: Collection, id: &'a str) -> Result<Self> {
        check_name("a partition's name", partition)?;
        check_name("a record's id", id)?;
        collection.check_flags()?;
        Ok(Self {
            collection,
            partition,
            id,
        })
    }

    /// The partition's name.
    #[inline]
    pub fn partition(self) -> &'a str {
        self.partition
    }

    /// The collection.
    #[inline]
    pub fn collection(self) -> Collection {
        self.collection
    }

    /// The id.
    #[inline]
    pub fn id(self) -> &'a str {
        self.id
    }

    /// True if the record is in the partition of this name.
    #[inline]
    pub fn same_partition(self, partition: &str) -> bool {
        // Records of one partition usually share its name.
        std::ptr::eq(self.partition, partition) || self.partition == partition
    }

    /// The name for people.
    pub fn redacted(self) -> RedactedKey {
        RedactedKey {
            collection: self.collection.name(),
            digest: short_digest(&[self.partition, self.id]),
        }
    }
}

impl fmt::Debug for RecordRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.redacted(), f)
    }
}

fn short_digest(parts: &[&str]) -> u32 {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    let digest = hash.finalize();
    u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]])
}

/// Fits a contract's key, of any length and with any character, into a name.
///
/// A key that fits stays as it is, readable. Any other becomes `#` and a SHA-256
/// digest. Two different keys never have one name: a key that starts with `#` is digested
/// too. Store the full key in the record if people should see it.
///
/// ```
/// use store_core::key::bounded;
/// assert_eq!(bounded("user:7"), "user:7");
/// assert_eq!(bounded(&"x".repeat(1024)).len(), 53);
/// ```
pub fn bounded(key: &str) -> Cow<'_, str> {
    bounded_to(key, MAX_NAME)
}

/// Like [`bounded`], into `room` bytes: for a key that follows a prefix in an
/// id. Always use the same room for the same kind of key. A digest takes 53
/// bytes, so with less room the result may be longer than `room`.
pub fn bounded_to(key: &str, room: usize) -> Cow<'_, str> {
    if key.len() <= room && !key.starts_with('#') && !key.as_bytes().contains(&0) {
        return Cow::Borrowed(key);
    }
    let digest = BASE32_NOPAD.encode(&Sha256::digest(key.as_bytes()));
    Cow::Owned(format!("#{}", digest.to_ascii_lowercase()))
}

/// Joins segments into one name such that different segments never give the
/// same name, and such that the name of some segments followed by `/` is a
/// prefix of the name of those segments followed by more, and of nothing else.
///
/// `/` and `%` inside a segment are escaped as in a URL.
///
/// ```
/// use store_core::key::join;
/// assert_eq!(join(&["users", "alice"]), "users/alice");
/// assert_ne!(join(&["a/b", "c"]), join(&["a", "b/c"]));
/// ```
pub fn join(segments: &[&str]) -> String {
    let mut name = String::with_capacity(segments.iter().map(|s| s.len() + 1).sum());
    for (i, segment) in segments.iter().enumerate() {
        if i > 0 {
            name.push('/');
        }
        for c in segment.chars() {
            match c {
                '/' => name.push_str("%2F"),
                '%' => name.push_str("%25"),
                c => name.push(c),
            }
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    const THINGS: Collection = Collection::new("things");

    #[test]
    fn a_name_over_the_limit_or_with_a_nul_is_refused() {
        assert!(Partition::new("p".repeat(255)).is_ok());
        assert!(Partition::new("p".repeat(256)).is_err());
        assert!(RecordKey::new(THINGS, "a\0b").is_err());
        assert!(RecordRef::new("", THINGS, "").is_ok());
    }

    #[test]
    fn a_partition_is_serialized_as_its_name_and_checked_when_it_is_read() {
        let partition = Partition::new("acme").unwrap();
        let text = serde_json::to_string(&partition).unwrap();
        assert_eq!(text, r#""acme""#);
        assert_eq!(serde_json::from_str::<Partition>(&text).unwrap(), partition);
        assert!(serde_json::from_str::<Partition>(r#""a\u0000b""#).is_err());
    }

    #[test]
    fn no_two_contract_keys_share_a_name() {
        let long = "k".repeat(300);
        let digested = bounded(&long).into_owned();
        assert_ne!(bounded(&digested), digested);
        assert_ne!(bounded("a\0"), bounded("a"));
    }

    #[test]
    fn joined_names_are_injective() {
        let names = [
            join(&["a", "b", "c"]),
            join(&["a/b", "c"]),
            join(&["a", "b/c"]),
            join(&["a%2Fb", "c"]),
            join(&["a", "b", "c", ""]),
        ];
        let distinct: std::collections::HashSet<_> = names.iter().collect();
        assert_eq!(distinct.len(), names.len());
    }

    #[test]
    fn debug_shows_no_name() {
        let key = RecordKey::new(THINGS, "alice@example.org").unwrap();
        let partition = Partition::new("tenant-of-alice").unwrap();
        for text in [
            format!("{key:?}"),
            format!("{partition:?}"),
            format!("{:?}", key.at(&partition)),
        ] {
            assert!(!text.contains("alice"), "{text}");
        }
    }
}
