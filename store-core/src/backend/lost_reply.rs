//! Determines the outcome of a commit whose reply was lost.

use crate::backend::event;
use crate::batch::{Batch, Change, Committed, Expect, Item};
use crate::error::{Error, ErrorKind, Result, Retry};
use crate::record::Record;
use crate::record_store::RecordStore;

/// Determines whether `batch`, whose reply was lost, was applied; for backends.
///
/// Every version is unique, so a record that carries the batch's own version
/// proves that it was applied. The reverse is not true: the absence of such a record
/// proves nothing, because the request may still be in flight, or its records may
/// have been overwritten. Therefore:
///
/// - a batch that only checks has no effect, so it is sent again, and the second
///   reply is returned;
/// - if a record has the batch's version, it was applied;
/// - otherwise, if it can never be applied twice, the identical batch is sent again,
///   and the copy that arrives first is applied. It can never be applied twice if an
///   item that it writes or deletes expects a `Version`: no record has that version
///   after the first time. `Absent` does not suffice: the created record may have
///   been deleted since then, and would be created again;
/// - if the second copy is refused, the first was applied if a record has the batch's
///   version; otherwise nothing is proved;
/// - anything else is ambiguous, and the caller gets that error.
///
/// `store` must send each call once, without resolving it. It gets at most two reads
/// and one commit.
///
/// # Errors
/// The `lost` error with [`Retry::Ambiguous`] where nothing could be proved.
/// For a batch that only checks: `Conflict`, or `lost` with [`Retry::Safe`] if
/// it could not be asked again.
pub async fn resolve_lost_reply<S: RecordStore + ?Sized>(
    store: &S,
    batch: &Batch,
    lost: Error,
) -> Result<Committed> {
    if !batch.items().iter().any(writes) {
        return match store.commit(batch).await {
            Err(error) if !error.is(ErrorKind::Conflict) => Err(lost.with_retry(Retry::Safe)),
            answer => answer,
        };
    }
    if landed(store, batch).await {
        return Ok(found());
    }
    if batch.items().iter().any(applies_once) {
        match store.commit(batch).await {
            Ok(committed) => {
                event::recovery("a commit without a reply was sent again and applied");
                return Ok(committed);
            }
            Err(error) if shows_ours(batch, &error) => return Ok(found()),
            Err(_) if landed(store, batch).await => return Ok(found()),
            Err(error) => event::failure("a commit without a reply could not be repeated", &error),
        }
    }
    Err(lost.with_retry(Retry::Ambiguous))
}

/// The answer to a commit that is proved to have been applied.
fn found() -> Committed {
    event::recovery("a commit without a reply was found to have been applied");
    Committed::new()
}

fn writes(item: &Item) -> bool {
    !matches!(item.change(), Change::Check)
}

/// True if its expectation can never hold again once it has applied.
fn applies_once(item: &Item) -> bool {
    writes(item) && matches!(item.expect(), Expect::Version(_))
}

fn is_ours(batch: &Batch, record: &Record) -> bool {
    record.version() == batch.version()
}

/// True if a refusal carries a record of our own version.
fn shows_ours(batch: &Batch, error: &Error) -> bool {
    error.conflict().is_some_and(|conflict| {
        let mut current = conflict.failed().iter().filter_map(|item| item.current());
        current.any(|record| is_ours(batch, record))
    })
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
    match store.get_many(&put).await {
        Ok(found) => found.iter().flatten().any(|record| is_ours(batch, record)),
        Err(error) => {
            event::failure("could not read what a commit without a reply wrote", &error);
            false
        }
    }
}
