//! Scans: queries for the records of a collection, page by page.

use std::fmt;

use crate::error::Result;
use crate::key::{Collection, MAX_NAME, Partition, RecordRef};
use crate::page::{Cursor, Page, PageRequest, foreign_cursor};
use crate::record::Record;

/// The partitions that a scan covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// One partition: in bytewise order of id, neither skipping nor repeating a
    /// record that exists throughout.
    Partition(Partition),
    /// Every partition whose name starts with this text (all, if it is empty).
    /// In no order; a record that exists throughout is delivered at least once.
    Partitions(String),
}

/// A query for one page of records of one collection.
///
/// ```
/// use store_core::{Collection, Partition, Scan};
/// # fn main() -> store_core::Result<()> {
/// const USERS: Collection = Collection::new("users");
/// let scan = Scan::partition(USERS, Partition::new("acme")?)
///     .id_prefix("eng/")
///     .limit(50)?;
/// # let _ = scan; Ok(())
/// # }
/// ```
#[derive(Clone)]
#[doc(alias("query", "list", "prefix"))]
pub struct Scan {
    collection: Collection,
    scope: Scope,
    id_prefix: String,
    limit: usize,
    position: Option<Vec<u8>>,
}

impl Scan {
    /// All of a partition's records in `collection`.
    pub fn partition(collection: Collection, partition: Partition) -> Self {
        Self::new(collection, Scope::Partition(partition))
    }

    /// All of a collection's records in partitions whose name starts with
    /// `partition_prefix`.
    pub fn collection(collection: Collection, partition_prefix: impl Into<String>) -> Self {
        Self::new(collection, Scope::Partitions(partition_prefix.into()))
    }

    fn new(collection: Collection, scope: Scope) -> Self {
        Self {
            collection: collection.as_first_declared(),
            scope,
            id_prefix: String::new(),
            limit: PageRequest::DEFAULT_LIMIT,
            position: None,
        }
    }

