//! Names of objects.

use std::fmt;

use data_encoding::BASE32_NOPAD;
use sha2::{Digest, Sha256};

use crate::error::{Error, RedactedKey, Result};
use crate::key::RecordRef;

use super::BLOBS;

/// The longest key of an object, in bytes.
pub const MAX_BLOB_KEY: usize = 1024;

/// The longest key that is a record's id as it is. A longer one is cut here and
/// its digest follows, which makes the id longer than this: no short key can be
/// mistaken for a long one.
const VERBATIM: usize = 200;

/// How many bytes of a key its id always starts with. A character of several bytes may
/// end up to three bytes earlier.
const SORTED: usize = VERBATIM - 3;

/// The full, checked name of one object, borrowed.
///
/// The bucket is a [`Partition`](crate::Partition)'s name: objects of one bucket are listed
/// together and in order, and publishing them is that partition's work. The key
/// is 1 to [`MAX_BLOB_KEY`] bytes of anything but NUL; `/`, `..` and the like mean
/// nothing.
///
/// ```
/// use store_core::blobs::BlobRef;
/// let at = BlobRef::new("avatars", "users/../7.png")?;
/// assert_eq!((at.bucket(), at.key()), ("avatars", "users/../7.png"));
/// assert!(BlobRef::new("avatars", "").is_err());
/// # Ok::<(), store_core::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobRef<'a> {
    bucket: &'a str,
    key: &'a str,
}

impl<'a> BlobRef<'a> {
    /// The object `key` in `bucket`; allocates nothing.
    ///
    /// # Errors
    /// `InvalidInput` if the bucket is no partition's name, or the key is empty,
    /// over [`MAX_BLOB_KEY`] bytes, or holds a NUL.
    pub fn new(bucket: &'a str, key: &'a str) -> Result<Self> {
        RecordRef::new(bucket, BLOBS, "")?;
        if key.is_empty() || key.len() > MAX_BLOB_KEY || key.as_bytes().contains(&0) {
            return Err(Error::invalid(format!(
                "an object's key is 1 to {MAX_BLOB_KEY} bytes without NUL, and this one is {} bytes; \
                 name the object by a digest if its natural name does not fit",
                key.len()
            )));
        }
        Ok(Self { bucket, key })
    }

    /// The bucket.
    pub fn bucket(self) -> &'a str {
        self.bucket
    }

    /// The key within the bucket.
    pub fn key(self) -> &'a str {
        self.key
    }

    /// For an implementer: a name of at most 255 bytes for what is known of the
    /// object. Different keys have different ids, and ids sort as their keys do,
    /// except among keys that agree in their first 197 bytes and go on after
    /// them.
    pub fn id(self) -> String {
        id_of(self.key)
    }

    /// The name for people.
    pub fn redacted(self) -> RedactedKey {
        RecordRef::new(self.bucket, BLOBS, &id_of(self.key))
            .expect("checked when it was made")
            .redacted()
    }
}

impl fmt::Debug for BlobRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.redacted(), f)
    }
}

/// See [`BlobRef::id`].
fn id_of(key: &str) -> String {
    if key.len() <= VERBATIM {
        return key.to_owned();
    }
    let digest = BASE32_NOPAD.encode(&Sha256::digest(key.as_bytes()));
    let start = cut(key, VERBATIM);
    format!("{start}{}", digest.to_ascii_lowercase())
}

/// What the ids of all keys that start with `prefix` start with.
pub(super) fn id_prefix(prefix: &str) -> &str {
    cut(prefix, SORTED)
}

/// The longest start of `text` that is at most `max` bytes of whole characters.
fn cut(text: &str, max: usize) -> &str {
    if text.len() <= max {
        return text;
    }
    let whole = (0..=max).rev().find(|&at| text.is_char_boundary(at));
    &text[..whole.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::MAX_NAME;

    #[test]
    fn every_key_has_an_id_of_its_own_that_fits() {
        let keys = ["a", "é", "𝄞"].map(|c| {
            (VERBATIM - 8..VERBATIM + 8)
                .map(|n| format!("{}{}", "x".repeat(n), c.repeat(3)))
                .chain([c.repeat(MAX_BLOB_KEY / c.len())])
                .collect::<Vec<_>>()
        });
        let mut ids = std::collections::HashSet::new();
        for key in keys.iter().flatten() {
            let id = id_of(key);
            assert!(id.len() <= MAX_NAME);
            assert!(ids.insert(id_of(&id)), "an id taken as a key differs");
            if id != *key {
                assert!(ids.insert(id));
            }
        }
    }

    #[test]
    fn an_id_starts_as_its_key_does_so_that_prefixes_find_it() {
        for c in ["a", "é", "€", "𝄞"] {
            for lead in 0..4 {
                let key = format!("{}{}", "x".repeat(lead), c.repeat(150));
                for end in (0..=key.len()).filter(|&end| key.is_char_boundary(end)) {
                    let prefix = id_prefix(&key[..end]);
                    assert!(id_of(&key).starts_with(prefix), "{c} {lead} {end}");
                    assert!(end > SORTED || prefix.len() == end);
                }
            }
        }
    }

    #[test]
    fn keys_that_no_store_can_hold_are_refused() {
        assert!(BlobRef::new("b", "").is_err());
        assert!(BlobRef::new("b", "a\0").is_err());
        assert!(BlobRef::new("b", &"k".repeat(MAX_BLOB_KEY + 1)).is_err());
        assert!(BlobRef::new(&"b".repeat(MAX_NAME + 1), "k").is_err());
        assert!(BlobRef::new("", &"k".repeat(MAX_BLOB_KEY)).is_ok());
    }
}
