//! What each call of a contract costs in round trips: counted, not claimed.
//!
//! [`count`] makes every main call of every contract over a store and notes how
//! far a counter went up; the counter is the backend's own, best at the wire.
//! [`Counted`] counts calls of the record store's primitives, which is what a
//! backend of one's own will send. [`settle`] keeps the table in a file, a
//! column for each, and fails if it says something else.

mod calls;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use store_core::layers::RecordLayer;
use store_core::{Batch, Committed, Record, RecordRef, RecordStore, Records, Result, Scan, Store};

/// An error of the store's, or of what was made of its answer.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Set, [`settle`] writes the file instead of comparing with it.
pub const WRITE: &str = "STORE_TRIPS_WRITE";

/// What a call cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trip {
    /// The contract: `api keys` …
    pub contract: &'static str,
    /// The call, and on what.
    pub call: &'static str,
    /// How many round trips it took.
    pub trips: u64,
}

/// How many round trips there were since it was last asked.
pub type Counter<'a> = &'a (dyn Fn() -> u64 + Send + Sync);

/// Makes the calls, twice each on things of different names, and gives the
/// second count: the first may prepare statements or connect. Nobody else must
/// use the store.
///
/// # Errors
/// The store's.
pub async fn count(store: &Store, counter: Counter<'_>) -> std::result::Result<Vec<Trip>, Failure> {
    calls::all(store, counter, 0).await?;
    calls::all(store, counter, 1).await
}

/// Notes what calls cost.
struct Notes<'a> {
    counter: Counter<'a>,
    contract: &'static str,
    trips: Vec<Trip>,
}

impl Notes<'_> {
    /// The answer of `call`, whose cost is noted.
    async fn note<T>(
        &mut self,
        call: &'static str,
        future: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        (self.counter)();
        let answer = future.await?;
        self.trips.push(Trip {
            contract: self.contract,
            call,
            trips: (self.counter)(),
        });
        Ok(answer)
    }

    /// Notes the cost of `call`, whose answer does not matter.
    async fn cost<T>(
        &mut self,
        call: &'static str,
        future: impl Future<Output = Result<T>>,
    ) -> Result<()> {
        self.note(call, future).await.map(drop)
    }
}

const HEAD: &str = "\
# Round trips of each call

Made by `cargo xtask trips`; not edited by hand. Each call was made and counted, on warm
connections, with nobody else writing: under contention a change is tried again.

- **primitives**: calls of `get`, `get_many`, `scan` and `commit`, over a store of records
  alone, with limits and objects kept as records. What a backend of your own sends.
- **postgres**: statements that went over the wire to a PostgreSQL server, one round trip
  each. Its limits have a table and statements of their own.
- **redis**: commands that went over the wire to a Redis server, one round trip each, but
  for a walk over a collection, which sends several at once and costs by the number of all
  keys: here there are few. Its limits have scripts of their own.
- **dynamodb**: requests that went over the wire to a server that stands in for DynamoDB,
  one round trip each. A walk over a collection counts as one and sends more by the size of
  the table. A take of a key that was seen before is one, of another up to two.
- **s3**: requests that went over the wire to a server that speaks S3. A commit of several
  records is a transaction of conditional writes; the requests of one page, and of reading
  several records, overlap. An object of up to 1 MiB is one object, a larger one is written
  and read in parts of 5 MiB.

An object's chunks or parts are written and read several at a time, so that their trips
overlap.
";

/// Compares `column` of the table at `file` with what was counted, or writes it
/// if [`WRITE`] is set. Other columns stay as they are.
///
/// # Errors
/// What differs, or that the file cannot be written.
pub fn settle(file: &Path, column: &str, counted: &[Trip]) -> std::result::Result<(), String> {
    let before = fs::read_to_string(file).unwrap_or_default();
    let mut columns = parse(&before);
    let own = counted.iter().map(|trip| {
        let row = (trip.contract.to_owned(), trip.call.to_owned());
        (row, trip.trips.to_string())
    });
    let own: Column = own.collect();
    if std::env::var_os(WRITE).is_some() {
        match columns.iter_mut().find(|(name, _)| name == column) {
            Some((_, cells)) => *cells = own,
            None => columns.push((column.into(), own)),
        }
        return fs::write(file, render(counted, &columns)).map_err(|e| e.to_string());
    }
    let empty = Column::new();
    let said = columns.iter().find(|(name, _)| name == column);
    let said = said.map_or(&empty, |(_, cells)| cells);
    let mut differences: Vec<String> = own
        .iter()
        .filter(|(row, trips)| said.get(row) != Some(trips))
        .map(|(row, trips)| {
            let said = said.get(row).map_or("nothing", String::as_str);
            format!("{}: {}: {trips}, and the table says {said}", row.0, row.1)
        })
        .collect();
    let gone = said.keys().filter(|row| !own.contains_key(*row));
    differences.extend(gone.map(|row| format!("{}: {}: no longer made", row.0, row.1)));
    if differences.is_empty() {
        return Ok(());
    }
    Err(format!(
        "{column}: run `cargo xtask trips`\n  {}",
        differences.join("\n  ")
    ))
}

