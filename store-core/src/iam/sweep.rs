//! Removing what deleted principals left behind.
//!
//! A deletion removes the name and the roster in its commit, after which
//! nothing can be added, and notes in `iam_leftovers` what kinds of dependants
//! there were. Each is then removed together with the counts that it is part
//! of, some to a commit. Whoever finds the note can go on with it; two who do
//! so at once remove each thing once.

use crate::entity::Dependant;
use crate::error::Result;
use crate::iam::RecordEntities;
use crate::iam::dependants;
use crate::iam::layout::{LEFTOVERS, Leftover, leftover_key, partition, under};
use crate::record::Record;
use crate::scan::Scan;
use crate::tenants::TenantPath;

impl RecordEntities {
    /// Sweeps everything that is left in the tenant; says whether there was
    /// anything.
    pub(crate) async fn sweep_all(&self, tenant: &TenantPath) -> Result<bool> {
        let mut any = false;
        let mut scan = Scan::partition(LEFTOVERS, partition(tenant)?);
        loop {
            let page = self.records.scan(&scan).await?;
            for record in &page.items {
                any |= self
                    .sweep_one(tenant, &*record.decode::<Leftover>()?)
                    .await?;
            }
            match page.next {
                Some(cursor) => scan = scan.after(&cursor)?,
                None => return Ok(any),
            }
        }
    }

    /// Sweeps what one principal left, then its note. False if a dependant is
    /// of a kind that this version does not know; a newer one will do it.
    pub(super) async fn sweep_one(&self, tenant: &TenantPath, left: &Leftover) -> Result<bool> {
        let known: Vec<_> = left
            .kinds
            .iter()
            .filter_map(|kind| dependants::ALL.iter().find(|known| known.kind == kind))
            .collect();
        for dependant in &known {
            self.sweep_kind(tenant, left, dependant).await?;
        }
        if known.len() < left.kinds.len() {
            return Ok(false);
        }
        let note = leftover_key(left.incarnation)?;
        self.commit(tenant, |tx| tx.raw().delete(&note)).await?;
        Ok(true)
    }

    async fn sweep_kind(
        &self,
        tenant: &TenantPath,
        left: &Leftover,
        dependant: &Dependant,
    ) -> Result<()> {
        let scan = Scan::partition(dependant.collection, partition(tenant)?)
            .id_prefix(under(left.incarnation))
            .limit(dependant.swept_at_once.max(1))?;
        loop {
            let page = self.records.scan(&scan).await?;
            if page.items.is_empty() {
                return Ok(());
            }
            self.commit(tenant, |tx| {
                // All of them are asked for before the first is missed, so that
                // they are read in one round trip.
                let each = |record: &Record| {
                    tx.raw().need([record.key()])?;
                    if tx.raw().exists(record.key())? {
                        (dependant.unlink)(tx, record)?;
                        tx.raw().delete(record.key())?;
                    }
                    Ok(())
                };
                let answers: Vec<Result<()>> = page.items.iter().map(each).collect();
                answers.into_iter().collect()
            })
            .await?;
        }
    }
}
