//! Secret fields, sealed one by one so that the rest of a record stays readable.
//!
//! A [`Sealed`] field is encrypted and authenticated under the current key of a
//! [`KeyRing`]. It is bound to its place, the record and the field's name: moved
//! to another record, another field or another collection, it does not open. A
//! [`SecretField`] is what a stored struct holds: sealed, or still in clear, in
//! which case it refuses to be stored.
//!
//! ```
//! use store_core::secret::{KeyRing, Sealed, Secret};
//! use store_core::{Collection, RecordRef};
//!
//! # fn main() -> store_core::Result<()> {
//! const SERVICES: Collection = Collection::new("services");
//! let ring = KeyRing::random();
//! let at = RecordRef::new("acme", SERVICES, "mail")?;
//!
//! let sealed = Sealed::seal(&ring, at, "password", &Secret::new("hunter2"))?;
//! assert_eq!(sealed.open(&ring, at, "password")?.expose(), "hunter2");
//!
//! let elsewhere = RecordRef::new("acme", SERVICES, "web")?;
//! assert!(sealed.open(&ring, elsewhere, "password").is_err());
//! # Ok(()) }
//! ```
//!
//! The cipher is XChaCha20-Poly1305: its nonce of 192 bits can be drawn at
//! random for any number of fields. The 96 bits of the AES modes would require a
//! count of messages under each key.
//!
//! # Rotation
//! Put a new key in front of the ring everywhere; call [`Sealed::reseal`] on
//! what is stored (each contract that seals offers this for its own records);
//! then remove the old key.

use std::fmt;

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Deserializer, Serialize, Serializer, ser};
use zeroize::Zeroizing;

use super::{KeyRing, Secret};
use crate::error::{Error, ErrorKind, Result};
use crate::key::RecordRef;

/// Names the format. Another cipher or another binding gets another name.
const PURPOSE: &str = "sealed field v1";
const NONCE: usize = 24;

/// One secret field as it is stored: the name of the key, and the nonce and
/// ciphertext in unpadded base64url.
///
/// The length of the secret can be derived from it; nothing else can.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    key: String,
    sealed: String,
}

impl Sealed {
    /// Seals `secret` as the field `field` of the record `at`, under the ring's
    /// current key. Sealing the same text twice gives different results.
    ///
    /// # Errors
    /// `Unavailable` (retry is safe) if the operating system gives no random bytes.
    pub fn seal(ring: &KeyRing, at: RecordRef<'_>, field: &str, secret: &Secret) -> Result<Self> {
        let mut nonce = [0; NONCE];
        getrandom::fill(&mut nonce).map_err(|_| no_random_bytes())?;
        Self::seal_with(ring, at, field, secret, nonce)
    }

    fn seal_with(
        ring: &KeyRing,
        at: RecordRef<'_>,
        field: &str,
        secret: &Secret,
        nonce: [u8; NONCE],
    ) -> Result<Self> {
        let key = ring.current();
        let aad = associated_data(key, at, field);
        let payload = Payload {
            msg: secret.expose().as_bytes(),
            aad: &aad,
        };
        let ciphertext = cipher(ring, key)?
            .encrypt(&XNonce::from(nonce), payload)
            .map_err(|_| Error::invalid("the secret is too long to seal; shorten it"))?;
        Ok(Self {
            key: key.to_owned(),
            sealed: BASE64URL_NOPAD.encode(&[&nonce[..], &ciphertext].concat()),
        })
    }

    /// Opens it as the field `field` of the record `at`.
    ///
    /// # Errors
    /// `Config`, naming the key, if that key is not on the ring; `Corrupt` if it
    /// was altered, or sealed for another record, another field or under another
    /// key of the same name. Neither shows anything of the content.
    pub fn open(&self, ring: &KeyRing, at: RecordRef<'_>, field: &str) -> Result<Secret> {
        let cipher = cipher(ring, &self.key)?;
        let aad = associated_data(&self.key, at, field);
        let open = || {
            let bytes = BASE64URL_NOPAD.decode(self.sealed.as_bytes()).ok()?;
            let (nonce, msg) = bytes.split_first_chunk::<NONCE>()?;
            let payload = Payload { msg, aad: &aad };
            let clear = cipher.decrypt(&XNonce::from(*nonce), payload).ok()?;
            // On failure the bytes are cleared as well.
            String::from_utf8(clear)
                .map_err(|e| Zeroizing::new(e.into_bytes()))
                .ok()
        };
        open().map(Secret::new).ok_or_else(|| {
            Error::corrupt(
                "a sealed field does not open: it was altered, copied from another record or \
                 field, or sealed under another key of the same name; restore it or set it again",
            )
            .with_key(at)
        })
    }

    /// This field under the ring's current key; as it is if it is so already.
    ///
    /// # Errors
    /// As [`Sealed::open`] and [`Sealed::seal`].
    pub fn reseal(&self, ring: &KeyRing, at: RecordRef<'_>, field: &str) -> Result<Self> {
        if self.key == ring.current() {
            return Ok(self.clone());
        }
        Self::seal(ring, at, field, &self.open(ring, at, field)?)
    }

