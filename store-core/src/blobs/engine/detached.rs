//! Work that continues after its caller has returned, until the store is closed.

use std::fmt;

use tokio::runtime::Handle;
use tokio::sync::watch;

/// Tasks that free what dropped sinks wrote. `close` waits for them.
#[derive(Default)]
pub struct DetachedTasks {
    /// How many are running.
    running: watch::Sender<usize>,
}

/// Counts one task until it ends, is cancelled or panics.
struct Running(watch::Sender<usize>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.send_modify(|running| *running -= 1);
    }
}

impl DetachedTasks {
    /// Runs `work` on the current runtime; drops it if there is none.
    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        if let Ok(runtime) = Handle::try_current() {
            self.running.send_modify(|running| *running += 1);
            let running = Running(self.running.clone());
            runtime.spawn(async move {
                let _running = running;
                work.await;
            });
        }
    }

    /// Waits until none is running. Any number of callers may wait, and each may
    /// give up: the tasks continue.
    pub async fn finished(&self) {
        // An error would mean that the sender was dropped, and `self` holds it.
        let _ = self
            .running
            .subscribe()
            .wait_for(|running| *running == 0)
            .await;
    }
}

impl fmt::Debug for DetachedTasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} tasks", *self.running.borrow())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::FutureExt;
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn every_caller_waits_and_none_that_gives_up_ends_a_task() {
        let tasks = Arc::new(DetachedTasks::default());
        let (release, released) = oneshot::channel::<()>();
        let (ended, end) = oneshot::channel();
        tasks.spawn(async move {
            released.await.expect("released");
            ended.send(()).expect("awaited");
        });
        let mut first = Box::pin(tasks.finished());
        let mut second = Box::pin(tasks.finished());
        assert!((&mut first).now_or_never().is_none());
        assert!((&mut second).now_or_never().is_none());
        drop(first);
        release.send(()).expect("the task runs on");
        second.await;
        end.await.expect("it ended, and was not cancelled");
        tasks.finished().await;
    }

    #[tokio::test]
    async fn a_task_that_panics_is_waited_for_no_longer() {
        let tasks = DetachedTasks::default();
        tasks.spawn(async { panic!("as a bug would") });
        tasks.finished().await;
    }
}
