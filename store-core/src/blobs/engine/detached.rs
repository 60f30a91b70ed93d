//! Work that continues after its caller has returned, until the store is closed.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;
use tokio::task::JoinSet;

/// Tasks that free what dropped sinks wrote. `close` waits for them.
#[derive(Default)]
pub struct DetachedTasks(Mutex<JoinSet<()>>);

impl DetachedTasks {
    fn tasks(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `work` on the current runtime; drops it if there is none.
    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        if let Ok(runtime) = Handle::try_current() {
            let mut tasks = self.tasks();
            while tasks.try_join_next().is_some() {}
            tasks.spawn_on(work, &runtime);
        }
    }

    /// Waits until none is running.
    pub async fn finished(&self) {
        loop {
            let mut running = std::mem::take(&mut *self.tasks());
            if running.is_empty() {
                return;
            }
            while running.join_next().await.is_some() {}
        }
    }
}

impl Drop for DetachedTasks {
    /// Running tasks continue.
    fn drop(&mut self) {
        self.tasks().detach_all();
    }
}

impl fmt::Debug for DetachedTasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} tasks", self.tasks().len())
    }
}
