//! What identities have in common: how a family of entities describes itself,
//! and the five operations that every family has.
//!
//! [`Entity`] is a stored thing with a key. [`EntityStore`] keeps one family of
//! them; it is what you implement to serve, say, users from a table of your
//! own. [`TenantEntity`] adds what the [standard
//! implementation](crate::iam::RecordEntities) must know: in which collection
//! the family lives, which quota bounds it, whether it is a principal and what
//! depends on it. A new family is such a description and no new code.

mod arn;
mod family;
mod incarnation;
mod listing;
mod name;
mod store;

pub use arn::{Provider, policy_name_of, resource_name};
pub use family::{Common, Dependant, Family, TenantEntity};
pub use incarnation::Incarnation;
pub use listing::Listing;
pub use name::{Key, MAX_ENTITY_NAME, MAX_PATH};
pub use store::{Edit, Entity, EntityStore, EntityStoreExt, MAX_TAGS, Tagged, Tags};

pub(crate) use arn::derive_arns;
pub(crate) use name::{check_name, check_path};
pub(crate) use store::check_tags;
