//! Coalescing: concurrent changes of one hot bucket become few writes.
//!
//! Each change alone would read, decide and swap, and of those that do so at the
//! same time all but one would have to start over. Instead, while one swap is in
//! flight, the closures that arrive in this process are applied to the state
//! that it will leave, one after the other, and go together in the next swap. If
//! a swap fails because another process was faster, every closure in it or after
//! it runs again on the state that was found.
//!
//! For backends whose server cannot run a closure. A call that is the only one
//! on its key costs nothing extra. No lock is held while a closure runs: its
//! result is stored only if no other closure was faster.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::watch;
use tokio::task::yield_now;

use crate::backend::{MAX_ATTEMPTS, back_off, contended};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result, Retry};
use crate::limits::{Bucket, BucketUpdate};

/// How often other tasks may run before a group is written, or the writer ends.
const YIELDS: u32 = 8;

/// How often a failed swap is tried again without a pause. Its reply has the
/// state to start from, and a pause would take longer than many such swaps.
const IMMEDIATE_RETRIES: u32 = 16;

async fn pause(failed: u32) {
    back_off(failed.saturating_sub(IMMEDIATE_RETRIES)).await;
}

/// Buckets that can be read and swapped.
#[async_trait]
pub trait Buckets: Send + Sync + 'static {
    /// What a swap needs to know of a stored bucket beside the bucket itself: a version,
    /// a record, or `()` if a swap compares buckets.
    type Version: Send + Sync + 'static;

    /// The time that decides what has expired.
    fn now(&self) -> Timestamp;

    /// The bucket of `key`.
    async fn read(&self, key: &str) -> Result<StoredBucket<Self::Version>>;

    /// Writes `new` if the bucket is still `old`, and returns the new version; otherwise
    /// returns the current bucket. The changes that made `new` saw `old` without what
    /// had expired at `now`.
    async fn swap(
        &self,
        key: &str,
        now: Timestamp,
        old: &StoredBucket<Self::Version>,
        new: Option<&Bucket>,
    ) -> Result<Result<Self::Version, StoredBucket<Self::Version>>>;
}

/// A bucket as it is stored.
#[derive(Clone, Debug, Default)]
pub struct StoredBucket<V> {
    /// The bucket with its expired parts; `None` if there is none.
    pub bucket: Option<Bucket>,
    /// What a swap needs to know of it.
    pub version: V,
}

impl<V> StoredBucket<V> {
    /// The bucket without its expired parts, or `None` if nothing is left.
    pub fn unexpired(&self, now: Timestamp) -> Option<Bucket> {
        unexpired(self.bucket.clone(), now)
    }
}

/// Coalesces the changes that this process makes.
pub struct Coalescer<B> {
    buckets: Arc<B>,
    active: Arc<Active>,
}

/// The keys that are being changed.
#[derive(Default)]
struct Active(Mutex<HashMap<String, Key>>);

struct Key {
    /// The number of the writer of this key.
    writer: u64,
    /// The group that calls can join; `None` while a single call writes.
    group: Option<Group>,
}

/// Closures that go into one swap.
struct Group {
    /// The time and the state that the first of them saw; `None` before the
    /// first read.
    base: Option<(Timestamp, Option<Bucket>)>,
    /// The state after the last of them.
    state: Option<Bucket>,
    members: u64,
    outcome: watch::Sender<Option<Outcome>>,
}

/// The result of a group's swap.
#[derive(Clone)]
enum Outcome {
    Written,
    /// Nothing was written; start over.
    Retry,
    Failed(ErrorKind, Retry, String),
}

impl Group {
    fn unread() -> Self {
        Self {
            base: None,
            state: None,
            members: 0,
            outcome: watch::Sender::new(None),
        }
    }

    fn on(bucket: Option<Bucket>, now: Timestamp) -> Self {
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

/// `bucket` without its expired parts, or `None` if nothing is left.
pub fn unexpired(bucket: Option<Bucket>, now: Timestamp) -> Option<Bucket> {
    let mut bucket = bucket?;
    bucket.forget_expired(now);
    (!bucket.is_empty()).then_some(bucket)
}

impl Active {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Key>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remove(&self, key: &str) -> Option<Group> {
        self.lock().remove(key)?.group
    }
}

/// The right to write one key. Dropping it, for whatever reason, frees the key.
struct Writer {
    active: Arc<Active>,
    key: String,
    number: u64,
}

impl Writer {
    fn new(active: &Arc<Active>, key: &str) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self {
            active: Arc::clone(active),
            key: key.into(),
            number: NEXT.fetch_add(1, Ordering::Relaxed),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let mut active = self.active.lock();
        if active
            .get(&self.key)
            .is_some_and(|entry| entry.writer == self.number)
        {
            active.remove(&self.key);
        }
    }
}

impl<B> fmt::Debug for Coalescer<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Coalescer").finish_non_exhaustive()
    }
}

