//! Several requests at a time, inside the task that awaits them: no task is spawned and
//! no runtime is needed. A future is polled only if it was woken, because each sends a
//! large buffer.

use std::future::{Future, poll_fn};
use std::task::Poll;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};

use crate::error::Result;

/// Requests in flight, which complete in any order. A dropped wait loses nothing.
pub(in crate::blobs) struct InFlight<T>(FuturesUnordered<BoxFuture<'static, Result<T>>>);

impl<T> Default for InFlight<T> {
    fn default() -> Self {
        Self(FuturesUnordered::new())
    }
}

impl<T> InFlight<T> {
    pub(in crate::blobs) fn len(&self) -> usize {
        self.0.len()
    }

    /// Adds a request, which is sent when the next one is awaited.
    pub(in crate::blobs) fn push(
        &mut self,
        request: impl Future<Output = Result<T>> + Send + 'static,
    ) {
        self.0.push(Box::pin(request));
    }

    /// The result of a request that has completed; `None` if none is in flight.
    pub(in crate::blobs) async fn next(&mut self) -> Option<Result<T>> {
        self.0.next().await
    }

    /// Sends what was added, and waits until fewer than `limit` are in flight.
    pub(in crate::blobs) async fn fewer_than(&mut self, limit: usize) -> Result<()> {
        poll_fn(|cx| {
            loop {
                match self.0.poll_next_unpin(cx) {
                    Poll::Ready(Some(Ok(_))) => {}
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                    Poll::Ready(None) => return Poll::Ready(Ok(())),
                    Poll::Pending if self.0.len() < limit => return Poll::Ready(Ok(())),
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await
    }
}
