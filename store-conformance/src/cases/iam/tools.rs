//! What several cases need.

use std::fmt::Debug;
use std::future::Future;
use std::sync::Arc;

use store_core::entity::{EntityStore, Listing};
use store_core::iam::TenantEntity;
use store_core::page::{Cursor, Page};
use store_core::tenants::TenantPath;
use store_core::{Error, ErrorKind, Result};

/// Runs the futures at once, each in a task of its own, and collects their
/// answers in order.
pub(crate) async fn race<T, F>(futures: impl IntoIterator<Item = F>) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let tasks: Vec<_> = futures.into_iter().map(tokio::spawn).collect();
    let mut answers = Vec::new();
    for task in tasks {
        answers.push(task.await.expect("a racing task panicked"));
    }
    answers
}

/// The kind of error that must have come.
#[track_caller]
pub(crate) fn kind<T: Debug>(answer: Result<T>) -> ErrorKind {
    answer.expect_err("this must be refused").kind()
}

/// How many of the answers are `Ok`; the others must be of `kind`.
#[track_caller]
pub(crate) fn won<T>(answers: &[Result<T>], kind: ErrorKind) -> usize {
    let refused = answers.iter().filter_map(|answer| answer.as_ref().err());
    let others: Vec<&Error> = refused.filter(|error| error.kind() != kind).collect();
    assert!(others.is_empty(), "only {kind:?} was expected: {others:?}");
    answers.iter().filter(|answer| answer.is_ok()).count()
}

/// The pages of a list, one after the other, until it ends; a list that does
/// not end is cut off.
pub(crate) async fn pages<T, F>(mut next: impl FnMut(Option<Cursor>) -> F) -> Result<Vec<Vec<T>>>
where
    F: Future<Output = Result<Page<T>>>,
{
    let mut pages = Vec::new();
    let mut cursor = None;
    loop {
        let page = next(cursor).await?;
        let ended = page.next.is_none();
        assert!(
            ended || !page.items.is_empty(),
            "a page with a cursor is never empty"
        );
        pages.push(page.items);
        assert!(pages.len() <= 500, "the list does not end");
        if ended {
            return Ok(pages);
        }
        cursor = page.next;
    }
}

/// The names on each page of a family's list.
pub(crate) async fn names<E: TenantEntity>(
    store: &Arc<dyn EntityStore<E>>,
    tenant: &TenantPath,
    listing: Listing<E>,
) -> Result<Vec<Vec<String>>> {
    let pages = pages(|cursor| {
        let listing = match cursor {
            Some(cursor) => listing.clone().after(cursor),
            None => listing.clone(),
        };
        async move { store.list(tenant, &listing).await }
    })
    .await?;
    let name = |entity: Arc<E>| entity.name().to_owned();
    Ok(pages
        .into_iter()
        .map(|page| page.into_iter().map(name).collect())
        .collect())
}
