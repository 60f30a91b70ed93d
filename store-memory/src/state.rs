//! The state that all parts of one opened store share: whether it is open, and its
//! subscribers.

use std::sync::atomic::{AtomicBool, Ordering};

use store_core::changes::ChangeSender;
use store_core::{Error, Result};

#[derive(Debug, Default)]
pub(crate) struct State {
    closed: AtomicBool,
    pub(crate) changes: ChangeSender,
}

impl State {
    #[inline]
    pub(crate) fn check_open(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::closed().with_backend("memory"));
        }
        Ok(())
    }

    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.changes.end();
    }
}
