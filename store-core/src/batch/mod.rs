//! One commit: what is expected and what changes, all or nothing.

use std::fmt;

use crate::body::Body;
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::key::{Partition, RecordKey, RecordRef};
use crate::record::{Record, Token, Version};

/// The most items in one commit.
pub const MAX_ITEMS: usize = 100;

/// The most bytes in one commit: ids and plaintext bodies counted.
pub const MAX_BATCH: usize = 3 * 1024 * 1024;

/// What a commit requires of a record before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[doc(alias("compare-and-swap", "cas", "precondition"))]
pub enum Expect {
    /// Nothing.
    Any,
    /// That it is absent: never written, deleted or expired.
    Absent,
    /// That it is there, whatever its version.
    Present,
    /// That it is there with this version.
    Version(Version),
}

impl Expect {
    /// Whether `current`, unexpired at the batch's time, is as expected.
    pub fn holds(self, current: Option<&Record>) -> bool {
        match self {
            Self::Any => true,
            Self::Absent => current.is_none(),
            Self::Present => current.is_some(),
            Self::Version(version) => current.is_some_and(|record| record.version() == version),
        }
    }
}

/// An expectation, with the record it was taken from.
///
/// Made from an [`Expect`], from a `&Record` (exactly this state) or from an
/// `Option<&Record>` (exactly this state, or absent). A put over a record that
/// was read preserves what its type does not know of it; see
/// [`Body::json`].
#[derive(Clone, Copy)]
pub struct Expectation<'r> {
    expect: Expect,
    record: Option<&'r Record>,
}

impl fmt::Debug for Expectation<'_> {
    /// Without the token's content, which may be the record's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Expectation")
            .field("expect", &self.expect)
            .field("token", &shown(self.record.and_then(Record::token)))
            .finish()
    }
}

/// That there is a token, without its content.
fn shown(token: Option<&Token>) -> Option<fmt::Arguments<'static>> {
    token.map(|_| format_args!("_"))
}

impl From<Expect> for Expectation<'_> {
    fn from(expect: Expect) -> Self {
        Self {
            expect,
            record: None,
        }
    }
}

impl<'r> From<&'r Record> for Expectation<'r> {
    fn from(record: &'r Record) -> Self {
        Self {
            expect: Expect::Version(record.version()),
            record: Some(record),
        }
    }
}

impl<'r> From<Option<&'r Record>> for Expectation<'r> {
    fn from(record: Option<&'r Record>) -> Self {
        record.map_or(Expect::Absent.into(), Self::from)
    }
}

/// What a commit does to a record.
#[derive(Clone, Debug)]
pub enum Change {
    /// Nothing; the expectation alone counts.
    Check,
    /// Writes it whole.
    Put {
        /// The new body.
        body: Body,
        /// From when on it is absent; `None` for never.
        expires_at: Option<Timestamp>,
    },
    /// Removes it. Removing an absent record is no error.
    Delete,
}

/// One record's part in a commit.
#[derive(Clone)]
pub struct Item {
    key: RecordKey,
    expect: Expect,
    token: Option<Token>,
    change: Change,
}

impl Item {
    /// The record's key within the batch's partition.
    pub fn key(&self) -> &RecordKey {
        &self.key
    }

    /// What is required of it.
    pub fn expect(&self) -> Expect {
        self.expect
    }

    /// The backend's token for the expected state, if the caller held one.
    pub fn token(&self) -> Option<&Token> {
        self.token.as_ref()
    }

    /// What happens to it.
    pub fn change(&self) -> &Change {
        &self.change
    }
}

impl fmt::Debug for Item {
    /// Without the token's content, which may be the record's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Item")
            .field("key", &self.key)
            .field("expect", &self.expect)
            .field("token", &shown(self.token.as_ref()))
            .field("change", &self.change)
            .finish()
    }
}

