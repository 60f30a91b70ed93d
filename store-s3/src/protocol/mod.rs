#![doc = include_str!("../../PROTOCOL.md")]
// This module is public only for its documentation; it has no public items.

mod many;
mod one;
mod put;
mod read;
#[cfg(test)]
mod simulation;
mod transaction;

use store_core::error::FailedItem;
use store_core::{
    Batch, Change, Committed, Conflict, Error, Expect, Partition, Record, RecordKey, RecordRef,
    Result, Timestamp, Version,
};

pub(crate) use put::{Outcome, Removal};
pub(crate) use read::Decision;

use crate::error::BACKEND;
use crate::keys::Namespace;
use crate::objects::{ETag, Objects};
use crate::wire::{self, Image, Stored};

/// The protocol over a set of objects.
#[derive(Debug)]
pub(crate) struct Protocol<O> {
    pub(crate) objects: O,
    pub(crate) names: Namespace,
}

/// A record as it was read.
#[derive(Clone, Debug)]
pub(crate) struct Current {
    /// The object's ETag; `None` if there was no object.
    pub(crate) etag: Option<ETag>,
    /// The record's state, including decided transactions.
    pub(crate) image: Option<Image>,
    /// The undecided transaction that holds the record.
    pub(crate) held_by: Option<Version>,
    /// The token for the caller, if no transaction holds the record.
    token: Option<store_core::Token>,
    /// Whether the record was read. If false, the state follows from a token or an
    /// expectation.
    seen: bool,
}

impl Current {
    /// The state that an expectation of `Absent` implies.
    fn assumed_absent() -> Self {
        Self {
            etag: None,
            image: None,
            held_by: None,
            token: None,
            seen: false,
        }
    }

    /// The record, unless it is absent at `now`.
    pub(crate) fn record(
        &self,
        batch: &Batch,
        index: usize,
        now: Timestamp,
    ) -> Result<Option<Record>> {
        self.record_of(batch.partition(), batch.items()[index].key(), now)
    }

    /// The same for a record with that name.
    pub(crate) fn record_of(
        &self,
        partition: &Partition,
        key: &RecordKey,
        now: Timestamp,
    ) -> Result<Option<Record>> {
        let Some(image) = &self.image else {
            return Ok(None);
        };
        let record = image.record(partition, key, now)?;
        Ok(match (record, &self.token) {
            (Some(record), Some(token)) => Some(record.with_token(token.clone())),
            (record, _) => record,
        })
    }

    fn is_of(&self, version: Version) -> bool {
        self.image
            .as_ref()
            .is_some_and(|image| image.version == version)
    }
}

impl<O: Objects> Protocol<O> {
    pub(crate) fn new(objects: O, names: Namespace) -> Self {
        Self { objects, names }
    }

    /// Applies `batch` completely or not at all. See [the protocol](self).
    pub(crate) async fn commit(&self, batch: &Batch) -> Result<Committed> {
        match batch.items().len() {
            0 => Ok(Committed::new()),
            1 => self.commit_one(batch).await,
            _ => self.commit_many(batch).await,
        }
    }

    /// The state that an item's token or expectation implies, if that is enough to continue
    /// without a read.
    fn assumed(&self, batch: &Batch, index: usize) -> Option<Current> {
        let item = &batch.items()[index];
        match item.expect() {
            Expect::Absent => Some(Current::assumed_absent()),
            Expect::Version(version) => {
                let (etag, object) = wire::open_token(item.token()?)?;
                match wire::decode_at(batch.at(index), &object).ok()? {
                    Stored::Record(image) if image.version == version => Some(Current {
                        etag: Some(etag.into()),
                        image: Some(image),
                        held_by: None,
                        token: item.token().cloned(),
                        seen: false,
                    }),
                    _ => None,
                }
            }
            Expect::Any | Expect::Present => None,
        }
    }
}

/// The state of the record after the item's change; `None` if the item changes nothing.
fn after(batch: &Batch, index: usize) -> Result<Option<Image>> {
    match batch.items()[index].change() {
        Change::Check => Ok(None),
        Change::Delete => Ok(Some(Image::deleted(batch.version()))),
        Change::Put { body, expires_at } => {
            Image::new(batch.version(), *expires_at, Some(body)).map(Some)
        }
    }
}

/// The items whose expectations fail.
fn failed(batch: &Batch, found: &[&Current]) -> Result<Vec<FailedItem>> {
    let mut failed = Vec::new();
    for (index, current) in found.iter().enumerate() {
        let record = current.record(batch, index, batch.now())?;
        if !batch.items()[index].expect().holds(record.as_ref()) {
            failed.push(FailedItem::new(index, batch.at(index), record));
        }
    }
    Ok(failed)
}

fn conflict(failed: Vec<FailedItem>) -> Error {
    Error::from_conflict(Conflict::new(failed)).with_backend(BACKEND)
}

/// Whether the record's object may be removed once the record is deleted.
pub(crate) fn is_single_use(at: RecordRef<'_>) -> bool {
    at.collection().is_single_use()
}