impl<B: Buckets> Coalescer<B> {
    /// Coalesces changes of these buckets.
    pub fn new(buckets: Arc<B>) -> Self {
        Self {
            buckets,
            active: Arc::default(),
        }
    }

    /// As [`RateLimitStore::update`](crate::RateLimitStore::update). Needs a
    /// tokio runtime if calls are concurrent.
    ///
    /// # Errors
    /// `Contended` if other clients were faster every time; those of the buckets. An error
    /// that several calls share has no source.
    pub async fn update(&self, key: &str, change: BucketUpdate<'_>) -> Result<Option<Bucket>> {
        match self.claim(key) {
            Some(_writer) => self.update_directly(key, change).await,
            None => self.update_in_group(key, change).await,
        }
    }

    /// The right to write `key`, if no other call is changing it.
    fn claim(&self, key: &str) -> Option<Writer> {
        let mut active = self.active.lock();
        if active.contains_key(key) {
            return None;
        }
        let writer = Writer::new(&self.active, key);
        let entry = Key {
            writer: writer.number,
            group: None,
        };
        active.insert(key.into(), entry);
        Some(writer)
    }

    async fn update_directly(&self, key: &str, change: BucketUpdate<'_>) -> Result<Option<Bucket>> {
        let mut found = self.buckets.read(key).await?;
        for attempt in 0..MAX_ATTEMPTS {
            let now = self.buckets.now();
            let current = found.unexpired(now);
            let Some(new) = change(current.as_ref()) else {
                return Ok(current);
            };
            let new = (!new.is_empty()).then_some(new);
            match self.buckets.swap(key, now, &found, new.as_ref()).await? {
                Ok(_) => return Ok(new),
                Err(current) => found = current,
            }
            pause(attempt).await;
        }
        Err(exhausted())
    }

    async fn update_in_group(&self, key: &str, change: BucketUpdate<'_>) -> Result<Option<Bucket>> {
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
                Some(Outcome::Retry) => attempt += u32::from(mine.is_some()),
                Some(Outcome::Failed(kind, retry, message)) => {
                    return Err(Error::new(kind, message)
                        .with_retry(retry)
                        .with_operation("update"));
                }
                None => {
                    return Err(Error::new(
                        ErrorKind::Unavailable,
                        "the runtime that wrote for this call was stopped; whether the change was written is unknown",
                    )
                    .with_operation("update"));
                }
            }
        }
        Err(exhausted())
    }

    /// Applies `change` to the state of the current group. Returns no state if
    /// nothing was read yet; the outcome then only says when to call again.
    #[allow(clippy::type_complexity)]
    fn join(
        &self,
        key: &str,
        change: BucketUpdate<'_>,
    ) -> (Option<Option<Bucket>>, watch::Receiver<Option<Outcome>>) {
        loop {
            let (state, members, outcome) = {
                let mut active = self.active.lock();
                if active.get(key).is_none_or(|entry| entry.group.is_none()) {
                    // A single call holds the key, or held it: from now on calls share it.
                    let writer = Writer::new(&self.active, key);
                    let shared = Key {
                        writer: writer.number,
                        group: Some(Group::unread()),
                    };
                    active.insert(key.into(), shared);
                    tokio::spawn(write_groups(Arc::clone(&self.buckets), writer));
                }
                let Some(group) = group_of(&mut active, key) else {
                    continue;
                };
                let outcome = group.outcome.subscribe();
                if group.base.is_none() {
                    return (None, outcome);
                }
                (group.state.clone(), group.members, outcome)
            };
            let answer = match change(state.as_ref()) {
                Some(new) => (!new.is_empty()).then_some(new),
                None => state,
            };
            let mut active = self.active.lock();
            let Some(group) = group_of(&mut active, key) else {
                continue;
            };
            if group.members == members && outcome.same_channel(&group.outcome.subscribe()) {
                group.members += 1;
                group.state.clone_from(&answer);
                return (Some(answer), outcome);
            }
        }
    }
}

fn group_of<'b>(active: &'b mut HashMap<String, Key>, key: &str) -> Option<&'b mut Group> {
    active.get_mut(key)?.group.as_mut()
}