/// One commit over records of one partition, across collections.
///
/// Every limit is checked as an item is added, before any I/O. A retry sends
/// the identical batch, version and time included.
///
/// ```
/// use store_core::{Batch, Body, Collection, Expect, Partition, RecordKey, Timestamp};
/// # fn main() -> store_core::Result<()> {
/// const ACCOUNTS: Collection = Collection::new("accounts");
/// let bank = Partition::new("bank")?;
/// let mut batch = Batch::new(bank, Timestamp::from_seconds(1));
/// batch
///     .put(RecordKey::new(ACCOUNTS, "alice")?, Expect::Absent, Body::json(50)?)?
///     .put(RecordKey::new(ACCOUNTS, "bob")?, Expect::Absent, Body::json(70)?)?;
/// assert_eq!(batch.items().len(), 2);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[doc(alias("transaction", "atomic write"))]
pub struct Batch {
    partition: Partition,
    version: Version,
    now: Timestamp,
    items: Vec<Item>,
    size: usize,
}

impl Batch {
    /// An empty commit in `partition`, as of `now`, under a new version.
    pub fn new(partition: Partition, now: Timestamp) -> Self {
        Self {
            partition,
            version: Version::unique(),
            now,
            items: Vec::new(),
            size: 0,
        }
    }

    /// Requires something of a record without changing it.
    ///
    /// # Errors
    /// As [`Batch::item`].
    pub fn check<'r>(
        &mut self,
        key: RecordKey,
        expect: impl Into<Expectation<'r>>,
    ) -> Result<&mut Self> {
        self.item(key, expect, Change::Check)
    }

    /// Writes a record that does not expire.
    ///
    /// # Errors
    /// As [`Batch::item`].
    #[doc(alias("upsert", "set", "insert"))]
    pub fn put<'r>(
        &mut self,
        key: RecordKey,
        expect: impl Into<Expectation<'r>>,
        body: Body,
    ) -> Result<&mut Self> {
        self.put_until(key, expect, body, None)
    }

    /// Writes a record that is absent from `expires_at` on.
    ///
    /// # Errors
    /// As [`Batch::item`].
    #[doc(alias("expire", "ttl"))]
    pub fn put_until<'r>(
        &mut self,
        key: RecordKey,
        expect: impl Into<Expectation<'r>>,
        body: Body,
        expires_at: Option<Timestamp>,
    ) -> Result<&mut Self> {
        self.item(key, expect, Change::Put { body, expires_at })
    }

    /// Removes a record.
    ///
    /// # Errors
    /// As [`Batch::item`].
    pub fn delete<'r>(
        &mut self,
        key: RecordKey,
        expect: impl Into<Expectation<'r>>,
    ) -> Result<&mut Self> {
        self.item(key, expect, Change::Delete)
    }

    /// Adds one item.
    ///
    /// # Errors
    /// `InvalidInput` if the batch holds the key already, or would have more
    /// than [`MAX_ITEMS`] items or [`MAX_BATCH`] bytes; `Corrupt` if a value is
    /// put over a record of another type, see [`Body::json`]. The batch is
    /// unchanged.
    pub fn item<'r>(
        &mut self,
        key: RecordKey,
        expect: impl Into<Expectation<'r>>,
        change: Change,
    ) -> Result<&mut Self> {
        if self.items.len() == MAX_ITEMS {
            return Err(Error::invalid(format!(
                "a commit has at most {MAX_ITEMS} items; split it"
            )));
        }
        if self.items.iter().any(|item| item.key == key) {
            return Err(
                Error::invalid("a commit names each record once; merge its changes")
                    .with_key(key.at(&self.partition)),
            );
        }
        let Expectation { expect, record } = expect.into();
        let change = match (change, record) {
            (Change::Put { body, expires_at }, Some(record)) => Change::Put {
                body: body
                    .preserving(record.body())
                    .map_err(|error| error.with_key(key.at(&self.partition)))?,
                expires_at,
            },
            (change, _) => change,
        };
        let size = self.size + key.id().len() + change_size(&change);
        if size > MAX_BATCH {
            return Err(Error::invalid(format!(
                "a commit is at most {MAX_BATCH} bytes; split it"
            )));
        }
        self.size = size;
        if self.items.is_empty() {
            // Most commits have one item, and items are large.
            self.items.reserve_exact(1);
        }
        self.items.push(Item {
            key,
            expect,
            token: record.and_then(Record::token).cloned(),
            change,
        });
        Ok(self)
    }

    /// The partition that all items are in.
    pub fn partition(&self) -> &Partition {
        &self.partition
    }

    /// The version that this commit gives to what it writes.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The time as of which expiry is decided.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// The items, in the order they were added.
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// Ids and plaintext bodies, in bytes.
    pub fn size(&self) -> usize {
        self.size
    }

    /// True without items. Committing it does nothing.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The full name of the item at `index`.
    ///
    /// # Panics
    /// If there is none.
    pub fn at(&self, index: usize) -> RecordRef<'_> {
        self.items[index].key.at(&self.partition)
    }

    /// The record that a put at `index` writes; `None` for other changes.
    ///
    /// # Panics
    /// If there is no such item.
    pub fn record(&self, index: usize) -> Option<Record> {
        let item = &self.items[index];
        match &item.change {
            Change::Put { body, expires_at } => Some(Record::new(
                self.partition.clone(),
                item.key.clone(),
                self.version,
                *expires_at,
                body.clone(),
            )),
            Change::Check | Change::Delete => None,
        }
    }
}

