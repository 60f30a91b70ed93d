//! Queries for the entities of a family.

use crate::entity::{Entity, WithPath};
use crate::page::{PageRequest, paged};

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
    page: PageRequest,
    filter: E::Filter,
}

impl<E: Entity> Default for Listing<E> {
    fn default() -> Self {
        Self {
            path_prefix: String::new(),
            page: PageRequest::new(),
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

    paged!();

    /// The prefix that paths must start with.
    pub fn prefix(&self) -> &str {
        &self.path_prefix
    }

    /// The family's own filter.
    pub fn family_filter(&self) -> &E::Filter {
        &self.filter
    }
}
