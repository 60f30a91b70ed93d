//! Rotation of the ring: everything sealed, under its current key.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::RecordLti;
use super::keys::KEYS;
use super::registrations::REGISTRATIONS;
use super::tokens::TOKENS;
use crate::body::Body;
use crate::error::Result;
use crate::key::Collection;
use crate::lti::registration::Registerable;
use crate::record::Record;
use crate::scan::Scan;
use crate::update::{Decided, RecordStoreExt};

impl<R, D> RecordLti<R, D>
where
    R: Registerable + Serialize + DeserializeOwned,
{
    /// Seals every private key and token anew that is not sealed under the
    /// ring's current key, and says how many that were. Afterwards the older
    /// keys can leave the ring, once every process has the new ring.
    ///
    /// Safe to run while the store is in use, and to run again after a failure.
    ///
    /// # Errors
    /// `Config`, naming the key, if a field's key is not on the ring.
    pub async fn reseal(&self) -> Result<u64> {
        let registrations = self
            .reseal_all(REGISTRATIONS, |record| self.resealed_registration(record))
            .await?;
        let keys = self
            .reseal_all(KEYS, |record| self.resealed_key(record))
            .await?;
        let tokens = self
            .reseal_all(TOKENS, |record| self.resealed_token(record))
            .await?;
        Ok(registrations + keys + tokens)
    }
}

impl<R, D> RecordLti<R, D> {
    async fn reseal_all(
        &self,
        collection: Collection,
        resealed: impl Fn(&Record) -> Result<Option<Body>> + Send + Sync,
    ) -> Result<u64> {
        let first = Scan::collection(collection, "");
        let (mut scan, mut count) = (first.clone(), 0);
        loop {
            let page = self.records().scan(&scan).await?;
            for record in page.items {
                count += u64::from(self.reseal_one(&record, &resealed).await?);
            }
            match &page.next {
                Some(next) => scan = first.clone().after(next)?,
                None => return Ok(count),
            }
        }
    }

    async fn reseal_one(
        &self,
        record: &Record,
        resealed: &(impl Fn(&Record) -> Result<Option<Body>> + Send + Sync),
    ) -> Result<bool> {
        if resealed(record)?.is_none() {
            return Ok(false);
        }
        let decide = |current: Option<&Record>| {
            let Some(current) = current else {
                return Ok(Decided::Keep(false));
            };
            Ok(match resealed(current)? {
                Some(body) => Decided::Put(body, current.expires_at(), true),
                None => Decided::Keep(false),
            })
        };
        self.records()
            .update(record.partition(), record.key(), decide)
            .await
    }
}
