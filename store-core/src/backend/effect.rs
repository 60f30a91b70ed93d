//! The effect of a call whose reply is missing.

use crate::error::Retry;

/// What a call does on the server, which decides what its caller may do if no
/// reply arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The call reads, was not sent yet, or may be repeated without harm.
    Repeatable,
    /// The call writes and was or may have been sent.
    Write,
}

impl Effect {
    /// The retry class of a call whose outcome is unknown.
    pub fn if_lost(self) -> Retry {
        match self {
            Self::Repeatable => Retry::Safe,
            Self::Write => Retry::Ambiguous,
        }
    }
}
