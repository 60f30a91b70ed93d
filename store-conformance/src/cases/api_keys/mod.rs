//! API keys: the contract's promises over any [`ApiKeyStore`], and the standard
//! implementation's own over a backend.
//!
//! A store of your own that only answers [`ApiKeyStore::get_key`] runs
//! [`cases`] too: its harness loads the [`Fixtures`] into its table and names
//! the methods that it does not offer, and the cases that need them then assert
//! that they are refused. This crate's example `own_api_keys` shows it
//! whole.

mod changes;
mod damaged;
mod fixtures;
pub(crate) mod handle;
pub(crate) mod histories;
mod lists;
mod lookups;
mod model;
mod races;
mod records;
pub(crate) mod rings;
mod rotation;

use std::sync::Arc;

use store_core::ErrorKind;
use store_core::Store;
use store_core::api_keys::{ApiKeyStore, KeyData, KeyId, ListKeys};

use crate::harness::{Harness, Over};
use crate::suite::{Case, CaseResult, Suite};

#[cfg(feature = "internals")]
pub(crate) use fixtures::ring;
pub use fixtures::{Fixture, Fixtures};
use fixtures::{Space, key};
pub use histories::{changes_have_an_order, lives_have_an_order};
pub(super) use model::compare;

/// What every case about the contract is given.
pub type Given = Arc<dyn Harness<dyn ApiKeyStore, Fixtures>>;

/// A case about the contract.
type KeyCase = Case<dyn ApiKeyStore, Fixtures>;

/// The suites over a backend: the contract, and the standard implementation.
pub fn over(backend: &Arc<Over>) -> Vec<Suite> {
    vec![
        Suite::new("api_keys", Arc::clone(backend) as Given, cases()),
        Suite::new(
            "api_keys",
            Arc::clone(backend.backend_harness()),
            record_cases(),
        ),
    ]
}

/// The contract's cases, for a harness of your own.
///
/// The needs, by the names that [`Harness::unsupported`] declares: `get_by_id`,
/// `insert`, `update_key`, `delete_key`, `list`, and `outage` for a harness that
/// cannot open an unreachable store.
pub fn cases() -> Vec<KeyCase> {
    [
        lookups::all(),
        changes::all(),
        lists::all(),
        races::all(),
        histories::all(),
        model::all(),
    ]
    .concat()
}

/// The cases about how keys are stored as records.
pub fn record_cases() -> Vec<Case<Store>> {
    [
        records::all(),
        damaged::all(),
        rotation::all(),
        rings::all(),
        handle::all(),
    ]
    .concat()
}

fn needs_insert(case: KeyCase) -> KeyCase {
    case.needs("insert", |given| Box::pin(inserting_is_refused(given)))
}

fn needs_update(case: KeyCase) -> KeyCase {
    case.needs("update_key", |given| Box::pin(updating_is_refused(given)))
}

fn needs_delete(case: KeyCase) -> KeyCase {
    case.needs("delete_key", |given| Box::pin(deleting_is_refused(given)))
}

fn needs_list(case: KeyCase) -> KeyCase {
    case.needs("list", |given| Box::pin(listing_is_refused(given)))
}

fn needs_get_by_id(case: KeyCase) -> KeyCase {
    case.needs("get_by_id", |given| Box::pin(ids_are_refused(given)))
}

fn needs_outage(case: KeyCase) -> KeyCase {
    case.needs("outage", |given| Box::pin(no_outage_is_staged(given)))
}

async fn inserting_is_refused(given: Given) -> CaseResult {
    let space = Space::open(&given, []).await?;
    let error = space.first.insert(&key(), KeyData::new()).await;
    let error = error.expect_err("inserting is declared unsupported");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    Ok(())
}

async fn updating_is_refused(given: Given) -> CaseResult {
    let fixture = Fixture::new(KeyData::new());
    let space = Space::open(&given, [&fixture]).await?;
    let change = |data: &mut KeyData| {
        data.enabled = false;
        Ok(())
    };
    let error = space.first.update_key(fixture.key().into(), None, &change);
    let error = error.await.expect_err("updating is declared unsupported");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(space.first.get_key(fixture.key()).await?.is_active());
    Ok(())
}

async fn deleting_is_refused(given: Given) -> CaseResult {
    let fixture = Fixture::new(KeyData::new());
    let space = Space::open(&given, [&fixture]).await?;
    let error = space.first.delete_key(fixture.key().into()).await;
    let error = error.expect_err("deleting is declared unsupported");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(space.first.get_key(fixture.key()).await?.is_active());
    Ok(())
}

async fn listing_is_refused(given: Given) -> CaseResult {
    let space = Space::open(&given, []).await?;
    let error = space.first.list(&ListKeys::all()).await;
    let error = error.expect_err("listing is declared unsupported");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    Ok(())
}

async fn ids_are_refused(given: Given) -> CaseResult {
    let space = Space::open(&given, []).await?;
    let error = space.first.get_by_id(&KeyId::new("some-id")?).await;
    let error = error.expect_err("looking up by id is declared unsupported");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    Ok(())
}

async fn no_outage_is_staged(given: Given) -> CaseResult {
    let fixtures = Fixtures {
        keys: Vec::new(),
        outage: true,
    };
    let error = given.open(fixtures).await;
    let error = error.expect_err("opening an unreachable store is declared unsupported");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    Ok(())
}
