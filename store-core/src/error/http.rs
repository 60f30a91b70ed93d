//! What a service answers to its own client.

use std::time::Duration;

use super::{Error, ErrorKind};

impl Error {
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
