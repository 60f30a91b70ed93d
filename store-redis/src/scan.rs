//! Pages of one partition: a script over its sorted set of ids.

use redis::Value;
use store_core::key::MAX_NAME;
use store_core::{Partition, RecordKey, Records, Result, Scan, Scope};

use crate::collection_scan;
use crate::error::Effect;
use crate::shared::{Script, Shared};
use crate::wire::{Pair, array, record, text, unexpected};

/// The maximum bytes of records on one page. The first record may be larger.
pub(crate) const MAX_BYTES: usize = 4 << 20;

pub(crate) async fn scan(shared: &Shared, scan: &Scan) -> Result<Records> {
    // No name has such a prefix.
    let impossible = |prefix: &str| prefix.len() > MAX_NAME || prefix.contains('\0');
    match scan.scope() {
        Scope::Partition(_) | Scope::Partitions(_) if impossible(scan.prefix()) => {
            shared.servers()?;
            Ok(Records::last(Vec::new()))
        }
        Scope::Partitions(prefix) if impossible(prefix) => {
            shared.servers()?;
            Ok(Records::last(Vec::new()))
        }
        Scope::Partition(of) => partition(shared, scan, of).await,
        Scope::Partitions(prefix) => collection_scan::page(shared, scan, prefix).await,
    }
}

async fn partition(shared: &Shared, scan: &Scan, partition: &Partition) -> Result<Records> {
    let collection = scan.in_collection();
    let keys = [shared.names.ids(partition.as_str(), collection)];
    let deadlines = shared.names.deadlines(partition.as_str(), collection);
    let is_cluster = u8::from(shared.servers()?.is_cluster());
    // UTF-8 never contains the byte 0xff, so this is greater than every id with the
    // prefix.
    let end = [b"(", scan.prefix().as_bytes(), &[0xff]].concat();
    let now = Pair::from(shared.now());
    let mut after = scan.position_id()?.map(String::from);
    loop {
        let begin = match &after {
            Some(id) => format!("({id}"),
            None => format!("[{}", scan.prefix()),
        };
        let script = Script {
            lua: &shared.scripts.scan,
            keys: &keys,
            arguments: &|command| {
                command.arg(&begin).arg(&end).arg(now);
                command
                    .arg(scan.page_size())
                    .arg(MAX_BYTES)
                    .arg(&deadlines)
                    .arg(is_cluster);
            },
            size: 256,
        };
        let mut answer = array(shared.run("scan", Effect::Repeatable, script).await?)?.into_iter();
        let next = match answer.next().ok_or_else(unexpected)? {
            Value::Nil => None,
            id => Some(text(id)?),
        };
        let mut items = Vec::with_capacity(answer.len() / 2);
        while let (Some(id), Some(value)) = (answer.next(), answer.next()) {
            let key = RecordKey::new(collection, text(id)?)?;
            items.push(record(value, partition, &key)?.ok_or_else(unexpected)?);
        }
        if items.is_empty() && next.is_some() {
            // All records that the script examined have expired.
            after = next;
            continue;
        }
        let next = next.map(|id| scan.cursor(id));
        return Ok(Records::new(items, next));
    }
}
