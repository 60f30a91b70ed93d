//! Buckets as records.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::backend::coalesce::{Buckets, Coalescer, StoredBucket, unexpired};
use crate::batch::Batch;
use crate::body::{Body, Format, Unknown};
use crate::clock::{Clock, Timestamp};
use crate::error::{Error, Result};
use crate::key::{Collection, Partition, RecordKey, bounded};
use crate::limits::store::BucketUpdate;
use crate::limits::{Bucket, LimitKey, RateLimitStore};
use crate::record::Record;
use crate::record_store::{Ping, RecordStore};
use crate::update::{self, Decided, RecordStoreExt};

/// One record a key, in a partition of its own.
pub(crate) const BUCKETS: Collection = Collection::new("buckets");

/// Buckets over any record store: each key one record, each change one
/// compare-and-swap. A take that is allowed costs a read and a commit, a denied
/// one only the read; a backend that can do better overrides
/// [`RateLimitStore::take`].
///
/// Keys that many callers change at the same moment make them try again, up to
/// [`MAX_ATTEMPTS`](crate::backend::MAX_ATTEMPTS) times.
#[derive(Clone, Debug)]
pub struct RecordLimits {
    records: Arc<dyn RecordStore>,
    coalescer: Option<Arc<Coalescer<RecordBuckets>>>,
}

/// A bucket's body.
#[derive(Serialize, Deserialize)]
struct Stored {
    format: Format<1>,
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
            coalescer: None,
        }
    }

    /// The same, with the changes that come to one key at the same moment in
    /// this process [coalesced](crate::backend::coalesce) into few commits: for a store
    /// whose commits take long. Needs a tokio runtime.
    pub fn coalescing(self) -> Self {
        let buckets = RecordBuckets {
            records: Arc::clone(&self.records),
        };
        Self {
            coalescer: Some(Arc::new(Coalescer::new(Arc::new(buckets)))),
            ..self
        }
    }
}

/// Without NUL, which JSON may not hold; different for different keys.
fn escaped(key: &str) -> String {
    key.replace('%', "%25").replace('\0', "%00")
}

fn read(record: &Record, key: Option<&str>) -> Result<Arc<Stored>> {
    let stored = record.decode::<Stored>()?;
    if stored.key.as_deref() != key {
        return Err(
            Error::corrupt("the bucket found under this key is another key's")
                .with_key(record.at()),
        );
    }
    Ok(stored)
}

/// The buckets whose changes are coalesced. A bucket's version is its record.
struct RecordBuckets {
    records: Arc<dyn RecordStore>,
}

/// The bucket of `key` in its record.
fn bucket_in(key: &str, record: Option<Record>) -> Result<StoredBucket<Option<Record>>> {
    let body = record.as_ref().map(|record| stored(record, key));
    let bucket = body.transpose()?.map(|stored| stored.quotas.clone());
    let version = record;
    Ok(StoredBucket { bucket, version })
}

#[async_trait]
impl Buckets for RecordBuckets {
    type Version = Option<Record>;

    fn now(&self) -> Timestamp {
        self.records.clock().now()
    }

    async fn read(&self, key: &str) -> Result<StoredBucket<Option<Record>>> {
        let (partition, at) = place(key)?;
        bucket_in(key, self.records.get(at.at(&partition)).await?)
    }

    async fn swap(
        &self,
        key: &str,
        now: Timestamp,
        old: &StoredBucket<Option<Record>>,
        new: Option<&Bucket>,
    ) -> Result<Result<Option<Record>, StoredBucket<Option<Record>>>> {
        let record = old.version.as_ref();
        let (partition, at) = place(key)?;
        let mut batch = Batch::new(partition, now);
        let expires_at = new.and_then(Bucket::expires_at);
        match new.filter(|_| expires_at.is_some()) {
            None => batch.delete(at, record)?,
            Some(bucket) => {
                let unknown = match record {
                    Some(record) => stored(record, key)?.unknown.clone(),
                    None => Unknown::default(),
                };
                let body = Body::json(Stored::new(key, bucket.clone(), unknown))?;
                batch.put_until(at, record, body, expires_at)?
            }
        };
        match update::swap(&*self.records, &batch).await? {
            Ok(written) => Ok(Ok(written)),
            Err(current) => Ok(Err(bucket_in(key, current)?)),
        }
    }
}

/// Where the record of a key is.
fn place(key: &str) -> Result<(Partition, RecordKey)> {
    Ok((Partition::new(bounded(key))?, RecordKey::new(BUCKETS, "")?))
}

/// The full key, escaped, where the partition's name is only its digest.
fn full(key: &str) -> Option<String> {
    (bounded(key) != key).then(|| escaped(key))
}

fn stored(record: &Record, key: &str) -> Result<Arc<Stored>> {
    read(record, full(key).as_deref())
}

impl Stored {
    fn new(key: &str, quotas: Bucket, unknown: Unknown) -> Self {
        Self {
            format: Format,
            key: full(key),
            quotas,
            unknown,
        }
    }
}

#[async_trait]
impl RateLimitStore for RecordLimits {
    async fn update(&self, key: LimitKey<'_>, change: BucketUpdate<'_>) -> Result<Option<Bucket>> {
        if let Some(coalescer) = &self.coalescer {
            return coalescer.update(key.as_str(), change).await;
        }
        let key = key.as_str();
        let (partition, at) = place(key)?;
        self.records
            .update(&partition, &at, |record| {
                let stored = record.map(|record| stored(record, key)).transpose()?;
                let now = self.records.clock().now();
                let current = unexpired(stored.as_ref().map(|s| s.quotas.clone()), now);
                let Some(bucket) = change(current.as_ref()) else {
                    return Ok(Decided::Keep(current));
                };
                let Some(expires_at) = bucket.expires_at() else {
                    return Ok(Decided::Delete(None));
                };
                let unknown = stored.map_or_else(Unknown::default, |s| s.unknown.clone());
                let body = Body::json(Stored::new(key, bucket.clone(), unknown))?;
                Ok(Decided::Put(body, Some(expires_at), Some(bucket)))
            })
            .await
    }

    fn clock(&self) -> &dyn Clock {
        self.records.clock()
    }

    async fn ping(&self) -> Result<Ping> {
        self.records.ping().await
    }

    async fn close(&self) -> Result<()> {
        self.records.close().await
    }
}
