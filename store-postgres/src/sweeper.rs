//! The task that removes expired records, for a store that was asked to.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use store_core::RecordStore;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::records::Once;

#[derive(Debug)]
pub(crate) struct Sweeper {
    stop: watch::Sender<bool>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Sweeper {
    pub(crate) fn start(records: Once, interval: Duration, grace: Duration) -> Self {
        let (stop, mut stopped) = watch::channel(false);
        let task = tokio::spawn(async move {
            // The channel also ends when the store is dropped without being closed.
            while tokio::time::timeout(interval, stopped.wait_for(|&stop| stop))
                .await
                .is_err()
            {
                // Between batches others get the connection, and a stop is seen.
                // A failed sweep is made up for by the next.
                while !*stopped.borrow() && records.sweep(grace).await.is_ok_and(|swept| swept.more)
                {
                }
            }
        });
        Self {
            stop,
            task: Mutex::new(Some(task)),
        }
    }

    /// Lets a sweep that runs end, and waits for it.
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