    /// The name of the key that it was sealed under.
    pub fn key_id(&self) -> &str {
        &self.key
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Sealed").field(&self.key).finish()
    }
}

/// A secret as a field of a stored struct.
///
/// Read from a store it is [`Sealed`](Self::Sealed) and can be copied freely. Made by an application it is [`Clear`](Self::Clear), and must be
/// sealed before it is stored: serializing it in clear is refused. In JSON a
/// sealed one is an object, a clear one a string, so that a file written by hand
/// can hold it.
#[derive(Clone)]
#[doc(alias("encrypt", "encryption"))]
pub enum SecretField {
    /// Not sealed yet.
    Clear(Secret),
    /// As stored.
    Sealed(Sealed),
}

impl SecretField {
    /// Makes it fit to be stored as the field `field` of the record `at`: a clear
    /// one is sealed; a sealed one must open there, and is resealed if its key
    /// is not the current one.
    ///
    /// # Errors
    /// As [`Sealed::open`] and [`Sealed::seal`]; it is then unchanged.
    pub fn seal(&mut self, ring: &KeyRing, at: RecordRef<'_>, field: &str) -> Result<()> {
        let current = matches!(self, Self::Sealed(held) if held.key == ring.current());
        let secret = self.open(ring, at, field)?;
        if !current {
            *self = Self::Sealed(Sealed::seal(ring, at, field, &secret)?);
        }
        Ok(())
    }

    /// The secret, opened as the field `field` of the record `at` if it is sealed.
    ///
    /// # Errors
    /// As [`Sealed::open`].
    pub fn open(&self, ring: &KeyRing, at: RecordRef<'_>, field: &str) -> Result<Secret> {
        match self {
            Self::Clear(secret) => Ok(secret.clone()),
            Self::Sealed(sealed) => sealed.open(ring, at, field),
        }
    }

    /// The secret, if it is not sealed.
    pub fn clear(&self) -> Option<&Secret> {
        match self {
            Self::Clear(secret) => Some(secret),
            Self::Sealed(_) => None,
        }
    }

    /// The sealed form, if it is one.
    pub fn sealed(&self) -> Option<&Sealed> {
        match self {
            Self::Clear(_) => None,
            Self::Sealed(sealed) => Some(sealed),
        }
    }
}

impl From<Secret> for SecretField {
    fn from(secret: Secret) -> Self {
        Self::Clear(secret)
    }
}

impl From<Sealed> for SecretField {
    fn from(sealed: Sealed) -> Self {
        Self::Sealed(sealed)
    }
}

impl fmt::Debug for SecretField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Clear(secret) => secret.fmt(f),
            Self::Sealed(sealed) => sealed.fmt(f),
        }
    }
}

impl Serialize for SecretField {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Clear(_) => Err(ser::Error::custom("a secret is not sealed yet")),
            Self::Sealed(sealed) => sealed.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for SecretField {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "expected a text, or an object of a sealed text")]
        enum Either {
            Clear(Secret),
            Sealed(Sealed),
        }
        Ok(match Either::deserialize(deserializer)? {
            Either::Clear(secret) => Self::Clear(secret),
            Either::Sealed(sealed) => Self::Sealed(sealed),
        })
    }
}

fn cipher(ring: &KeyRing, key: &str) -> Result<XChaCha20Poly1305> {
    let derived = ring.derive(key, PURPOSE).ok_or_else(|| {
        // A stored name is anyone's text until it is known: quote no more than a name.
        let name: String = key.chars().take(16).collect();
        Error::new(
            ErrorKind::Config,
            format!(
                "a field is sealed under the key {name:?}, which is not on the ring; \
                 put it back among the older keys"
            ),
        )
    })?;
    Ok(XChaCha20Poly1305::new((&*derived).into()))
}

/// Where a field belongs, injectively: each part with its length before it.
fn associated_data(key: &str, at: RecordRef<'_>, field: &str) -> Vec<u8> {
    let parts = [key, at.collection().name(), at.partition(), at.id(), field];
    let mut data = Vec::with_capacity(parts.iter().map(|part| part.len() + 8).sum());
    for part in parts {
        data.extend_from_slice(&(part.len() as u64).to_be_bytes());
        data.extend_from_slice(part.as_bytes());
    }
    data
}

