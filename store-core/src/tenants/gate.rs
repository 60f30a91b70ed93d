//! What a tenant's identity partition knows of its tenant.
//!
//! The tree of tenants is one partition and each tenant's identities another,
//! so no commit spans both. The gate carries what matters across: whether the
//! tenant takes new identities, which life of the tenant that is, and the
//! quotas that bind. Every create expects the gate's version.
//!
//! Who opens a gate first reads its version, then sees the node alive, then
//! writes, expecting that version. Who deletes a tenant first marks the node,
//! then writes the gate, closed or not, then drops the node, expecting his own
//! mark. So a gate is never opened for a node that is gone: either the opener
//! saw the mark, or the closing changed the version that the opener expects.

use serde::{Deserialize, Serialize};

use crate::body::{Format, Unknown};
use crate::entity::Incarnation;
use crate::error::{Error, ErrorKind, Result};
use crate::iam::partition;
use crate::key::{Collection, RecordKey};
use crate::record_store::RecordStore;
use crate::tenants::records::lineage;
use crate::tenants::store::resolve;
use crate::tenants::{Quotas, TenantPath, Usage};
use crate::transaction::transact;

pub(super) const STATE: Collection = Collection::new("tenant_state");

/// The record `gate` of a tenant's identity partition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Gate {
    #[serde(default)]
    pub(crate) format: Format<1>,
    pub(crate) open: bool,
    pub(crate) incarnation: Incarnation,
    pub(crate) quotas: Quotas,
    #[serde(flatten)]
    pub(crate) unknown: Unknown,
}

/// The record `usage` beside it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Counters {
    #[serde(default)]
    pub(crate) format: Format<1>,
    pub(crate) counts: Usage,
    #[serde(flatten)]
    pub(crate) unknown: Unknown,
}

pub(crate) fn gate_key() -> RecordKey {
    RecordKey::new(STATE, "gate").expect("a short name")
}

pub(crate) fn usage_key() -> RecordKey {
    RecordKey::new(STATE, "usage").expect("a short name")
}

/// Opens the gate of `path` if its tenant exists, and brings its quotas up to date.
pub(crate) async fn open(records: &dyn RecordStore, path: &TenantPath) -> Result<()> {
    for _ in 0..crate::backend::MAX_ATTEMPTS {
        // The order matters: first the gate's version, then the node.
        let key = gate_key();
        let partition = partition(path)?;
        let found = records.get(key.at(&partition)).await?;
        let current = found.as_ref().map(|r| r.decode::<Gate>()).transpose()?;
        let lineage = lineage(records, path).await?;
        let Some(node) = lineage.last().filter(|node| node.deleting.is_none()) else {
            return Err(no_tenant());
        };
        let quotas = resolve(&lineage);
        let mut gate = current.as_deref().cloned().unwrap_or(Gate {
            format: Format,
            open: false,
            incarnation: Incarnation::NONE,
            quotas: Quotas::default(),
            unknown: Unknown::new(),
        });
        gate.open = true;
        gate.incarnation = node.incarnation;
        gate.quotas = quotas;
        if current.as_deref() == Some(&gate) {
            return Ok(());
        }
        let mut batch = crate::Batch::new(partition, records.clock().now());
        batch.put(key, found.as_ref(), crate::Body::json(gate)?)?;
        match records.commit(&batch).await {
            Ok(_) => return Ok(()),
            Err(error) => drop(error.into_conflict()?),
        }
    }
    Err(crate::backend::contended())
}

/// Closes the gate of a tenant whose node is marked, if nothing is behind it;
/// else says what is.
pub(crate) async fn close(
    records: &dyn RecordStore,
    path: &TenantPath,
    incarnation: Incarnation,
) -> Result<()> {
    let (gate, usage) = (gate_key(), usage_key());
    transact(records, &partition(path)?, |tx| {
        tx.need([&gate, &usage])?;
        let counters = tx.read::<Counters>(&usage)?;
        if let Some((kind, count)) = counters.iter().flat_map(|c| c.counts.iter()).next() {
            return Err(Error::new(
                ErrorKind::InUse,
                format!("the tenant still has {count} of the kind `{kind}`; delete them first"),
            ));
        }
        let closed = Gate {
            format: Format,
            open: false,
            incarnation,
            quotas: Quotas::default(),
            unknown: Unknown::new(),
        };
        // Written even if it is closed already: see the module's documentation.
        tx.put(&gate, closed)
    })
    .await
}

pub(crate) fn no_tenant() -> Error {
    Error::not_found("there is no such tenant; create it first, or check its path")
}
