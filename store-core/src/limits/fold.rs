//! Changes of one hot bucket by closures, folded into few writes.
//!
//! Each change alone would read, decide and swap, and all but one of those that
//! do so at the same moment would have to begin again. Instead, while one swap
//! is on its way, the closures of this process that come meanwhile are applied
//! to what it will leave, one after the other, and go together in the next. If
//! a swap does not fit, because another process was faster, whoever was in it
//! or after it runs again on what was found.
//!
//! For backends whose server cannot run a closure. A call that is alone on its
//! key notices nothing of this. No closure runs
//! under a lock: what it made is put in place only if nobody was faster.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::watch;
use tokio::task::yield_now;

use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result, Retry};
use crate::limits::{Bucket, BucketUpdate};
use crate::update::{MAX_ATTEMPTS, back_off, contended};

/// How often others may come in before a round is closed, or the work ended.
const YIELDS: u32 = 8;

/// How often a swap that was beaten is tried again at once. Whoever beat it got
/// on, and its answer has what to begin with; a pause would be longer than many
/// such rounds.
const AT_ONCE: u32 = 16;

async fn pause(beaten: u32) {
    back_off(beaten.saturating_sub(AT_ONCE)).await;
}

/// What a fold stands on: buckets that can be read and swapped.
#[async_trait]
pub trait Buckets: Send + Sync + 'static {
    /// The time that decides what has expired.
    fn now(&self) -> Timestamp;

    /// The bucket of `key`, expired parts too.
    async fn read(&self, key: &str) -> Result<Option<Bucket>>;

    /// Writes `new` if the bucket is still `old`; else gives what it is.
    async fn swap(
        &self,
        key: &str,
        now: Timestamp,
        old: Option<&Bucket>,
        new: Option<&Bucket>,
    ) -> Result<Result<(), Option<Bucket>>>;
}

/// The changes that this process is making.
pub struct Folds<B> {
    buckets: Arc<B>,
    busy: Arc<Busy>,
}

/// By key, who works on it.
#[derive(Default)]
struct Busy(Mutex<HashMap<String, Work>>);

struct Work {
    /// The number of its worker.
    worker: u64,
    /// The round that can be joined; `None` while one call is alone.
    round: Option<Round>,
}

/// Closures that go into one swap.
struct Round {
    /// As of when, and what the first of them saw; `None` before it was read.
    base: Option<(Timestamp, Option<Bucket>)>,
    /// What the last of them left.
    state: Option<Bucket>,
    members: u64,
    outcome: watch::Sender<Option<Outcome>>,
}

/// What became of a round.
#[derive(Clone)]
enum Outcome {
    Written,
    /// Look again: nothing was written.
    Again,
    Failed(ErrorKind, Retry, String),
}

impl Round {
    fn unread() -> Self {
        Self {
            base: None,
            state: None,
            members: 0,
            outcome: watch::Sender::new(None),
        }
    }

    fn on(bucket: Option<Bucket>, now: Timestamp) -> Self {
        let bucket = alive(bucket, now);
        Self {
            base: Some((now, bucket.clone())),
            state: bucket,
            ..Self::unread()
        }
    }

    fn end(self, outcome: Outcome) {
        self.outcome.send_replace(Some(outcome));
    }
}

/// Without what has expired; an empty bucket is none.
pub fn alive(bucket: Option<Bucket>, now: Timestamp) -> Option<Bucket> {
    let mut bucket = bucket?;
    bucket.forget_expired(now);
    (!bucket.is_empty()).then_some(bucket)
}

impl Busy {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Work>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remove(&self, key: &str) -> Option<Round> {
        self.lock().remove(key)?.round
    }
}

/// Whoever works on a key; dropping it, however that comes, lets others begin.
struct Worker {
    busy: Arc<Busy>,
    key: String,
    number: u64,
}

impl Worker {
    fn new(busy: &Arc<Busy>, key: &str) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self {
            busy: Arc::clone(busy),
            key: key.into(),
            number: NEXT.fetch_add(1, Ordering::Relaxed),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let mut busy = self.busy.lock();
        if busy
            .get(&self.key)
            .is_some_and(|work| work.worker == self.number)
        {
            busy.remove(&self.key);
        }
    }
}

impl<B> fmt::Debug for Folds<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Folds").finish_non_exhaustive()
    }
}

