//! Several futures at once, inside the task of whoever awaits them: no task is
//! spawned and no runtime is needed.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::error::Result;

type Running<T> = Pin<Box<dyn Future<Output = Result<T>> + Send>>;

enum Slot<T> {
    Running(Running<T>),
    Done(Result<T>),
}

/// Futures under way, in the order they were begun. A dropped wait loses nothing.
pub(super) struct InFlight<T>(VecDeque<Slot<T>>);

impl<T> Default for InFlight<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T> InFlight<T> {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn push(&mut self, future: impl Future<Output = Result<T>> + Send + 'static) {
        self.0.push_back(Slot::Running(Box::pin(future)));
    }

    pub(super) fn push_done(&mut self, result: Result<T>) {
        self.0.push_back(Slot::Done(result));
    }

    fn poll_all(&mut self, cx: &mut Context<'_>) {
        for slot in &mut self.0 {
            if let Slot::Running(future) = slot
                && let Poll::Ready(result) = future.as_mut().poll(cx)
            {
                *slot = Slot::Done(result);
            }
        }
    }

    /// The result of the one begun first; `None` if none is under way.
    pub(super) async fn first(&mut self) -> Option<Result<T>> {
        poll_fn(|cx| {
            self.poll_all(cx);
            match self.0.front() {
                None => Poll::Ready(None),
                Some(Slot::Running(_)) => Poll::Pending,
                Some(Slot::Done(_)) => match self.0.pop_front() {
                    Some(Slot::Done(result)) => Poll::Ready(Some(result)),
                    _ => Poll::Ready(None),
                },
            }
        })
        .await
    }

    /// Waits until fewer than `limit` are under way.
    pub(super) async fn fewer_than(&mut self, limit: usize) -> Result<()> {
        poll_fn(|cx| {
            self.poll_all(cx);
            while let Some(at) = self.0.iter().position(|s| matches!(s, Slot::Done(_))) {
                if let Some(Slot::Done(Err(error))) = self.0.remove(at) {
                    return Poll::Ready(Err(error));
                }
            }
            if self.0.len() < limit {
                Poll::Ready(Ok(()))
            } else {
                Poll::Pending
            }
        })
        .await
    }
}
