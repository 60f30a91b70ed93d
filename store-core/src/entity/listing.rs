//! What to list, and from where on.

use crate::entity::Entity;
use crate::error::{Error, Result};
use crate::scan::{Cursor, MAX_PAGE};

/// A question for one page of a family.
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

    /// Only entities whose path starts with this text, taken literally.
    pub fn path_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.path_prefix = prefix.into();
        self
    }

    /// Only entities that the family's own filter lets through.
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

    /// Goes on where the page that gave `cursor` ended. It must come from the
    /// same question; the list refuses another.
    pub fn after(mut self, cursor: Cursor) -> Self {
        self.after = Some(cursor);
        self
    }

    /// What paths must start with.
    pub fn prefix(&self) -> &str {
        &self.path_prefix
    }

    /// The most entities on the page, from 1 to [`MAX_PAGE`].
    pub fn page_size(&self) -> usize {
        self.limit
    }

    /// Where to go on.
    pub fn cursor(&self) -> Option<&Cursor> {
        self.after.as_ref()
    }

    /// The family's own filter.
    pub fn family_filter(&self) -> &E::Filter {
        &self.filter
    }
}
