//! What to make of a commit whose reply was lost.

use crate::batch::{Batch, Change, Committed, Expect};
use crate::error::{Error, ErrorKind, Result, Retry};
use crate::record::Record;
use crate::record_store::RecordStore;

/// Finds out whether `batch`, whose reply was lost, landed; for backends.
///
/// Every version is unique, so a record that carries the batch's own version
/// proves that it landed. The reverse is not true: that no record carries it
/// proves nothing, because the commit may still be on its way, or may have
/// landed and been overwritten since. So:
///
/// - own version found: landed;
/// - else, if every item expects `Version` or `Absent`, the identical batch is
///   sent again: it cannot apply twice, and whichever copy comes first wins. A
///   conflict then is ambiguous, unless a record carries our own version;
/// - anything else is ambiguous, and the caller is told.
///
/// `store` must send each call once, without resolving by itself; it is asked
/// for at most two reads and one commit.
///
/// # Errors
/// The `lost` error with [`Retry::Ambiguous`] where nothing could be proved.
pub async fn resolve_lost_reply<S: RecordStore + ?Sized>(
    store: &S,
    batch: &Batch,
    lost: Error,
) -> Result<Committed> {
    if landed(store, batch).await {
        return Ok(Committed::new());
    }
    let cannot_apply_twice = batch
        .items()
        .iter()
        .all(|item| matches!(item.expect(), Expect::Version(_) | Expect::Absent))
        && batch.items().iter().any(writes);
    if !cannot_apply_twice {
        return Err(lost.with_retry(Retry::Ambiguous));
    }
    match store.commit(batch).await {
        Ok(committed) => Ok(committed),
        Err(error) if error.is(ErrorKind::Conflict) => {
            let carries_ours = error.conflict().is_some_and(|conflict| {
                conflict
                    .failed()
                    .iter()
                    .any(|failed| failed.current().is_some_and(|r| is_ours(batch, r)))
            });
            if carries_ours || landed(store, batch).await {
                Ok(Committed::new())
            } else {
                Err(lost.with_retry(Retry::Ambiguous))
            }
        }
        Err(_) => Err(lost.with_retry(Retry::Ambiguous)),
    }
}

fn writes(item: &crate::batch::Item) -> bool {
    !matches!(item.change(), Change::Check)
}

fn is_ours(batch: &Batch, record: &Record) -> bool {
    record.version() == batch.version()
}

/// True if a record proves it; false proves nothing, a failed read included.
async fn landed<S: RecordStore + ?Sized>(store: &S, batch: &Batch) -> bool {
    let put: Vec<_> = (0..batch.items().len())
        .filter(|&i| matches!(batch.items()[i].change(), Change::Put { .. }))
        .map(|i| batch.at(i))
        .collect();
    if put.is_empty() {
        return false;
    }
    store
        .get_many(&put)
        .await
        .is_ok_and(|found| found.iter().flatten().any(|r| is_ours(batch, r)))
}
