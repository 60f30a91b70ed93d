//! Platforms' keys, each set cached for as long as the platform allows.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::RecordLti;
use crate::batch::{Batch, Expect};
use crate::body::{Body, Format, Unknown};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::key::{Collection, Partition, RecordKey, bounded};
use crate::lti::store::{CachedJwks, MAX_JWKS_AGE};

pub(super) const JWKS: Collection = Collection::new("lti_jwks").cacheable();

#[derive(Serialize, Deserialize)]
struct StoredJwks {
    format: Format<1>,
    jwks_uri: String,
    jwks: Value,
    cached_at: Timestamp,
    fresh_until: Timestamp,
    #[serde(flatten)]
    unknown: Unknown,
}

fn place(jwks_uri: &str) -> Result<(Partition, RecordKey)> {
    Ok((
        Partition::new(bounded(jwks_uri))?,
        RecordKey::new(JWKS, "jwks")?,
    ))
}

impl<R, D> RecordLti<R, D> {
    pub(super) async fn save_jwks(
        &self,
        jwks_uri: &str,
        jwks: Value,
        max_age: Duration,
    ) -> Result<()> {
        let (partition, key) = place(jwks_uri)?;
        let now = self.now();
        let mut batch = Batch::new(partition, now);
        if max_age.is_zero() {
            batch.delete(key, Expect::Any)?;
        } else {
            let fresh_until = now + max_age.min(MAX_JWKS_AGE);
            let body = Body::json(StoredJwks {
                format: Format,
                jwks_uri: jwks_uri.to_owned(),
                jwks,
                cached_at: now,
                fresh_until,
                unknown: Unknown::new(),
            })?;
            batch.put_until(key, Expect::Any, body, Some(fresh_until))?;
        }
        self.records().commit(&batch).await.map(|_| ())
    }

    pub(super) async fn find_jwks(&self, jwks_uri: &str) -> Result<Option<Arc<CachedJwks>>> {
        let (partition, key) = place(jwks_uri)?;
        let Some(record) = self.records().get(key.at(&partition)).await? else {
            return Ok(None);
        };
        // Keys that cannot be decoded are fetched and stored again.
        let Ok(stored) = record.decode::<StoredJwks>() else {
            return Ok(None);
        };
        let fresh = stored.jwks_uri == jwks_uri && self.now() < stored.fresh_until;
        Ok(fresh.then(|| {
            Arc::new(CachedJwks {
                jwks: stored.jwks.clone(),
                cached_at: stored.cached_at,
                fresh_until: stored.fresh_until,
            })
        }))
    }
}
