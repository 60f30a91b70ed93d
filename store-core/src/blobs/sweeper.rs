//! Sweeping at intervals.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use super::{BlobStore, BlobStoreExt};
use crate::backend::event;
use crate::error::ErrorKind;

/// Sweeps a store of objects until it is dropped or the store is closed. Made by
/// [`BlobStoreExt::sweep_every`].
#[must_use = "dropping it stops the sweeps"]
#[derive(Debug)]
pub struct BlobSweeper(JoinHandle<()>);

impl BlobSweeper {
    pub(super) fn start<S: BlobStore + ?Sized + 'static>(store: Arc<S>, period: Duration) -> Self {
        Self(tokio::spawn(async move {
            let mut ticks = interval(period.max(Duration::from_millis(1)));
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                // After an outage the next sweep does the rest.
                match store.sweep_all().await {
                    Ok(_) => {}
                    Err(error) if error.is(ErrorKind::Closed) => return,
                    Err(error) => event::failure("a sweep of objects failed", &error),
                }
            }
        }))
    }
}

impl Drop for BlobSweeper {
    fn drop(&mut self) {
        self.0.abort();
    }
}
