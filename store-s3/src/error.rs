//! Converts errors of S3 and its driver to [`Error`].
//!
//! An error is classified only by its type, its status and its parsed code. The driver's
//! messages quote names of objects, so they are never searched for text.

use std::error::Error as StdError;
use std::fmt;

use object_store::client::{HttpError, HttpErrorKind};
pub(crate) use store_core::backend::Effect;
use store_core::{Error, ErrorKind, Retry};

pub(crate) const BACKEND: &str = "s3";

/// The status of the server's answer.
#[derive(Debug)]
struct Status(u16);

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the server answered with status {}", self.0)
    }
}

impl StdError for Status {}

/// `e` and its causes.
fn chain(e: &object_store::Error) -> impl Iterator<Item = &(dyn StdError + 'static)> {
    let first: &(dyn StdError + 'static) = e;
    std::iter::successors(Some(first), |e: &&'_ (dyn StdError + 'static)| {
        (*e).source()
    })
}

/// The status and body of the server's answer. The driver's type for them,
/// `RequestError::Status`, is not public, but its text has a fixed beginning.
/// Only an error whose text begins with it is parsed, because the errors that wrap it
/// quote the request's path first.
fn answer(e: &object_store::Error) -> Option<(u16, String)> {
    chain(e).find_map(|e| {
        let text = e.to_string();
        let rest = text.strip_prefix("Server returned non-2xx status code: ")?;
        let status = rest.get(..3)?.parse().ok()?;
        // "404 Not Found: " and the body.
        let body = rest.split_once(": ").map_or("", |(_, body)| body);
        Some((status, body.to_owned()))
    })
}

/// The status of the server's answer, if there was one that failed.
pub(crate) fn status(e: &object_store::Error) -> Option<u16> {
    answer(e).map(|(status, _)| status)
}

/// S3's code in an error's body. It is the first element. Names come later, and the
/// server escapes them, so a name cannot be mistaken for an element.
fn code(body: &str) -> Option<&str> {
    let (_, rest) = body.split_once("<Code>")?;
    rest.split_once("</Code>").map(|(code, _)| code)
}

/// Whether the bucket is missing, rather than an object in it.
pub(crate) fn lacks_bucket(e: &object_store::Error) -> bool {
    answer(e).is_some_and(|(_, body)| code(&body) == Some("NoSuchBucket"))
}

/// The error for `e`, which ended a request of this effect.
pub(crate) fn from_driver(e: object_store::Error, effect: Effect) -> Error {
    let (kind, retry, advice) = classify(&e, effect);
    let error = Error::new(kind, advice)
        .with_retry(retry)
        .with_backend(BACKEND);
    match status(&e) {
        Some(status) => error.with_source(Status(status)),
        None => error,
    }
}

type Class = (ErrorKind, Retry, &'static str);

const NO_BUCKET: Class = (
    ErrorKind::Config,
    Retry::Never,
    "there is no such bucket; create it, or check the URL",
);

fn classify(e: &object_store::Error, effect: Effect) -> Class {
    use ErrorKind::*;
    match e {
        e if lacks_bucket(e) => NO_BUCKET,
        object_store::Error::PermissionDenied { .. } => (
            PermissionDenied,
            Retry::Never,
            "the server refused the request: the credentials are wrong or lack a right; grant the \
             rights that the crate's documentation lists",
        ),
        object_store::Error::Unauthenticated { .. } => (
            Unauthenticated,
            Retry::Never,
            "the server did not accept the credentials",
        ),
        object_store::Error::NotSupported { .. } | object_store::Error::NotImplemented { .. } => (
            Config,
            Retry::Never,
            "this kind of object store has no conditional writes; a store needs them",
        ),
        object_store::Error::InvalidPath { .. } => (
            Config,
            Retry::Never,
            "the bucket contains objects with names that are not the store's; use a separate prefix",
        ),
        e => by_status(e, effect),
    }
}

fn by_status(e: &object_store::Error, effect: Effect) -> Class {
    use ErrorKind::*;
    match status(e) {
        Some(404) => NO_BUCKET,
        Some(429 | 503) => (
            Unavailable,
            effect.if_lost(),
            "the server throttles requests; try again later",
        ),
        Some(409) => (
            Contended,
            Retry::Safe,
            "another write of the same object is in progress; nothing was written, try again",
        ),
        Some(501) => (
            Config,
            Retry::Never,
            "the server does not support a request that the store needs",
        ),
        Some(500..) => (
            Unavailable,
            effect.if_lost(),
            "the server failed; try again later",
        ),
        Some(301 | 307 | 308) => (
            Config,
            Retry::Never,
            "the bucket is in another region; set the region in the URL",
        ),
        Some(_) => (
            Config,
            Retry::Never,
            "the server refused the request; see the source's status",
        ),
        None => by_transport(e, effect),
    }
}

fn by_transport(e: &object_store::Error, effect: Effect) -> Class {
    use ErrorKind::*;
    let http = chain(e).find_map(|e| e.downcast_ref::<HttpError>());
    match http.map(HttpError::kind) {
        Some(HttpErrorKind::Connect) if is_untrusted(e) => (
            Config,
            Retry::Never,
            "the server's certificate is not trusted; check the endpoint's host name and \
             S3Builder::tls",
        ),
        Some(HttpErrorKind::Connect) => (
            Unavailable,
            Retry::Safe,
            "no server listens at the address, so nothing was sent; check the host and the \
             port, and that the server is running",
        ),
        Some(HttpErrorKind::Timeout) => (
            Timeout,
            effect.if_lost(),
            "the server did not answer in time; see S3Builder::timeout",
        ),
        _ => (
            Unavailable,
            effect.if_lost(),
            "the connection to the server failed",
        ),
    }
}

/// Whether the TLS library refused the server's certificate. Its error type is not
/// accessible here, but its text begins with these words; an error that quotes a URL
/// begins differently.
fn is_untrusted(e: &object_store::Error) -> bool {
    chain(e).any(|e| e.to_string().starts_with("invalid peer certificate"))
}

pub(crate) fn config(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::Config, message).with_backend(BACKEND)
}

