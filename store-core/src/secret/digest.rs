//! Keyed digests of secrets that are looked up by value.

use std::fmt;

use data_encoding::BASE32_NOPAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::secret::KeyRing;

/// Digests secrets of high entropy, such as API keys and session tokens, so
/// that a record can be named after one without storing it.
///
/// The digest is HMAC-SHA-256 under a key derived from the ring. A reader of
/// the database without the ring can neither read a secret back nor test a
/// guess. It is a fast digest: right for a secret of 128 random bits, wrong for
/// a password.
///
/// ```
/// use store_core::secret::{Digester, KeyRing};
///
/// let ring = KeyRing::new("2026a", *b"thirty-two bytes from a vault ..").unwrap();
/// let digester = Digester::new(&ring, "example sessions");
/// let digest = digester.current(b"a session token");
/// assert!(digest.as_str().starts_with("2026a."));
/// assert_eq!(digest, digester.current(b"a session token"));
/// ```
#[derive(Clone)]
pub struct Digester {
    keys: Vec<Key>,
}

#[derive(Clone)]
struct Key {
    id: String,
    key: Zeroizing<[u8; 32]>,
}

impl Digester {
    /// Digests under each key of `ring`, for one `purpose`: the same secret has
    /// another digest for another purpose.
    pub fn new(ring: &KeyRing, purpose: &str) -> Self {
        let keys = ring
            .ids()
            .filter_map(|id| {
                let key = ring.derive(id, purpose)?;
                Some(Key { id: id.into(), key })
            })
            .collect();
        Self { keys }
    }

    /// The digest under the ring's current key: what is written from now on.
    pub fn current(&self, secret: &[u8]) -> Digest {
        digest(&self.keys[0], secret)
    }

    /// The digests under every key of the ring, the current one first: what an
    /// existing record may be named.
    pub fn all(&self, secret: &[u8]) -> Vec<Digest> {
        self.keys.iter().map(|key| digest(key, secret)).collect()
    }
}

impl fmt::Debug for Digester {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.keys.iter().map(|key| &key.id))
            .finish()
    }
}

fn digest(key: &Key, secret: &[u8]) -> Digest {
    let mut mac = Hmac::<Sha256>::new_from_slice(&*key.key).expect("any length will do");
    mac.update(secret);
    let mut text = BASE32_NOPAD.encode(&mac.finalize().into_bytes());
    text.make_ascii_lowercase();
    Digest(format!("{}.{text}", key.id))
}

/// A secret's digest with the name of the ring's key that made it, as
/// `2026a.mzxw6…`. Not secret; compared in constant time all the same.
#[derive(Clone, Eq)]
pub struct Digest(String);

impl Digest {
    /// The text: fits a record's id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl PartialEq for Digest {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (id, _) = self.0.split_once('.').unwrap_or_default();
        write!(f, "Digest({id}.…)")
    }
}

/// The first 16 bits of an unkeyed hash of `secret`, for spreading records over
/// partitions. It stays the same when the ring rotates, so that a record and
/// its re-digested successor share a partition and change in one commit.
///
/// It reveals 16 bits of the secret to a reader of the database: harmless
/// for a secret of 128 random bits.
pub fn bucket(purpose: &str, secret: &[u8]) -> u16 {
    let mut hash = Sha256::new();
    hash.update((purpose.len() as u64).to_be_bytes());
    hash.update(purpose);
    hash.update(secret);
    let hash = hash.finalize();
    u16::from_be_bytes([hash[0], hash[1]])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring() -> KeyRing {
        KeyRing::new("new", *b"abcdefghijklmnopqrstuvwxyz012345")
            .and_then(|ring| ring.with_older("old", *b"0123456789abcdef0123456789abcdef"))
            .unwrap()
    }

    #[test]
    fn each_key_and_each_purpose_gives_another_digest() {
        let digester = Digester::new(&ring(), "a");
        let all = digester.all(b"secret");
        assert_eq!(all.len(), 2);
        assert_eq!(all[0], digester.current(b"secret"));
        assert!(all[0].as_str().starts_with("new.") && all[1].as_str().starts_with("old."));
        assert_ne!(all[0].as_str()[4..], all[1].as_str()[4..]);
        assert_ne!(all[0], Digester::new(&ring(), "b").current(b"secret"));
        assert_ne!(all[0], digester.current(b"Secret"));
    }

    #[test]
    fn a_digest_never_changes_between_releases() {
        let digest = Digester::new(&ring(), "a").current(b"secret");
        assert_eq!(
            digest.as_str(),
            "new.yn73lafz5d3f2kvoftjklqt54xigvcwoqlnvwxw2socqgvmvksua"
        );
        assert_eq!(bucket("a", b"secret"), 0xf0d7);
    }

    #[test]
    fn nothing_but_names_is_shown() {
        let digester = Digester::new(&ring(), "a");
        assert_eq!(format!("{digester:?}"), r#"["new", "old"]"#);
        assert_eq!(format!("{:?}", digester.current(b"s")), "Digest(new.…)");
    }
}
