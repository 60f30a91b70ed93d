//! The number that says how a stored value is written.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// How the message begins by which [`super::Body::decode`] recognizes a newer
/// format.
pub(super) const NEWER: &str = "written in a newer format";

/// The format number of a stored struct: `format: Format<1>`.
///
/// It is raised only when older code could not read what newer code writes; a
/// new optional field does not raise it (see [`Unknown`](super::Unknown)). It
/// is written as the number `N`. Reading refuses a higher one, so that old code
/// never misreads what it does not know, and takes a lower or missing one.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use store_core::body::{Format, Unknown};
///
/// #[derive(Serialize, Deserialize)]
/// struct Badge {
///     #[serde(default)]
///     format: Format<1>,
///     owner: String,
///     #[serde(flatten)]
///     unknown: Unknown,
/// }
/// let badge: Badge = serde_json::from_str(r#"{"format":1,"owner":"ada","color":"red"}"#)?;
/// assert!(serde_json::to_string(&badge)?.contains("red"));
/// assert!(serde_json::from_str::<Badge>(r#"{"format":2,"owner":"ada"}"#).is_err());
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Format<const N: u32>;

impl<const N: u32> fmt::Debug for Format<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&N, f)
    }
}

impl<const N: u32> Serialize for Format<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(N)
    }
}

impl<'de, const N: u32> Deserialize<'de> for Format<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if u32::deserialize(deserializer)? > N {
            return Err(de::Error::custom(format_args!(
                "{NEWER}; upgrade this program"
            )));
        }
        Ok(Self)
    }
}
