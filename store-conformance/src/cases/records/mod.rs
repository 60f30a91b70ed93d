//! The record store's promises, R1 to R10.

use std::sync::Arc;
use std::time::Duration;

use store_core::{Batch, Body, Collection, ErrorKind, Expect, Partition, RecordKey, RecordStore};

use crate::case;
use crate::harness::{Harness, Opened, Over};
use crate::suite::{Case, CaseResult, Suite};

type Records = Arc<dyn Harness<dyn RecordStore>>;

const THINGS: Collection = Collection::new("things");

/// The suite over a backend.
pub fn over(backend: &Arc<Over>) -> Vec<Suite> {
    vec![Suite::new(
        "records",
        Arc::clone(backend) as Records,
        cases(),
    )]
}

/// The cases, for a harness of your own.
pub fn cases() -> Vec<Case<dyn RecordStore>> {
    vec![
        case!(a_failed_expectation_writes_nothing, "R4"),
        case!(an_expired_record_is_absent_before_any_sweep, "R2", "35"),
    ]
}

async fn a_failed_expectation_writes_nothing(harness: Records) -> CaseResult {
    let Opened {
        first,
        second,
        clock: _,
        ..
    } = harness.open(()).await?;
    let partition = Partition::new("p")?;
    let (there, other) = (
        RecordKey::new(THINGS, "there")?,
        RecordKey::new(THINGS, "other")?,
    );
    let mut batch = Batch::new(partition.clone(), first.clock().now());
    batch.put(there.clone(), Expect::Absent, Body::json(1)?)?;
    first.commit(&batch).await?;

    let mut batch = Batch::new(partition.clone(), first.clock().now());
    batch.put(other.clone(), Expect::Any, Body::json(2)?)?.put(
        there.clone(),
        Expect::Absent,
        Body::json(3)?,
    )?;
    let error = second.commit(&batch).await.expect_err("`there` is there");
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let conflict = error.conflict().expect("a conflict names what failed");
    assert_eq!(conflict.failed().len(), 1);
    let current = conflict.item(1).and_then(|item| item.current());
    assert_eq!(*current.expect("and carries it").decode::<i32>()?, 1);
    assert!(first.get(other.at(&partition)).await?.is_none());
    Ok(())
}

async fn an_expired_record_is_absent_before_any_sweep(harness: Records) -> CaseResult {
    let Opened { first, clock, .. } = harness.open(()).await?;
    let partition = Partition::new("p")?;
    let key = RecordKey::new(THINGS, "brief")?;
    let second = Duration::from_secs(1);
    let now = first.clock().now();
    let mut batch = Batch::new(partition.clone(), now);
    batch.put_until(
        key.clone(),
        Expect::Absent,
        Body::json(1)?,
        Some(now + second),
    )?;
    first.commit(&batch).await?;
    assert!(first.get(key.at(&partition)).await?.is_some());
    clock.advance(second);
    assert!(first.get(key.at(&partition)).await?.is_none());

    let mut batch = Batch::new(partition.clone(), first.clock().now());
    batch.put(key.clone(), Expect::Absent, Body::json(2)?)?;
    first.commit(&batch).await?;
    assert!(first.get(key.at(&partition)).await?.is_some());
    Ok(())
}
