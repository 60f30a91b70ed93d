//! Errors of DynamoDB and its SDK as [`Error`].
//!
//! Only the code of a server's error is used, because its message may quote the request.

use std::error::Error as StdError;
use std::fmt;
use std::io;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
pub(crate) use store_core::backend::Effect;
use store_core::{Error, ErrorKind, Retry};

pub(crate) const BACKEND: &str = "dynamodb";

/// The code of a server's error.
#[derive(Debug)]
struct Code(String);

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the server answered {}", self.0)
    }
}

impl StdError for Code {}

const THROTTLED: [&str; 6] = [
    "ProvisionedThroughputExceeded",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "Throttling",
    "ThrottlingError",
    "ThrottlingException",
];

/// Whether the server wrote nothing and may soon accept the same request, because it
/// throttles or another transaction holds the item.
pub(crate) fn is_for_now(error: &Error) -> bool {
    let code = error.source().and_then(|e| e.downcast_ref::<Code>());
    error.is(ErrorKind::Contended) || code.is_some_and(|code| THROTTLED.contains(&&*code.0))
}

/// The error for `e`, which ended a call of this effect.
pub(crate) fn from_sdk<E, R>(e: SdkError<E, R>, effect: Effect, operation: &'static str) -> Error
where
    E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
    R: fmt::Debug + Send + Sync + 'static,
{
    match &e {
        SdkError::ServiceError(service) => {
            from_code(service.err().code().unwrap_or("no code"), effect)
        }
        SdkError::TimeoutError(_) => unanswered(ErrorKind::Timeout, effect),
        SdkError::DispatchFailure(failure) if failure.is_timeout() => {
            unanswered(ErrorKind::Timeout, effect)
        }
        SdkError::DispatchFailure(_) => undelivered(&e, effect),
        SdkError::ConstructionFailure(_) => {
            config("the request could not be built; check region, endpoint and credentials")
        }
        _ => unanswered(ErrorKind::Unavailable, effect),
    }
    .with_backend(BACKEND)
    .with_operation(operation)
}

fn unanswered(kind: ErrorKind, effect: Effect) -> Error {
    let advice = match kind {
        ErrorKind::Timeout => "the server did not answer in time; see DynamoDbBuilder::timeout",
        _ => "the connection to the server failed",
    };
    Error::new(kind, advice).with_retry(effect.if_lost())
}

/// The error for a request that was not sent or received no reply.
fn undelivered(e: &(dyn StdError + 'static), effect: Effect) -> Error {
    let io = find::<io::Error>(e).map(|io| io::Error::from(io.kind()));
    let with_source = |error: Error| match io {
        Some(io) => error.with_source(io),
        None => error,
    };
    if let Some(rustls::Error::InvalidCertificate(_)) = find(e) {
        return config(
            "the server's certificate is not trusted; check the endpoint's host name and \
             DynamoDbBuilder::tls",
        );
    }
    if find::<hyper_util::client::legacy::Error>(e).is_some_and(|e| e.is_connect()) {
        let advice = "no server listens at the address, so nothing was sent; check the endpoint \
                      and that the server is running";
        return with_source(Error::new(ErrorKind::Unavailable, advice).with_retry(Retry::Safe));
    }
    if find::<CredentialsError>(e).is_some() {
        return Error::new(
            ErrorKind::Unauthenticated,
            "no credentials were found; nothing was sent. See DynamoDbBuilder::credentials",
        );
    }
    with_source(unanswered(ErrorKind::Unavailable, effect))
}

fn find<'e, T: StdError + 'static>(e: &'e (dyn StdError + 'static)) -> Option<&'e T> {
    let mut next = Some(e);
    while let Some(e) = next {
        if let Some(found) = e.downcast_ref() {
            return Some(found);
        }
        // `source` of an `io::Error` skips the error that it wraps, which `find` must
        // check.
        next = match e.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(wrapped) => Some(wrapped),
            None => e.source(),
        };
    }
    None
}

/// The error for an answer of this code.
pub(crate) fn from_code(code: &str, effect: Effect) -> Error {
    let (kind, retry, advice) = classify(code, effect);
    Error::new(kind, advice)
        .with_retry(retry)
        .with_backend(BACKEND)
        .with_source(Code(code.into()))
}

fn classify(code: &str, effect: Effect) -> (ErrorKind, Retry, &'static str) {
    use ErrorKind::*;
    match code {
        _ if THROTTLED.contains(&code) => (
            Unavailable,
            Retry::Safe,
            "DynamoDB throttles the table, a partition or the account; nothing was written, \
             try again later or spread the load over more partitions",
        ),
        "TransactionConflict"
        | "TransactionConflictException"
        | "TransactionInProgressException"
        | "ReplicatedWriteConflictException" => (
            Contended,
            Retry::Safe,
            "other transactions on the same records conflicted with every attempt; nothing was \
             written, try again later",
        ),
        "ResourceNotFoundException" => (
            Config,
            Retry::Never,
            "the table does not exist; call setup, or check table, region and account",
        ),
        "AccessDenied" | "AccessDeniedException" => (
            PermissionDenied,
            Retry::Never,
            "these credentials do not permit this; grant what the crate's documentation lists",
        ),
        "ExpiredTokenException"
        | "IncompleteSignature"
        | "IncompleteSignatureException"
        | "InvalidClientTokenId"
        | "InvalidSignatureException"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException"
        | "SignatureDoesNotMatch"
        | "UnrecognizedClientException" => (
            Unauthenticated,
            Retry::Never,
            "the server refused the credentials; check them, and the system clock",
        ),
        "ItemCollectionSizeLimitExceeded" | "ItemCollectionSizeLimitExceededException" => (
            LimitExceeded,
            Retry::Never,
            "the partition is full, because the table has a local index; use a table without one",
        ),
        "SerializationException"
        | "UnknownOperationException"
        | "ValidationError"
        | "ValidationException" => (
            Config,
            Retry::Never,
            "the server refused the request as invalid; check that setup created the table",
        ),
        _ => (
            Unavailable,
            effect.if_lost(),
            "the server failed; see the code in the error's source",
        ),
    }
}

/// An error of the configuration, which a retry cannot resolve.
pub(crate) fn config(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::Config, message).with_backend(BACKEND)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(code: &str, effect: Effect) -> (ErrorKind, Retry) {
        let error = from_code(code, effect);
        (error.kind(), error.retry())
    }

    #[test]
    fn a_throttled_write_did_not_happen_and_a_failed_one_may_have() {
        for code in THROTTLED {
            assert_eq!(
                class(code, Effect::Write),
                (ErrorKind::Unavailable, Retry::Safe),
                "{code}"
            );
            assert!(is_for_now(&from_code(code, Effect::Write)));
        }
        for code in ["InternalServerError", "ServiceUnavailable", "Unknown"] {
            let lost = (ErrorKind::Unavailable, Retry::Ambiguous);
            assert_eq!(class(code, Effect::Write), lost, "{code}");
            let unread = (ErrorKind::Unavailable, Retry::Safe);
            assert_eq!(class(code, Effect::Repeatable), unread, "{code}");
            assert!(!is_for_now(&from_code(code, Effect::Write)));
        }
    }

    #[test]
    fn a_request_for_a_held_item_may_be_sent_again() {
        for code in ["TransactionConflict", "TransactionInProgressException"] {
            assert_eq!(
                class(code, Effect::Write),
                (ErrorKind::Contended, Retry::Safe)
            );
            assert!(is_for_now(&from_code(code, Effect::Write)));
        }
    }
}
