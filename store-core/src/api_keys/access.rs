//! Whether a request is allowed, and what to answer the client.

use async_trait::async_trait;

use crate::api_keys::{KeyEntry, Lookup};
use crate::error::Result;

/// Whether a request with an API key is allowed. An `Err` in its place means
/// that there is no answer: refuse with 503.
#[must_use]
#[derive(Clone, Debug, PartialEq)]
pub enum Access {
    /// It is allowed.
    Granted(KeyEntry),
    /// The key works, but does not permit this.
    Denied(KeyEntry, DenyReason),
    /// The key was disabled.
    Disabled(KeyEntry),
    /// The key has expired.
    Expired(KeyEntry),
    /// There is no such key.
    Unknown,
    /// What was presented cannot be a key: mistyped or cut off.
    BadFormat,
    /// No key was presented.
    Missing,
}

/// Why a working key is denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DenyReason {
    /// The action on the resource is not among its permissions.
    NotPermitted,
    /// A rule forbids it.
    Rule,
    /// Its stored permissions cannot be decoded; set them again.
    MalformedPermissions,
}

impl Access {
    /// True if the request may go on.
    pub fn is_granted(&self) -> bool {
        matches!(self, Self::Granted(_))
    }

    /// The key, if there is one.
    pub fn entry(&self) -> Option<&KeyEntry> {
        match self {
            Self::Granted(entry)
            | Self::Denied(entry, _)
            | Self::Disabled(entry)
            | Self::Expired(entry) => Some(entry),
            Self::Unknown | Self::BadFormat | Self::Missing => None,
        }
    }
}

/// What a rule says. Rules are evaluated before the key's own permissions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is allowed, whatever the key's permissions say.
    Allow,
    /// It is forbidden, whatever the key's permissions say.
    Forbid,
    /// The key's own permissions decide.
    Abstain,
}

/// Rules of the application's own: a company's, a role's, of the time of day.
///
/// They are evaluated for active keys only, so no rule makes a disabled key work.
/// A closure `Fn(&KeyEntry, resource, action) -> Verdict` is such a rule;
/// implement the trait for one that needs I/O.
#[async_trait]
pub trait Rules: Send + Sync {
    /// What the rules say about `action` on `resource` with `key`.
    ///
    /// # Errors
    /// If there is no answer; the request is then refused as in any outage.
    async fn judge(&self, key: &KeyEntry, resource: &str, action: &str) -> Result<Verdict>;
}

#[async_trait]
impl<F> Rules for F
where
    F: Fn(&KeyEntry, &str, &str) -> Verdict + Send + Sync,
{
    async fn judge(&self, key: &KeyEntry, resource: &str, action: &str) -> Result<Verdict> {
        Ok(self(key, resource, action))
    }
}

/// Decides about `action` on `resource` for a key that was looked up.
///
/// # Errors
/// Those of the rules.
pub async fn decide(
    found: Lookup,
    rules: Option<&dyn Rules>,
    resource: &str,
    action: &str,
) -> Result<Access> {
    let entry = match found {
        Lookup::Active(entry) => entry,
        Lookup::Disabled(entry) => return Ok(Access::Disabled(entry)),
        Lookup::Expired(entry) => return Ok(Access::Expired(entry)),
        Lookup::Unknown => return Ok(Access::Unknown),
    };
    let verdict = match rules {
        Some(rules) => rules.judge(&entry, resource, action).await?,
        None => Verdict::Abstain,
    };
    let permissions = &entry.data().permissions;
    Ok(match verdict {
        Verdict::Allow => Access::Granted(entry),
        Verdict::Forbid => Access::Denied(entry, DenyReason::Rule),
        Verdict::Abstain if permissions.allow(resource, action) => Access::Granted(entry),
        Verdict::Abstain if permissions.is_malformed() => {
            Access::Denied(entry, DenyReason::MalformedPermissions)
        }
        Verdict::Abstain => Access::Denied(entry, DenyReason::NotPermitted),
    })
}

/// A status and a text for the client, for any web framework.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpAnswer {
    /// 200 for a granted request, 401 without a key, 400 for what cannot be a
    /// key, 503 when there is no answer, 403 for everything else.
    pub status: u16,
    /// The text for the client.
    pub message: &'static str,
}

impl HttpAnswer {
    /// The headers for the response, names in lower case: how to present a key
    /// for 401, and when to try again for 503.
    ///
    /// ```
    /// use store_core::api_keys::{Access, http_answer};
    ///
    /// let answer = http_answer(&Ok(Access::Missing));
    /// assert_eq!(answer.headers(), [("www-authenticate", "Bearer")]);
    /// ```
    pub fn headers(self) -> &'static [(&'static str, &'static str)] {
        match self.status {
            401 => &[("www-authenticate", "Bearer")],
            503 => &[("retry-after", "1")],
            _ => &[],
        }
    }
}

/// The answer for the client, with the reason.
///
/// ```
/// use store_core::api_keys::{Access, http_answer, http_answer_hardened};
///
/// assert_eq!(http_answer(&Ok(Access::Missing)).status, 401);
/// assert_eq!(http_answer(&Ok(Access::Unknown)).status, 403);
/// assert_eq!(http_answer_hardened(&Ok(Access::Unknown)).message, "access denied");
/// ```
#[doc(alias = "middleware")]
pub fn http_answer(access: &Result<Access>) -> HttpAnswer {
    let (status, message) = match access {
        Ok(Access::Granted(_)) => (200, "granted"),
        Ok(Access::Missing) => (401, "an API key is required"),
        Ok(Access::BadFormat) => (400, "this is no API key; check that it was copied whole"),
        Ok(Access::Denied(..)) => (403, "the API key does not permit this"),
        Ok(Access::Disabled(_)) => (403, "the API key was disabled"),
        Ok(Access::Expired(_)) => (403, "the API key has expired"),
        Ok(Access::Unknown) => (403, "the API key is unknown"),
        Err(_) => (503, "API keys cannot be checked now; try again later"),
    };
    HttpAnswer { status, message }
}

/// Like [`http_answer`], but every 403 is the same, so that a client cannot
/// tell a key that exists from one that does not.
pub fn http_answer_hardened(access: &Result<Access>) -> HttpAnswer {
    let mut answer = http_answer(access);
    if answer.status == 403 {
        answer.message = "access denied";
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api_keys::{KeyData, KeyId};
    use crate::clock::Timestamp;
    use crate::error::{Error, ErrorKind};

    fn entry() -> KeyEntry {
        let id = KeyId::new("k1").unwrap();
        KeyEntry::new(id, Timestamp::EPOCH, KeyData::new())
    }

    #[test]
    fn an_outage_is_503_and_never_looks_like_an_unknown_key() {
        // Even an error that sounds like the client's fault is the store's.
        for kind in [
            ErrorKind::Unavailable,
            ErrorKind::Unauthenticated,
            ErrorKind::InvalidInput,
            ErrorKind::NotFound,
        ] {
            let outage = Err(Error::new(kind, "x"));
            assert_eq!(http_answer(&outage).status, 503);
            assert_eq!(http_answer_hardened(&outage).status, 503);
        }
    }

    #[test]
    fn the_hardened_answer_distinguishes_no_keys() {
        let refused = [
            Access::Unknown,
            Access::Disabled(entry()),
            Access::Expired(entry()),
            Access::Denied(entry(), DenyReason::NotPermitted),
        ];
        for access in refused {
            let answer = http_answer_hardened(&Ok(access));
            assert_eq!(answer, http_answer_hardened(&Ok(Access::Unknown)));
            assert_eq!(answer.status, 403);
        }
    }
}
