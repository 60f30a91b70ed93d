//! The number of the stored forms.

use serde::{Deserialize, Serialize};

/// Serialized as 1, and refuses to be read from any other number: a process
/// that meets a form it does not know must not guess at it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub(super) struct FormatOne;

impl From<FormatOne> for u32 {
    fn from(_: FormatOne) -> Self {
        1
    }
}

impl TryFrom<u32> for FormatOne {
    type Error = &'static str;

    fn try_from(format: u32) -> Result<Self, Self::Error> {
        if format == 1 {
            Ok(Self)
        } else {
            Err("the record has a form of another version of this crate")
        }
    }
}
