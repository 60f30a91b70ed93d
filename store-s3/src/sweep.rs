//! The sweep of records: abandoned transactions, and expired records.

use std::time::Duration;

use futures_util::future::BoxFuture;
use store_core::{Result, Swept, Timestamp, Version};
use tokio::time::Instant;

use crate::objects::{ETag, Found, Listed, Objects, Precondition, PutResult};
use crate::parallel::parallel;
use crate::protocol::Decision;
use crate::shared::Shared;
use crate::wire::{self, Image, MAX_TOMBSTONE, Stored};

/// How many objects one sweep reads.
const BUDGET: usize = 1000;

pub(crate) async fn sweep(shared: &Shared, grace: Duration) -> Result<Swept> {
    transactions(shared).await?;
    records(shared, grace).await
}

/// Completes transactions that are decided, and those that an earlier sweep found pending
/// longer ago than a transaction may take.
async fn transactions(shared: &Shared) -> Result<()> {
    let folder = shared.names().transactions();
    let mut after: Option<String> = None;
    let mut pending = Vec::new();
    loop {
        let (names, more) = shared.bucket().list(&folder, after.as_deref()).await?;
        after = names.last().cloned().or(after);
        for name in &names {
            let id = name.rsplit('/').next().map(str::parse::<Version>);
            let Some(Ok(id)) = id else { continue };
            match shared.protocol.decision(id).await? {
                Decision::Pending(_, transaction) => {
                    let seen = *shared
                        .progress()
                        .pending
                        .entry(id)
                        .or_insert_with(Instant::now);
                    let items = u32::try_from(transaction.items.len()).unwrap_or(u32::MAX);
                    if seen.elapsed() >= shared.lease + shared.lease * items / 10 {
                        shared.protocol.finish(id).await?;
                    } else {
                        pending.push(id);
                    }
                }
                Decision::Committed | Decision::Aborted => shared.protocol.finish(id).await?,
                Decision::Missing => {}
            }
        }
        if !more {
            break;
        }
    }
    shared
        .progress()
        .pending
        .retain(|id, _| pending.contains(id));
    Ok(())
}

/// Reads the next records in the order of their names, and after the last one starts
/// again with the first.
async fn records(shared: &Shared, grace: Duration) -> Result<Swept> {
    let folder = shared.names().records();
    let mut after = shared.progress().after.take();
    let mut swept = Swept::default();
    let mut looked = 0;
    let mut old = Vec::new();
    loop {
        let bucket = shared.bucket();
        let (listed, more) = bucket.list_sizes(&folder, after.as_deref()).await?;
        for Listed {
            name,
            size,
            etag,
            modified,
        } in listed
        {
            if looked == BUDGET {
                remove(shared, &old).await?;
                swept.more = true;
                shared.progress().after = after;
                return Ok(swept);
            }
            looked += 1;
            if size <= MAX_TOMBSTONE && !is_single_use(shared, &name) {
                // A tombstone is recognized by its size and not read.
                let is_old = modified <= shared.now() - shared.tombstone_age;
                old.extend(
                    etag.filter(|_| is_old && shared.removes())
                        .map(|etag| (name.clone(), etag)),
                );
            } else if let Some(found) = shared.bucket().get(&name).await? {
                let expired = shared.now() - grace;
                swept.removed += u64::from(record(shared, &name, found, expired).await?);
            }
            after = Some(name);
        }
        if !more {
            remove(shared, &old).await?;
            return Ok(swept);
        }
    }
}

/// Removes tombstones that are older than every call in progress: see I14 of the protocol.
async fn remove(shared: &Shared, tombstones: &[(String, ETag)]) -> Result<()> {
    let remove =
        |(name, etag)| -> BoxFuture<'_, _> { Box::pin(shared.bucket().remove(name, etag)) };
    let all = tombstones.iter().map(|(name, etag)| (name.as_str(), etag));
    parallel(all.map(remove).collect()).await.map(drop)
}

/// Whether the record's collection is single-use, so that its objects may be removed.
fn is_single_use(shared: &Shared, name: &str) -> bool {
    let collection = shared.names().collection_in(name).unwrap_or_default();
    shared.single_use.contains(collection)
}

/// Processes one object. Returns true if it removed an expired record.
async fn record(shared: &Shared, name: &str, found: Found, expired: Timestamp) -> Result<bool> {
    let named = wire::decode(&found.bytes)?;
    let image = match &named.stored {
        Stored::Record(image) => image,
        Stored::Intent(_) => {
            shared.protocol.release_stray(name, found).await?;
            return Ok(false);
        }
    };
    let is_single_use = is_single_use(shared, name);
    if image.is_deleted() {
        if is_single_use {
            shared.bucket().delete(name).await?;
        }
        return Ok(false);
    }
    if !image.is_expired(expired) {
        return Ok(false);
    }
    if is_single_use {
        shared.bucket().delete(name).await?;
        return Ok(true);
    }
    // The tombstone stays longer than every call in progress, so that a put that was sent
    // earlier does not find the name unused.
    let deleted = Stored::Record(Image::deleted(Version::unique()));
    let object = wire::encode(named.name(), &deleted);
    let when = Precondition::Matches(found.etag);
    let put = shared.bucket().put(name, &when, object).await?;
    Ok(matches!(put, PutResult::Written(_)))
}
