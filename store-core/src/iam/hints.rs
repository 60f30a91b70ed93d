//! The hints of credentials.
//!
//! A credential is a record of its tenant's partition, so that it is created and
//! deleted in one commit with its owner. A caller who presents one knows only its
//! public id. A [`Hint`] in a partition that follows from the id says where the
//! credential may be.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::body::{Body, Format, Unknown};
use crate::clock::Timestamp;
use crate::entity::{Incarnation, TenantPath};
use crate::error::{Error, ErrorKind, Result};
use crate::hint::Hint;
use crate::key::{Collection, Partition, RecordKey, bounded};
use crate::record_store::RecordStore;
use crate::secret::bucket;

pub(super) const HINTS: Collection = Collection::new("iam_hints").single_use().cacheable();

/// After this time a hint without a credential does not belong to a creation
/// that is still in progress.
const STALE: Duration = Duration::from_secs(3600);

/// Where a credential may be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct CredentialHint {
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

/// Where the hint of a credential is. Names are spread over 256 partitions by two
/// hexadecimal digits.
pub(super) fn hint_of(name: &str) -> Result<Hint> {
    let bucket = bucket("iam hints", name.as_bytes()) >> 8;
    Ok(Hint {
        partition: Partition::new(format!("iam_hints/{bucket:02x}"))?,
        key: RecordKey::new(HINTS, bounded(name))?,
    })
}

impl CredentialHint {
    /// Writes the hint of a credential that is about to be created.
    pub(super) async fn write(self, records: &dyn RecordStore) -> Result<()> {
        let hint = hint_of(&self.name)?;
        let written = hint.write(records, Body::json(self)?, None).await;
        written.map_err(|error| match error.kind() {
            ErrorKind::Conflict => Error::already_exists(
                "a credential of this id exists; choose another id, or leave it to be generated",
            ),
            _ => error,
        })
    }

    /// The hint of a credential.
    pub(super) async fn find(records: &dyn RecordStore, name: &str) -> Result<Option<Self>> {
        let Some(record) = hint_of(name)?.read(records).await? else {
            return Ok(None);
        };
        let hint = record.decode::<Self>()?;
        Ok((hint.name == name).then(|| (*hint).clone()))
    }

    /// Removes a hint that leads nowhere, unless its credential may still be being
    /// created.
    pub(super) async fn remove_if_stale(&self, records: &dyn RecordStore) -> Result<()> {
        if records.clock().now() >= self.written_at + STALE {
            hint_of(&self.name)?.remove(records).await;
        }
        Ok(())
    }
}
