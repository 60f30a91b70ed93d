//! A queue for writers that conflict.
//!
//! Commits are optimistic: a writer reads, decides, and writes if nothing
//! changed. While writers rarely meet, that costs nothing. When hundreds of
//! tasks rewrite one record, all but one of them lose each round, and retrying
//! immediately makes it worse. So a writer that loses a race enters a first-come,
//! first-served queue, and so does one that arrives while others are queued.
//! Only writers of other processes can then still make the first in the queue
//! lose.
//!
//! The queue is an optimization: the commit's expectations alone guarantee
//! correctness. Therefore no writer waits for a queue that stands still. If one
//! turn lasts longer than [`PATIENCE`] (its future may not be polled, or its
//! server may not answer), those behind it continue without a turn, and so do those
//! that arrive until that turn ends: it may itself be waiting for one of them. A
//! dropped future releases its turn, or its place in the queue.

use std::collections::HashMap;
use std::fmt;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Mutex as Lock, OwnedMutexGuard};

use crate::backend::event;
use crate::key::{Partition, RecordKey};
use crate::record_store::RecordStore;

/// How long one turn may last before the writers behind it stop waiting: twice the 5 s
/// that a call to Redis or DynamoDB may take by default, so that one call that times out
/// does not dissolve the queue. PostgreSQL and S3 allow 30 s, but if their commits take
/// over 10 s, a queue does not help the writers behind it.
const PATIENCE: Duration = Duration::from_secs(10);

/// The queues in use.
static QUEUES: LazyLock<Mutex<HashMap<Place, Arc<Queue>>>> = LazyLock::new(Mutex::default);

/// How many queues there are, so that a writer without competition takes no lock.
static IN_USE: AtomicUsize = AtomicUsize::new(0);

/// What writers compete for: a whole partition, or one record of it, of one
/// opened store.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    /// The store's address: while a call borrows a store, no other store has it.
    store: usize,
    partition: Partition,
    key: Option<RecordKey>,
}

#[derive(Default)]
struct Queue {
    lock: Arc<Lock<()>>,
    /// How many turns have begun.
    begun: AtomicU64,
    /// The turn, by that number, that lasted longer than [`PATIENCE`]; 0 for none.
    stalled: AtomicU64,
}

/// A writer's turn, or a queue that it gave up. Dropping it lets the next one in.
pub(crate) struct Turn {
    place: Place,
    queue: Arc<Queue>,
    guard: Option<OwnedMutexGuard<()>>,
    waited: bool,
}

impl Place {
    pub(crate) fn new<S: RecordStore + ?Sized>(
        records: &S,
        partition: &Partition,
        key: Option<&RecordKey>,
    ) -> Self {
        Self {
            store: std::ptr::from_ref(records).cast::<()>().addr(),
            partition: partition.clone(),
            key: key.cloned(),
        }
    }

    /// Waits for a turn if there is a queue; `None` without competition.
    pub(crate) async fn turn_if_contended(&self) -> Option<Turn> {
        if IN_USE.load(Ordering::Relaxed) == 0 || !queues().contains_key(self) {
            return None;
        }
        Some(self.turn().await)
    }

    /// Enters the queue and waits for a turn.
    pub(crate) async fn turn(&self) -> Turn {
        let mut turn = self.enter();
        if let Ok(guard) = Arc::clone(&turn.queue.lock).try_lock_owned() {
            turn.guard = Some(guard);
        } else {
            event::detour("waiting for other writers of the same records");
            turn.waited = true;
            turn.guard = turn.queue.wait().await;
        }
        if turn.guard.is_some() {
            turn.queue.begun.fetch_add(1, Ordering::Relaxed);
        }
        turn
    }

    fn enter(&self) -> Turn {
        let mut queues = queues();
        let queue = Arc::clone(queues.entry(self.clone()).or_default());
        IN_USE.store(queues.len(), Ordering::Relaxed);
        Turn {
            place: self.clone(),
            queue,
            guard: None,
            waited: false,
        }
    }
}

