//! Events for what a store does that its caller does not see.
//!
//! With the feature `tracing` each function emits one event with the target
//! [`TARGET`]; without it, it compiles to nothing. The functions take static text,
//! numbers and [`Error`]s, none of which contains a secret, so no event can.

use crate::error::{Error, Result};
use crate::record_store::Swept;

/// The target of every event.
pub const TARGET: &str = "store";

/// A failure that no caller receives, as a warning.
pub fn failure(what: &'static str, error: &Error) {
    #[cfg(feature = "tracing")]
    {
        use std::error::Error as _;
        let cause = error.source().map(tracing::field::display);
        tracing::warn!(target: TARGET, kind = ?error.kind(), %error, cause, "{what}");
    }
    let _ = (what, error);
}

/// Drops the result of a call that its caller does not depend on. An error is a
/// [`failure`].
pub fn ignore<T>(what: &'static str, result: Result<T>) {
    if let Err(error) = result {
        failure(what, &error);
    }
}

/// A fault that the store repaired: a connection that was replaced, a lost reply
/// whose outcome was found.
pub fn recovery(what: &'static str) {
    #[cfg(feature = "tracing")]
    tracing::info!(target: TARGET, "{what}");
    let _ = what;
}

/// An attempt that is repeated, with the number of attempts that failed before it.
pub fn retry(what: &'static str, failed: u32) {
    #[cfg(feature = "tracing")]
    tracing::debug!(target: TARGET, failed, "{what}");
    let _ = (what, failed);
}

/// A detour of a call: a redirection to another server, a place in a queue.
pub fn detour(what: &'static str) {
    #[cfg(feature = "tracing")]
    tracing::debug!(target: TARGET, "{what}");
    let _ = what;
}

/// A sweep that removed something.
pub fn swept(what: &'static str, swept: &Swept) {
    #[cfg(feature = "tracing")]
    if swept.removed > 0 {
        tracing::debug!(target: TARGET, removed = swept.removed, more = swept.more, "{what}");
    }
    let _ = (what, swept);
}
