//! Kinds of records, and their flags.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::error::{Error, ErrorKind, Result};

/// A kind of record: `api_keys`, `users`, an application's `invoices`.
///
/// Declare it once, as a constant. Its name and its flags are part of what is
/// stored: on some backends they decide where records are and how they are
/// deleted. So one process cannot use a name with two sets of flags, and `setup`
/// refuses flags that differ from those it stored.
///
/// ```
/// use store_core::{Collection, ErrorKind, RecordKey};
/// const INVOICES: Collection = Collection::new("invoices").cacheable();
///
/// assert!(RecordKey::new(INVOICES, "7").is_ok());
/// let other = RecordKey::new(Collection::new("invoices"), "7").unwrap_err();
/// assert_eq!(other.kind(), ErrorKind::Config);
/// ```
#[derive(Clone, Copy)]
pub struct Collection {
    name: &'static str,
    /// The name's hash, made when it is declared so that reads hash a
    /// collection for free, with the flags in its lowest bits.
    hash_and_flags: u64,
}

const SINGLE_USE: u64 = 1;
const CACHEABLE: u64 = 2;
const CHUNKS: u64 = 4;
const TRANSIENT: u64 = 8;
const FLAGS: u64 = 15;

/// The flags by name.
const NAMES: [(&str, u64); 4] = [
    ("cacheable", CACHEABLE),
    ("chunks", CHUNKS),
    ("single_use", SINGLE_USE),
    ("transient", TRANSIENT),
];

fn flags(bits: u64) -> String {
    let set = NAMES.iter().filter(|(_, flag)| bits & flag != 0);
    let names: Vec<&str> = set.map(|(name, _)| *name).collect();
    names.join(" ")
}

/// How many collections of one process are compared.
const SLOTS: usize = 1024;

/// Hash and flags of each collection that was used, at the slot of its hash or
/// the next free one; 0 is free. Without a lock, because every key is checked.
static USED: [AtomicU64; SLOTS] = [const { AtomicU64::new(0) }; SLOTS];

impl Collection {
    /// A collection of this name: a lower-case letter, then at most 47
    /// lower-case letters, digits and underscores.
    ///
    /// # Panics
    /// If the name is not of that form; in a constant, when it is compiled.
    pub const fn new(name: &'static str) -> Self {
        let bytes = name.as_bytes();
        assert!(
            !bytes.is_empty() && bytes.len() <= 48 && bytes[0].is_ascii_lowercase(),
            "a collection's name is a lower-case letter and at most 47 more characters"
        );
        // FNV-1a; the names are the program's own, so no input can choose collisions.
        let mut hash = 0xcbf2_9ce4_8422_2325u64;
        let mut i = 0;
        while i < bytes.len() {
            assert!(
                bytes[i].is_ascii_lowercase() || bytes[i].is_ascii_digit() || bytes[i] == b'_',
                "a collection's name holds lower-case letters, digits and underscores"
            );
            hash = (hash ^ bytes[i] as u64).wrapping_mul(0x0100_0000_01b3);
            i += 1;
        }
        Self {
            name,
            hash_and_flags: hash & !FLAGS,
        }
    }

    /// Declares that an id, once deleted or expired, is never used again, so
    /// that a backend needs no tombstone for it.
    pub const fn single_use(self) -> Self {
        self.with(SINGLE_USE)
    }

    /// Declares that records are worth caching and their changes worth announcing.
    pub const fn cacheable(self) -> Self {
        self.with(CACHEABLE)
    }

    /// Declares that bodies are large opaque bytes: stored out of line, uncompressed.
    pub const fn chunks(self) -> Self {
        self.with(CHUNKS)
    }

    /// Declares that records are short-lived and that losing them in a crash breaks
    /// no promise, so that a backend may offer to write them less durably.
    pub const fn transient(self) -> Self {
        self.with(TRANSIENT)
    }

