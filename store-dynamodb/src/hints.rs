//! The state of buckets as last seen, so that the first update of a take usually has the
//! right form.
//!
//! A hint is a guess that the server checks, and a wrong one costs one more call. So two
//! keys may share a slot of the table, and no hint needs to be evicted.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};

/// The number of slots. They take 1 MiB, which the operating system allocates when it is
/// used.
const PLACES: usize = 1 << 17;

pub(crate) struct Hints {
    places: Box<[AtomicU64]>,
    /// Seeded at random, so that a client cannot choose keys that share a slot.
    hasher: RandomState,
}

impl Hints {
    pub(crate) fn new() -> Self {
        Self {
            places: (0..PLACES).map(|_| AtomicU64::new(0)).collect(),
            hasher: RandomState::new(),
        }
    }

    /// The last hint for `part` of `key`; zero if there is none.
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
    fn the_last_hint_is_returned() {
        let hints = Hints::new();
        assert_eq!(hints.get("key", "quota"), 0);
        hints.set("key", "quota", 7);
        hints.set("key", "quota", 8);
        assert_eq!(hints.get("key", "quota"), 8);
    }
}