impl<B: Buckets> Folds<B> {
    /// Folds over these buckets.
    pub fn new(buckets: Arc<B>) -> Self {
        Self {
            buckets,
            busy: Arc::default(),
        }
    }

    /// As [`RateLimitStore::update`](super::RateLimitStore::update). Needs a
    /// tokio runtime where calls meet.
    ///
    /// # Errors
    /// `Contended` if others kept being faster; those of the buckets. What is
    /// told to several is told without its source.
    pub async fn update(&self, key: &str, change: BucketUpdate<'_>) -> Result<Option<Bucket>> {
        match self.alone(key) {
            Some(_alone) => self.update_alone(key, change).await,
            None => self.update_together(key, change).await,
        }
    }

    fn alone(&self, key: &str) -> Option<Worker> {
        let mut busy = self.busy.lock();
        if busy.contains_key(key) {
            return None;
        }
        let worker = Worker::new(&self.busy, key);
        let work = Work {
            worker: worker.number,
            round: None,
        };
        busy.insert(key.into(), work);
        Some(worker)
    }

    async fn update_alone(&self, key: &str, change: BucketUpdate<'_>) -> Result<Option<Bucket>> {
        let mut found = self.buckets.read(key).await?;
        for attempt in 0..MAX_ATTEMPTS {
            let now = self.buckets.now();
            let current = alive(found, now);
            let Some(new) = change(current.as_ref()) else {
                return Ok(current);
            };
            let new = (!new.is_empty()).then_some(new);
            match self
                .buckets
                .swap(key, now, current.as_ref(), new.as_ref())
                .await?
            {
                Ok(()) => return Ok(new),
                Err(current) => found = current,
            }
            pause(attempt).await;
        }
        Err(exhausted())
    }

    async fn update_together(&self, key: &str, change: BucketUpdate<'_>) -> Result<Option<Bucket>> {
        let mut attempt = 0;
        while attempt < MAX_ATTEMPTS {
            let (mine, mut outcome) = self.join(key, change);
            let ended = outcome.wait_for(Option::is_some).await;
            match ended.ok().and_then(|outcome| outcome.clone()) {
                Some(Outcome::Written) => {
                    if let Some(mine) = mine {
                        return Ok(mine);
                    }
                }
                Some(Outcome::Again) => attempt += u32::from(mine.is_some()),
                Some(Outcome::Failed(kind, retry, message)) => {
                    return Err(Error::new(kind, message)
                        .with_retry(retry)
                        .with_operation("update"));
                }
                None => {
                    return Err(Error::new(
                        ErrorKind::Unavailable,
                        "the runtime that wrote for this call was stopped",
                    )
                    .with_operation("update"));
                }
            }
        }
        Err(exhausted())
    }

    /// Applies `change` to what stands. Without an answer of it, nothing stands
    /// yet, and the outcome only says when to come again.
    #[allow(clippy::type_complexity)]
    fn join(
        &self,
        key: &str,
        change: BucketUpdate<'_>,
    ) -> (Option<Option<Bucket>>, watch::Receiver<Option<Outcome>>) {
        loop {
            let (state, members, outcome) = {
                let mut busy = self.busy.lock();
                if busy.get(key).is_none_or(|work| work.round.is_none()) {
                    // One call is alone, or was: from here on they share.
                    let worker = Worker::new(&self.busy, key);
                    let shared = Work {
                        worker: worker.number,
                        round: Some(Round::unread()),
                    };
                    busy.insert(key.into(), shared);
                    tokio::spawn(work(Arc::clone(&self.buckets), worker));
                }
                let Some(round) = round_of(&mut busy, key) else {
                    continue;
                };
                let outcome = round.outcome.subscribe();
                if round.base.is_none() {
                    return (None, outcome);
                }
                (round.state.clone(), round.members, outcome)
            };
            let answer = match change(state.as_ref()) {
                Some(new) => (!new.is_empty()).then_some(new),
                None => state,
            };
            let mut busy = self.busy.lock();
            let Some(round) = round_of(&mut busy, key) else {
                continue;
            };
            if round.members == members && outcome.same_channel(&round.outcome.subscribe()) {
                round.members += 1;
                round.state.clone_from(&answer);
                return (Some(answer), outcome);
            }
        }
    }
}

fn round_of<'b>(busy: &'b mut HashMap<String, Work>, key: &str) -> Option<&'b mut Round> {
    busy.get_mut(key)?.round.as_mut()
}

