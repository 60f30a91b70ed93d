//! A task that a store owns, and that `close` stops.

use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

#[derive(Debug)]
pub(crate) struct Background {
    stop: watch::Sender<bool>,
    task: Mutex<Option<JoinHandle<()>>>,
}

/// How the task learns that it should end: the store was closed, or dropped
/// without that.
#[derive(Clone, Debug)]
pub(crate) struct Stop(watch::Receiver<bool>);

impl Stop {
    /// Until it should end.
    pub(crate) async fn asked(&mut self) {
        // An error says that the store was dropped.
        let _ = self.0.wait_for(|&stop| stop).await;
    }

    /// Whether it should end within `pause`.
    pub(crate) async fn within(&mut self, pause: Duration) -> bool {
        tokio::time::timeout(pause, self.asked()).await.is_ok()
    }

    /// Whether it should end now.
    pub(crate) fn is_asked(&self) -> bool {
        *self.0.borrow()
    }
}

impl Background {
    pub(crate) fn start<F>(task: impl FnOnce(Stop) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (stop, stopped) = watch::channel(false);
        Self {
            stop,
            task: Mutex::new(Some(tokio::spawn(task(Stop(stopped))))),
        }
    }

    /// Lets the task come to its end, and waits for that.
    pub(crate) async fn stop(&self) {
        self.stop.send_replace(true);
        let task = self
            .task
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(task) = task {
            let _ = task.await;
        }
    }
}
