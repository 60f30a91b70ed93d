//! One batch as one call of one of the functions that write records.

use sqlx::Executor;
use sqlx::postgres::{PgConnection, PgRow};
use store_core::error::FailedItem;
use store_core::{Batch, Change, Conflict, Error, Expect, Result, Version};

use crate::error::{BACKEND, in_collections};
use crate::shared::Shared;
use crate::sql::safe;
use crate::wire::{Json, Uuid, columns, integer, nanos, record};

pub(crate) const COMMIT_MANY: &str = "SELECT item, version, expires_at, body, bytes \
    FROM {schema}.commit_many($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)";

/// One item, as its columns.
struct Row {
    expect: i16,
    expected: Option<Uuid>,
    change: i16,
    expires_at: Option<i64>,
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
            json: None,
            bytes: None,
        };
        match item.change() {
            Change::Check => {}
            Change::Put { body, expires_at } => {
                row.change = 1;
                row.expires_at = expires_at.map(nanos);
                (row.json, row.bytes) = columns(body)?;
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

/// How a commit holds its partition.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hold {
    /// Shared if the batch has one item, else exclusively.
    ByItems,
    /// Exclusively. For several commits in one transaction: one that shares a
    /// partition and then wants it alone would meet another doing the same.
    Alone,
}

/// Sends `batch` once.
pub(crate) async fn send(
    shared: &Shared,
    connection: &mut PgConnection,
    batch: &Batch,
    hold: Hold,
) -> Result<()> {
    let failed = if batch.items().len() == 1 && hold == Hold::ByItems {
        send_one(shared, connection, batch).await
    } else {
        send_many(shared, connection, batch).await
    };
    let failed = failed.map_err(|error| {
        in_collections(
            error,
            batch.items().iter().map(|item| item.key().collection()),
        )
    })?;
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
        .ok_or_else(|| Error::corrupt("the server named an item that was not sent"))?;
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
    let statements = shared.statements(key.collection());
    let query = sqlx::query(safe(&statements.commit))
        .bind(batch.partition().as_str())
        .bind(key.id())
        .bind(Uuid(batch.version()))
        .bind(nanos(batch.now()))
        .bind(row.expect)
        .bind(row.expected)
        .bind(row.change)
        .bind(row.expires_at)
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
    order.sort_by_key(|&i| items[i].key());
    let rows = order
        .iter()
        .map(|&i| Row::of(batch, i))
        .collect::<Result<Vec<_>>>()?;

    let mut collections: Vec<&str> = Vec::new();
    let mut ends: Vec<i32> = Vec::new();
    for (place, &i) in order.iter().enumerate() {
        let collection = items[i].key().collection();
        let again = place > 0 && items[order[place - 1]].key().collection() == collection;
        if !again {
            collections.push(collection.name());
            ends.push(0);
        }
        // At most a hundred.
        *ends.last_mut().expect("pushed for the first") = place as i32 + 1;
    }
    let ids: Vec<&str> = order.iter().map(|&i| items[i].key().id()).collect();
    let numbers: Vec<i32> = order.iter().map(|&i| i as i32).collect();
    let column = |f: fn(&Row) -> i16| rows.iter().map(f).collect::<Vec<i16>>();
    let query = sqlx::query(safe(&shared.commit_many))
        .bind(batch.partition().as_str())
        .bind(Uuid(batch.version()))
        .bind(nanos(batch.now()))
        .bind(collections)
        .bind(ends)
        .bind(numbers)
        .bind(ids)
        .bind(column(|row| row.expect))
        .bind(rows.iter().map(|row| row.expected).collect::<Vec<_>>())
        .bind(column(|row| row.change))
        .bind(rows.iter().map(|row| row.expires_at).collect::<Vec<_>>())
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
    shared.written("commit", connection.fetch_many(query)).await
}
