//! The kinds of errors, and whether a call may be repeated.

/// The kind of an [`Error`](crate::Error).
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// What the call names does not exist.
    NotFound,
    /// What the call would create exists already.
    AlreadyExists,
    /// An expectation did not hold; nothing was written. See [`Error::conflict`](crate::Error::conflict).
    Conflict,
    /// What the call would delete is still used; remove what uses it first.
    InUse,
    /// Concurrent writers won every attempt; nothing was written.
    Contended,
    /// What was begun or opened earlier has been replaced or deleted since then; begin or open it again.
    Superseded,
    /// The request can never succeed as it stands; it was refused before any I/O.
    InvalidInput,
    /// A limit (records, bytes, a tenant's quota, attachments …) would be exceeded.
    LimitExceeded,
    /// The caller is known and may not do this, or the server denied this program the right.
    PermissionDenied,
    /// The server did not accept this program's credentials.
    Unauthenticated,
    /// This store does not offer the operation. See its capabilities.
    Unsupported,
    /// The server could not be reached or said that it cannot answer now.
    Unavailable,
    /// No answer came in time.
    Timeout,
    /// What is stored cannot be understood.
    Corrupt,
    /// The store is configured wrongly.
    Config,
    /// The store was closed.
    Closed,
}

impl ErrorKind {
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::NotFound => "not found",
            Self::AlreadyExists => "already exists",
            Self::Conflict => "conflict",
            Self::InUse => "in use",
            Self::Contended => "contended",
            Self::Superseded => "superseded",
            Self::InvalidInput => "invalid input",
            Self::LimitExceeded => "limit exceeded",
            Self::PermissionDenied => "permission denied",
            Self::Unauthenticated => "unauthenticated",
            Self::Unsupported => "unsupported",
            Self::Unavailable => "unavailable",
            Self::Timeout => "timed out",
            Self::Corrupt => "corrupt",
            Self::Config => "misconfigured",
            Self::Closed => "closed",
        }
    }

    /// The retry class of this kind unless the backend knows better.
    pub(super) fn default_retry(self) -> Retry {
        match self {
            Self::Contended => Retry::Safe,
            Self::Unavailable | Self::Timeout => Retry::Ambiguous,
            _ => Retry::Never,
        }
    }
}

/// Whether a failed call may be repeated as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Retry {
    /// Nothing was written, and the same call would fail again.
    Never,
    /// Nothing was written; the same call may succeed later.
    Safe,
    /// The write may or may not have happened. Read before deciding.
    Ambiguous,
}
