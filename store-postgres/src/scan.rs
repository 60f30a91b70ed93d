//! Pages by keyset pagination: each page begins after the last name of the previous one.

use sqlx::postgres::PgRow;
use store_core::key::MAX_NAME;
use store_core::{Error, Partition, Record, RecordKey, Records, Result, Scan, Scope};

use crate::error::Effect;
use crate::shared::Shared;
use crate::sql::{Table, after_prefix, safe};
use crate::wire::{integer, nanos, record, text};

/// Whether the prefix contains a NUL, which the server refuses, or is longer than any
/// name.
pub(crate) fn matches_nothing(scan: &Scan) -> bool {
    let impossible = |prefix: &str| prefix.len() > MAX_NAME || prefix.contains('\0');
    let partitions = match scan.scope() {
        Scope::Partition(_) => false,
        Scope::Partitions(prefix) => impossible(prefix),
    };
    partitions || impossible(scan.prefix())
}

/// The page size plus one, which shows whether there is a next page.
fn wanted(scan: &Scan) -> i64 {
    // A page has at most a thousand records.
    scan.page_size() as i64 + 1
}

/// The records of a page. `rows` may contain fewer records than were found, since the
/// bytes of a page are limited too; column `at` of each row contains the number that was
/// found.
fn page(
    scan: &Scan,
    rows: &[PgRow],
    at: usize,
    mut records: Vec<Record>,
    position: fn(&Record) -> Vec<u8>,
) -> Result<Records> {
    let found = match rows.first() {
        Some(row) => integer(row, at)?.and_then(|found| usize::try_from(found).ok()),
        None => None,
    };
    records.truncate(scan.page_size());
    let more = found.unwrap_or_default() > records.len();
    let next = records
        .last()
        .filter(|_| more)
        .map(|last| scan.cursor(position(last)));
    Ok(Records::new(records, next))
}

fn expect_record(scan: &Scan, row: &PgRow, partition: Partition) -> Result<Record> {
    let key = RecordKey::new(scan.in_collection(), text(row, 4)?)?;
    record(row, 0, partition, key)?.ok_or_else(|| Error::corrupt("a stored record has no version"))
}

/// A page of one partition.
pub(crate) async fn partition(
    shared: &Shared,
    scan: &Scan,
    partition: &Partition,
) -> Result<Records> {
    let statements = shared.statements.on(Table::of(scan.in_collection()));
    let after = scan.position_id()?;
    let text = after.map_or(&statements.scan, |_| &statements.scan_after);
    let mut connection = shared.connection("scan").await?;
    let query = sqlx::query(safe(text))
        .bind(scan.in_collection().name())
        .bind(partition.as_str())
        .bind(after.unwrap_or(scan.prefix()))
        .bind(after_prefix(scan.prefix()))
        .bind(nanos(shared.now()))
        .bind(wanted(scan))
        .fetch_all(&mut *connection);
    let rows = shared.answer("scan", Effect::Repeatable, query).await?;
    let found = rows
        .iter()
        .map(|row| expect_record(scan, row, partition.clone()))
        .collect::<Result<Vec<_>>>()?;
    page(scan, &rows, 5, found, |last| last.id().into())
}

/// A page of all partitions whose name starts with `prefix`.
pub(crate) async fn collection(shared: &Shared, scan: &Scan, prefix: &str) -> Result<Records> {
    let statements = shared.statements.on(Table::of(scan.in_collection()));
    let after = scan
        .position()
        .map(|at| scan.position_record(at))
        .transpose()?;
    let statement = after.map_or(&statements.collection_scan, |_| {
        &statements.collection_scan_after
    });
    let (from, id) = after.unwrap_or((prefix, ""));
    let mut connection = shared.connection("scan").await?;
    let query = sqlx::query(safe(statement))
        .bind(scan.in_collection().name())
        .bind(from)
        .bind(id)
        .bind(after_prefix(prefix))
        .bind(scan.prefix())
        .bind(after_prefix(scan.prefix()))
        .bind(nanos(shared.now()))
        .bind(wanted(scan))
        .fetch_all(&mut *connection);
    let rows = shared.answer("scan", Effect::Repeatable, query).await?;
    let found = rows
        .iter()
        .map(|row| expect_record(scan, row, Partition::new(text(row, 5)?)?))
        .collect::<Result<Vec<_>>>()?;
    page(scan, &rows, 6, found, |last| {
        Scan::record_position(last.at())
    })
}
