//! What is stored under one key.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::limits::{Quota, gcra};

/// A bucket as a closure sees and writes it: tokens, and the moment at which they were
/// counted. The closure itself adds what was refilled since then; see
/// [`Tokens::refilled`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tokens {
    /// How many there are, fractions included: from 0 to the quota's burst.
    pub tokens: f64,
    /// When they were counted.
    pub last_refill: Timestamp,
}

impl Tokens {
    /// These tokens, and what was refilled until `now`: never more than the burst, and
    /// nothing if `now` is not after [`Tokens::last_refill`].
    ///
    /// ```
    /// use store_core::Timestamp;
    /// use store_core::limits::{Quota, Tokens};
    /// # fn main() -> store_core::Result<()> {
    /// let quota = Quota::per_second(10)?;
    /// let empty = Tokens { tokens: 0.0, last_refill: Timestamp::from_millis(0) };
    /// assert_eq!(empty.refilled(&quota, Timestamp::from_millis(250)).tokens, 2.5);
    /// # Ok(()) }
    /// ```
    pub fn refilled(self, quota: &Quota, now: Timestamp) -> Self {
        let flowed = now.since(self.last_refill).as_nanos() as f64;
        Self {
            tokens: self.tokens + flowed / quota.period_nanos() as f64,
            last_refill: self.last_refill.max(now),
        }
        .within(quota)
    }

    /// Tokens from 0 to the burst; NaN counts as none.
    pub(crate) fn within(self, quota: &Quota) -> Self {
        let tokens = if self.tokens > 0.0 {
            self.tokens.min(f64::from(quota.burst()))
        } else {
            0.0
        };
        Self { tokens, ..self }
    }
}

/// The state of one quota's bucket, as it was written.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Written by a take: the moment at which the bucket will be full.
    Tat(Timestamp),
    /// Written by a closure, exact to the last bit.
    Tokens(Tokens),
}

/// All that is stored under one key: the state of each quota that was used with
/// it. Full buckets need not be stored; an empty `Bucket` is the same as none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(into = "Vec<Entry>", try_from = "Vec<Entry>")]
pub struct Bucket {
    /// A handful at most, in order of name.
    entries: Vec<Entry>,
}

/// What a [`Bucket`] stores of one quota.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The quota's name.
    pub quota: Arc<str>,
    /// Its state.
    #[serde(flatten)]
    pub state: State,
    /// From this moment on it may be deleted, because the bucket is full by then.
    pub expires_at: Timestamp,
}

impl Bucket {
    /// The state of the quota of this name, as it was written; `None` if none
    /// was written, and the bucket is therefore full.
    pub fn state(&self, quota: &str) -> Option<State> {
        self.find(quota).ok().map(|i| self.entries[i].state)
    }

    /// The arrival time of this quota's bucket, in whichever form it is stored.
    pub fn tat(&self, quota: &Quota) -> Option<Timestamp> {
        self.state(quota.name()).map(|state| match state {
            State::Tat(tat) => tat,
            State::Tokens(tokens) => gcra::tat_of(quota, tokens),
        })
    }

    /// The tokens of this quota's bucket, in whichever form it is stored: as they
    /// were written, or counted as of `now`.
    pub fn tokens(&self, quota: &Quota, now: Timestamp) -> Option<Tokens> {
        self.state(quota.name()).map(|state| match state {
            State::Tat(tat) => gcra::tokens_of(quota, tat, now),
            State::Tokens(tokens) => tokens,
        })
    }

    /// Sets this quota's arrival time.
    pub fn set_tat(&mut self, quota: &Quota, tat: Timestamp, now: Timestamp) {
        let expires_at = gcra::expires_at(quota, tat, now);
        self.set(quota, State::Tat(tat), expires_at);
    }

    /// Sets this quota's tokens: exact to the last bit if they are from 0 to the
    /// burst, else clamped to that range; NaN becomes 0.
    pub fn set_tokens(&mut self, quota: &Quota, tokens: Tokens, now: Timestamp) {
        let tokens = tokens.within(quota);
        let expires_at = gcra::expires_at(quota, gcra::tat_of(quota, tokens), now);
        self.set(quota, State::Tokens(tokens), expires_at);
    }

    /// Removes the quota of this name: its bucket is full. True if there was one.
    pub fn remove(&mut self, quota: &str) -> bool {
        self.find(quota).map(|i| self.entries.remove(i)).is_ok()
    }

    /// Removes what has expired by `now`.
    pub fn forget_expired(&mut self, now: Timestamp) {
        self.entries.retain(|entry| entry.expires_at > now);
    }

    /// From this moment on all of it may be deleted; `None` if it is empty.
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.entries.iter().map(|entry| entry.expires_at).max()
    }

    /// True if nothing is stored.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What is stored of each quota, in order of name; for stores with a form of
    /// their own.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    fn set(&mut self, quota: &Quota, state: State, expires_at: Timestamp) {
        match self.find(quota.name()) {
            Ok(i) => {
                self.entries[i].state = state;
                self.entries[i].expires_at = expires_at;
            }
            Err(i) => self.entries.insert(
                i,
                Entry {
                    quota: Arc::clone(quota.shared_name()),
                    state,
                    expires_at,
                },
            ),
        }
    }

    fn find(&self, quota: &str) -> Result<usize, usize> {
        self.entries
            .binary_search_by(|entry| (*entry.quota).cmp(quota))
    }
}

impl From<Bucket> for Vec<Entry> {
    fn from(bucket: Bucket) -> Self {
        bucket.entries
    }
}

impl TryFrom<Vec<Entry>> for Bucket {
    type Error = &'static str;

    /// The bucket of these entries, as they were stored: in any order, but each
    /// quota once.
    fn try_from(entries: Vec<Entry>) -> Result<Self, Self::Error> {
        let expected = entries.len();
        let bucket = Self::from_iter(entries);
        if bucket.entries.len() < expected {
            return Err("a quota occurs twice in a bucket");
        }
        Ok(bucket)
    }
}

impl FromIterator<Entry> for Bucket {
    /// The bucket of these entries, whatever their order; of two for one quota,
    /// the later.
    fn from_iter<I: IntoIterator<Item = Entry>>(entries: I) -> Self {
        let mut bucket = Self::default();
        for entry in entries {
            match bucket.find(&entry.quota) {
                Ok(i) => bucket.entries[i] = entry,
                Err(i) => bucket.entries.insert(i, entry),
            }
        }
        bucket
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(quota: &str) -> Entry {
        Entry {
            quota: quota.into(),
            state: State::Tat(Timestamp::MAX),
            expires_at: Timestamp::MAX,
        }
    }

    #[test]
    fn a_bucket_whose_quotas_were_stored_out_of_order_is_read_in_order() {
        let stored = serde_json::to_value(["x", "z", "b", "y", "a"].map(entry)).unwrap();
        let bucket: Bucket = serde_json::from_value(stored).unwrap();
        let names: Vec<_> = bucket.entries().iter().map(|e| &*e.quota).collect();
        assert_eq!(names, ["a", "b", "x", "y", "z"]);
        assert!(bucket.state("m").is_none() && bucket.state("b").is_some());
        let back = serde_json::to_value(&bucket).unwrap();
        assert_eq!(serde_json::from_value::<Bucket>(back).unwrap(), bucket);
        let twice = serde_json::to_value(["a", "b", "a"].map(entry)).unwrap();
        assert!(serde_json::from_value::<Bucket>(twice).is_err());
    }
}
