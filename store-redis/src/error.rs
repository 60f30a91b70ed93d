//! What Redis and its driver report, as one [`Error`].
//!
//! Of a server's words only the code is kept: the rest quotes commands.

use std::fmt;
use std::sync::Arc;

use redis::{RedisError, ServerErrorKind};
pub(crate) use store_core::backend::Effect;
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

/// The error for `e`, which ended a call of this effect.
pub(crate) fn from_redis(e: RedisError, effect: Effect, operation: &'static str) -> Error {
    let (kind, retry, advice) = classify(&e, effect);
    let error = Error::new(kind, advice)
        .with_retry(retry)
        .with_backend(BACKEND)
        .with_operation(operation);
    match code(&e) {
        Some(code) => error.with_source(Code(code)),
        // Of the operating system, TLS or the name service.
        None if e.is_io_error() => error.with_source(e),
        None => error,
    }
}

/// The server's code. Of several commands in one request, that of the first that
/// failed; the driver does not report it itself if it has no name for it.
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

fn classify(e: &RedisError, effect: Effect) -> (ErrorKind, Retry, &'static str) {
    use ErrorKind::*;
    if e.is_connection_refusal() {
        // It comes from connecting alone.
        return (
            Unavailable,
            Retry::Safe,
            "no server listens at the address; nothing was sent",
        );
    }
    if is_untrusted(e) {
        return (
            Config,
            Retry::Never,
            "the server's certificate is not trusted; check the host's name and RedisBuilder::tls",
        );
    }
    match e.kind() {
        redis::ErrorKind::Io if e.is_timeout() => (
            Timeout,
            effect.if_lost(),
            "the server did not answer in time; see RedisBuilder::timeout",
        ),
        redis::ErrorKind::Io | redis::ErrorKind::Parse => (
            Unavailable,
            effect.if_lost(),
            "the connection to the server failed",
        ),
        redis::ErrorKind::AuthenticationFailed => REFUSED,
        redis::ErrorKind::RESP3NotSupported => TOO_OLD,
        redis::ErrorKind::Server(kind) => by_kind(kind),
        redis::ErrorKind::Extension => by_code(&code(e).unwrap_or_default()),
        redis::ErrorKind::UnexpectedReturnType => (
            Corrupt,
            Retry::Never,
            "the server's reply has not the form that its command has",
        ),
        _ => (
            Config,
            Retry::Never,
            "the connection is configured wrongly; check the URL and the TLS files",
        ),
    }
}

/// Only while connecting: nothing was sent.
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

/// The server refused to begin, so nothing was written.
fn by_kind(kind: ServerErrorKind) -> Class {
    use ErrorKind::*;
    use ServerErrorKind::*;
    let later = |advice| (Unavailable, Retry::Safe, advice);
    match kind {
        BusyLoading => {
            later("the server is still loading its data; nothing was written, try again")
        }
        Moved | Ask | TryAgain => later(
            "the cluster is moving what the call needs; nothing was written, try again; \
                 if it lasts, ask redis-cli --cluster check",
        ),
        ClusterDown | MasterDown => {
            later("the cluster cannot serve this now; nothing was written, try again")
        }
        ReadOnly => later(
            "the server is a replica; nothing was written. The next call connects anew; if the \
             address goes on leading to a replica, name the primary",
        ),
        NoPerm => (
            PermissionDenied,
            Retry::Never,
            "the user may not do this; grant it what the crate's documentation lists",
        ),
        CrossSlot => (
            Config,
            Retry::Never,
            "the server is a cluster and was not known as one when the store was opened; open it again",
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
            "something else is stored under a name of this store; use a namespace of its own",
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

    fn class(e: impl Into<RedisError>, effect: Effect) -> (ErrorKind, Retry) {
        let error = from_redis(e.into(), effect, "commit");
        (error.kind(), error.retry())
    }

    #[test]
    fn a_lost_write_is_ambiguous_and_one_never_sent_is_not() {
        let io = |kind| RedisError::from(io::Error::from(kind));
        for (kind, effect, expected) in [
            (io::ErrorKind::BrokenPipe, Effect::Write, Retry::Ambiguous),
            (
                io::ErrorKind::UnexpectedEof,
                Effect::Write,
                Retry::Ambiguous,
            ),
            (io::ErrorKind::BrokenPipe, Effect::Repeatable, Retry::Safe),
            (io::ErrorKind::ConnectionRefused, Effect::Write, Retry::Safe),
        ] {
            assert_eq!(class(io(kind), effect), (ErrorKind::Unavailable, expected));
        }
        assert_eq!(
            class(io(io::ErrorKind::TimedOut), Effect::Write),
            (ErrorKind::Timeout, Retry::Ambiguous)
        );
    }

    #[test]
    fn what_a_server_refused_did_not_happen() {
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