fn no_random_bytes() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "the operating system gave no random bytes; nothing was written, try again",
    )
    .with_retry(crate::error::Retry::Safe)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Collection;

    const THINGS: Collection = Collection::new("things");
    const OTHERS: Collection = Collection::new("others");

    fn at<'a>(partition: &'a str, id: &'a str) -> RecordRef<'a> {
        RecordRef::new(partition, THINGS, id).unwrap()
    }

    fn old() -> KeyRing {
        KeyRing::new("2026a", *b"0123456789abcdef0123456789abcdef").unwrap()
    }

    fn rotated() -> KeyRing {
        KeyRing::new("2026b", *b"fedcba9876543210fedcba9876543210")
            .unwrap()
            .with_older("2026a", *b"0123456789abcdef0123456789abcdef")
            .unwrap()
    }

    #[test]
    fn a_sealed_field_opens_in_its_own_place_alone() {
        let ring = KeyRing::random();
        let secret = Secret::new("hunter2");
        let sealed = Sealed::seal(&ring, at("p", "a"), "password", &secret).unwrap();
        let opened = sealed.open(&ring, at("p", "a"), "password").unwrap();
        assert_eq!(opened.expose(), "hunter2");
        let other = RecordRef::new("p", OTHERS, "a").unwrap();
        for (place, field) in [
            (at("p", "b"), "password"),
            (at("q", "a"), "password"),
            (at("", "pa"), "password"),
            (other, "password"),
            (at("p", "a"), "pin"),
        ] {
            let error = sealed.open(&ring, place, field).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt);
        }
    }

    #[test]
    fn an_altered_field_is_corrupt_and_shows_nothing() {
        let ring = old();
        let place = at("p", "a");
        let sealed = Sealed::seal(&ring, place, "f", &Secret::new("hunter2")).unwrap();
        for position in 0..sealed.sealed.len() {
            let mut text = sealed.sealed.clone().into_bytes();
            text[position] = if text[position] == b'A' { b'B' } else { b'A' };
            let altered = Sealed {
                sealed: String::from_utf8(text).unwrap(),
                ..sealed.clone()
            };
            let error = altered.open(&ring, place, "f").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "at {position}");
            assert!(!format!("{error} {error:?}").contains("hunter2"));
        }
        for text in ["", "AAAA", "not base64!"] {
            let altered = Sealed {
                sealed: text.into(),
                ..sealed.clone()
            };
            assert!(altered.open(&ring, place, "f").is_err());
        }
    }

    #[test]
    fn a_rotated_ring_opens_old_fields_and_reseals_them() {
        let place = at("p", "a");
        let sealed = Sealed::seal(&old(), place, "f", &Secret::new("s")).unwrap();
        let resealed = sealed.reseal(&rotated(), place, "f").unwrap();
        assert_eq!((sealed.key_id(), resealed.key_id()), ("2026a", "2026b"));
        assert_eq!(resealed.open(&rotated(), place, "f").unwrap().expose(), "s");
        assert_eq!(resealed.reseal(&rotated(), place, "f").unwrap(), resealed);
    }

    #[test]
    fn a_deleted_key_is_named() {
        let place = at("p", "a");
        let sealed = Sealed::seal(&rotated(), place, "f", &Secret::new("s")).unwrap();
        let error = sealed.open(&old(), place, "f").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.message().contains("2026b"), "{error}");
    }

    #[test]
    fn the_same_text_never_seals_to_the_same() {
        let (ring, place) = (old(), at("p", "a"));
        let seal = || Sealed::seal(&ring, place, "f", &Secret::new("s")).unwrap();
        assert_ne!(seal(), seal());
    }

    #[test]
    fn a_field_in_clear_cannot_be_stored_and_none_shows_its_secret() {
        let (ring, place) = (old(), at("p", "a"));
        let mut field = SecretField::from(Secret::new("hunter2"));
        assert!(!format!("{field:?}").contains("hunter2"));
        assert!(serde_json::to_string(&field).is_err());
        let error = crate::Body::json(field.clone()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);

        field.seal(&ring, place, "f").unwrap();
        let json = serde_json::to_string(&field).unwrap();
        assert!(!json.contains("hunter2"));
        let mut back: SecretField = serde_json::from_str(&json).unwrap();
        assert_eq!(back.open(&ring, place, "f").unwrap().expose(), "hunter2");
        back.seal(&rotated(), place, "f").unwrap();
        assert_eq!(back.sealed().unwrap().key_id(), "2026b");
        assert!(back.seal(&rotated(), at("p", "b"), "f").is_err());

        let clear: SecretField = serde_json::from_str("\"hunter2\"").unwrap();
        assert_eq!(clear.clear().unwrap().expose(), "hunter2");
        let error = serde_json::from_str::<SecretField>("[\"hunter2\"]").unwrap_err();
        assert!(!error.to_string().contains("hunter2"));
    }

    #[test]
    fn every_released_form_opens() {
        let golden = include_str!("../../tests/golden/sealed_field.json");
        let sealed: Sealed = serde_json::from_str(golden).unwrap();
        let opened = sealed.open(&rotated(), at("acme", "mail"), "password");
        assert_eq!(opened.unwrap().expose(), "hunter2");
        let again = Sealed::seal_with(
            &old(),
            at("acme", "mail"),
            "password",
            &Secret::new("hunter2"),
            std::array::from_fn(|i| i as u8),
        );
        assert_eq!(
            again.unwrap(),
            sealed,
            "the form changed: give it a new purpose"
        );
    }
}
