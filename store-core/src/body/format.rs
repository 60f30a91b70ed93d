//! The format number of a stored value.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The number that says how a stored value is written: `format: Format<1>`.
///
/// Every stored value of this library has one, and an application's own values
/// should have one too. One policy holds for all of them:
///
/// - It is written as the number `N`.
/// - A missing or lower number is read: older releases wrote it.
/// - A higher number is `Corrupt` with a message that names both numbers and
///   says to upgrade this program, so that older code never misreads what newer
///   code wrote.
/// - It is raised only when older code could not read what newer code writes. A
///   new optional field does not raise it: [`Body::json`](super::Body::json)
///   preserves fields that a type does not know.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use store_core::Body;
/// use store_core::body::Format;
///
/// #[derive(Serialize, Deserialize)]
/// struct Badge {
///     format: Format<1>,
///     owner: String,
/// }
/// # fn main() -> store_core::Result<()> {
/// assert!(Body::from_json(r#"{"owner":"ada"}"#).decode::<Badge>().is_ok());
/// let newer = Body::from_json(r#"{"format":2,"owner":"ada"}"#);
/// let error = newer.decode::<Badge>().err().expect("a newer format");
/// assert!(error.message().contains("format 2"));
/// # Ok(())
/// # }
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
        // As an option, because serde reads a missing field as `None`.
        match Option::<u64>::deserialize(deserializer)? {
            Some(found) if found > u64::from(N) => {
                Err(de::Error::custom(format_args!("{FOUND}{found}{KNOWN}{N}")))
            }
            _ => Ok(Self),
        }
    }
}

const FOUND: &str = "written in format ";
const KNOWN: &str = ", newer than format ";

/// The format numbers in an error's text, found and known, if the error is that
/// of a newer [`Format`].
pub(super) fn newer(text: &str) -> Option<(u64, u32)> {
    let (found, rest) = text.strip_prefix(FOUND)?.split_once(KNOWN)?;
    let end = rest.find(|c: char| !c.is_ascii_digit());
    let known = &rest[..end.unwrap_or(rest.len())];
    Some((found.parse().ok()?, known.parse().ok()?))
}
