//! Pages of records.

use futures_util::future::BoxFuture;
use store_core::key::MAX_NAME;
use store_core::{Partition, Record, RecordKey, RecordRef, Records, Result, Scan, Scope};

use crate::objects::{Found, Objects};
use crate::pages::Listing;
use crate::shared::Shared;
use crate::wire;

pub(crate) async fn page(shared: &Shared, scan: &Scan) -> Result<Records> {
    // No name is longer than `MAX_NAME` or contains a NUL.
    let impossible = |prefix: &str| prefix.len() > MAX_NAME || prefix.contains('\0');
    let partitions = match scan.scope() {
        Scope::Partition(_) => "",
        Scope::Partitions(prefix) => prefix,
    };
    if impossible(scan.prefix()) || impossible(partitions) {
        return Ok(Records::last(Vec::new()));
    }
    let collection = scan.in_collection().name();
    let names = shared.names();
    let (folder, prefix) = match scan.scope() {
        Scope::Partition(of) => {
            let of = of.as_str();
            let prefix = names.record_of(collection, of, scan.prefix());
            (names.partition(collection, of), prefix)
        }
        Scope::Partitions(of) => (
            names.collection(collection),
            names.partitions(scan.in_collection(), of),
        ),
    };
    let listing = Listing {
        shared,
        folder,
        prefix,
    };
    let read = |name: String| -> BoxFuture<'_, _> { Box::pin(record(shared, scan, name)) };
    let found = listing
        .page(scan.position_text()?, scan.page_size(), read)
        .await?;
    Ok(Records::new(
        found.items,
        found.next.map(|position| scan.cursor(position)),
    ))
}

/// The record of that name and its size, if it exists and the scan includes it.
async fn record(shared: &Shared, scan: &Scan, name: String) -> Result<Option<(Record, usize)>> {
    let Some(found) = shared.bucket().get(&name).await? else {
        return Ok(None);
    };
    let record = record_in(shared, scan, found).await?;
    Ok(record.map(|record| {
        let size = record.body().size();
        (record, size)
    }))
}

async fn record_in(shared: &Shared, scan: &Scan, found: Found) -> Result<Option<Record>> {
    let named = wire::decode(&found.bytes)?;
    let asked = named.id.starts_with(scan.prefix())
        && match scan.scope() {
            Scope::Partition(of) => named.partition == of.as_str(),
            Scope::Partitions(prefix) => named.partition.starts_with(&**prefix),
        };
    if !asked {
        return Ok(None);
    }
    let collection = scan.in_collection();
    let partition = Partition::new(&named.partition)?;
    let key = RecordKey::new(collection, &named.id)?;
    let at = RecordRef::new(&named.partition, collection, &named.id)?;
    let current = shared.protocol.resolve(at, Some(found)).await?;
    current.record_of(&partition, &key, shared.now())
}
