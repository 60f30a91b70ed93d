//! One error type for every backend and contract.
//!
//! An [`Error`] answers three questions: what kind of error it is
//! ([`ErrorKind`]), whether the write is known not to have happened ([`Retry`]), and,
//! in its message, what the caller should do next. It never carries a secret:
//! keys appear [redacted](RedactedKey), bodies not at all.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::key::RecordRef;
use crate::record::Record;

/// The result type of this workspace.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The kind of an [`Error`].
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// What the call names does not exist.
    NotFound,
    /// What the call would create exists already.
    AlreadyExists,
    /// An expectation did not hold; nothing was written. See [`Error::conflict`].
    Conflict,
    /// What the call would delete is still used; remove what uses it first.
    InUse,
    /// Concurrent writers won every attempt; nothing was written.
    Contended,
    /// What was begun or opened earlier has been replaced or deleted since; begin or open it again.
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
    fn label(self) -> &'static str {
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
    fn default_retry(self) -> Retry {
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

/// Something failed. One pointer wide, so it is cheap to return. A clone shares
/// its cause with the original.
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    retry: Retry,
    message: Cow<'static, str>,
    backend: Option<&'static str>,
    operation: Option<&'static str>,
    key: Option<RedactedKey>,
    conflict: Option<Conflict>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error of `kind`. The message should say what the caller can do and
    /// must hold no secret. The retry class is the kind's usual one:
    /// `Safe` for `Contended`, `Ambiguous` for `Unavailable` and `Timeout`,
    /// `Never` for the rest.
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Inner {
            kind,
            retry: kind.default_retry(),
            message: message.into(),
            backend: None,
            operation: None,
            key: None,
            conflict: None,
            source: None,
        }))
    }

    /// Shorthand for [`ErrorKind::InvalidInput`].
    pub fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::InvalidInput, message)
    }

    /// Shorthand for [`ErrorKind::NotFound`].
    pub fn not_found(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::NotFound, message)
    }

    /// Shorthand for [`ErrorKind::AlreadyExists`].
    pub fn already_exists(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::AlreadyExists, message)
    }

    /// Shorthand for [`ErrorKind::Corrupt`].
    pub fn corrupt(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Corrupt, message)
    }

    /// Shorthand for [`ErrorKind::Unsupported`].
    pub fn unsupported(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Unsupported, message)
    }

    /// The error of every operation after `close`.
    pub fn closed() -> Self {
        Self::new(
            ErrorKind::Closed,
            "the store was closed; open it again to use it",
        )
    }

    /// The error of a commit whose expectations did not hold.
    pub fn from_conflict(conflict: Conflict) -> Self {
        let mut error = Self::new(
            ErrorKind::Conflict,
            "a record was not as expected and nothing was written; \
             read the current records from the error and decide again",
        );
        error.0.key = conflict.failed.first().map(|failed| failed.key.clone());
        error.0.conflict = Some(conflict);
        error
    }

    /// Sets whether the same call may be repeated.
    pub fn with_retry(mut self, retry: Retry) -> Self {
        self.0.retry = retry;
        self
    }

    /// Names the backend, unless one is named already.
    pub fn with_backend(mut self, backend: &'static str) -> Self {
        self.0.backend.get_or_insert(backend);
        self
    }

    /// Names the operation, unless one is named already.
    pub fn with_operation(mut self, operation: &'static str) -> Self {
        self.0.operation.get_or_insert(operation);
        self
    }

    /// Names the record, redacted, unless one is named already.
    pub fn with_key(mut self, at: RecordRef<'_>) -> Self {
        self.0.key.get_or_insert_with(|| at.redacted());
        self
    }

    /// Keeps what caused this. The cause's own text must hold no secret.
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(Arc::from(source.into()));
        self
    }

    /// What kind of error this is.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whether the same call may be repeated.
    pub fn retry(&self) -> Retry {
        self.0.retry
    }

    /// The message alone, without kind, backend, operation or key.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The backend that failed, if one is named.
    pub fn backend(&self) -> Option<&'static str> {
        self.0.backend
    }

    /// The operation that failed, if one is named.
    pub fn operation(&self) -> Option<&'static str> {
        self.0.operation
    }

    /// The record concerned, redacted.
    pub fn key(&self) -> Option<&RedactedKey> {
        self.0.key.as_ref()
    }

    /// The failed expectations with the current records, for a
    /// [`ErrorKind::Conflict`] of a commit.
    pub fn conflict(&self) -> Option<&Conflict> {
        self.0.conflict.as_ref()
    }

    /// Like [`Error::conflict`], by value; returns the error itself if it is not a conflict.
    pub fn into_conflict(mut self) -> Result<Conflict, Self> {
        match self.0.conflict.take() {
            Some(conflict) => Ok(conflict),
            None => Err(self),
        }
    }

    /// True for an error of this kind.
    pub fn is(&self, kind: ErrorKind) -> bool {
        self.0.kind == kind
    }

    /// True if the same request may succeed later without a change by the
    /// caller: the server was unreachable, slow or busy. Whether repeating a
    /// *write* is safe is a separate question; ask [`Error::retry`].
    pub fn is_transient(&self) -> bool {
        self.0.retry == Retry::Safe
            || matches!(
                self.0.kind,
                ErrorKind::Unavailable | ErrorKind::Timeout | ErrorKind::Contended
            )
    }

    /// The HTTP status that fits an answer to a client of the service.
    ///
    /// It describes a request that named the record itself. A service that is
    /// refused by its own database answers 500, not 401 or 403: those say
    /// something about the client.
    #[doc(alias = "status_code")]
    pub fn http_status(&self) -> u16 {
        match self.0.kind {
            ErrorKind::NotFound => 404,
            ErrorKind::AlreadyExists
            | ErrorKind::Conflict
            | ErrorKind::InUse
            | ErrorKind::Superseded => 409,
            ErrorKind::InvalidInput => 400,
            ErrorKind::LimitExceeded => 422,
            // Named by a backend, it is the server that refused this service.
            ErrorKind::PermissionDenied if self.0.backend.is_none() => 403,
            ErrorKind::Unsupported => 501,
            ErrorKind::Contended | ErrorKind::Unavailable | ErrorKind::Closed => 503,
            ErrorKind::Timeout => 504,
            ErrorKind::PermissionDenied
            | ErrorKind::Unauthenticated
            | ErrorKind::Corrupt
            | ErrorKind::Config => 500,
        }
    }

    /// When a client may try again, for the HTTP header `Retry-After`; `None`
    /// for an error that does not pass by itself. Whole seconds.
    pub fn retry_after(&self) -> Option<Duration> {
        self.is_transient().then_some(Duration::from_secs(1))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner {
            kind,
            message,
            backend,
            operation,
            key,
            ..
        } = &*self.0;
        f.write_str(kind.label())?;
        if let Some(backend) = backend {
            write!(f, " in {backend}")?;
        }
        if let Some(operation) = operation {
            write!(f, " during {operation}")?;
        }
        if let Some(key) = key {
            write!(f, " of {key}")?;
        }
        write!(f, ": {message}")
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("retry", &self.0.retry)
            .field("message", &self.0.message)
            .field("backend", &self.0.backend)
            .field("operation", &self.0.operation)
            .field("key", &self.0.key)
            .field("conflict", &self.0.conflict)
            .field("source", &self.0.source)
            .finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

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

/// Which expectations of a commit did not hold, and what was found instead.
#[derive(Clone, Debug)]
pub struct Conflict {
    failed: Vec<FailedItem>,
}

impl Conflict {
    /// A conflict over these items. At least one is expected.
    pub fn new(failed: Vec<FailedItem>) -> Self {
        Self { failed }
    }

    /// The items whose expectation failed, in the batch's order.
    pub fn failed(&self) -> &[FailedItem] {
        &self.failed
    }

    /// The failed item at this position of the batch.
    pub fn item(&self, index: usize) -> Option<&FailedItem> {
        self.failed.iter().find(|failed| failed.index == index)
    }
}

/// One expectation that did not hold.
#[derive(Clone, Debug)]
pub struct FailedItem {
    index: usize,
    key: RedactedKey,
    current: Option<Record>,
}

impl FailedItem {
    /// The item at `index` of the batch, named by `at`, found as `current`
    /// (`None` for absent).
    pub fn new(index: usize, at: RecordRef<'_>, current: Option<Record>) -> Self {
        Self {
            index,
            key: at.redacted(),
            current,
        }
    }

    /// The item's position in the batch.
    pub fn index(&self) -> usize {
        self.index
    }

    /// The record as it was when the commit was refused; `None` if absent.
    pub fn current(&self) -> Option<&Record> {
        self.current.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_where_it_came_from_and_what_to_do() {
        let error = Error::new(ErrorKind::Unavailable, "try again when the server is up")
            .with_backend("redis")
            .with_operation("get");
        assert_eq!(
            error.to_string(),
            "unavailable in redis during get: try again when the server is up"
        );
        assert_eq!(error.retry(), Retry::Ambiguous);
        assert_eq!(
            error.with_retry(Retry::Safe).retry(),
            Retry::Safe,
            "a backend that knows better may say so"
        );
    }

    #[test]
    fn a_cloned_error_says_the_same_and_keeps_its_cause() {
        let cause = std::io::Error::other("reset by peer");
        let error = Error::new(ErrorKind::Timeout, "no answer came").with_source(cause);
        let clone = error.clone();
        assert_eq!(clone.to_string(), error.to_string());
        assert_eq!(clone.retry(), error.retry());
        assert_eq!(clone.source().unwrap().to_string(), "reset by peer");
    }

    #[test]
    fn what_may_pass_by_itself_is_transient_and_has_a_time_to_retry() {
        for kind in [
            ErrorKind::Unavailable,
            ErrorKind::Timeout,
            ErrorKind::Contended,
        ] {
            let error = Error::new(kind, "later");
            assert!(error.is_transient() && error.retry_after().is_some());
            assert!(error.http_status() >= 500);
        }
        for kind in [
            ErrorKind::InvalidInput,
            ErrorKind::Corrupt,
            ErrorKind::Config,
        ] {
            let error = Error::new(kind, "never");
            assert!(!error.is_transient() && error.retry_after().is_none());
        }
    }

    #[test]
    fn a_server_that_refuses_the_service_is_no_fault_of_its_client() {
        let refused = Error::new(ErrorKind::PermissionDenied, "no");
        assert_eq!(refused.http_status(), 403);
        assert_eq!(refused.with_backend("postgres").http_status(), 500);
    }

    #[test]
    fn an_error_is_one_pointer_wide() {
        assert_eq!(size_of::<Error>(), size_of::<usize>());
    }
}
