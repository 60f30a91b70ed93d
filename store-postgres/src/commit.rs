//! Sends a batch as one call of one of the SQL functions that write records.

use sqlx::Executor;
use sqlx::postgres::{PgConnection, PgRow};
use store_core::error::FailedItem;
use store_core::{Batch, Change, Conflict, Error, Expect, Result, Version};

use crate::error::BACKEND;
use crate::shared::Shared;
use crate::sql::{Table, safe};
use crate::wire::{Json, Uuid, columns, integer, nanos, record};

/// One item, as its columns.
struct Row {
    expect: i16,
    expected: Option<Uuid>,
    change: i16,
    expires_at: Option<i64>,
    /// The body's length in bytes.
    size: i32,
    json: Option<Json>,
    bytes: Option<bytes::Bytes>,
}

impl Row {
    fn of(batch: &Batch, index: usize) -> Result<Self> {
        let item = &batch.items()[index];
        let (expect, expected) = expectation(item.expect());
        let mut row = Self {
            expect,
            expected,
            change: 0,
            expires_at: None,
            size: 0,
            json: None,
            bytes: None,
        };
        match item.change() {
            Change::Check => {}
            Change::Put { body, expires_at } => {
                row.change = 1;
                row.expires_at = expires_at.map(nanos);
                (row.json, row.bytes) = columns(body)?;
                let json = row.json.as_ref().map(|json| json.0.len());
                let size = json.or(row.bytes.as_ref().map(|bytes| bytes.len()));
                row.size = size
                    .and_then(|size| i32::try_from(size).ok())
                    .unwrap_or(i32::MAX);
            }
            Change::Delete => row.change = 2,
        }
        Ok(row)
    }
}

fn expectation(expect: Expect) -> (i16, Option<Uuid>) {
    let of = |version: Version| Some(Uuid(version));
    match expect {
        Expect::Any => (0, None),
        Expect::Absent => (1, None),
        Expect::Present => (2, None),
        Expect::Version(version) => (3, of(version)),
    }
}

/// How a commit locks its partition.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum PartitionLock {
    /// Shared if the batch has one item, else exclusively.
    ByItems,
    /// Exclusively. Needed for several commits in one transaction: two transactions that
    /// hold a shared lock and then both request the exclusive one would deadlock.
    Exclusive,
}

/// Sends `batch` once.
pub(crate) async fn send(
    shared: &Shared,
    connection: &mut PgConnection,
    batch: &Batch,
    lock: PartitionLock,
) -> Result<()> {
    let failed = if batch.items().len() == 1 && lock == PartitionLock::ByItems {
        send_one(shared, connection, batch).await
    } else {
        send_many(shared, connection, batch).await
    }?;
    if failed.is_empty() {
        return Ok(());
    }
    let mut failed = failed
        .iter()
        .map(|row| failed_item(batch, row))
        .collect::<Result<Vec<_>>>()?;
    failed.sort_by_key(FailedItem::index);
    Err(Error::from_conflict(Conflict::new(failed))
        .with_backend(BACKEND)
        .with_operation("commit"))
}

fn failed_item(batch: &Batch, row: &PgRow) -> Result<FailedItem> {
    let index = integer(row, 0)?
        .and_then(|item| usize::try_from(item).ok())
        .filter(|&item| item < batch.items().len())
        .ok_or_else(|| Error::corrupt("the server reported an item that was not sent"))?;
    let key = batch.items()[index].key().clone();
    let current = record(row, 1, batch.partition().clone(), key)?;
    Ok(FailedItem::new(index, batch.at(index), current))
}

async fn send_one(
    shared: &Shared,
    connection: &mut PgConnection,
    batch: &Batch,
) -> Result<Vec<PgRow>> {
    let row = Row::of(batch, 0)?;
    let key = batch.items()[0].key();
    let statements = shared.statements.on(Table::of(key.collection()));
    let query = sqlx::query(safe(&statements.commit))
        .bind(key.collection().name())
        .bind(batch.partition().as_str())
        .bind(key.id())
        .bind(Uuid(batch.version()))
        .bind(nanos(batch.now()))
        .bind(row.expect)
        .bind(row.expected)
        .bind(row.change)
        .bind(row.expires_at)
        .bind(row.size)
        .bind(row.json)
        .bind(row.bytes.as_deref());
    shared.written("commit", connection.fetch_many(query)).await
}

async fn send_many(
    shared: &Shared,
    connection: &mut PgConnection,
    batch: &Batch,
) -> Result<Vec<PgRow>> {
    let items = batch.items();
    let mut order: Vec<usize> = (0..items.len()).collect();
    order.sort_by_key(|&i| (Table::of(items[i].key().collection()), items[i].key()));
    let rows = order
        .iter()
        .map(|&i| Row::of(batch, i))
        .collect::<Result<Vec<_>>>()?;

    // Each table, and the end of its items.
    let mut tables: Vec<(Table, i32)> = Vec::new();
    for (place, &i) in order.iter().enumerate() {
        let table = Table::of(items[i].key().collection());
        // A batch has at most a hundred items.
        let end = place as i32 + 1;
        match tables.last_mut() {
            Some(last) if last.0 == table => last.1 = end,
            _ => tables.push((table, end)),
        }
    }
    let collection = |&i: &usize| items[i].key().collection().name();
    let collections: Vec<&str> = order.iter().map(collection).collect();
    let ids: Vec<&str> = order.iter().map(|&i| items[i].key().id()).collect();
    let numbers: Vec<i32> = order.iter().map(|&i| i as i32).collect();
    let column = |f: fn(&Row) -> i16| rows.iter().map(f).collect::<Vec<i16>>();
    let text = match tables[..] {
        [(table, _)] => &shared.statements.on(table).commit_all,
        _ => &shared.statements.commit_many,
    };
    let mut query = sqlx::query(safe(text))
        .bind(batch.partition().as_str())
        .bind(Uuid(batch.version()))
        .bind(nanos(batch.now()))
        .bind(numbers)
        .bind(collections)
        .bind(ids)
        .bind(column(|row| row.expect))
        .bind(rows.iter().map(|row| row.expected).collect::<Vec<_>>())
        .bind(column(|row| row.change))
        .bind(rows.iter().map(|row| row.expires_at).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.size).collect::<Vec<_>>())
        .bind(
            rows.iter()
                .map(|row| row.json.as_ref().map(|json| Json(json.0.clone())))
                .collect::<Vec<_>>(),
        )
        .bind(
            rows.iter()
                .map(|row| row.bytes.as_deref())
                .collect::<Vec<_>>(),
        );
    if tables.len() > 1 {
        query = query
            .bind(
                tables
                    .iter()
                    .map(|table| table.0.name())
                    .collect::<Vec<_>>(),
            )
            .bind(tables.iter().map(|table| table.1).collect::<Vec<_>>());
    }
    shared.written("commit", connection.fetch_many(query)).await
}
