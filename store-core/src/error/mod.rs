//! One error type for every backend and contract.
//!
//! An [`Error`] has a kind ([`ErrorKind`]), says whether the same call may be
//! repeated ([`Retry`]), and says in its message what to do next. It never contains
//! a secret: keys appear [redacted](RedactedKey), bodies not at all.

mod conflict;
mod http;
mod kind;
mod redacted;

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use crate::key::RecordRef;

pub use conflict::{Conflict, FailedItem};
pub use kind::{ErrorKind, Retry};
pub use redacted::RedactedKey;

/// The result type of this workspace.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The error of every operation. One pointer wide, so it is cheap to return. A clone
/// shares its cause with the original.
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
    /// must contain no secret. The retry class is the kind's usual one:
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
        error.0.key = conflict.failed().first().map(|failed| failed.key().clone());
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

    /// Sets the cause. Its own text must contain no secret.
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
