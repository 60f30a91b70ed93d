//! Identifies one life of a name.

use std::fmt;
use std::str::FromStr;

use data_encoding::{BASE32_NOPAD, HEXLOWER};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::error::{Error, Result};
use crate::record::Version;

/// Identifies one life of an entity. A name that is deleted and created again
/// gets another incarnation; a renamed entity retains its own. Everything that
/// depends on an entity is stored under its incarnation, so that no later
/// entity of the same name inherits it.
///
/// Text form: 32 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation([u8; 16]);

impl Incarnation {
    /// What a new entity carries until its store assigns one.
    pub const NONE: Self = Self([0; 16]);

    /// A new one, different from all others.
    pub fn unique() -> Self {
        Self(Version::unique().to_bytes())
    }

    /// The incarnation of these bytes, which must come from a source that never
    /// repeats itself.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The id that a store generates for this incarnation: unique without a
    /// record that says so, and it leads back here.
    pub(crate) fn to_id(self, prefix: &str) -> String {
        format!("{prefix}{}", BASE32_NOPAD.encode(&self.0))
    }

    /// The incarnation that a generated id leads to; `None` for any other id.
    pub(crate) fn from_id(prefix: &str, id: &str) -> Option<Self> {
        let text = id.strip_prefix(prefix)?;
        let bytes = BASE32_NOPAD.decode(text.as_bytes()).ok()?;
        bytes.try_into().ok().map(Self)
    }
}

impl Default for Incarnation {
    fn default() -> Self {
        Self::NONE
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Incarnation {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let wrong = || Error::invalid("an incarnation is 32 lower-case hexadecimal digits");
        let bytes = HEXLOWER.decode(text.as_bytes()).map_err(|_| wrong())?;
        bytes.try_into().map(Self).map_err(|_| wrong())
    }
}

impl Serialize for Incarnation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Incarnation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse()
            .map_err(|_| de::Error::custom("expected 32 lower-case hexadecimal digits"))
    }
}