/// By contract and call.
type Column = BTreeMap<(String, String), String>;

/// The columns of a table as [`render`] makes it.
fn parse(text: &str) -> Vec<(String, Column)> {
    let mut rows = text
        .lines()
        .filter(|line| line.starts_with('|'))
        .map(|line| {
            let cells = line.trim_matches('|').split('|');
            cells.map(|cell| cell.trim().to_owned()).collect::<Vec<_>>()
        });
    let names = rows.next().unwrap_or_default();
    let mut columns: Vec<_> = names
        .into_iter()
        .skip(2)
        .map(|name| (name, Column::new()))
        .collect();
    for row in rows.skip(1).filter(|row| row.len() > 2) {
        for ((_, column), cell) in columns.iter_mut().zip(&row[2..]) {
            column.insert((row[0].clone(), row[1].clone()), cell.clone());
        }
    }
    columns
}

/// The rows of `counted`, in their order.
fn render(counted: &[Trip], columns: &[(String, Column)]) -> String {
    let names: Vec<_> = columns.iter().map(|(name, _)| name.as_str()).collect();
    let mut text = format!(
        "{HEAD}\n| contract | call | {} |\n|---|---|{}\n",
        names.join(" | "),
        "--:|".repeat(names.len())
    );
    for trip in counted {
        let row = (trip.contract.to_owned(), trip.call.to_owned());
        let cell = |(_, column): &(String, Column)| {
            column.get(&row).cloned().unwrap_or_else(|| "?".into())
        };
        let cells: Vec<_> = columns.iter().map(cell).collect();
        let _ = writeln!(text, "| {} | {} | {} |", row.0, row.1, cells.join(" | "));
    }
    text
}

/// A record store whose primitives are counted.
#[derive(Debug)]
pub struct Counted {
    store: Arc<dyn RecordStore>,
    calls: Arc<AtomicU64>,
}

impl Counted {
    /// Around `store`, and what it counts into.
    pub fn new(store: Arc<dyn RecordStore>) -> (Self, Arc<AtomicU64>) {
        let calls = Arc::new(AtomicU64::new(0));
        let counted = Self {
            store,
            calls: Arc::clone(&calls),
        };
        (counted, calls)
    }

    fn counted(&self) -> &dyn RecordStore {
        self.calls.fetch_add(1, Ordering::Relaxed);
        &*self.store
    }
}

#[async_trait]
impl RecordLayer for Counted {
    fn inner(&self) -> &dyn RecordStore {
        &*self.store
    }

    async fn get(&self, at: RecordRef<'_>) -> Result<Option<Record>> {
        self.counted().get(at).await
    }

    async fn get_many(&self, at: &[RecordRef<'_>]) -> Result<Vec<Option<Record>>> {
        self.counted().get_many(at).await
    }

    async fn scan(&self, scan: &Scan) -> Result<Records> {
        self.counted().scan(scan).await
    }

    async fn commit(&self, batch: &Batch) -> Result<Committed> {
        self.counted().commit(batch).await
    }

    /// A server answers nothing without a round trip.
    fn get_now(&self, _: RecordRef<'_>) -> Option<Result<Option<Record>>> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_read_as_it_was_written() {
        let trip = |call, trips| Trip {
            contract: "limits",
            call,
            trips,
        };
        let counted = [trip("take", 1), trip("peek", 2)];
        let column = |add: u64| -> Column {
            let cells = counted.iter();
            let cell = |t: &Trip| {
                let row = (t.contract.to_owned(), t.call.to_owned());
                (row, (t.trips + add).to_string())
            };
            cells.map(cell).collect()
        };
        let columns = vec![("one".to_owned(), column(0)), ("two".to_owned(), column(5))];
        assert_eq!(parse(&render(&counted, &columns)), columns);
        assert!(parse("").is_empty());
    }
}
