//! Key rings.

use std::fmt;

use data_encoding::BASE64URL_NOPAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::Secret;
use crate::error::{Error, ErrorKind, Result};

/// Some keys of 256 bits, each with a short public name. The first one is used
/// for what is written from now on; the others still open what was written
/// under them. Cheap to clone; cleared from memory when dropped.
///
/// To rotate: put a new key in front, rewrite what was protected by the old one,
/// then remove the old one.
#[derive(Clone)]
#[doc(alias("rotate", "rotation", "pepper"))]
pub struct KeyRing {
    keys: Vec<RingKey>,
}

#[derive(Clone)]
struct RingKey {
    id: String,
    key: Zeroizing<[u8; 32]>,
}

impl KeyRing {
    /// A ring of one key.
    ///
    /// # Errors
    /// As [`KeyRing::with_older`].
    pub fn new(id: impl Into<String>, key: [u8; 32]) -> Result<Self> {
        Self { keys: Vec::new() }.with_older(id, key)
    }

    /// A ring of one new random key with a random name.
    ///
    /// Generate a ring once, store [`KeyRing::to_text`] in a vault or the
    /// environment of every process, and read it with [`KeyRing::from_env`] or
    /// [`KeyRing::from_file`]: what was written under a ring that was lost can
    /// never be read again.
    ///
    /// # Panics
    /// If the operating system has no random bytes to give.
    pub fn generate() -> Self {
        let (mut name, mut key) = ([0; 5], [0; 32]);
        getrandom::fill(&mut name).expect("the operating system gives random bytes");
        getrandom::fill(&mut key).expect("the operating system gives random bytes");
        let name = data_encoding::BASE32_NOPAD
            .encode(&name)
            .to_ascii_lowercase();
        Self::new(name, key).expect("a good name and a random key")
    }

    /// As [`KeyRing::generate`]: for tests and examples, whose store lives no
    /// longer than the process.
    ///
    /// # Panics
    /// As [`KeyRing::generate`].
    pub fn random() -> Self {
        Self::generate()
    }

    /// The ring in the environment variable `name`, in the form that
    /// [`KeyRing::parse`] reads.
    ///
    /// # Errors
    /// `Config` if it is not set or has another form. Its value is not quoted.
    pub fn from_env(name: &str) -> Result<Self> {
        let text = std::env::var(name).map(Zeroizing::new).map_err(|_| {
            Error::new(
                ErrorKind::Config,
                format!(
                    "the environment variable {name} holds no key ring; set it to the text that \
                     KeyRing::generate().to_text() gives once"
                ),
            )
        })?;
        Self::parse(&text)
    }

    /// The ring in a file, in the form that [`KeyRing::parse`] reads. Blanks
    /// and line ends around it are ignored.
    ///
    /// # Errors
    /// `Config` if the file cannot be read or has another form. Its content is
    /// not quoted.
    pub fn from_file(path: impl AsRef<std::path::Path>) -> Result<Self> {
        let text = std::fs::read_to_string(path).map(Zeroizing::new);
        let text = text.map_err(|e| {
            Error::new(
                ErrorKind::Config,
                "the file of the key ring cannot be read; check its path and who may read it",
            )
            .with_source(e)
        })?;
        Self::parse(&text)
    }

    /// The ring as text, newest key first, as [`KeyRing::parse`] reads it: for
    /// a vault. It is as secret as the keys.
    ///
    /// ```
    /// use store_core::secret::KeyRing;
    ///
    /// let ring = KeyRing::generate();
    /// let text = ring.to_text();
    /// let back: KeyRing = text.expose().parse()?;
    /// assert_eq!(back.current(), ring.current());
    /// # Ok::<(), store_core::Error>(())
    /// ```
    pub fn to_text(&self) -> Secret {
        let mut text = Zeroizing::new(String::with_capacity(64 * self.keys.len()));
        for (index, RingKey { id, key }) in self.keys.iter().enumerate() {
            if index > 0 {
                text.push(',');
            }
            text.push_str(id);
            text.push(':');
            text.push_str(&Zeroizing::new(BASE64URL_NOPAD.encode(&**key)));
        }
        Secret::new(&**text)
    }

    /// This ring and one more key, which only opens what was written under it.
    ///
    /// # Errors
    /// `Config` if the name is not 1 to 16 letters, digits or `-`, is there
    /// already, or the key is all one byte.
    pub fn with_older(mut self, id: impl Into<String>, key: [u8; 32]) -> Result<Self> {
        let id = id.into();
        let good = (1..=16).contains(&id.len())
            && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if !good || self.keys.iter().any(|held| held.id == id) {
            return Err(Error::new(
                ErrorKind::Config,
                "a key's name is 1 to 16 letters, digits or dashes, and each name is used once",
            ));
        }
        if key.iter().all(|&byte| byte == key[0]) {
            return Err(Error::new(
                ErrorKind::Config,
                "a key is all one byte; make 32 random ones",
            ));
        }
        self.keys.push(RingKey {
            id,
            key: Zeroizing::new(key),
        });
        Ok(self)
    }

