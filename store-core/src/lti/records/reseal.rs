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
use crate::page::Unreadable;
use crate::record::Record;
use crate::scan::Scan;
use crate::update::{Decided, RecordStoreExt};

impl<R, D> RecordLti<R, D>
where
    R: Registerable + Serialize + DeserializeOwned,
{
    /// Seals every private key and token again that is not sealed under the
    /// ring's current key. Once nothing was unreadable and every process has
    /// the new ring, the older keys can be removed from it.
    ///
    /// A record that cannot be decoded, or holds a secret in clear text, is left
    /// as it is and reported. Safe to run while the store is in use, and to run
    /// again after a failure.
    ///
    /// # Errors
    /// `Config`, naming the key, if a field's key is not on the ring.
    pub async fn reseal(&self) -> Result<Resealed> {
        let mut done = Resealed::default();
        self.reseal_all(REGISTRATIONS, &mut done, |record| {
            self.resealed_registration(record)
        })
        .await?;
        self.reseal_all(KEYS, &mut done, |record| self.resealed_key(record))
            .await?;
        self.reseal_all(TOKENS, &mut done, |record| self.resealed_token(record))
            .await?;
        Ok(done)
    }
}

/// What [`RecordLti::reseal`] did.
#[non_exhaustive]
#[derive(Clone, Debug, Default)]
pub struct Resealed {
    /// How many records were sealed again.
    pub count: u64,
    /// Records that were left as they are, by collection, partition and id.
    pub unreadable: Vec<Unreadable>,
}

impl<R, D> RecordLti<R, D> {
    async fn reseal_all(
        &self,
        collection: Collection,
        done: &mut Resealed,
        resealed: impl Fn(&Record) -> Result<Option<Body>> + Send + Sync,
    ) -> Result<()> {
        let first = Scan::collection(collection, "");
        let mut scan = first.clone();
        loop {
            let page = self.records().scan(&scan).await?;
            for record in page.items {
                match self.reseal_one(&record, &resealed).await {
                    Ok(changed) => done.count += u64::from(changed),
                    Err(error) => {
                        let place = [collection.name(), record.partition().as_str(), record.id()];
                        let unreadable = Unreadable::new(place.join(" "), error)?;
                        done.unreadable.push(unreadable);
                    }
                }
            }
            match &page.next {
                Some(next) => scan = first.clone().after(next)?,
                None => return Ok(()),
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