/// Reads once, then writes round after round while there are any.
async fn work<B: Buckets>(buckets: Arc<B>, worker: Worker) {
    let Worker { busy, key, .. } = &worker;
    let put = |round: Round| busy.lock().get_mut(key)?.round.replace(round);
    let now = buckets.now();
    let unread = match buckets.read(key).await {
        Ok(found) => put(Round::on(found, now)),
        Err(error) => {
            if let Some(round) = busy.remove(key) {
                round.end(failed_with(&error));
            }
            return;
        }
    };
    if let Some(round) = unread {
        round.end(Outcome::Again);
    }
    let mut attempt = 0;
    while let Some(round) = close(&buckets, busy, key).await {
        let (now, base) = round.base.clone().unwrap_or_default();
        let swapped = if base == round.state {
            // Nothing is to be written; but what was seen may be older than the
            // calls that saw it.
            let found = buckets.read(key).await;
            found.map(|found| match alive(found.clone(), now) == base {
                true => Ok(()),
                false => Err(found),
            })
        } else {
            buckets
                .swap(key, now, base.as_ref(), round.state.as_ref())
                .await
        };
        match swapped {
            Ok(Ok(())) => {
                attempt = 0;
                round.end(Outcome::Written);
            }
            Ok(Err(found)) => {
                pause(attempt).await;
                attempt += 1;
                let after = put(Round::on(found, buckets.now()));
                for beaten in [Some(round), after].into_iter().flatten() {
                    beaten.end(Outcome::Again);
                }
            }
            Err(error) => {
                let after = busy.remove(key);
                round.end(failed_with(&error));
                if let Some(after) = after {
                    after.end(Outcome::Again);
                }
                return;
            }
        }
    }
}

/// The round that stands, once it has members; one that goes on from it takes
/// its place. `None` if nobody comes.
async fn close<B: Buckets>(buckets: &Arc<B>, busy: &Busy, key: &str) -> Option<Round> {
    for _ in 0..YIELDS {
        yield_now().await;
    }
    let now = buckets.now();
    let mut busy = busy.lock();
    let standing = round_of(&mut busy, key)?;
    if standing.members == 0 {
        // Who saw it and has not joined yet begins anew.
        busy.remove(key);
        return None;
    }
    let next = Round::on(standing.state.clone(), now);
    Some(std::mem::replace(standing, next))
}

fn failed_with(error: &Error) -> Outcome {
    Outcome::Failed(error.kind(), error.retry(), error.message().to_owned())
}

fn exhausted() -> Error {
    contended().with_operation("update")
}

#[cfg(test)]
mod tests {
    use crate::limits::{Entry, State};

    use super::*;

    /// One bucket, which somebody else deletes right after each swap.
    #[derive(Default)]
    struct Fickle(Mutex<Option<Bucket>>);

    #[async_trait]
    impl Buckets for Fickle {
        fn now(&self) -> Timestamp {
            Timestamp::EPOCH
        }

        async fn read(&self, _: &str) -> Result<Option<Bucket>> {
            Ok(self.0.lock().unwrap().clone())
        }

        async fn swap(
            &self,
            _: &str,
            _: Timestamp,
            old: Option<&Bucket>,
            _: Option<&Bucket>,
        ) -> Result<Result<(), Option<Bucket>>> {
            yield_now().await;
            let found = self.0.lock().unwrap().take();
            Ok(match found.as_ref() == old {
                true => Ok(()),
                false => Err(found),
            })
        }
    }

    fn bucket() -> Bucket {
        let entry = Entry {
            quota: "q".into(),
            state: State::Tat(Timestamp::MAX),
            expires_at: Timestamp::MAX,
        };
        [entry].into_iter().collect()
    }

    #[tokio::test]
    async fn whoever_changes_nothing_sees_nothing_older_than_the_call() {
        let folds = Folds::new(Arc::<Fickle>::default());
        let write = |_: Option<&Bucket>| Some(bucket());
        for _ in 0..20 {
            // At once, so that the last of them goes through a round.
            let (first, second, third) = tokio::join!(
                folds.update("k", &write),
                folds.update("k", &write),
                folds.update("k", &write)
            );
            assert!(first.is_ok() && second.is_ok() && third.is_ok());
            let seen = folds.update("k", &|_: Option<&Bucket>| None).await;
            assert_eq!(seen.unwrap(), None, "it was deleted before");
        }
    }
}