    /// The ring that a text such as `2026b:KEY,2026a:KEY` describes, the newest
    /// key first, each `KEY` being 32 bytes in unpadded base64url: for a
    /// setting in the environment.
    ///
    /// # Errors
    /// `Config` if it has another form. The text is not quoted.
    pub fn parse(text: &str) -> Result<Self> {
        let mut ring = Self { keys: Vec::new() };
        for part in text.trim().split(',') {
            let key = part.trim().split_once(':').and_then(|(id, key)| {
                let decoded = BASE64URL_NOPAD.decode(key.as_bytes()).ok()?;
                let decoded = Zeroizing::new(decoded);
                Some((id, <[u8; 32]>::try_from(decoded.as_slice()).ok()?))
            });
            let (id, key) = key.ok_or_else(|| {
                Error::new(
                    ErrorKind::Config,
                    "a key ring is written as NAME:KEY,NAME:KEY with KEY being 32 bytes in \
                     base64url without padding",
                )
            })?;
            ring = ring.with_older(id, key)?;
        }
        Ok(ring)
    }

    /// The name of the key that is used for what is written now.
    pub fn current(&self) -> &str {
        &self.keys[0].id
    }

    /// The names of all keys, the current one first.
    pub fn ids(&self) -> impl ExactSizeIterator<Item = &str> {
        self.keys.iter().map(|key| &*key.id)
    }

    /// The key named `id`, derived for `purpose`, as every use should have its
    /// own; `None` if it is not on the ring.
    pub fn derive(&self, id: &str, purpose: &str) -> Option<Zeroizing<[u8; 32]>> {
        let key = self.keys.iter().find(|key| key.id == id)?;
        let mut mac = Hmac::<Sha256>::new_from_slice(&*key.key).expect("any length will do");
        mac.update(purpose.as_bytes());
        Some(Zeroizing::new(mac.finalize().into_bytes().into()))
    }
}

impl<'de> serde::Deserialize<'de> for KeyRing {
    /// From the text that [`KeyRing::parse`] takes.
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = zeroize::Zeroizing::new(String::deserialize(deserializer)?);
        Self::parse(&text).map_err(|error| serde::de::Error::custom(error.message()))
    }
}

impl std::str::FromStr for KeyRing {
    type Err = Error;
    /// As [`KeyRing::parse`].
    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.ids()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_is_read_from_text_and_shows_only_names() {
        let text = "b:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8,a:_wECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
        let ring = KeyRing::parse(text).unwrap();
        assert_eq!(ring.ids().collect::<Vec<_>>(), ["b", "a"]);
        assert_eq!(format!("{ring:?}"), r#"["b", "a"]"#);
        for wrong in [
            "",
            "a",
            "a:short",
            "a b:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8",
        ] {
            let error = KeyRing::parse(wrong).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
        }
        assert!(KeyRing::new("zero", [0; 32]).is_err());
    }

    #[test]
    fn a_generated_ring_survives_its_text_and_is_unique() {
        let ring = KeyRing::generate()
            .with_older("old", *b"0123456789abcdef0123456789abcdef")
            .unwrap();
        let back = KeyRing::parse(ring.to_text().expose()).unwrap();
        assert!(ring.ids().eq(back.ids()));
        for id in ring.ids() {
            assert_eq!(ring.derive(id, "a"), back.derive(id, "a"));
        }
        assert_ne!(KeyRing::generate().current(), ring.current());
        assert!(!format!("{:?}", ring.to_text()).contains("old"));
    }

    #[test]
    fn a_ring_is_read_from_a_file_and_a_missing_one_is_named() {
        let ring = KeyRing::generate();
        let path = std::env::temp_dir().join(format!("ring-{}", ring.current()));
        std::fs::write(&path, format!("{}\n", ring.to_text().expose())).unwrap();
        let read = KeyRing::from_file(&path);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(read.unwrap().current(), ring.current());
        let error = KeyRing::from_file(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        let error = KeyRing::from_env("NO_SUCH_KEY_RING").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.message().contains("NO_SUCH_KEY_RING"));
    }

    #[test]
    fn each_purpose_and_each_key_gives_another_key() {
        let ring = KeyRing::random()
            .with_older("old", *b"0123456789abcdef0123456789abcdef")
            .unwrap();
        let a = ring.derive(ring.current(), "a").unwrap();
        assert_ne!(a, ring.derive(ring.current(), "b").unwrap());
        assert_ne!(a, ring.derive("old", "a").unwrap());
        assert!(ring.derive("removed", "a").is_none());
    }
}
