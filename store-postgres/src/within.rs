//! The store inside a transaction of the application.

use sqlx::PgConnection;
use store_core::{Batch, Committed, Record, RecordRef, Result};

use crate::commit::{PartitionLock, send};
use crate::records::get;
use crate::shared::Shared;

/// Reads and commits inside a transaction that the application began and ends.
///
/// ```no_run
/// # use store_postgres::{PostgresStore, store_core::{Batch, Result}};
/// # async fn f(store: PostgresStore, pool: sqlx::PgPool, batch: Batch) -> Result<(), Box<dyn std::error::Error>> {
/// let mut transaction = pool.begin().await?;
/// sqlx::query("UPDATE orders SET paid = true WHERE id = 7")
///     .execute(&mut *transaction)
///     .await?;
/// store.within(&mut transaction).commit(&batch).await?;
/// transaction.commit().await?;
/// # Ok(()) }
/// ```
///
/// A commit takes effect when the transaction commits. Until then it locks its
/// partition, and other commits in that partition wait. Two transactions that
/// commit in the same two partitions in opposite order deadlock, and the server ends one
/// of them with `Contended`: commit in the same order everywhere.
///
/// After a `Conflict` the transaction is still usable. After any other error of the
/// server roll it back.
#[derive(Debug)]
pub struct Within<'a> {
    shared: &'a Shared,
    transaction: &'a mut PgConnection,
}

impl<'a> Within<'a> {
    pub(crate) fn new(shared: &'a Shared, transaction: &'a mut PgConnection) -> Self {
        Self {
            shared,
            transaction,
        }
    }

    /// The record at `at`, as this transaction sees it.
    ///
    /// # Errors
    /// As [`RecordStore::get`](store_core::RecordStore::get).
    pub async fn get(&mut self, at: RecordRef<'_>) -> Result<Option<Record>> {
        self.shared.check_open()?;
        get(self.shared, self.transaction, at).await
    }

    /// Applies `batch` atomically, when the transaction commits.
    ///
    /// # Errors
    /// As [`RecordStore::commit`](store_core::RecordStore::commit), and
    /// `InvalidInput` if the transaction is not `READ COMMITTED`.
    pub async fn commit(&mut self, batch: &Batch) -> Result<Committed> {
        self.shared.check_open()?;
        if !batch.is_empty() {
            send(
                self.shared,
                self.transaction,
                batch,
                PartitionLock::Exclusive,
            )
            .await?;
        }
        Ok(Committed::new())
    }
}
