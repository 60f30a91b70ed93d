//! Converts errors of Redis and its driver to [`Error`].
//!
//! Only the code of a server's message is shown, because the rest quotes commands.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use redis::{ParsingError, RedisError, ServerErrorKind, Value};
pub(crate) use store_core::backend::Effect;
use store_core::backend::event;
use store_core::{Error, ErrorKind, Retry};

pub(crate) const BACKEND: &str = "redis";

/// The code with which a server's error begins.
#[derive(Debug)]
struct Code(String);

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the server answered {}", self.0)
    }
}

impl std::error::Error for Code {}

/// The reply to a command, or why there is none.
pub(crate) type Answer<T = Value> = Result<T, Failure>;

/// Why a command failed.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    error: RedisError,
    was_sent: bool,
}

impl Failure {
    /// The failure of a command that was not sent, because no connection could be
    /// opened.
    pub(crate) fn not_sent(error: RedisError) -> Self {
        Self {
            error,
            was_sent: false,
        }
    }

    /// Whether the command, or a part of it, may have been sent.
    pub(crate) fn was_sent(&self) -> bool {
        self.was_sent
    }
}

impl From<RedisError> for Failure {
    fn from(error: RedisError) -> Self {
        Self {
            error,
            was_sent: true,
        }
    }
}

impl From<ParsingError> for Failure {
    fn from(error: ParsingError) -> Self {
        RedisError::from(error).into()
    }
}

impl Deref for Failure {
    type Target = RedisError;

    fn deref(&self) -> &RedisError {
        &self.error
    }
}

/// Emits an event for a failure that is not returned to the caller, because the call does
/// not depend on it or is attempted again.
pub(crate) fn report(what: &'static str, failure: Failure) {
    event::failure(what, &from_redis(failure, Effect::Repeatable, "background"));
}

/// The error for a failed call of this effect.
pub(crate) fn from_redis(
    failure: impl Into<Failure>,
    effect: Effect,
    operation: &'static str,
) -> Error {
    let Failure { error: e, was_sent } = failure.into();
    let effect = match was_sent {
        true => effect,
        false => Effect::Repeatable,
    };
    let (kind, retry, advice) = classify(&e, effect, was_sent);
    let error = Error::new(kind, advice)
        .with_retry(retry)
        .with_backend(BACKEND)
        .with_operation(operation);
    match code(&e) {
        Some(code) => error.with_source(Code(code)),
        // The error is from the operating system, TLS or name resolution.
        None if e.is_io_error() => error.with_source(e),
        None => error,
    }
}

/// The code of the server's error. For several commands in one request it is the code of
/// the first that failed. The driver does not report codes that it does not know.
fn code(e: &RedisError) -> Option<String> {
    if let Some(code) = e.code() {
        return Some(code.into());
    }
    if e.kind() != redis::ErrorKind::Extension {
        return None;
    }
    let errors = e.clone().into_server_errors()?;
    Some(errors.first()?.1.code().into())
}

fn classify(e: &RedisError, effect: Effect, was_sent: bool) -> (ErrorKind, Retry, &'static str) {
    use ErrorKind::*;
    if is_untrusted(e) {
        return (
            Config,
            Retry::Never,
            "the server's certificate is not trusted; check the host's name and RedisBuilder::tls",
        );
    }
    match e.kind() {
        redis::ErrorKind::Io | redis::ErrorKind::Parse => {
            let (kind, advice) = by_connection(e, was_sent);
            (kind, effect.if_lost(), advice)
        }
        redis::ErrorKind::AuthenticationFailed => REFUSED,
        redis::ErrorKind::RESP3NotSupported => TOO_OLD,
        redis::ErrorKind::Server(kind) => by_kind(kind),
        redis::ErrorKind::Extension => by_code(&code(e).unwrap_or_default()),
        redis::ErrorKind::UnexpectedReturnType => (
            Corrupt,
            Retry::Never,
            "the server's reply does not have the format that the command returns",
        ),
        _ => (
            Config,
            Retry::Never,
            "the connection is configured wrongly; check the URL and the TLS files",
        ),
    }
}

fn by_connection(e: &RedisError, was_sent: bool) -> (ErrorKind, &'static str) {
    use ErrorKind::{Timeout, Unavailable};
    match was_sent {
        _ if e.is_connection_refusal() => (
            Unavailable,
            "no server listens at the address, so nothing was sent; check the host and the \
             port, and that the server is running",
        ),
        true if e.is_timeout() => (
            Timeout,
            "the server did not answer in time; see RedisBuilder::timeout",
        ),
        true => (Unavailable, "the connection to the server failed"),
        false if e.is_timeout() => (
            Timeout,
            "no connection could be opened in time; nothing was sent; see \
             RedisBuilder::connect_timeout",
        ),
        false => (
            Unavailable,
            "no connection could be opened; nothing was sent",
        ),
    }
}

