//! Notices of changes, so that what was read may be cached.
//!
//! A store that can ([`Capabilities::change_notice`](crate::Capabilities)) notifies all
//! subscribers, in every process, which records of
//! [cacheable](crate::Collection::cacheable) collections were put or deleted.
//!
//! **A notice is a hint, not a fact to rely on.** It is delivered at most once, some time
//! after the commit, in no guaranteed order between partitions, and without the record:
//! read the record from the store. If notices were or may have been lost, because the
//! connection to the server failed or the subscriber was too slow, one [`Notice::Gap`]
//! stands for them. A cache removes the record that a notice names, and everything at a
//! gap. No notices arrive while a connection is down, so cached records need a time to
//! live as well.
//!
//! There is no notice when a record expires: a record contains its own expiry.
//!
//! ```
//! use store_memory::MemoryStore;
//! use store_core::changes::Notice;
//! use store_core::{Batch, Body, Collection, Expect, Partition, RecordKey, Store};
//!
//! # #[tokio::main] async fn main() -> store_core::Result<()> {
//! const PRICES: Collection = Collection::new("prices").cacheable();
//! let store = Store::from(MemoryStore::new());
//! let mut changes = store.records().changes().await?;
//!
//! let shop = Partition::new("shop")?;
//! let tea = RecordKey::new(PRICES, "tea")?;
//! let mut batch = Batch::new(shop.clone(), store.now());
//! batch.put(tea.clone(), Expect::Any, Body::json(3)?)?;
//! store.records().commit(&batch).await?;
//!
//! let notice = changes.next().await;
//! assert_eq!(notice, Some(Notice::Changed { partition: shop, key: tea }));
//! # Ok(()) }
//! ```

use std::fmt;
use std::sync::{Mutex, OnceLock, PoisonError};

use tokio::sync::broadcast::{self, error::RecvError};

use crate::batch::{Batch, Change};
use crate::key::{Partition, RecordKey};

/// How many notices wait for a subscriber before the oldest are replaced by a
/// [`Notice::Gap`].
pub const BACKLOG: usize = 1024;

/// What a subscriber receives. Its `Debug` shows no name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// This record was put or deleted. A later read shows that or a later
    /// change.
    Changed {
        /// The record's partition.
        partition: Partition,
        /// The record's collection and id.
        key: RecordKey,
    },
    /// Notices were lost, or may have been: anything may have changed.
    Gap,
}

/// The notices since a call of [`RecordStore::changes`](crate::RecordStore::changes).
#[derive(Debug)]
#[doc(alias("subscribe", "watch", "pubsub", "notification"))]
pub struct Changes {
    /// `None` after the end.
    receiver: Option<broadcast::Receiver<Message>>,
}

impl Changes {
    /// Waits for the next notice; `None` after the store was closed. A call that is
    /// dropped loses no notice.
    pub async fn next(&mut self) -> Option<Notice> {
        let notice = match self.receiver.as_mut()?.recv().await {
            Ok(Message::Notice(notice)) => Some(notice),
            Err(RecvError::Lagged(_)) => Some(Notice::Gap),
            Ok(Message::End) | Err(RecvError::Closed) => None,
        };
        if notice.is_none() {
            self.receiver = None;
        }
        notice
    }
}

#[derive(Clone, Debug)]
enum Message {
    Notice(Notice),
    End,
}

/// The records whose change by `batch` is announced.
pub(crate) fn announced(batch: &Batch) -> impl Iterator<Item = &RecordKey> {
    let changed = batch.items().iter().filter(|item| {
        let is_change = !matches!(item.change(), Change::Check);
        is_change && item.key().collection().is_cacheable()
    });
    changed.map(|item| item.key())
}

/// Notifies the subscribers of a backend. It never waits for them.
#[derive(Default)]
pub struct ChangeSender {
    /// Made for the first subscriber.
    subscribers: OnceLock<broadcast::Sender<Message>>,
    ended: Mutex<bool>,
}

impl ChangeSender {
    /// A sender without subscribers. It allocates nothing until there is one.
    pub fn new() -> Self {
        Self::default()
    }

    /// All notices that are sent from now on.
    pub fn subscribe(&self) -> Changes {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || broadcast::Sender::new(BACKLOG);
        let receiver = (!*ended).then(|| self.subscribers.get_or_init(new).subscribe());
        Changes { receiver }
    }

    /// Sends `notice` to all subscribers.
    pub fn send(&self, notice: Notice) {
        self.broadcast(Message::Notice(notice));
    }

    /// Sends a notice for each record of a cacheable collection that `batch` wrote. Call
    /// it when the commit can be read.
    pub fn committed(&self, batch: &Batch) {
        if !self.has_subscribers() {
            return;
        }
        for key in announced(batch) {
            self.send(Notice::Changed {
                partition: batch.partition().clone(),
                key: key.clone(),
            });
        }
    }

    /// Whether there is a subscriber.
    pub fn has_subscribers(&self) -> bool {
        self.subscribers
            .get()
            .is_some_and(|subscribers| subscribers.receiver_count() > 0)
    }

    /// Ends all subscriptions, after the notices that were sent, and all later ones. For
    /// `close`.
    pub fn end(&self) {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        *ended = true;
        self.broadcast(Message::End);
    }

    fn broadcast(&self, message: Message) {
        if let Some(subscribers) = self.subscribers.get() {
            // An error only means that there is no subscriber.
            let _ = subscribers.send(message);
        }
    }
}

impl fmt::Debug for ChangeSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChangeSender")
            .field("has_subscribers", &self.has_subscribers())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_slow_subscriber_gets_a_gap_and_then_the_remaining_notices() {
        let sender = ChangeSender::new();
        let mut slow = sender.subscribe();
        let named = |id: usize| Notice::Changed {
            partition: Partition::new("p").expect("short"),
            key: RecordKey::new(crate::Collection::new("things"), id.to_string()).expect("short"),
        };
        for id in 0..=BACKLOG {
            sender.send(named(id));
        }
        sender.end();
        assert_eq!(slow.next().await, Some(Notice::Gap));
        let mut last = None;
        while let Some(notice) = slow.next().await {
            last = Some(notice);
        }
        assert_eq!(last, Some(named(BACKLOG)));
        assert_eq!(slow.next().await, None, "it has ended");
        assert_eq!(sender.subscribe().next().await, None, "it had ended before");
    }
}