    /// Only ids that start with this text, taken literally.
    pub fn id_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.id_prefix = prefix.into();
        self
    }

    /// At most this many records on the page. See [`PageRequest::limit`].
    ///
    /// # Errors
    /// `InvalidInput` for zero.
    pub fn limit(mut self, limit: usize) -> Result<Self> {
        self.limit = PageRequest::new().limit(limit)?.size();
        Ok(self)
    }

    /// This query for the page that `page` requests.
    ///
    /// # Errors
    /// `InvalidInput` if its cursor came from another query.
    pub fn page(mut self, page: &PageRequest) -> Result<Self> {
        self.limit = page.size();
        match page.cursor() {
            Some(cursor) => self.after(cursor),
            None => Ok(self),
        }
    }

    /// Continues after the page that returned `cursor`.
    ///
    /// # Errors
    /// `InvalidInput` if the cursor came from another query.
    pub fn after(mut self, cursor: &Cursor) -> Result<Self> {
        let Some((bound, position)) = cursor.0.split_at_checked(FINGERPRINT) else {
            return Err(foreign_cursor());
        };
        if bound != self.fingerprint() {
            return Err(foreign_cursor());
        }
        self.position = Some(position.to_vec());
        Ok(self)
    }

    /// Which collection.
    pub fn in_collection(&self) -> Collection {
        self.collection
    }

    /// Which partitions.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// What ids must start with.
    pub fn prefix(&self) -> &str {
        &self.id_prefix
    }

    /// The most records to return, from 1 to [`MAX_PAGE`](crate::page::MAX_PAGE).
    pub fn page_size(&self) -> usize {
        self.limit
    }

    /// For a backend: the position that it gave to [`Scan::cursor`].
    pub fn position(&self) -> Option<&[u8]> {
        self.position.as_deref()
    }

    /// For a backend: the position as text.
    ///
    /// # Errors
    /// `InvalidInput` if it is none, so that a forged cursor is refused.
    pub fn position_text(&self) -> Result<Option<&str>> {
        self.position()
            .map(|bytes| std::str::from_utf8(bytes).map_err(|_| foreign_cursor()))
            .transpose()
    }

    /// For a backend whose position in a partition is the last id: that id. A
    /// client may put any position into its cursor, so it is checked to be one
    /// that this query can have come to.
    ///
    /// # Errors
    /// `InvalidInput` if it is no id that this query selects.
    pub fn position_id(&self) -> Result<Option<&str>> {
        let id = self.position_text()?;
        match id.is_none_or(|id| self.selects_id(id)) {
            true => Ok(id),
            false => Err(foreign_cursor()),
        }
    }

    /// For a backend whose position in a collection is the last record: the
    /// partition and id that [`Scan::record_position`] encoded, checked as
    /// [`Scan::position_id`] does.
    ///
    /// # Errors
    /// `InvalidInput` if it names no record that this query selects.
    pub fn position_record<'b>(&self, position: &'b [u8]) -> Result<(&'b str, &'b str)> {
        let parse = || {
            let (&length, rest) = position.split_first()?;
            let (partition, id) = rest.split_at_checked(usize::from(length))?;
            let text = std::str::from_utf8;
            Some((text(partition).ok()?, text(id).ok()?))
        };
        parse()
            .filter(|(partition, id)| self.selects(partition, id))
            .ok_or_else(foreign_cursor)
    }

    /// For a backend: a position in a collection, as [`Scan::position_record`]
    /// reads it.
    pub fn record_position(at: RecordRef<'_>) -> Vec<u8> {
        let partition = at.partition().as_bytes();
        // A name is at most 255 bytes.
        let mut position = vec![partition.len() as u8];
        position.extend_from_slice(partition);
        position.extend_from_slice(at.id().as_bytes());
        position
    }

    /// For a backend: whether this query selects a record of this name, as far as
    /// its collection is not concerned.
    pub fn selects(&self, partition: &str, id: &str) -> bool {
        let here = match &self.scope {
            Scope::Partition(of) => of.as_str() == partition,
            Scope::Partitions(prefix) => is_name(partition) && partition.starts_with(prefix),
        };
        here && self.selects_id(id)
    }

    fn selects_id(&self, id: &str) -> bool {
        is_name(id) && id.starts_with(&self.id_prefix)
    }

    /// For a backend: a cursor that continues after `position` and is valid for this
    /// query only.
    pub fn cursor(&self, position: impl AsRef<[u8]>) -> Cursor {
        let mut bytes = self.fingerprint().to_vec();
        bytes.extend_from_slice(position.as_ref());
        Cursor(bytes)
    }

    fn fingerprint(&self) -> [u8; FINGERPRINT] {
        let (tag, scope) = match &self.scope {
            Scope::Partition(partition) => ("one", partition.as_str()),
            Scope::Partitions(prefix) => ("all", prefix.as_str()),
        };
        // FNV-1a: it distinguishes queries and guards no secret.
        let mut hash = 0xcbf2_9ce4_8422_2325u64;
        for part in [self.collection.name(), tag, scope, &self.id_prefix] {
            let length = (part.len() as u64).to_be_bytes();
            for byte in length.iter().chain(part.as_bytes()) {
                hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
            }
        }
        hash.to_be_bytes()
    }
}

const FINGERPRINT: usize = 8;

/// Whether a record or a partition can have this name.
fn is_name(text: &str) -> bool {
    text.len() <= MAX_NAME && !text.contains('\0')
}

impl fmt::Debug for Scan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scan")
            .field("collection", &self.collection)
            .field("limit", &self.limit)
            .field("resumed", &self.position.is_some())
            .finish_non_exhaustive()
    }
}

/// A page of records.
pub type Records = Page<Record>;

#[cfg(test)]
mod tests {
    use super::*;

    const THINGS: Collection = Collection::new("things");

    fn scan(partition: &str) -> Scan {
        Scan::partition(THINGS, Partition::new(partition).unwrap())
    }

    #[test]
    fn a_cursor_is_valid_only_for_its_query() {
        let cursor = scan("p").cursor("alice");
        let back: Cursor = cursor.to_string().parse().unwrap();
        assert_eq!(back, cursor);
        let resumed = scan("p").limit(3).unwrap().after(&back).unwrap();
        assert_eq!(resumed.position(), Some(&b"alice"[..]));
        for other in [
            scan("q"),
            scan("p").id_prefix("a"),
            Scan::collection(THINGS, "p"),
            Scan::partition(Collection::new("other"), Partition::new("p").unwrap()),
        ] {
            assert!(other.after(&cursor).is_err());
        }
        assert!(scan("p").after(&Cursor(vec![1, 2])).is_err());
        assert!("not a cursor!".parse::<Cursor>().is_err());
    }
}
