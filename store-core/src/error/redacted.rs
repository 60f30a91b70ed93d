//! Names of records for people.

use std::fmt;

/// A record's name for logs: the collection, and a short digest of partition
/// and id. The same record always has the same one; neither name can be recovered.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RedactedKey {
    pub(crate) collection: &'static str,
    pub(crate) digest: u32,
}

impl fmt::Display for RedactedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{:08x}", self.collection, self.digest)
    }
}

impl fmt::Debug for RedactedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
