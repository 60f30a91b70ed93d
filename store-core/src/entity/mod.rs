//! The common ground of everything that belongs to a tenant: names, paths,
//! ARNs, and the five operations that every family of entities has.
//!
//! [`Entity`] is a stored thing with a key. [`EntityStore`] stores one family of
//! them; implement it to serve, for example, users from a table of your own.
//! [`Meta`] holds the fields that all entities of a tenant share. How the
//! standard implementation stores a family is described in
//! [`iam`](crate::iam).

mod arn;
mod incarnation;
mod layer;
mod listing;
mod meta;
mod name;
mod path;
mod store;

pub use arn::{Arn, Cloud, Provider, resource_name};
pub use incarnation::Incarnation;
pub use layer::EntityLayer;
pub use listing::Listing;
pub use meta::{DEFAULT_INSTANCE, Meta};
pub use name::{Key, MAX_ENTITY_NAME, MAX_PATH};
pub use path::{MAX_DEPTH, TenantPath};
pub use store::{Edit, Entity, EntityStore, EntityStoreExt, MAX_TAGS, Tagged, Tags, WithPath};

pub(crate) use arn::name_in_cloud_arn;
pub(crate) use name::{check_name, check_path};
pub(crate) use path::partition;
pub(crate) use store::check_tags;
