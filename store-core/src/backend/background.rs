//! A task that a store owns, and that `close` stops.

use std::future::Future;
use std::time::Duration;

use tokio::sync::watch;

/// A task of a store, stopped when the store is closed or dropped.
#[derive(Debug)]
pub struct Background {
    stop: watch::Sender<bool>,
}

/// Through this the task learns that it must end.
#[derive(Clone, Debug)]
pub struct Stop(watch::Receiver<bool>);

impl Stop {
    /// Returns when the task must end.
    pub async fn requested(&mut self) {
        // An error means that the store was dropped.
        let _ = self.0.wait_for(|&stop| stop).await;
    }

    /// Waits for `pause`; returns whether the task must end before that.
    pub async fn within(&mut self, pause: Duration) -> bool {
        tokio::time::timeout(pause, self.requested()).await.is_ok()
    }

    /// Whether the task must end now.
    pub fn is_requested(&self) -> bool {
        *self.0.borrow() || self.0.has_changed().is_err()
    }
}

impl Background {
    /// Starts a task, which must end when its [`Stop`] says so.
    pub fn start<F>(task: impl FnOnce(Stop) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(task(Stop(stopped)));
        Self { stop }
    }

    /// Asks the task to end, and waits until it has ended. May be called
    /// several times, also at the same time.
    pub async fn stop(&self) {
        self.stop.send_replace(true);
        // The task owns the other end, which is dropped with it.
        self.stop.closed().await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn everyone_who_stops_a_task_waits_until_it_has_ended() {
        let ended = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&ended);
        let background = Background::start(|mut stop| async move {
            stop.requested().await;
            tokio::time::sleep(Duration::from_secs(1)).await;
            flag.store(true, Ordering::SeqCst);
            drop(stop);
        });
        let stop = || async {
            background.stop().await;
            ended.load(Ordering::SeqCst)
        };
        assert_eq!(tokio::join!(stop(), stop()), (true, true));
        assert!(stop().await);
    }
}