/// Reads once, then writes one group after another while there are any.
async fn write_groups<B: Buckets>(buckets: Arc<B>, writer: Writer) {
    let Writer { active, key, .. } = &writer;
    let put = |group: Group| active.lock().get_mut(key)?.group.replace(group);
    let now = buckets.now();
    let mut stored = match buckets.read(key).await {
        Ok(stored) => stored,
        Err(error) => {
            if let Some(group) = active.remove(key) {
                group.end(failed_with(&error));
            }
            return;
        }
    };
    if let Some(unread) = put(Group::on(stored.unexpired(now), now)) {
        unread.end(Outcome::Retry);
    }
    let mut attempt = 0;
    while let Some(group) = take_group(&buckets, active, key).await {
        match write(&*buckets, key, &stored, &group).await {
            Ok(Ok(written)) => {
                attempt = 0;
                stored = written;
                group.end(Outcome::Written);
            }
            Ok(Err(found)) => {
                pause(attempt).await;
                attempt += 1;
                let now = buckets.now();
                let after = put(Group::on(found.unexpired(now), now));
                stored = found;
                for failed in [Some(group), after].into_iter().flatten() {
                    failed.end(Outcome::Retry);
                }
            }
            Err(error) => {
                let after = active.remove(key);
                group.end(failed_with(&error));
                if let Some(after) = after {
                    after.end(Outcome::Retry);
                }
                return;
            }
        }
    }
}

/// Writes the state of `group` over `stored`: the bucket as it is stored after that, or
/// as another client stored it.
async fn write<B: Buckets>(
    buckets: &B,
    key: &str,
    stored: &StoredBucket<B::Version>,
    group: &Group,
) -> Result<Result<StoredBucket<B::Version>, StoredBucket<B::Version>>> {
    let (now, base) = group.base.clone().unwrap_or_default();
    if base == group.state {
        // There is nothing to write, but the state that the closures saw may be older
        // than their calls.
        let found = buckets.read(key).await?;
        return Ok(match found.unexpired(now) == base {
            true => Ok(found),
            false => Err(found),
        });
    }
    let new = group.state.as_ref();
    let swapped = buckets.swap(key, now, stored, new).await?;
    Ok(swapped.map(|version| StoredBucket {
        bucket: new.cloned(),
        version,
    }))
}

/// The current group, once it has members; a new one that continues from its
/// state takes its place. `None` if no call joins.
async fn take_group<B: Buckets>(buckets: &Arc<B>, active: &Active, key: &str) -> Option<Group> {
    for _ in 0..YIELDS {
        yield_now().await;
    }
    let now = buckets.now();
    let mut active = active.lock();
    let current = group_of(&mut active, key)?;
    if current.members == 0 {
        // A call that read its state and has not joined yet starts over.
        active.remove(key);
        return None;
    }
    let next = Group::on(unexpired(current.state.clone(), now), now);
    Some(std::mem::replace(current, next))
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

    /// One bucket, which another client deletes right after each swap.
    #[derive(Default)]
    struct Fickle(Mutex<Option<Bucket>>);

    #[async_trait]
    impl Buckets for Fickle {
        type Version = ();

        fn now(&self) -> Timestamp {
            Timestamp::EPOCH
        }

        async fn read(&self, _: &str) -> Result<StoredBucket<()>> {
            Ok(stored(self.0.lock().unwrap().clone()))
        }

        async fn swap(
            &self,
            _: &str,
            _: Timestamp,
            old: &StoredBucket<()>,
            _: Option<&Bucket>,
        ) -> Result<Result<(), StoredBucket<()>>> {
            yield_now().await;
            let found = self.0.lock().unwrap().take();
            Ok(match found == old.bucket {
                true => Ok(()),
                false => Err(stored(found)),
            })
        }
    }

    fn stored(bucket: Option<Bucket>) -> StoredBucket<()> {
        let version = ();
        StoredBucket { bucket, version }
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
    async fn a_call_that_changes_nothing_sees_no_state_older_than_itself() {
        let coalescer = Coalescer::new(Arc::<Fickle>::default());
        let write = |_: Option<&Bucket>| Some(bucket());
        for _ in 0..20 {
            // Concurrently, so that the last of them is written in a group.
            let (first, second, third) = tokio::join!(
                coalescer.update("k", &write),
                coalescer.update("k", &write),
                coalescer.update("k", &write)
            );
            assert!(first.is_ok() && second.is_ok() && third.is_ok());
            let seen = coalescer.update("k", &|_: Option<&Bucket>| None).await;
            assert_eq!(seen.unwrap(), None, "it was deleted before");
        }
    }
}
