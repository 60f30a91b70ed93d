//! Commits without a reply.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use crate::backend::{event, resolve_lost_reply};
use crate::batch::{Batch, Committed};
use crate::error::{Error, ErrorKind, Result, Retry};
use crate::layers::RecordLayer;
use crate::record_store::RecordStore;

/// What may be done about a commit without a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recourse {
    /// Find out from the records, as [`resolve_lost_reply`] does.
    Resolve,
    /// Send the batch again first: the server recognizes a copy and applies the
    /// batch once, whichever copy arrives first.
    Resend,
    /// Nothing: records do not prove what the batch was to achieve. The caller
    /// gets the ambiguous error.
    Report,
}

/// Finds out what became of commits whose reply was lost.
///
/// The store under it makes a single attempt at each commit, and reports a lost
/// connection as `Unavailable` with [`Retry::Ambiguous`]. A call that timed out
/// may still be running, so it stays ambiguous.
pub struct Resolving {
    inner: Arc<dyn RecordStore>,
    recourse: Box<dyn Fn(&Batch) -> Recourse + Send + Sync>,
}

impl Resolving {
    /// Over `inner`, where the records alone show the outcome.
    pub fn new(inner: Arc<dyn RecordStore>) -> Self {
        Self::with(inner, |_| Recourse::Resolve)
    }

    /// Over `inner`, where `recourse` decides for each batch.
    pub fn with(
        inner: Arc<dyn RecordStore>,
        recourse: impl Fn(&Batch) -> Recourse + Send + Sync + 'static,
    ) -> Self {
        Self {
            inner,
            recourse: Box::new(recourse),
        }
    }

    async fn resolve(&self, batch: &Batch, lost: Error) -> Result<Committed> {
        match (self.recourse)(batch) {
            Recourse::Report => return Err(lost),
            Recourse::Resend => match self.inner.commit(batch).await {
                Ok(committed) => {
                    event::recovery("a commit without a reply was sent again");
                    return Ok(committed);
                }
                Err(error) => event::failure("a repeated commit failed", &error),
            },
            Recourse::Resolve => {}
        }
        resolve_lost_reply(&*self.inner, batch, lost).await
    }
}

#[async_trait]
impl RecordLayer for Resolving {
    fn inner(&self) -> &dyn RecordStore {
        &*self.inner
    }

    async fn commit(&self, batch: &Batch) -> Result<Committed> {
        match self.inner.commit(batch).await {
            Err(lost) if lost.retry() == Retry::Ambiguous && lost.is(ErrorKind::Unavailable) => {
                self.resolve(batch, lost).await
            }
            answer => answer,
        }
    }
}

impl fmt::Debug for Resolving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}
