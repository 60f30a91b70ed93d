//! R7: commits whose reply is lost.

use std::sync::Arc;
use std::time::Duration;

use store_core::layers::Resolving;
use store_core::{Batch, Body, Committed, ErrorKind, Expect, RecordStore, Result, Retry};

use super::tools::{Given, Space, conflict, key};
use crate::faults::{Fault, Lossy, Outage};
use crate::suite::CaseResult;
use crate::{Case, case};

pub(super) fn cases() -> Vec<Case<dyn RecordStore>> {
    vec![
        case!(an_outage_is_an_error_and_never_an_absence, "R7", "48"),
        case!(a_write_whose_reply_was_lost_is_recognized, "R7"),
        case!(
            a_request_that_was_lost_is_sent_again_where_it_cannot_apply_twice,
            "R7"
        ),
        case!(what_may_have_happened_is_never_called_a_failure, "R7"),
        case!(a_lost_create_never_resurrects_what_was_deleted, "R7", "31"),
        case!(a_late_request_is_not_applied_twice, "R7"),
        case!(a_lost_check_is_repeated, "R7"),
    ]
}

/// Sends `batch` over a network with these faults, with lost replies resolved.
async fn send(space: &Space, batch: &Batch, faults: &[Fault]) -> Result<Committed> {
    let network = Lossy::scripted(Arc::clone(&space.first), faults.iter().copied());
    Resolving::new(Arc::new(network)).commit(batch).await
}

fn ambiguous<T: std::fmt::Debug>(answer: Result<T>) {
    let error = answer.expect_err("it cannot be known");
    assert_eq!(error.retry(), Retry::Ambiguous, "{error}");
}

async fn an_outage_is_an_error_and_never_an_absence(harness: Given) -> CaseResult {
    let space = Space::open(&harness).await?;
    space.put("a", 1).await?;
    let store = Outage::new(Arc::clone(&space.first));
    let a = key("a")?;
    let at = a.at(&space.partition);
    let mut batch = space.batch();
    batch.put(a.clone(), Expect::Any, Body::json(2)?)?;
    store.set_down(true);
    for answer in [
        store.get(at).await.map(drop),
        store.get_many(&[at]).await.map(drop),
        store.scan(&space.scan()).await.map(drop),
        store.commit(&batch).await.map(drop),
        store.ping().await.map(drop),
        store.sweep(Duration::ZERO).await.map(drop),
    ] {
        let error = answer.expect_err("the server is down");
        assert_eq!(
            (error.kind(), error.retry()),
            (ErrorKind::Unavailable, Retry::Safe)
        );
    }
    store.set_down(false);
    assert_eq!(space.number("a").await?, Some(1));
    assert!(store.get(at).await?.is_some());
    Ok(())
}

async fn a_write_whose_reply_was_lost_is_recognized(harness: Given) -> CaseResult {
    let space = Space::open(&harness).await?;
    let old = space.put("there", 1).await?;
    let cases = [
        ("new", Expect::Absent),
        ("there", Expect::Version(old)),
        ("there", Expect::Present),
        ("any", Expect::Any),
    ];
    for (id, expect) in cases {
        let mut batch = space.batch();
        batch
            .put(key(id)?, expect, Body::json(2)?)?
            .check(key("absent")?, Expect::Absent)?;
        send(&space, &batch, &[Fault::LoseReply]).await?;
        let record = space.record(id).await?.ok_or("it was written")?;
        assert_eq!(record.version(), batch.version());
    }
    Ok(())
}

