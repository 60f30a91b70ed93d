//! Deployments: a partition for each registration. Each names the incarnation
//! of its registration, and is deleted with it.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::readable;
use super::registrations::Place;
use super::{RecordLti, client_partition};
use crate::backend::{Attempts, lost_race};
use crate::batch::{Batch, MAX_ITEMS};
use crate::body::{Body, Format, Unknown};
use crate::error::{Error, Result};
use crate::key::{Collection, Partition, RecordKey, bounded};
use crate::lti::deployment::{Deployable, is_deployment_id};
use crate::lti::registration::{Registerable, Registration};
use crate::page::{Page, PageRequest, Unreadable};
use crate::record::{Record, Version};
use crate::scan::Scan;

pub(super) const DEPLOYMENTS: Collection = Collection::new("lti_deployments").cacheable();

#[derive(Serialize, Deserialize)]
struct StoredDeployment<D> {
    format: Format<1>,
    issuer: String,
    client_id: String,
    deployment_id: String,
    registration: Version,
    record: Arc<D>,
    #[serde(flatten)]
    unknown: Unknown,
}

fn place(registration: &Registration, deployment_id: &str) -> Result<(Partition, RecordKey)> {
    Ok((
        client_partition(registration.issuer(), registration.client_id())?,
        RecordKey::new(DEPLOYMENTS, bounded(deployment_id))?,
    ))
}

impl<D> StoredDeployment<D> {
    fn is(&self, registration: &Registration, deployment_id: &str, incarnation: Version) -> bool {
        self.registration == incarnation
            && self.deployment_id == deployment_id
            && self.issuer == registration.issuer()
            && self.client_id == registration.client_id()
    }
}

impl<R, D> RecordLti<R, D>
where
    R: Registerable + Serialize + DeserializeOwned,
    D: Deployable + Serialize + DeserializeOwned,
{
    fn stored_deployment(record: &Record) -> Result<Arc<StoredDeployment<D>>> {
        record.decode()
    }

    /// One read of both, in one round trip.
    pub(super) async fn deployment(
        &self,
        registration: &Registration,
        deployment_id: &str,
    ) -> Result<Option<Arc<D>>> {
        if !is_deployment_id(deployment_id) {
            return Ok(None);
        }
        let owner = Place::of(registration.issuer(), registration.client_id())?;
        let (partition, key) = place(registration, deployment_id)?;
        let refs = [owner.key.at(&owner.partition), key.at(&partition)];
        let found = self.records().get_many(&refs).await?;
        let [Some(owner), Some(deployment)] = &found[..] else {
            return Ok(None);
        };
        let incarnation = Self::stored(owner)?.incarnation;
        let stored = Self::stored_deployment(deployment)?;
        let alive = stored.is(registration, deployment_id, incarnation);
        Ok(alive.then(|| Arc::clone(&stored.record)))
    }

    /// Each round reads the deployment before its registration. So, if they do
    /// not match, the deployment is the older one and no longer valid; and if the write
    /// succeeds, no deployment of a newer registration was written in between.
    pub(super) async fn put_deployment(
        &self,
        registration: &Registration,
        record: D,
    ) -> Result<Arc<D>> {
        let deployment_id = record.to_deployment()?.deployment_id().to_owned();
        let (partition, key) = place(registration, &deployment_id)?;
        let record = Arc::new(record);
        let mut attempts = Attempts::new();
        loop {
            let current = self.records().get(key.at(&partition)).await?;
            let Some(incarnation) = self.incarnation(registration).await? else {
                return Err(Error::not_found(
                    "the deployment's registration is not stored; create it first",
                ));
            };
            // One that cannot be decoded is replaced.
            let held = current.as_ref().map(Self::stored_deployment);
            let held = held.and_then(Result::ok);
            let next = StoredDeployment {
                format: Format,
                issuer: registration.issuer().to_owned(),
                client_id: registration.client_id().to_owned(),
                deployment_id: deployment_id.clone(),
                registration: incarnation,
                record: Arc::clone(&record),
                unknown: held.as_ref().map(|h| h.unknown.clone()).unwrap_or_default(),
            };
            let body = match held {
                Some(_) => Body::json(next)?,
                None => Body::replacement(next)?,
            };
            let mut batch = Batch::new(partition.clone(), self.now());
            batch.put(key.clone(), current.as_ref(), body)?;
            match self.records().commit(&batch).await {
                Ok(_) => return Ok(record),
                Err(error) => attempts.lost(error).await?,
            };
        }
    }

    pub(super) async fn remove_deployment(
        &self,
        registration: &Registration,
        deployment_id: &str,
    ) -> Result<bool> {
        if !is_deployment_id(deployment_id) {
            return Ok(false);
        }
        let (partition, key) = place(registration, deployment_id)?;
        let mut attempts = Attempts::new();
        loop {
            let Some(current) = self.records().get(key.at(&partition)).await? else {
                return Ok(false);
            };
            let Some(incarnation) = self.incarnation(registration).await? else {
                return Ok(false);
            };
            // One that cannot be decoded can be deleted all the same.
            let other = |stored: Arc<StoredDeployment<D>>| {
                !stored.is(registration, deployment_id, incarnation)
            };
            if Self::stored_deployment(&current).is_ok_and(other) {
                return Ok(false);
            }
            let mut batch = Batch::new(partition.clone(), self.now());
            batch.delete(key.clone(), &current)?;
            match self.records().commit(&batch).await {
                Ok(_) => return Ok(true),
                Err(error) => attempts.lost(error).await?,
            };
        }
    }

    pub(super) async fn page_of_deployments(
        &self,
        registration: &Registration,
        page: &PageRequest,
    ) -> Result<Page<Arc<D>>> {
        let partition = client_partition(registration.issuer(), registration.client_id())?;
        let scan = Scan::partition(DEPLOYMENTS, partition).page(page)?;
        let Some(incarnation) = self.incarnation(registration).await? else {
            return Ok(Page::last(Vec::new()));
        };
        let page = self.records().scan(&scan).await?;
        let (mut items, mut unreadable) = (Vec::new(), Vec::new());
        for record in &page.items {
            match Self::stored_deployment(record) {
                Ok(stored) if stored.registration == incarnation => {
                    items.push(Arc::clone(&stored.record));
                }
                Err(error) if readable::owner(record).is_none_or(|o| o == incarnation) => {
                    unreadable.push(Unreadable::new(readable::deployment(record), error)?);
                }
                _ => {}
            }
        }
        Ok(Page::new(items, page.next).with_unreadable(unreadable))
    }
}

