//! Hints: how a credential is found without knowing its tenant.
//!
//! A credential is a record of its tenant's partition, so that it is created and
//! deleted in one commit with its owner. A caller who presents one knows only
//! its public id. A hint, in a partition that follows from the id, says where
//! the credential may be; the credential itself decides. The hint is written
//! before the credential and deleted after it, so a credential always has one,
//! and a stale hint leads nowhere.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::batch::{Batch, Expect};
use crate::body::{Body, Format, Unknown};
use crate::clock::Timestamp;
use crate::entity::{Incarnation, TenantPath};
use crate::error::{Error, ErrorKind, Result};
use crate::key::{Collection, Partition, RecordKey, bounded};
use crate::record_store::RecordStore;
use crate::secret::bucket;

/// The event of a hint that was not removed.
pub(super) const STALE_HINT: &str = "could not remove the hint of a credential";

pub(super) const HINTS: Collection = Collection::new("iam_hints").single_use().cacheable();

/// After this time a hint without a credential does not belong to a creation
/// that is still in progress.
const STALE: Duration = Duration::from_secs(3600);

/// Where a credential may be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Hint {
    #[serde(default)]
    pub(super) format: Format<1>,
    pub(super) name: String,
    pub(super) tenant: TenantPath,
    pub(super) owner: Incarnation,
    /// The name of the owner when the hint was written. A rename makes it wrong,
    /// which costs one more round trip.
    pub(super) owner_name: String,
    pub(super) written_at: Timestamp,
    #[serde(flatten)]
    pub(super) unknown: Unknown,
}

/// Names are spread over this many partitions by two hexadecimal digits.
fn place(name: &str) -> Result<(Partition, RecordKey)> {
    let bucket = bucket("iam hints", name.as_bytes()) >> 8;
    Ok((
        Partition::new(format!("iam_hints/{bucket:02x}"))?,
        RecordKey::new(HINTS, bounded(name))?,
    ))
}

/// Writes the hint of a credential that is about to be created.
pub(super) async fn write(records: &dyn RecordStore, hint: Hint) -> Result<()> {
    let (partition, key) = place(&hint.name)?;
    let mut batch = Batch::new(partition, records.clock().now());
    batch.put(key, Expect::Absent, Body::json(hint)?)?;
    match records.commit(&batch).await {
        Ok(_) => Ok(()),
        Err(error) if error.is(ErrorKind::Conflict) => Err(Error::already_exists(
            "a credential of this id exists; choose another id, or leave it to be generated",
        )),
        Err(error) => Err(error),
    }
}

/// The hint of a credential.
pub(super) async fn find(records: &dyn RecordStore, name: &str) -> Result<Option<Hint>> {
    let (partition, key) = place(name)?;
    let Some(record) = records.get(key.at(&partition)).await? else {
        return Ok(None);
    };
    let hint = record.decode::<Hint>()?;
    Ok((hint.name == name).then(|| (*hint).clone()))
}

/// Removes the hint of a deleted credential.
pub(super) async fn remove(records: &dyn RecordStore, name: &str) -> Result<()> {
    let (partition, key) = place(name)?;
    let mut batch = Batch::new(partition, records.clock().now());
    batch.delete(key, Expect::Any)?;
    records.commit(&batch).await.map(drop)
}

/// Removes a hint that leads nowhere, unless its credential may still be being
/// created.
pub(super) async fn remove_stale(records: &dyn RecordStore, hint: &Hint) -> Result<()> {
    if records.clock().now() < hint.written_at + STALE {
        return Ok(());
    }
    remove(records, &hint.name).await
}
