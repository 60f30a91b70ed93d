//! A stored record: a body under a name, with a version and optionally an expiry.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use serde::de::DeserializeOwned;

use crate::body::Body;
use crate::chance::seeded;
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::key::{Partition, RecordKey, RecordRef};

/// Names one commit, and with it every record as that commit left it.
///
/// Made by the client, unique per commit and never reused, so that a record
/// deleted and created again is never mistaken for the old one, and a client
/// whose reply was lost finds its own version and knows that its commit was applied.
/// Versions have no order. Text form: 32 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[doc(alias("etag", "revision", "optimistic locking"))]
pub struct Version(u128);

impl Version {
    /// A version that was never used before: 64 random bits of this process and a
    /// counter. After a `fork`, only one of the two processes may use stores.
    pub fn unique() -> Self {
        if let (Some(high), Some(low)) = (seeded(), seeded()) {
            return Self(u128::from(high) << 64 | u128::from(low));
        }
        static PROCESS: OnceLock<u64> = OnceLock::new();
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let process = *PROCESS.get_or_init(|| {
            let mut seed = [0; 16];
            getrandom::fill(&mut seed).expect("the operating system gives random bytes");
            let (process, start) = seed.split_at(8);
            NEXT.store(
                u64::from_be_bytes(start.try_into().expect("eight bytes")),
                Ordering::Relaxed,
            );
            u64::from_be_bytes(process.try_into().expect("eight bytes"))
        });
        let count = NEXT.fetch_add(1, Ordering::Relaxed);
        Self(u128::from(process) << 64 | u128::from(count))
    }

    /// The version of these sixteen bytes, big-endian.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }

    /// The sixteen bytes, big-endian.
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Version {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let ok = text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        match u128::from_str_radix(text, 16) {
            Ok(value) if ok => Ok(Self(value)),
            _ => Err(Error::invalid(
                "a version is 32 lower-case hexadecimal digits; pass one that a record carried",
            )),
        }
    }
}

impl serde::Serialize for Version {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Version {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse()
            .map_err(|_| serde::de::Error::custom("expected 32 lower-case hexadecimal digits"))
    }
}

/// A backend's own name for a record's state, such as an ETag, and perhaps that
/// state itself. Opaque to all other code, and never shown. Passing it back saves the
/// backend a read.
pub type Token = Arc<[u8]>;

/// One stored record. A handle: cloning it copies no body.
#[derive(Clone)]
pub struct Record(Arc<Inner>);

/// In this order, the fields that a read compares and returns are adjacent in memory.
#[repr(C)]
struct Inner {
    partition: Partition,
    key: RecordKey,
    expires_at: Option<Timestamp>,
    body: Body,
    version: Version,
    token: Option<Token>,
}

impl Record {
    /// A record as a backend found or wrote it.
    pub fn new(
        partition: Partition,
        key: RecordKey,
        version: Version,
        expires_at: Option<Timestamp>,
        body: Body,
    ) -> Self {
        Self(Arc::new(Inner {
            partition,
            key,
            version,
            expires_at,
            body,
            token: None,
        }))
    }

    /// This record with the backend's token for its state.
    pub fn with_token(self, token: Token) -> Self {
        let inner = Arc::try_unwrap(self.0).unwrap_or_else(|shared| Inner {
            partition: shared.partition.clone(),
            key: shared.key.clone(),
            version: shared.version,
            expires_at: shared.expires_at,
            body: shared.body.clone(),
            token: None,
        });
        Self(Arc::new(Inner {
            token: Some(token),
            ..inner
        }))
    }

    /// The partition.
    #[inline]
    pub fn partition(&self) -> &Partition {
        &self.0.partition
    }

    /// The key within the partition.
    #[inline]
    pub fn key(&self) -> &RecordKey {
        &self.0.key
    }

    /// The id within the collection.
    #[inline]
    pub fn id(&self) -> &str {
        self.0.key.id()
    }

    /// The commit that wrote it.
    #[inline]
    pub fn version(&self) -> Version {
        self.0.version
    }

    /// From this moment on the record is absent; `None` for never.
    #[inline]
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.0.expires_at
    }

    /// The body.
    #[inline]
    pub fn body(&self) -> &Body {
        &self.0.body
    }

    /// The backend's token, if it has one.
    pub fn token(&self) -> Option<&Token> {
        self.0.token.as_ref()
    }

    /// Partition and key together.
    #[inline]
    pub fn at(&self) -> RecordRef<'_> {
        self.0.key.at(&self.0.partition)
    }

    /// True once the record counts as absent: `expires_at <= now`.
    #[inline]
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.0.expires_at.is_some_and(|at| at <= now)
    }

    /// The body as a `T`, shared where it is held as one. See [`Body::decode`].
    ///
    /// # Errors
    /// `Corrupt`, with the record named, if the body is not a `T`.
    pub fn decode<T: DeserializeOwned + Send + Sync + 'static>(&self) -> Result<Arc<T>> {
        self.0.body.decode().map_err(|e| e.with_key(self.at()))
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("at", &self.at())
            .field("version", &self.0.version)
            .field("expires_at", &self.0.expires_at)
            .field("body", &self.0.body)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_never_given_twice_and_survives_its_text() {
        let versions: std::collections::HashSet<_> = (0..1000).map(|_| Version::unique()).collect();
        assert_eq!(versions.len(), 1000);
        let version = Version::unique();
        assert_eq!(version.to_string().parse::<Version>().unwrap(), version);
        assert_eq!(Version::from_bytes(version.to_bytes()), version);
        assert!("+".repeat(32).parse::<Version>().is_err());
        assert!("A".repeat(32).parse::<Version>().is_err());
    }
}