impl<R, D> RecordLti<R, D>
where
    R: Registerable + Serialize + DeserializeOwned,
{
    async fn incarnation(&self, registration: &Registration) -> Result<Option<Version>> {
        let owner = Place::of(registration.issuer(), registration.client_id())?;
        let record = self.records().get(owner.key.at(&owner.partition)).await?;
        Ok(record.as_ref().map(readable::incarnation))
    }

    /// Deletes the deployments of deleted registrations of this name.
    ///
    /// They are out of reach already. The registration is read after each page:
    /// a deployment seen before that under another incarnation is never valid again, so
    /// a registration created since then loses nothing.
    pub(super) async fn clear_deployments(&self, issuer: &str, client_id: &str) -> Result<()> {
        let partition = client_partition(issuer, client_id)?;
        let first = Scan::partition(DEPLOYMENTS, partition.clone()).limit(MAX_ITEMS)?;
        let mut scan = first.clone();
        loop {
            let page = self.records().scan(&scan).await?;
            if !page.items.is_empty() {
                self.clear_page(issuer, client_id, &partition, &page.items)
                    .await?;
            }
            match &page.next {
                Some(next) => scan = first.clone().after(next)?,
                None => return Ok(()),
            }
        }
    }

    async fn clear_page(
        &self,
        issuer: &str,
        client_id: &str,
        partition: &Partition,
        page: &[Record],
    ) -> Result<()> {
        let owner = Place::of(issuer, client_id)?;
        let owner = self.records().get(owner.key.at(&owner.partition)).await?;
        let alive = owner.as_ref().map(readable::incarnation);
        let mut batch = Batch::new(partition.clone(), self.now());
        for record in page {
            let owner = readable::owner(record);
            if alive.is_none() || owner.is_some_and(|owner| Some(owner) != alive) {
                batch.delete(record.key().clone(), record)?;
            }
        }
        match self.records().commit(&batch).await {
            // Another call deletes or rewrites them; what remains is out of reach.
            Ok(_) => Ok(()),
            Err(error) => lost_race(error).map(drop),
        }
    }
}
