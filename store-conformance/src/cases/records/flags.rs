//! A collection's flags are part of what it is.

use serde_json::{Value, json};
use store_core::{
    Batch, Body, Collection, ErrorKind, Expect, Record, RecordKey, RecordRef, RecordStore, Result,
    Scan, Version, collections,
};

use super::tools::{Given, Space};
use crate::suite::CaseResult;
use crate::{Case, case};

pub(super) fn cases() -> Vec<Case<dyn RecordStore>> {
    vec![
        case!(a_collection_cannot_be_used_with_two_sets_of_flags, "R1"),
        case!(flags_that_differ_from_those_set_up_are_refused, "R1"),
    ]
}

const FLAGGED: Collection = Collection::new("flagged").cacheable();

async fn a_collection_cannot_be_used_with_two_sets_of_flags(harness: Given) -> CaseResult {
    let space = Space::open(&harness).await?;
    let key = RecordKey::new(FLAGGED, "a")?;
    let mut batch = space.batch();
    batch.put(key.clone(), Expect::Absent, Body::json(1)?)?;
    space.first.commit(&batch).await?;
    for other in [
        Collection::new("flagged"),
        FLAGGED.single_use(),
        FLAGGED.transient(),
        FLAGGED.chunks(),
    ] {
        for refused in [
            RecordKey::new(other, "a").map(drop),
            RecordRef::new("p", other, "a").map(drop),
            collections::register(&*space.first, &[other]).await,
        ] {
            let error = refused.expect_err("it has other flags");
            assert_eq!(error.kind(), ErrorKind::Config, "{error}");
            assert!(error.message().contains("`flagged`"), "{error}");
        }
        // A list finds the records wherever the first declaration has put them.
        let scan = Scan::partition(other, space.partition.clone());
        assert_eq!(space.second.scan(&scan).await?.items.len(), 1);
    }
    assert!(space.second.get(key.at(&space.partition)).await?.is_some());
    Ok(())
}

/// The record in which `setup` stores the flags.
async fn stored_flags(space: &Space) -> Result<Option<Record>> {
    read_flags(&*space.second).await
}

async fn read_flags(store: &dyn RecordStore) -> Result<Option<Record>> {
    let flags = collections::find("collection_flags").expect("one of the contracts'");
    let at = RecordRef::new("collection_flags", flags, "all")?;
    store.get(at).await
}

/// Stores other flags than `from` for a collection, as another release may have
/// declared them, and returns the version of that write. For a backend's own
/// test of its `setup`, which must refuse them.
///
/// # Panics
/// If `from` are not the flags that `setup` stored.
pub async fn change_stored_flags(
    store: &dyn RecordStore,
    collection: &str,
    from: &str,
) -> Result<Version> {
    let record = read_flags(store).await?;
    let record = record.expect("setup stores the flags of collections");
    let mut body = (*record.decode::<Value>()?).clone();
    assert_eq!(body["flags"][collection], from, "what setup stored");
    body["flags"][collection] = format!("{from} changed").into();
    let mut batch = Batch::new(record.partition().clone(), store.clock().now());
    batch.put(record.key().clone(), &record, Body::json(body)?)?;
    store.commit(&batch).await?;
    Ok(batch.version())
}

async fn flags_that_differ_from_those_set_up_are_refused(harness: Given) -> CaseResult {
    let space = Space::open(&harness).await?;
    let set_up = Collection::new("set_up").single_use();
    let later = Collection::new("set_up_later");
    for _twice in 0..2 {
        collections::register(&*space.first, &[set_up]).await?;
    }
    let before = stored_flags(&space).await?.ok_or("they were stored")?;
    collections::register(&*space.second, &[set_up, set_up]).await?;
    let same = stored_flags(&space).await?.ok_or("they are stored")?;
    assert_eq!(same.version(), before.version(), "nothing was new");

    let changed = change_stored_flags(&*space.first, "set_up", "single_use").await?;
    let refused = collections::register(&*space.second, &[later, set_up]).await;
    let error = refused.expect_err("it was set up with other flags");
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    for part in ["`set_up`", "[single_use]", "[single_use changed]"] {
        assert!(error.message().contains(part), "{error}");
    }
    let found = stored_flags(&space).await?.ok_or("they are stored")?;
    assert_eq!(found.version(), changed, "it was refused");
    assert_eq!(found.decode::<Value>()?["flags"].get("set_up_later"), None);

    collections::register(&*space.first, &[later]).await?;
    let found = stored_flags(&space).await?.ok_or("they are stored")?;
    assert_eq!(found.decode::<Value>()?["flags"]["set_up_later"], json!(""));
    Ok(())
}
