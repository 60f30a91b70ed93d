//! The events that a limiter reports, and how it refuses.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::clock::Timestamp;
use crate::error::Error;
use crate::limits::{Decision, QuotaSet, text};

/// Something that a limiter did.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Event<'a> {
    /// The key, in full: decide what of it belongs in a log.
    pub key: &'a str,
    /// How many tokens were asked for.
    pub tokens: u32,
    /// When, by the store's clock.
    pub at: Timestamp,
    /// The limiter's quotas.
    pub quotas: &'a QuotaSet,
    /// The outcome.
    pub outcome: Outcome<'a>,
}

/// The outcome of a call to a limiter.
#[non_exhaustive]
#[derive(Clone, Copy, Debug)]
pub enum Outcome<'a> {
    /// The tokens were taken.
    Allowed {
        /// See [`Decision::Allowed`].
        remaining: u32,
    },
    /// The tokens were not taken.
    Denied {
        /// See [`Decision::Denied`].
        quota: usize,
        /// See [`Decision::Denied`].
        retry_after: Duration,
    },
    /// The store gave no answer, and the call was allowed without one.
    FailedOpen(&'a Error),
    /// The store gave no answer, and the caller got the error.
    Failed(&'a Error),
    /// The buckets were made full.
    Reset,
}

impl Outcome<'_> {
    pub(super) fn of(decision: Decision) -> Self {
        match decision {
            Decision::Allowed { remaining, .. } => Self::Allowed { remaining },
            Decision::Denied { quota, retry_after } => Self::Denied { quota, retry_after },
        }
    }
}

impl fmt::Debug for Event<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("key", &format_args!("{}", Redacted(self.key)))
            .field("tokens", &self.tokens)
            .field("at", &self.at)
            .field("outcome", &self.outcome)
            .finish()
    }
}

type Hook = Arc<dyn Fn(&Event<'_>) + Send + Sync>;

/// The callbacks of a limiter. Most have none.
#[derive(Clone, Default)]
pub(super) struct Hooks(Option<Arc<Set>>);

#[derive(Clone, Default)]
pub(super) struct Set {
    pub(super) on_allow: Option<Hook>,
    pub(super) on_limit: Option<Hook>,
    pub(super) audit: Option<Hook>,
}

impl Hooks {
    pub(super) fn set(&mut self) -> &mut Set {
        Arc::make_mut(self.0.get_or_insert_default())
    }

    pub(super) fn any(&self) -> bool {
        self.0.is_some()
    }

    pub(super) fn notify(&self, event: &Event<'_>) {
        let Some(set) = &self.0 else { return };
        let by_outcome = match event.outcome {
            Outcome::Allowed { .. } | Outcome::FailedOpen(_) => &set.on_allow,
            Outcome::Denied { .. } => &set.on_limit,
            Outcome::Failed(_) | Outcome::Reset => &None,
        };
        for hook in [&set.audit, by_outcome].into_iter().flatten() {
            hook(event);
        }
    }
}

/// A call that was denied, as an error to pass on.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Denial {
    /// The key, in full. `Debug` and `Display` show a digest of it.
    pub key: String,
    /// The name of the quota that made the call wait longest.
    pub quota: Arc<str>,
    /// How long until the same call fits, if no other tokens are taken before.
    pub retry_after: Duration,
}

impl Denial {
    /// [`Denial::retry_after`] in whole seconds, rounded up: the value of a
    /// `Retry-After` header.
    pub fn retry_after_secs(&self) -> u64 {
        text::whole_seconds(self.retry_after)
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the quota {:?} of {} is used up; try again in {}",
            self.quota,
            Redacted(&self.key),
            text::ForPeople(self.retry_after)
        )
    }
}

impl fmt::Debug for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Denial")
            .field("key", &format_args!("{}", Redacted(&self.key)))
            .field("quota", &self.quota)
            .field("retry_after", &self.retry_after)
            .finish()
    }
}

impl std::error::Error for Denial {}

/// Why [`RateLimiter::execute`](super::RateLimiter::execute) ran nothing.
#[derive(Debug)]
pub enum Refused {
    /// The quota is used up.
    Denied(Denial),
    /// There is no answer, and the limiter fails closed.
    Failed(Error),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied(denial) => denial.fmt(f),
            Self::Failed(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Refused {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Denied(_) => None,
            Self::Failed(error) => std::error::Error::source(error),
        }
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// A key for people: the same key always reads the same, and cannot be read back.
struct Redacted<'a>(&'a str);

impl fmt::Display for Redacted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digest = Sha256::digest(self.0.as_bytes());
        let [a, b, c, d] = [digest[0], digest[1], digest[2], digest[3]];
        write!(f, "key#{:08x}", u32::from_be_bytes([a, b, c, d]))
    }
}
