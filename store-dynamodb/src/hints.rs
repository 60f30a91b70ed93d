//! What was last seen of buckets, so that a take asks the right question first.
//!
//! A guess, never a truth: the server checks it, and a wrong one costs one more
//! call. So two keys may share a place, and nothing is ever evicted.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};

/// How many places there are. 1 MiB, which the system gives as it is used.
const PLACES: usize = 1 << 17;

pub(crate) struct Hints {
    places: Box<[AtomicU64]>,
    /// Seeded anew each time, so that nobody can choose keys that share a place.
    hasher: RandomState,
}

impl Hints {
    pub(crate) fn new() -> Self {
        Self {
            places: (0..PLACES).map(|_| AtomicU64::new(0)).collect(),
            hasher: RandomState::new(),
        }
    }

    /// What was last noted of `part` of `key`; zero if nothing was.
    pub(crate) fn get(&self, key: &str, part: &str) -> u64 {
        self.place(key, part).load(Ordering::Relaxed)
    }

    pub(crate) fn set(&self, key: &str, part: &str, seen: u64) {
        self.place(key, part).store(seen, Ordering::Relaxed);
    }

    fn place(&self, key: &str, part: &str) -> &AtomicU64 {
        let hash = self.hasher.hash_one((key, part));
        &self.places[hash as usize % PLACES]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_noted_last_is_remembered() {
        let hints = Hints::new();
        assert_eq!(hints.get("key", "quota"), 0);
        hints.set("key", "quota", 7);
        hints.set("key", "quota", 8);
        assert_eq!(hints.get("key", "quota"), 8);
    }
}
