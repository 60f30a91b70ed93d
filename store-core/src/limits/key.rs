//! What a limit is counted by.

use std::fmt;

use crate::error::{Error, Result};

/// The longest key of a limit, in bytes.
pub const MAX_LIMIT_KEY: usize = 1024;

/// What a limit is counted by: a user, an address, a route. Checked, borrowed.
///
/// Any characters, at most [`MAX_LIMIT_KEY`] bytes. Its `Debug` shows only its
/// length: a key may be an address or a secret.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct LimitKey<'a>(&'a str);

impl<'a> LimitKey<'a> {
    /// This key.
    ///
    /// # Errors
    /// `InvalidInput` over [`MAX_LIMIT_KEY`] bytes.
    #[inline]
    pub fn new(key: &'a str) -> Result<Self> {
        if key.len() > MAX_LIMIT_KEY {
            return Err(Error::invalid(format!(
                "a limit's key is {} bytes long and may be {MAX_LIMIT_KEY}; digest it first",
                key.len()
            )));
        }
        Ok(Self(key))
    }

    /// The key.
    #[inline]
    pub fn as_str(self) -> &'a str {
        self.0
    }
}

impl<'a> TryFrom<&'a str> for LimitKey<'a> {
    type Error = Error;

    fn try_from(key: &'a str) -> Result<Self> {
        Self::new(key)
    }
}

impl fmt::Debug for LimitKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LimitKey({} bytes)", self.0.len())
    }
}
