//! What the partition of a tenant's identities knows about the tenant.
//!
//! A tree of tenants is one partition, and the identities of each tenant are
//! another, perhaps in another store, so no commit spans both. The gate stores what the
//! identities need: whether the tenant accepts new identities, which incarnation of the
//! tenant it belongs to, and the quotas that bind. Every creation expects the version
//! of the gate that it read.
//!
//! Opening a gate first reads its version, then reads that the tenant exists and
//! is not being deleted, then writes the gate, expecting that version. Deleting
//! a tenant first marks the tenant, then writes the gate, even if it is closed
//! already, then deletes the tenant, expecting its own mark. So a gate is never
//! opened for a deleted tenant: either the opening process saw the mark, or
//! closing changed the version that the opening process expects.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::backend::Attempts;
use crate::body::{Format, Unknown};
use crate::entity::{Incarnation, TenantPath, partition};
use crate::error::{Error, ErrorKind, Result};
use crate::key::{Collection, RecordKey};
use crate::record_store::RecordStore;
use crate::store::Store;
use crate::tenants::{Quotas, TenantStore, Usage};
use crate::transaction::transact;

pub(super) const STATE: Collection = Collection::new("tenant_state");

/// The record `gate` of the partition of a tenant's identities.
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

/// Connects tenants with the identities in them: closes a tenant to new identities when
/// it is deleted, counts them, and sets the quotas that bind them. Cheap to clone.
///
/// The standard [`RecordTenants`](crate::tenants::RecordTenants) uses it. A
/// [`TenantStore`] of your own calls [`TenantGates::close`] after it has marked
/// a tenant as being deleted and before it removes the tenant, and
/// [`TenantGates::bind`] when quotas change.
#[derive(Clone, Debug)]
pub struct TenantGates {
    records: Arc<dyn RecordStore>,
}

impl TenantGates {
    /// The gates of the identities that `store` holds.
    pub fn new(store: impl Into<Store>) -> Self {
        Self::over(Arc::clone(store.into().records()))
    }

    pub(crate) fn over(records: Arc<dyn RecordStore>) -> Self {
        Self { records }
    }

    /// Sets the quotas that `tenants` resolves for `path`, and lets identities be
    /// created there.
    ///
    /// # Errors
    /// `NotFound` if there is no such tenant, or it is being deleted.
    pub async fn bind(&self, tenants: &dyn TenantStore, path: &TenantPath) -> Result<()> {
        let (key, partition) = (gate_key(), partition(path)?);
        let mut attempts = Attempts::new();
        loop {
            // The order matters: first the version of the gate, then the tenant.
            let found = self.records.get(key.at(&partition)).await?;
            let current = found.as_ref().map(|r| r.decode::<Gate>()).transpose()?;
            let (tenant, quotas) = tenants.with_quotas(path).await?;
            if tenant.deleting.is_some() {
                return Err(no_tenant());
            }
            let mut gate = current
                .as_deref()
                .cloned()
                .unwrap_or_else(|| closed(Incarnation::NONE));
            gate.open = true;
            gate.incarnation = tenant.incarnation;
            gate.quotas = quotas;
            if current.as_deref() == Some(&gate) {
                return Ok(());
            }
            let mut batch = crate::Batch::new(partition.clone(), self.records.clock().now());
            batch.put(key.clone(), found.as_ref(), crate::Body::json(gate)?)?;
            match self.records.commit(&batch).await {
                Ok(_) => return Ok(()),
                Err(error) => attempts.lost(error).await?,
            };
        }
    }

    /// Refuses new identities in `path`, whose tenant of this incarnation is
    /// marked as being deleted.
    ///
    /// # Errors
    /// `InUse` if there are identities, with the gate as it was.
    pub async fn close(&self, path: &TenantPath, incarnation: Incarnation) -> Result<()> {
        let (gate, usage) = (gate_key(), usage_key());
        transact(&*self.records, &partition(path)?, |tx| {
            tx.need([&gate, &usage])?;
            let counters = tx.read::<Counters>(&usage)?;
            if let Some((kind, count)) = counters.iter().flat_map(|c| c.counts.iter()).next() {
                return Err(Error::new(
                    ErrorKind::InUse,
                    format!("the tenant still has {count} of the kind `{kind}`; delete them first"),
                ));
            }
            // Written even if it is closed: see the documentation of the module.
            tx.put(&gate, closed(incarnation))
        })
        .await
    }

    /// How many identities there are in each of these tenants, in one round trip.
    ///
    /// # Errors
    /// The store's.
    pub async fn usage(&self, paths: &[TenantPath]) -> Result<Vec<Usage>> {
        let key = usage_key();
        let partitions = paths.iter().map(partition).collect::<Result<Vec<_>>>()?;
        let at: Vec<_> = partitions
            .iter()
            .map(|partition| key.at(partition))
            .collect();
        let found = match *at {
            [] => return Ok(Vec::new()),
            [at] => vec![self.records.get(at).await?],
            _ => self.records.get_many(&at).await?,
        };
        found
            .into_iter()
            .map(|record| match record {
                Some(record) => Ok(record.decode::<Counters>()?.counts.clone()),
                None => Ok(Usage::default()),
            })
            .collect()
    }
}

fn closed(incarnation: Incarnation) -> Gate {
    Gate {
        format: Format,
        open: false,
        incarnation,
        quotas: Quotas::default(),
        unknown: Unknown::new(),
    }
}

pub(crate) fn no_tenant() -> Error {
    Error::not_found("there is no such tenant; create it first, or check its path")
}