impl Queue {
    /// The lock, or `None` once one turn has lasted longer than [`PATIENCE`].
    async fn wait(&self) -> Option<OwnedMutexGuard<()>> {
        let mut lock = pin!(Arc::clone(&self.lock).lock_owned());
        loop {
            let begun = self.begun.load(Ordering::Relaxed);
            if begun != 0 && self.stalled.load(Ordering::Relaxed) == begun {
                return None;
            }
            match tokio::time::timeout(PATIENCE, &mut lock).await {
                Ok(guard) => return Some(guard),
                Err(_) if self.begun.load(Ordering::Relaxed) == begun => {
                    self.stalled.store(begun, Ordering::Relaxed);
                    return None;
                }
                Err(_) => {}
            }
        }
    }
}

impl Turn {
    /// Whether others wrote while this writer waited, so that what it knows is old.
    pub(crate) fn waited(&self) -> bool {
        self.waited
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut queues = queues();
        drop(self.guard.take());
        // The table's reference and this one: no other writer holds or awaits a turn.
        if Arc::strong_count(&self.queue) == 2 {
            queues.remove(&self.place);
        }
        IN_USE.store(queues.len(), Ordering::Relaxed);
    }
}

impl fmt::Debug for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turn").finish_non_exhaustive()
    }
}

fn queues() -> std::sync::MutexGuard<'static, HashMap<Place, Arc<Queue>>> {
    QUEUES.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use super::*;

    fn place(name: &str) -> Place {
        Place {
            store: 0,
            partition: Partition::new(name).unwrap(),
            key: None,
        }
    }

    fn is_queued(place: &Place) -> bool {
        queues().contains_key(place)
    }

    #[tokio::test]
    async fn writers_take_turns_in_the_order_of_arrival_and_leave_no_queue() {
        let place = place("order");
        let order = Arc::new(Mutex::new(Vec::new()));
        let first = place.turn().await;
        assert!(!first.waited());
        let waiting: Vec<_> = (0..5)
            .map(|i| {
                let (place, order) = (place.clone(), Arc::clone(&order));
                tokio::spawn(async move {
                    let turn = place.turn_if_contended().await.expect("there is a queue");
                    assert!(turn.waited());
                    order.lock().unwrap().push(i);
                })
            })
            .collect();
        tokio::task::yield_now().await;
        assert!(order.lock().unwrap().is_empty(), "it is not their turn yet");
        drop(first);
        for task in waiting {
            task.await.unwrap();
        }
        assert_eq!(*order.lock().unwrap(), [0, 1, 2, 3, 4]);
        assert!(!is_queued(&place));
        assert!(place.turn_if_contended().await.is_none());
    }

    #[tokio::test]
    async fn a_dropped_future_gives_up_its_place() {
        let place = place("dropped");
        let first = place.turn().await;
        {
            let mut waiting = pin!(place.turn());
            let polled =
                std::future::poll_fn(|cx| Poll::Ready(waiting.as_mut().poll(cx).is_pending()))
                    .await;
            assert!(polled);
        }
        drop(first);
        assert!(!is_queued(&place));
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_that_does_not_end_delays_others_once() {
        let place = place("still");
        let begin = tokio::time::Instant::now();
        let stuck = place.turn().await;
        for _ in 0..100 {
            let other = place.turn().await;
            assert!(other.guard.is_none() && other.waited());
        }
        assert_eq!(begin.elapsed(), PATIENCE);
        drop(stuck);
        assert!(place.turn().await.guard.is_some());
        assert!(!is_queued(&place));
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_queue_that_moves_is_waited_for() {
        let place = place("moves");
        let first = place.turn().await;
        let turns: Vec<_> = (0..10)
            .map(|_| {
                let place = place.clone();
                tokio::spawn(async move {
                    let turn = place.turn().await;
                    tokio::time::sleep(PATIENCE * 3 / 4).await;
                    turn.guard.is_some()
                })
            })
            .collect();
        tokio::time::sleep(PATIENCE * 3 / 4).await;
        drop(first);
        for turn in turns {
            assert!(turn.await.unwrap(), "gave up although the queue moved");
        }
    }
}
