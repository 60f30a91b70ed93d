//! Randomness that a simulation can replay.
//!
//! Pauses of back-off and the versions that a process assigns are random. A
//! simulation runs all its tasks on one thread and seeds both there, so that a
//! seed gives the same schedule again. Secrets never come from here.

use std::cell::Cell;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::marker::PhantomData;

thread_local! {
    static SEEDED: Cell<Option<u64>> = const { Cell::new(None) };
}

/// While this value exists, back-off and versions on this thread follow from a seed.
#[doc(hidden)]
#[derive(Debug)]
#[must_use = "the seed applies while this lives"]
pub struct SeededThread {
    before: Option<u64>,
    /// It belongs to its thread.
    not_send: PhantomData<*const ()>,
}

impl SeededThread {
    /// From this seed on. For tests: two threads with one seed assign the same
    /// versions, so their stores must have nothing in common.
    pub fn new(seed: u64) -> Self {
        Self {
            before: SEEDED.replace(Some(seed)),
            not_send: PhantomData,
        }
    }
}

impl Drop for SeededThread {
    fn drop(&mut self) {
        SEEDED.set(self.before);
    }
}

/// The next number of this thread's seed, if it has one (SplitMix64).
pub(crate) fn seeded() -> Option<u64> {
    let state = SEEDED.get()?.wrapping_add(0x9e37_79b9_7f4a_7c15);
    SEEDED.set(Some(state));
    let mut z = state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    Some(z ^ (z >> 31))
}

/// A number below `bound`, for spreading retries; not for secrets.
pub(crate) fn random_below(bound: u64) -> u64 {
    // Every RandomState is seeded differently.
    let number = seeded().unwrap_or_else(|| RandomState::new().build_hasher().finish());
    number % bound.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Version;

    fn drawn(seed: u64) -> (Vec<u64>, Version) {
        let _seeded = SeededThread::new(seed);
        let numbers = (0..8).map(|_| random_below(1 << 40)).collect();
        (numbers, Version::unique())
    }

    #[test]
    fn a_seed_gives_the_same_pauses_and_versions_again_until_it_is_dropped() {
        assert_eq!(drawn(7), drawn(7));
        assert_ne!(drawn(7), drawn(8));
        assert_eq!(seeded(), None);
        assert_ne!(Version::unique(), Version::unique());
    }
}
