//! Being told of changes, so that what was read may be remembered.
//!
//! A store that can ([`Capabilities::change_notice`](crate::Capabilities)) tells
//! all who listen, in whatever process, which records of
//! [cacheable](crate::Collection::cacheable) collections were put or deleted.
//!
//! **A notice is a hint, never a truth.** It comes at most once, some time after
//! the commit, in no order that is promised between partitions, and without the
//! record: read it where it is kept. Notices that were or may have been lost are
//! made up for by one [`Notice::Gap`]: the line to the server broke, or whoever
//! listens was too slow. A cache forgets what a notice names, and everything at
//! a gap. While a line is down nothing is heard, so what a cache remembers needs
//! a time to live of its own as well.
//!
//! Expiry is not told: a record says itself when it expires.
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
//! let told = changes.next().await;
//! assert_eq!(told, Some(Notice::Changed { partition: shop, key: tea }));
//! # Ok(()) }
//! ```

use std::fmt;
use std::sync::{Mutex, OnceLock, PoisonError};

use tokio::sync::broadcast::{self, error::RecvError};

use crate::batch::{Batch, Change};
use crate::key::{Partition, RecordKey};

/// How many notices wait for one who listens before the oldest are given up
/// for a [`Notice::Gap`].
pub const BACKLOG: usize = 1024;

/// What one who listens is told. Its `Debug` shows no name.
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

/// What is told from [`RecordStore::changes`](crate::RecordStore::changes) on.
#[derive(Debug)]
pub struct Changes {
    /// `None` once it is over.
    heard: Option<broadcast::Receiver<Told>>,
}

impl Changes {
    /// The next notice, as soon as there is one; `None` when the store was
    /// closed. A call that is dropped loses nothing.
    pub async fn next(&mut self) -> Option<Notice> {
        let told = match self.heard.as_mut()?.recv().await {
            Ok(Told::Notice(notice)) => Some(notice),
            Err(RecvError::Lagged(_)) => Some(Notice::Gap),
            Ok(Told::End) | Err(RecvError::Closed) => None,
        };
        if told.is_none() {
            self.heard = None;
        }
        told
    }
}

#[derive(Clone, Debug)]
enum Told {
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

/// What a backend keeps to tell all who listen to it. It never waits for them.
#[derive(Default)]
pub struct ChangeSender {
    /// Made for the first who listens.
    listeners: OnceLock<broadcast::Sender<Told>>,
    ended: Mutex<bool>,
}

impl ChangeSender {
    /// To whom nobody listens yet; it takes no room until someone does.
    pub fn new() -> Self {
        Self::default()
    }

    /// All that is sent from now on.
    pub fn subscribe(&self) -> Changes {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let listeners = || broadcast::Sender::new(BACKLOG);
        let heard = (!*ended).then(|| self.listeners.get_or_init(listeners).subscribe());
        Changes { heard }
    }

    /// Tells all who listen.
    pub fn send(&self, notice: Notice) {
        self.tell(Told::Notice(notice));
    }

    /// Tells of each record of a cacheable collection that `batch` wrote. Call
    /// it when the commit can be read.
    pub fn committed(&self, batch: &Batch) {
        if !self.is_heard() {
            return;
        }
        for key in announced(batch) {
            self.send(Notice::Changed {
                partition: batch.partition().clone(),
                key: key.clone(),
            });
        }
    }

    /// Whether anybody listens.
    pub fn is_heard(&self) -> bool {
        self.listeners
            .get()
            .is_some_and(|listeners| listeners.receiver_count() > 0)
    }

    /// Ends all that was subscribed, once what was sent is heard, and all that
    /// will be. For `close`.
    pub fn end(&self) {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        *ended = true;
        self.tell(Told::End);
    }

    fn tell(&self, told: Told) {
        if let Some(listeners) = self.listeners.get() {
            // An error says that nobody listens any more.
            let _ = listeners.send(told);
        }
    }
}

impl fmt::Debug for ChangeSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChangeSender")
            .field("is_heard", &self.is_heard())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_is_slow_is_told_of_the_gap_and_of_what_is_left() {
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
        assert_eq!(slow.next().await, None, "over is over");
        assert_eq!(
            sender.subscribe().next().await,
            None,
            "ended before it began"
        );
    }
}