    const fn with(mut self, flag: u64) -> Self {
        self.hash_and_flags |= flag;
        self
    }

    /// The name, as stored.
    pub const fn name(self) -> &'static str {
        self.name
    }

    /// See [`Collection::single_use`].
    pub const fn is_single_use(self) -> bool {
        self.hash_and_flags & SINGLE_USE != 0
    }

    /// See [`Collection::cacheable`].
    pub const fn is_cacheable(self) -> bool {
        self.hash_and_flags & CACHEABLE != 0
    }

    /// See [`Collection::chunks`].
    pub const fn is_chunks(self) -> bool {
        self.hash_and_flags & CHUNKS != 0
    }

    /// See [`Collection::transient`].
    pub const fn is_transient(self) -> bool {
        self.hash_and_flags & TRANSIENT != 0
    }

    /// The names of the flags, in order, separated by spaces.
    pub fn flags(self) -> String {
        flags(self.hash_and_flags)
    }

    const fn name_hash(self) -> u64 {
        self.hash_and_flags & !FLAGS
    }

    /// Refuses flags that differ from those of the first declaration that this
    /// process used.
    ///
    /// # Errors
    /// `Config`, with both sets of flags.
    #[inline]
    pub(crate) fn check_flags(self) -> Result<()> {
        match self.first_declared() {
            first if first == self.hash_and_flags => Ok(()),
            first => Err(self.redeclared(first)),
        }
    }

    /// This collection with the flags of the first declaration that this process
    /// used, so that a scan finds what was written.
    pub(crate) fn as_first_declared(mut self) -> Self {
        self.hash_and_flags = self.first_declared();
        self
    }

    #[cold]
    fn redeclared(self, first: u64) -> Error {
        Error::new(
            ErrorKind::Config,
            format!(
                "the collection `{}` is declared twice in this process, as [{}] and as [{}]; \
                 declare it once, as a constant that all code uses",
                self.name,
                flags(first),
                self.flags()
            ),
        )
    }

    /// Hash and flags of the first declaration of this name that was used. Names
    /// are distinguished by 60 bits of their hashes alone.
    fn first_declared(self) -> u64 {
        let start = (self.hash_and_flags >> FLAGS.count_ones()) as usize;
        for step in 0..SLOTS {
            let slot = &USED[start.wrapping_add(step) % SLOTS];
            let mut first = slot.load(Relaxed);
            if first == 0 {
                let stored = slot.compare_exchange(0, self.hash_and_flags, Relaxed, Relaxed);
                first = stored.map_or_else(|other| other, |_| self.hash_and_flags);
            }
            if first & !FLAGS == self.name_hash() {
                return first;
            }
        }
        // The table is full: more collections than a program has.
        self.hash_and_flags
    }
}

impl PartialEq for Collection {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        self.name_hash() == other.name_hash()
            // Constants of one name usually share the text.
            && (std::ptr::eq(self.name, other.name) || self.name == other.name)
    }
}

impl Eq for Collection {}

impl Hash for Collection {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.name_hash());
    }
}

impl PartialOrd for Collection {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Collection {
    fn cmp(&self, other: &Self) -> Ordering {
        if self == other {
            return Ordering::Equal;
        }
        self.name.cmp(other.name)
    }
}

impl fmt::Debug for Collection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collection_keeps_the_flags_of_its_first_use() {
        let first = Collection::new("flagged").cacheable().single_use();
        assert!(first.check_flags().is_ok());
        assert!(first.is_cacheable() && first.is_single_use() && !first.is_chunks());
        for other in [
            Collection::new("flagged"),
            Collection::new("flagged").cacheable(),
            first.transient(),
        ] {
            let error = other.check_flags().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            for part in ["`flagged`", "[cacheable single_use]", &other.flags()] {
                assert!(error.message().contains(part), "{error}");
            }
            assert!(first.check_flags().is_ok());
        }
        assert!(Collection::new("flagged_other").check_flags().is_ok());
    }
}
