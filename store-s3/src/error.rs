//! What S3 and its driver report, as one [`Error`].
//!
//! Of a server's words only the status is kept: the rest may quote names.

use std::error::Error as StdError;
use std::fmt;

use object_store::client::{HttpError, HttpErrorKind};
pub(crate) use store_core::backend::Effect;
use store_core::{Error, ErrorKind, Retry};

pub(crate) const BACKEND: &str = "s3";

/// The status with which the server answered.
#[derive(Debug)]
struct Status(u16);

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the server answered with status {}", self.0)
    }
}

impl StdError for Status {}

/// The causes of `e`, itself first.
fn chain(e: &object_store::Error) -> impl Iterator<Item = &(dyn StdError + 'static)> {
    let first: &(dyn StdError + 'static) = e;
    std::iter::successors(Some(first), |e: &&'_ (dyn StdError + 'static)| {
        (*e).source()
    })
}

/// The status that the server answered with, as far as the driver tells: its
/// type for that is not public, its text is.
pub(crate) fn status(e: &object_store::Error) -> Option<u16> {
    chain(e).find_map(|e| {
        let text = e.to_string();
        let (_, rest) = text.split_once("status code: ")?;
        rest.get(..3)?.parse().ok()
    })
}

/// Whether it is the bucket that is missing, and not an object in it.
pub(crate) fn lacks_bucket(e: &object_store::Error) -> bool {
    chain(e).any(|e| e.to_string().contains("NoSuchBucket"))
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
    "there is no such bucket; make it, or check the URL",
);

fn classify(e: &object_store::Error, effect: Effect) -> Class {
    use ErrorKind::*;
    match e {
        e if lacks_bucket(e) => NO_BUCKET,
        object_store::Error::PermissionDenied { .. } => (
            PermissionDenied,
            Retry::Never,
            "the server refused: the credentials are wrong, or may not do this; grant what the \
             crate's documentation lists",
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
            "the bucket holds names that are not the store's; give it a prefix of its own",
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
            "the server asks for fewer requests; try again later",
        ),
        Some(409) => (
            Contended,
            Retry::Safe,
            "others write the same object at this moment; nothing was written, try again",
        ),
        Some(501) => (
            Config,
            Retry::Never,
            "the server does not offer what the store needs",
        ),
        Some(500..) => (
            Unavailable,
            effect.if_lost(),
            "the server failed; try again later",
        ),
        Some(301 | 307 | 308) => (
            Config,
            Retry::Never,
            "the bucket is in another region; name that in the URL",
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
            "the server's certificate is not trusted; check the host's name and its authority",
        ),
        Some(HttpErrorKind::Connect) => (
            Unavailable,
            Retry::Safe,
            "nobody listens at the server's address; nothing was sent",
        ),
        Some(HttpErrorKind::Timeout) => (
            Timeout,
            effect.if_lost(),
            "the server did not answer in time; see Builder::timeout",
        ),
        _ => (
            Unavailable,
            effect.if_lost(),
            "the connection to the server failed",
        ),
    }
}

fn is_untrusted(e: &object_store::Error) -> bool {
    chain(e).any(|e| e.to_string().contains("invalid peer certificate"))
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

/// Whether nobody knows if the request was executed.
pub(crate) fn is_lost(error: &Error) -> bool {
    error.retry() == Retry::Ambiguous
}
