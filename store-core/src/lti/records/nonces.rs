//! Nonces: one record each, in a partition of its own, because a partition for each
//! issuer would be hot. The expiry is a field and the record outlives it, so that
//! used, expired and unknown nonces are distinguished.

use serde::{Deserialize, Serialize};

use super::RecordLti;
use crate::batch::{Batch, Expect};
use crate::body::{Body, Format, Unknown};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::key::{Collection, Partition, RecordKey, bounded, join};
use crate::lti::store::{MAX_NONCE, NonceCheck};
use crate::update::{Decided, RecordStoreExt};

/// The collection of nonces. If one is lost, its launch is refused.
pub const NONCES: Collection = Collection::new("lti_nonces").single_use().transient();

#[derive(Clone, Serialize, Deserialize)]
struct StoredNonce {
    format: Format<1>,
    issuer: String,
    nonce: String,
    expires_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    used_at: Option<Timestamp>,
    #[serde(flatten)]
    unknown: Unknown,
}

fn place(nonce: &str, issuer: &str) -> Result<(Partition, RecordKey)> {
    let partition = Partition::new(bounded(&join(&[issuer, nonce])))?;
    Ok((partition, RecordKey::new(NONCES, "nonce")?))
}

/// Whether this can be a stored nonce; anything else was invented by an attacker.
fn is_nonce(nonce: &str) -> bool {
    (1..=MAX_NONCE).contains(&nonce.len()) && !nonce.chars().any(char::is_control)
}

impl<R, D> RecordLti<R, D> {
    pub(super) async fn save_nonce(&self, nonce: &str, issuer: &str) -> Result<()> {
        if !is_nonce(nonce) {
            return Err(Error::invalid(format!(
                "a nonce is 1 to {MAX_NONCE} bytes without control characters; \
                 32 random bytes in base64url are a good one"
            )));
        }
        let (partition, key) = place(nonce, issuer)?;
        let now = self.now();
        let expires_at = now + self.lifetime.valid;
        let body = Body::json(StoredNonce {
            format: Format,
            issuer: issuer.to_owned(),
            nonce: nonce.to_owned(),
            expires_at,
            used_at: None,
            unknown: Unknown::new(),
        })?;
        let mut batch = Batch::new(partition, now);
        let deleted_at = expires_at + self.lifetime.retained;
        batch.put_until(key, Expect::Absent, body, Some(deleted_at))?;
        match self.records().commit(&batch).await {
            Err(e) if e.is(ErrorKind::Conflict) => Err(Error::already_exists(
                "this nonce was stored before; make another",
            )),
            other => other.map(|_| ()),
        }
    }

    /// Accepts only after a commit that certainly happened. If its outcome cannot be
    /// determined, the caller gets that error: the nonce may be used up, and no person
    /// was let in.
    pub(super) async fn use_nonce(&self, nonce: &str, issuer: &str) -> Result<NonceCheck> {
        if !is_nonce(nonce) {
            return Ok(NonceCheck::Unknown);
        }
        let (partition, key) = place(nonce, issuer)?;
        let decide = |current: Option<&crate::record::Record>| {
            let Some(record) = current else {
                return Ok(Decided::Keep(NonceCheck::Unknown));
            };
            let held = record.decode::<StoredNonce>()?;
            if held.nonce != nonce || held.issuer != issuer {
                return Ok(Decided::Keep(NonceCheck::Unknown));
            }
            if held.used_at.is_some() {
                return Ok(Decided::Keep(NonceCheck::AlreadyUsed));
            }
            let now = self.now();
            if held.expires_at <= now {
                return Ok(Decided::Keep(NonceCheck::Expired));
            }
            let used = Body::json(StoredNonce {
                used_at: Some(now),
                ..(*held).clone()
            })?;
            let deleted_at = record.expires_at();
            Ok(Decided::Put(used, deleted_at, NonceCheck::Accepted))
        };
        self.records().update(&partition, &key, decide).await
    }
}
