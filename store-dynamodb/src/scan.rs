//! Pages of one partition: a query for a prefix of the sort key.

use std::collections::HashMap;

use store_core::key::MAX_NAME;
use store_core::{Error, Partition, Record, Records, Result, Scan, Scope};

use crate::collection_scan;
use crate::error::{Effect, from_sdk};
use crate::shared::Shared;
use crate::wire::{self, ALIVE, malformed};

/// A page ends after this many bytes of bodies.
pub(crate) const PAGE_BYTES: usize = 4 << 20;

pub(crate) async fn scan(shared: &Shared, scan: &Scan) -> Result<Records> {
    // No name is longer than `MAX_NAME` or contains a NUL.
    let impossible = |prefix: &str| prefix.len() > MAX_NAME || prefix.contains('\0');
    let partitions = match scan.scope() {
        Scope::Partition(_) => "",
        Scope::Partitions(prefix) => prefix,
    };
    if impossible(scan.prefix()) || impossible(partitions) {
        shared.clients()?;
        return Ok(Records::last(Vec::new()));
    }
    match scan.scope() {
        Scope::Partition(of) => partition(shared, scan, of).await,
        Scope::Partitions(prefix) => collection_scan::page(shared, scan, prefix).await,
    }
}

async fn partition(shared: &Shared, scan: &Scan, partition: &Partition) -> Result<Records> {
    let collection = scan.in_collection();
    let (pk, prefix) = (
        wire::partition_key(partition.as_str()),
        wire::sort_key(collection, scan.prefix()),
    );
    let mut start = scan
        .position_id()?
        .map(|id| wire::key_of(&pk, wire::sort_key(collection, id)));
    let client = shared.reading()?;
    let values = HashMap::from([
        (":pk".into(), wire::text(pk)),
        (":prefix".into(), wire::text(prefix)),
        (":now".into(), wire::time(shared.now())),
    ]);
    let mut items: Vec<Record> = Vec::new();
    let mut size = 0;
    loop {
        // One item more than the page holds shows whether there is another page.
        let wanted = scan.page_size() + 1 - items.len();
        let answer = client
            .query()
            .table_name(&shared.table)
            .consistent_read(true)
            .key_condition_expression("pk = :pk AND begins_with(sk, :prefix)")
            .filter_expression(ALIVE)
            .set_expression_attribute_values(Some(values.clone()))
            .set_exclusive_start_key(start)
            .limit(i32::try_from(wanted).unwrap_or(i32::MAX))
            .send()
            .await
            .map_err(|e| from_sdk(e, Effect::Repeatable, "scan"))?;
        for item in answer.items.unwrap_or_default() {
            let record = wire::named(item, collection)?.ok_or_else(malformed)?;
            size += record.body().size();
            items.push(record);
        }
        start = answer.last_evaluated_key;
        let is_over = items.len() > scan.page_size();
        if !is_over && start.is_some() && size < PAGE_BYTES {
            continue;
        }
        items.truncate(scan.page_size());
        let last = items.last().map(|record| scan.cursor(record.id()));
        let next = last.filter(|_| is_over || start.is_some());
        return Ok(Records::new(items, next));
    }
}

pub(crate) fn forged() -> Error {
    Error::invalid("the cursor was altered; pass one as it was returned")
}
