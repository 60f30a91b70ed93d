//! Several futures at a time, inside the task that awaits them: no task is
//! spawned and no runtime is needed.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use crate::error::Result;

enum Slot<T> {
    Running(Running<T>),
    Done(Result<T>),
}

struct Running<T> {
    future: Pin<Box<dyn Future<Output = Result<T>> + Send>>,
    wakeup: Arc<Wakeup>,
    waker: Waker,
}

/// Records which future was woken, so that the others are not polled: each sends a
/// large buffer, and would be polled for every piece of another's.
struct Wakeup {
    woken: AtomicBool,
    task: Mutex<Option<Waker>>,
}

impl Wakeup {
    /// Wakes this task from now on.
    fn register(&self, task: &Waker) {
        let mut known = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *known {
            Some(known) => known.clone_from(task),
            None => *known = Some(task.clone()),
        }
    }
}

impl Wake for Wakeup {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        // Cloned: waking may run anything, so not with the lock held.
        let task = self
            .task
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if let Some(task) = task {
            task.wake();
        }
    }
}

impl<T> Running<T> {
    fn new(future: impl Future<Output = Result<T>> + Send + 'static) -> Self {
        let wakeup = Arc::new(Wakeup {
            woken: AtomicBool::new(true),
            task: Mutex::new(None),
        });
        Self {
            future: Box::pin(future),
            waker: Waker::from(Arc::clone(&wakeup)),
            wakeup,
        }
    }

    /// Polls the future if it was woken.
    fn poll(&mut self, task: &Waker) -> Poll<Result<T>> {
        self.wakeup.register(task);
        if !self.wakeup.woken.swap(false, Ordering::AcqRel) {
            return Poll::Pending;
        }
        self.future
            .as_mut()
            .poll(&mut Context::from_waker(&self.waker))
    }
}

/// Futures in flight, in the order they were begun. A dropped wait loses nothing.
pub(in crate::blobs) struct InFlight<T>(VecDeque<Slot<T>>);

impl<T> Default for InFlight<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T> InFlight<T> {
    pub(in crate::blobs) fn len(&self) -> usize {
        self.0.len()
    }

    pub(in crate::blobs) fn push(
        &mut self,
        future: impl Future<Output = Result<T>> + Send + 'static,
    ) {
        self.0.push_back(Slot::Running(Running::new(future)));
    }

    pub(in crate::blobs) fn push_done(&mut self, result: Result<T>) {
        self.0.push_back(Slot::Done(result));
    }

    fn poll_woken(&mut self, task: &Waker) {
        for slot in &mut self.0 {
            if let Slot::Running(future) = slot
                && let Poll::Ready(result) = future.poll(task)
            {
                *slot = Slot::Done(result);
            }
        }
    }

    /// The result of the one begun first; `None` if none is in flight.
    pub(in crate::blobs) async fn first(&mut self) -> Option<Result<T>> {
        poll_fn(|cx| {
            self.poll_woken(cx.waker());
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

    /// Waits until fewer than `limit` are in flight.
    pub(in crate::blobs) async fn fewer_than(&mut self, limit: usize) -> Result<()> {
        poll_fn(|cx| {
            self.poll_woken(cx.waker());
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