fn change_size(change: &Change) -> usize {
    match change {
        Change::Put { body, .. } => body.size(),
        Change::Check | Change::Delete => 0,
    }
}

/// A commit that happened.
#[derive(Clone, Default)]
pub struct Committed {
    tokens: Vec<Option<Token>>,
}

impl fmt::Debug for Committed {
    /// Without the tokens' content, which may be the records'.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tokens = self.tokens.iter().map(|token| shown(token.as_ref()));
        f.debug_list().entries(tokens).finish()
    }
}

impl Committed {
    /// A commit on a backend that has no tokens.
    pub fn new() -> Self {
        Self::default()
    }

    /// A commit that left each item in the state of this token.
    pub fn with_tokens(tokens: Vec<Option<Token>>) -> Self {
        Self { tokens }
    }

    /// The backend's token for the item at `index`, to save a read.
    pub fn token(&self, index: usize) -> Option<&Token> {
        self.tokens.get(index)?.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::MAX_BODY;
    use crate::key::Collection;

    const THINGS: Collection = Collection::new("things");

    fn key(id: usize) -> RecordKey {
        RecordKey::new(THINGS, id.to_string()).unwrap()
    }

    fn batch() -> Batch {
        Batch::new(Partition::new("p").unwrap(), Timestamp::EPOCH)
    }

    #[test]
    fn a_commit_names_each_record_once() {
        let mut batch = batch();
        batch.check(key(1), Expect::Any).unwrap();
        assert!(batch.delete(key(1), Expect::Any).is_err());
        assert_eq!(batch.items().len(), 1);
    }

    #[test]
    fn a_commit_is_bounded_in_items_and_bytes() {
        let mut many = batch();
        for id in 0..MAX_ITEMS {
            many.check(key(id), Expect::Any).unwrap();
        }
        assert!(many.check(key(MAX_ITEMS), Expect::Any).is_err());

        let mut large = batch();
        let body = Body::bytes(vec![0; MAX_BODY]).unwrap();
        let mut fitted = 0;
        while large.put(key(fitted), Expect::Any, body.clone()).is_ok() {
            fitted += 1;
        }
        assert_eq!(fitted, (MAX_BATCH - 13) / MAX_BODY);
        assert!(large.size() <= MAX_BATCH);
    }
}
