//! Converts errors of PostgreSQL and sqlx to [`Error`].
//!
//! The source of an error omits the server's detail and context, because they
//! quote keys and bodies.

use std::fmt;

use sqlx::error::DatabaseError;
pub(crate) use store_core::backend::Effect;
use store_core::{Error, ErrorKind, Retry};

use crate::sessions::Doubt;

const INVALID: std::io::ErrorKind = std::io::ErrorKind::InvalidData;

pub(crate) const BACKEND: &str = "postgres";

/// The connection was lost during a call, as opposed to before it.
#[derive(Debug)]
struct SessionLost(sqlx::Error);

impl fmt::Display for SessionLost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for SessionLost {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&self.0)
    }
}

/// What the server reported, without the values that it quotes.
#[derive(Debug)]
struct Report {
    code: String,
    message: String,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SQLSTATE {}", self.code)?;
        if !self.message.is_empty() {
            write!(f, ": {}", self.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for Report {}

/// The error for `e`, which ended a call of this `effect`.
pub(crate) fn from_sqlx(e: sqlx::Error, effect: Effect, operation: &'static str) -> Error {
    let lost = effect.if_lost();
    let unavailable = |message: &'static str, e: sqlx::Error| {
        Error::new(ErrorKind::Unavailable, message)
            .with_retry(lost)
            .with_source(e)
    };
    let error = match e {
        sqlx::Error::Database(report) => {
            let unexecuted = effect == Effect::Write && is_unexecuted(&*report);
            from_report(&*report, if unexecuted { Retry::Safe } else { lost })
        }
        sqlx::Error::PoolTimedOut => Error::new(
            ErrorKind::Unavailable,
            "no connection became free in time; nothing was sent. Try again, \
             or allow more by PostgresBuilder::max_connections",
        )
        .with_retry(Retry::Safe),
        sqlx::Error::PoolClosed => Error::closed(),
        sqlx::Error::Configuration(_) => Error::new(
            ErrorKind::Config,
            "the connection is configured wrongly; check the URL and the TLS files",
        )
        .with_source(e),
        // rustls reports an invalid certificate as invalid data.
        sqlx::Error::Io(ref io) if effect == Effect::Repeatable && io.kind() == INVALID => {
            untrusted(e)
        }
        sqlx::Error::Tls(_) => untrusted(e),
        sqlx::Error::Io(ref io) if is_unreachable(io) => unavailable(
            "the server cannot be reached; check the URL's host and port, and that it is running",
            e,
        ),
        sqlx::Error::Io(_) => unavailable("the connection to the server failed", e),
        sqlx::Error::Protocol(_) => unavailable("the server's reply was incomplete", e),
        // Encoding and decoding errors may quote values.
        _ => Error::new(
            ErrorKind::Corrupt,
            "the server's reply could not be decoded; was the schema changed by hand?",
        ),
    };
    error.with_backend(BACKEND).with_operation(operation)
}

fn untrusted(e: sqlx::Error) -> Error {
    Error::new(
        ErrorKind::Config,
        "the server could not be verified; check sslmode, the host's name and the \
         certificate authority (sslrootcert, or PostgresBuilder::tls)",
    )
    .with_source(e)
}

/// The error for `e`, which ended a call on an open session.
pub(crate) fn in_session(e: sqlx::Error, effect: Effect, operation: &'static str) -> Error {
    if !matches!(e, sqlx::Error::Io(_) | sqlx::Error::Protocol(_)) {
        return from_sqlx(e, effect, operation);
    }
    Error::new(
        ErrorKind::Unavailable,
        "the connection to the server was lost",
    )
    .with_retry(effect.if_lost())
    .with_source(SessionLost(e))
    .with_backend(BACKEND)
    .with_operation(operation)
}

fn is_unreachable(e: &std::io::Error) -> bool {
    use std::io::ErrorKind::*;
    matches!(
        e.kind(),
        ConnectionRefused | HostUnreachable | NetworkUnreachable | AddrNotAvailable | TimedOut
    )
}

/// Whether the server ended the session before it executed the statement.
///
/// The server sends its messages in order, so the result of an executed statement
/// comes before this report. Only a report of PostgreSQL itself proves this. Such a
/// report contains the name of a C function, which that of a pooler does not.
fn is_unexecuted(report: &dyn DatabaseError) -> bool {
    let code = report.code().unwrap_or_default();
    let ends = ["57P01", "57P05", "25P03"].contains(&&*code);
    let own = report
        .try_downcast_ref::<sqlx::postgres::PgDatabaseError>()
        .and_then(|report| report.routine());
    ends && own == Some("ProcessInterrupts")
}

/// Whether this error shows that open sessions may be unusable.
pub(crate) fn doubt(error: &Error) -> Option<Doubt> {
    let source = std::error::Error::source(error)?;
    if source.is::<SessionLost>() {
        return Some(Doubt::Ended);
    }
    match source.downcast_ref::<Report>()?.code.as_str() {
        "25006" => Some(Doubt::ReadOnly),
        "57P01" | "57P02" | "57P03" | "57P05" | "25P03" => Some(Doubt::Ended),
        code if code.starts_with("08") => Some(Doubt::Ended),
        _ => None,
    }
}

fn from_report(report: &dyn DatabaseError, lost: Retry) -> Error {
    use ErrorKind::*;
    let code = report.code().unwrap_or_default().into_owned();
    let (kind, retry, advice) = classify(&code, lost);
    // Messages of these SQLSTATE classes may quote a value.
    let quotes = ["22", "23", "P0"]
        .iter()
        .any(|class| code.starts_with(class));
    let message = if quotes {
        String::new()
    } else {
        report.message().into()
    };
    debug_assert!(kind != Conflict, "a conflict is an answer, not an error");
    Error::new(kind, advice)
        .with_retry(retry)
        .with_source(Report { code, message })
}

fn classify(code: &str, lost: Retry) -> (ErrorKind, Retry, &'static str) {
    use ErrorKind::*;
    const SETUP: &str = "the store's tables or functions are missing or old; \
        run setup once, as a role that may create tables";
    match code {
        // Shutdown or crash: it is unknown whether the commit was executed before.
        "57P01" | "57P02" => (Unavailable, lost, "the server is shutting down"),
        "57P05" | "25P03" => (
            Unavailable,
            lost,
            "the server ended the session because it was idle",
        ),
        "57P03" => (
            Unavailable,
            Retry::Safe,
            "the server is not accepting connections yet",
        ),
        "57014" => (
            Timeout,
            Retry::Safe,
            "the server cancelled the statement; nothing was written",
        ),
        "55P03" | "40001" | "40P01" => (
            Contended,
            Retry::Safe,
            "other transactions held what the call needed; nothing was written, try again",
        ),
        "25006" => (
            Unavailable,
            Retry::Safe,
            "the server is read-only, perhaps a standby; nothing was written. Name the primary \
             in the URL, or all hosts with target_session_attrs=read-write",
        ),
        "ST001" => (
            InvalidInput,
            Retry::Never,
            "the transaction is not READ COMMITTED; begin it at that level, or set \
             default_transaction_isolation to it if the store began it",
        ),
        "42501" => (
            PermissionDenied,
            Retry::Never,
            "the role may not do this; grant it what the crate's documentation lists",
        ),
        "42P01" | "42883" | "42703" | "3F000" => (Config, Retry::Never, SETUP),
        "26000" | "42P05" => (
            Config,
            Retry::Never,
            "a pooler in front of the server gave the connection another session, without its \
             prepared statements; set max_prepared_statements of pgbouncer (1.21 or newer), \
             or pool by sessions. Nothing was written",
        ),
        "3D000" => (
            Config,
            Retry::Never,
            "the database does not exist; create it or correct the URL",
        ),
        _ => match code.get(..2).unwrap_or_default() {
            "08" => (Unavailable, lost, "the connection to the server failed"),
            "28" => (
                Unauthenticated,
                Retry::Never,
                "the server refused the user or the kind of connection; check the user, the \
                 password and sslmode in the URL",
            ),
            "53" => (
                Unavailable,
                Retry::Safe,
                "the server lacks memory, disk or connections; nothing was written",
            ),
            "58" | "XX" => (
                Unavailable,
                lost,
                "the server had an internal error; see its log",
            ),
            "40" => (Unavailable, lost, "the transaction was ended by the server"),
            "22" | "54" => (
                InvalidInput,
                Retry::Never,
                "the server cannot hold this value; see the source's SQLSTATE",
            ),
            _ => (
                Config,
                Retry::Never,
                "the server refused the statement; see the source's SQLSTATE",
            ),
        },
    }
}

/// The error of a call that took longer than the store allows.
pub(crate) fn timed_out(effect: Effect, operation: &'static str) -> Error {
    Error::new(
        ErrorKind::Timeout,
        "the server did not answer in time; see PostgresBuilder::timeout",
    )
    .with_retry(effect.if_lost())
    .with_backend(BACKEND)
    .with_operation(operation)
}
