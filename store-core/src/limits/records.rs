//! Buckets as records.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::body::{Body, Unknown};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::key::{Collection, Partition, RecordKey, bounded};
use crate::limits::store::Change;
use crate::limits::{Bucket, LimitKey, RateLimitStore};
use crate::record::Record;
use crate::record_store::{Ping, RecordStore};
use crate::update::{Decided, RecordStoreExt};

/// One record a key, in a partition of its own.
pub(crate) const BUCKETS: Collection = Collection::new("buckets");

const FORMAT: u32 = 1;

/// Buckets over any record store: each key one record, each change one
/// compare-and-swap. A take that is allowed costs a read and a commit, a denied
/// one only the read; a backend that can do better overrides
/// [`RateLimitStore::take`].
///
/// Keys that many callers change at the same moment make them try again, up to
/// [`MAX_ATTEMPTS`](crate::update::MAX_ATTEMPTS) times.
#[derive(Clone, Debug)]
pub struct RecordLimits {
    records: Arc<dyn RecordStore>,
    closed: Arc<AtomicBool>,
}

/// A bucket's body.
#[derive(Serialize, Deserialize)]
struct Stored {
    format: u32,
    /// The full key, escaped, where the partition's name is only its digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    quotas: Bucket,
    #[serde(flatten)]
    unknown: Unknown,
}

impl RecordLimits {
    /// Buckets in `records`.
    pub fn new(records: Arc<dyn RecordStore>) -> Self {
        Self {
            records,
            closed: Arc::default(),
        }
    }

    fn check_open(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::closed());
        }
        Ok(())
    }
}

/// Without NUL, which JSON may not hold; different for different keys.
fn escaped(key: &str) -> String {
    key.replace('%', "%25").replace('\0', "%00")
}

fn read(record: &Record, key: Option<&str>) -> Result<Arc<Stored>> {
    let stored = record.decode::<Stored>()?;
    if stored.format != FORMAT {
        return Err(Error::corrupt(format!(
            "the bucket has format {} and this version reads {FORMAT}; upgrade it",
            stored.format
        ))
        .with_key(record.at()));
    }
    if stored.key.as_deref() != key {
        return Err(
            Error::corrupt("the bucket found under this key is another key's")
                .with_key(record.at()),
        );
    }
    Ok(stored)
}

#[async_trait]
impl RateLimitStore for RecordLimits {
    async fn update(&self, key: LimitKey<'_>, change: Change<'_>) -> Result<Option<Bucket>> {
        self.check_open()?;
        let name = bounded(key.as_str());
        let full_key = (name != key.as_str()).then(|| escaped(key.as_str()));
        let partition = Partition::new(name)?;
        let at = RecordKey::new(BUCKETS, "")?;
        self.records
            .update(&partition, &at, |record| {
                let stored = record
                    .map(|record| read(record, full_key.as_deref()))
                    .transpose()?;
                let now = self.records.clock().now();
                let current = stored.as_ref().map(|stored| {
                    let mut bucket = stored.quotas.clone();
                    bucket.forget_expired(now);
                    bucket
                });
                let current = current.filter(|bucket| !bucket.is_empty());
                let Some(bucket) = change(current.as_ref()) else {
                    return Ok(Decided::Keep(current));
                };
                let Some(expires_at) = bucket.expires_at() else {
                    return Ok(Decided::Delete(None));
                };
                let body = Body::json(Stored {
                    format: FORMAT,
                    key: full_key.clone(),
                    quotas: bucket.clone(),
                    unknown: stored.map_or_else(Unknown::default, |s| s.unknown.clone()),
                })?;
                Ok(Decided::Put(body, Some(expires_at), Some(bucket)))
            })
            .await
    }

    fn clock(&self) -> &dyn Clock {
        self.records.clock()
    }

    async fn ping(&self) -> Result<Ping> {
        self.check_open()?;
        self.records.ping().await
    }

    /// Closes this view on the records, not the records.
    async fn close(&self) -> Result<()> {
        self.closed.store(true, Ordering::Release);
        Ok(())
    }
}
