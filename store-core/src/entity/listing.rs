//! Requests for one page of a list.

use crate::entity::{Entity, WithPath};
use crate::error::{Error, Result};
use crate::scan::{Cursor, MAX_PAGE};

/// A request for one page of a family.
///
/// ```
/// use store_core::entity::Listing;
/// use store_core::iam::User;
///
/// # fn main() -> store_core::Result<()> {
/// let engineers = Listing::<User>::new().path_prefix("/eng/").limit(20)?;
/// assert!(Listing::<User>::new().limit(0).is_err());
/// # let _ = engineers; Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Listing<E: Entity> {
    path_prefix: String,
    limit: usize,
    after: Option<Cursor>,
    filter: E::Filter,
}

impl<E: Entity> Default for Listing<E> {
    fn default() -> Self {
        Self {
            path_prefix: String::new(),
            limit: 100,
            after: None,
            filter: E::Filter::default(),
        }
    }
}

impl<E: Entity> Listing<E> {
    /// The first page of everything, of up to 100 entities.
    pub fn new() -> Self {
        Self::default()
    }

    /// Only entities whose path starts with this text, taken literally. Entities
    /// sort by name, so such a list reads every entity of the tenant.
    pub fn path_prefix(mut self, prefix: impl Into<String>) -> Self
    where
        E: WithPath,
    {
        self.path_prefix = prefix.into();
        self
    }

    /// Only entities that match the family's own filter.
    pub fn filter(mut self, filter: E::Filter) -> Self {
        self.filter = filter;
        self
    }

    /// At most this many on a page; more than [`MAX_PAGE`] means [`MAX_PAGE`].
    ///
    /// # Errors
    /// `InvalidInput` for zero.
    pub fn limit(mut self, limit: usize) -> Result<Self> {
        if limit == 0 {
            return Err(Error::invalid(
                "a page of zero entities was asked for; ask for at least one",
            ));
        }
        self.limit = limit.min(MAX_PAGE);
        Ok(self)
    }

    /// Continues after the page that returned `cursor`. The cursor must come
    /// from the same query; a list refuses any other.
    pub fn after(mut self, cursor: Cursor) -> Self {
        self.after = Some(cursor);
        self
    }

    /// The prefix that paths must start with.
    pub fn prefix(&self) -> &str {
        &self.path_prefix
    }

    /// The most entities on the page, from 1 to [`MAX_PAGE`].
    pub fn page_size(&self) -> usize {
        self.limit
    }

    /// The cursor to continue after.
    pub fn cursor(&self) -> Option<&Cursor> {
        self.after.as_ref()
    }

    /// The family's own filter.
    pub fn family_filter(&self) -> &E::Filter {
        &self.filter
    }
}

/// A request for one page of a list without filters.
#[derive(Clone, Debug)]
pub struct Paging {
    limit: usize,
    after: Option<Cursor>,
}

impl Default for Paging {
    fn default() -> Self {
        Self {
            limit: 100,
            after: None,
        }
    }
}

impl Paging {
    /// The first page, of up to 100.
    pub fn new() -> Self {
        Self::default()
    }

    /// At most this many; more than [`MAX_PAGE`] means [`MAX_PAGE`].
    ///
    /// # Errors
    /// `InvalidInput` for zero.
    pub fn limit(mut self, limit: usize) -> Result<Self> {
        if limit == 0 {
            return Err(Error::invalid(
                "a page of zero was asked for; ask for at least one",
            ));
        }
        self.limit = limit.min(MAX_PAGE);
        Ok(self)
    }

    /// Continues after the page that returned `cursor`.
    pub fn after(mut self, cursor: Cursor) -> Self {
        self.after = Some(cursor);
        self
    }

    /// The most on the page, from 1 to [`MAX_PAGE`].
    pub fn page_size(&self) -> usize {
        self.limit
    }

    /// The cursor to continue after.
    pub fn cursor(&self) -> Option<&Cursor> {
        self.after.as_ref()
    }
}
