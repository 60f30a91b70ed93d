//! Removing what deleted principals left behind.
//!
//! A deletion removes the name, the roster and the credentials in its commit,
//! after which nothing can be added. If the principal held more than one commit
//! can remove, or is a group, whose members are not bounded, a record in
//! `iam_leftovers` lists what remains. It is removed in several commits, each
//! with the counts that it affects. Any process that finds the record can
//! continue; two that do so at the same time remove each thing once.

use std::collections::BTreeSet;

use crate::entity::{Incarnation, TenantPath, partition};
use crate::error::Result;
use crate::iam::RecordEntities;
use crate::iam::layout::{
    Held, LEFTOVERS, Leftover, MEMBERS, Membership, Roster, held, leftover_key, roster_key, under,
};
use crate::iam::principals::{POLICIES_AT_ONCE, RECORDS_AT_ONCE};
use crate::record::Record;
use crate::scan::Scan;

/// How many members one commit removes: each with its record and a roster.
const MEMBERS_AT_ONCE: usize = 30;

impl RecordEntities {
    /// Sweeps everything that is left in the tenant; returns whether anything was
    /// removed.
    pub(super) async fn sweep_all(&self, tenant: &TenantPath) -> Result<bool> {
        let mut any = false;
        let mut scan = Scan::partition(LEFTOVERS, partition(tenant)?);
        loop {
            let page = self.records().scan(&scan).await?;
            for record in &page.items {
                let left = record.decode::<Leftover>()?;
                any |= self.sweep_one(tenant, left.incarnation).await?;
            }
            match page.next {
                Some(cursor) => scan = scan.after(&cursor)?,
                None => return Ok(any),
            }
        }
    }

    /// Sweeps what one principal left, then the record that lists it. False if it
    /// holds something that this version does not know; a newer one removes it.
    pub(super) async fn sweep_one(&self, tenant: &TenantPath, of: Incarnation) -> Result<bool> {
        self.sweep_members(tenant, of).await?;
        loop {
            let end = self
                .commit(tenant, |tx| {
                    let key = leftover_key(of)?;
                    let Some(left) = tx.tx.read::<Leftover>(&key)? else {
                        return Ok(Some(true));
                    };
                    let mut left = (*left).clone();
                    let chunk = take_chunk(&mut left.held);
                    tx.unlink(of, &chunk)?;
                    if left.held.is_empty() {
                        tx.tx.delete(&key)?;
                        return Ok(Some(true));
                    }
                    let unknown = chunk.is_empty();
                    left.members = false;
                    tx.tx.put(&key, left)?;
                    Ok(unknown.then_some(false))
                })
                .await?;
            if let Some(done) = end {
                return Ok(done);
            }
        }
    }

    async fn sweep_members(&self, tenant: &TenantPath, group: Incarnation) -> Result<()> {
        let scan = Scan::partition(MEMBERS, partition(tenant)?)
            .id_prefix(under(group))
            .limit(MEMBERS_AT_ONCE)?;
        loop {
            let page = self.records().scan(&scan).await?;
            if page.items.is_empty() {
                return Ok(());
            }
            self.commit(tenant, |tx| {
                // All of them are requested before the first is used, so that
                // they are read in one round trip.
                let each = |record: &Record| {
                    let user = record.decode::<Membership>()?.user;
                    let roster_key = roster_key(user)?;
                    tx.tx.need([record.key(), &roster_key])?;
                    if !tx.tx.exists(record.key())? {
                        return Ok(());
                    }
                    // The user may have been deleted too.
                    if let Some(roster) = tx.tx.read::<Roster>(&roster_key)? {
                        let mut roster = (*roster).clone();
                        roster.remove(held::GROUPS, &group.to_string());
                        tx.tx.put(&roster_key, roster)?;
                    }
                    tx.tx.delete(record.key())
                };
                let answers: Vec<Result<()>> = page.items.iter().map(each).collect();
                answers.into_iter().collect::<Result<()>>()
            })
            .await?;
        }
    }
}

/// Takes from `held` as much as one commit removes.
fn take_chunk(held: &mut Held) -> Held {
    let mut chunk = Held::new();
    let mut room = RECORDS_AT_ONCE;
    for kind in [held::POLICIES, held::INLINE, held::GROUPS] {
        let Some(names) = held.get_mut(kind) else {
            continue;
        };
        let most = if kind == held::POLICIES {
            POLICIES_AT_ONCE
        } else {
            room
        };
        let taken: BTreeSet<String> = (0..most).map_while(|_| names.pop_first()).collect();
        if kind != held::POLICIES {
            room -= taken.len();
        }
        chunk.insert(kind.into(), taken);
    }
    held.retain(|_, names| !names.is_empty());
    chunk
}