/// Whether TLS failed because of the server's certificate.
fn is_untrusted(e: &RedisError) -> bool {
    use std::error::Error;
    let source = e
        .source()
        .and_then(|e| e.downcast_ref::<Arc<dyn Error + Send + Sync>>());
    let io = source.and_then(|e| e.downcast_ref::<std::io::Error>());
    let tls = io.and_then(|io| io.get_ref()?.downcast_ref::<rustls::Error>());
    matches!(tls, Some(rustls::Error::InvalidCertificate(_)))
}

type Class = (ErrorKind, Retry, &'static str);

const REFUSED: Class = (
    ErrorKind::Unauthenticated,
    Retry::Never,
    "the server refused the credentials; check user and password",
);

const TOO_OLD: Class = (
    ErrorKind::Config,
    Retry::Never,
    "the server is older than Redis 7.0; use 7.0 or newer, or Valkey",
);

/// The server refused to run the command, so nothing was written.
fn by_kind(kind: ServerErrorKind) -> Class {
    use ErrorKind::*;
    use ServerErrorKind::*;
    let later = |advice| (Unavailable, Retry::Safe, advice);
    match kind {
        BusyLoading => {
            later("the server is still loading its data; nothing was written, try again")
        }
        Moved | Ask | TryAgain => later(
            "the cluster is moving keys that the call needs; nothing was written, try again; \
                 if it lasts, run redis-cli --cluster check",
        ),
        ClusterDown | MasterDown => {
            later("the cluster cannot serve this now; nothing was written, try again")
        }
        ReadOnly => later(
            "the server is a replica; nothing was written. The next call connects again; if the \
             address still leads to a replica, name the primary",
        ),
        NoPerm => (
            PermissionDenied,
            Retry::Never,
            "the user may not do this; grant it the rights that the crate's documentation lists",
        ),
        CrossSlot => (
            Config,
            Retry::Never,
            "the server has joined a cluster since the store was opened; open the store again",
        ),
        _ => (
            Config,
            Retry::Never,
            "the server refused the command; is it Redis 7.0 or newer, or Valkey?",
        ),
    }
}

fn by_code(code: &str) -> Class {
    use ErrorKind::*;
    let later = |advice| (Unavailable, Retry::Safe, advice);
    match code {
        // https://redis.io/docs/latest/operate/oss_and_stack/management/optimization/memory-optimization/
        "OOM" => later(
            "the server's memory is full; nothing was written. Raise its maxmemory, or delete \
             records: deleting still works, and so does an update that makes no record larger",
        ),
        "MISCONF" => later("the server cannot write to its disk; nothing was written, see its log"),
        "NOREPLICAS" => later("too few replicas are connected; nothing was written"),
        "BUSY" => later("the server is busy with a script; nothing was written, try again"),
        "NOAUTH" | "WRONGPASS" => REFUSED,
        "NOPROTO" => TOO_OLD,
        "WRONGTYPE" => (
            Corrupt,
            Retry::Never,
            "another program's value is stored under a key of this store; use another namespace",
        ),
        _ => (
            Config,
            Retry::Never,
            "the server refused the command; see the source's code",
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn class(failure: impl Into<Failure>, effect: Effect) -> (ErrorKind, Retry) {
        let error = from_redis(failure, effect, "commit");
        (error.kind(), error.retry())
    }

    #[test]
    fn a_lost_write_is_ambiguous_and_one_that_was_not_sent_is_safe() {
        use io::ErrorKind::{BrokenPipe, ConnectionRefused, TimedOut, UnexpectedEof};
        let lost = |kind| RedisError::from(io::Error::from(kind));
        for (kind, expected) in [
            (BrokenPipe, ErrorKind::Unavailable),
            (UnexpectedEof, ErrorKind::Unavailable),
            (TimedOut, ErrorKind::Timeout),
        ] {
            let sent = class(lost(kind), Effect::Write);
            assert_eq!(sent, (expected, Retry::Ambiguous));
            let read = class(lost(kind), Effect::Repeatable);
            assert_eq!(read, (expected, Retry::Safe));
            let not_sent = class(Failure::not_sent(lost(kind)), Effect::Write);
            assert_eq!(not_sent, (expected, Retry::Safe));
        }
        let refused = class(Failure::not_sent(lost(ConnectionRefused)), Effect::Write);
        assert_eq!(refused, (ErrorKind::Unavailable, Retry::Safe));
    }

    #[test]
    fn a_write_that_a_server_refused_is_safe_to_repeat() {
        for kind in [
            ServerErrorKind::BusyLoading,
            ServerErrorKind::ReadOnly,
            ServerErrorKind::TryAgain,
            ServerErrorKind::ClusterDown,
        ] {
            let e = RedisError::from((redis::ErrorKind::Server(kind), "refused"));
            assert_eq!(
                class(e, Effect::Write),
                (ErrorKind::Unavailable, Retry::Safe),
                "{kind:?}"
            );
        }
    }
}