pub(crate) fn corrupt(message: &'static str) -> Error {
    Error::corrupt(message).with_backend(BACKEND)
}

pub(crate) fn closed() -> Error {
    Error::closed().with_backend(BACKEND)
}

/// Whether it is unknown if the request was executed.
pub(crate) fn is_lost(error: &Error) -> bool {
    error.retry() == Retry::Ambiguous
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer of the server as the driver wraps it, for the object `path`.
    fn answered(path: &str, answer: &str) -> object_store::Error {
        #[derive(Debug)]
        struct Outer(String, Inner);
        #[derive(Debug)]
        struct Inner(String);
        impl fmt::Display for Inner {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl StdError for Inner {}
        impl fmt::Display for Outer {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let Self(path, inner) = self;
                write!(f, "Error performing GET http://h/{path} in 1ms - {inner}")
            }
        }
        impl StdError for Outer {
            fn source(&self) -> Option<&(dyn StdError + 'static)> {
                Some(&self.1)
            }
        }
        let source = Outer(path.into(), Inner(answer.into()));
        object_store::Error::NotFound {
            path: path.into(),
            source: Box::new(source),
        }
    }

    /// Texts that would mislead a search in the driver's messages.
    const MISLEADING: [&str; 5] = [
        "NoSuchBucket",
        "<Code>NoSuchBucket</Code>",
        "status code: 409",
        "Server returned non-2xx status code: 503 Slow Down: ",
        "invalid peer certificate",
    ];

    #[test]
    fn no_name_decides_what_an_error_is() {
        for name in MISLEADING {
            let answer = "Server returned non-2xx status code: 404 Not Found: \
                          <Error><Code>NoSuchKey</Code><Key>x</Key></Error>";
            let error = answered(name, answer);
            assert_eq!(status(&error), Some(404), "{name}");
            assert!(!lacks_bucket(&error), "{name}");
            assert!(!is_untrusted(&error), "{name}");
            let silent = answered(name, "error sending request");
            assert_eq!(status(&silent), None, "{name}");
            assert!(!lacks_bucket(&silent), "{name}");
            assert_eq!(
                from_driver(silent, Effect::Write).retry(),
                Retry::Ambiguous,
                "{name}"
            );
        }
    }

    #[test]
    fn the_code_of_a_reply_decides_the_class() {
        let answer = "Server returned non-2xx status code: 404 Not Found: \
                      <?xml?><Error><Code>NoSuchBucket</Code></Error>";
        let error = from_driver(answered("a", answer), Effect::Write);
        assert_eq!(
            (error.kind(), error.retry()),
            (ErrorKind::Config, Retry::Never)
        );
        let busy = "Server returned non-2xx status code: 409 Conflict: ";
        assert_eq!(status(&answered("a", busy)), Some(409));
    }
}