async fn a_request_that_was_lost_is_sent_again_where_it_cannot_apply_twice(
    harness: Given,
) -> CaseResult {
    let space = Space::open(&harness).await?;
    let old = space.put("a", 1).await?;
    let mut update = space.batch();
    update
        .put(key("a")?, Expect::Version(old), Body::json(2)?)?
        .put(key("b")?, Expect::Any, Body::json(2)?)?;
    send(&space, &update, &[Fault::LoseRequest]).await?;
    assert_eq!(space.number("b").await?, Some(2));
    let mut delete = space.batch();
    delete.delete(key("a")?, Expect::Version(update.version()))?;
    // The second reply is lost as well: the record is deleted, but it is unknown by which
    // request.
    ambiguous(send(&space, &delete, &[Fault::LoseRequest, Fault::LoseReply]).await);
    let mut delete = space.batch();
    delete.delete(key("b")?, Expect::Version(update.version()))?;
    send(&space, &delete, &[Fault::LoseRequest]).await?;
    assert!(space.record("b").await?.is_none());
    Ok(())
}

async fn what_may_have_happened_is_never_called_a_failure(harness: Given) -> CaseResult {
    let space = Space::open(&harness).await?;
    let old = space.put("a", 1).await?;
    for (faults, change) in [
        (&[Fault::LoseRequest][..], "put"),
        (&[Fault::LoseRequest], "delete"),
        (&[Fault::LoseReply], "delete"),
        (&[Fault::Delay], "put"),
    ] {
        let mut batch = space.batch();
        match change {
            "put" => batch.put(key("a")?, Expect::Any, Body::json(2)?)?,
            _ => batch.delete(key("a")?, Expect::Any)?,
        };
        ambiguous(send(&space, &batch, faults).await);
    }
    // Another writer was faster: our request may have been applied before, or never.
    space.put("a", 3).await?;
    let mut batch = space.batch();
    batch.put(key("a")?, Expect::Version(old), Body::json(4)?)?;
    ambiguous(send(&space, &batch, &[Fault::LoseRequest]).await);
    assert_eq!(space.number("a").await?, Some(3));
    Ok(())
}

async fn a_lost_create_never_resurrects_what_was_deleted(harness: Given) -> CaseResult {
    let space = Space::open(&harness).await?;
    let mut create = space.batch();
    create.put(key("a")?, Expect::Absent, Body::json(1)?)?;
    // It is applied, and another client deletes the record before its client reads.
    space.first.commit(&create).await?;
    let mut delete = space.batch();
    delete.delete(key("a")?, Expect::Version(create.version()))?;
    space.second.commit(&delete).await?;
    ambiguous(send(&space, &create, &[Fault::LoseRequest]).await);
    assert!(space.record("a").await?.is_none(), "it exists again");
    Ok(())
}

async fn a_late_request_is_not_applied_twice(harness: Given) -> CaseResult {
    let space = Space::open(&harness).await?;
    let old = space.put("a", 1).await?;
    let network = Arc::new(Lossy::scripted(Arc::clone(&space.first), [Fault::Delay]));
    let resolving = Resolving::new(Arc::clone(&network) as Arc<dyn RecordStore>);
    let mut update = space.batch();
    update
        .put(key("a")?, Expect::Version(old), Body::json(2)?)?
        .put(key("b")?, Expect::Absent, Body::json(2)?)?;
    resolving.commit(&update).await?;
    space.delete("a").await?;
    space.delete("b").await?;
    network.deliver().await;
    assert!(space.record("a").await?.is_none());
    assert!(space.record("b").await?.is_none());
    Ok(())
}

async fn a_lost_check_is_repeated(harness: Given) -> CaseResult {
    let space = Space::open(&harness).await?;
    space.put("a", 1).await?;
    for fault in [Fault::LoseRequest, Fault::LoseReply, Fault::Delay] {
        let mut batch = space.batch();
        batch.check(key("a")?, Expect::Present)?;
        send(&space, &batch, &[fault]).await?;
        let mut batch = space.batch();
        batch.check(key("a")?, Expect::Absent)?;
        conflict(send(&space, &batch, &[fault]).await);
        // It cannot have written anything, so repeating it is safe.
        let error = send(&space, &batch, &[fault, Fault::LoseReply]).await;
        assert_eq!(error.expect_err("no answer at all").retry(), Retry::Safe);
    }
    Ok(())
}
