//! Tenants: trees of companies, departments and teams that own identities.
//!
//! # Use
//!
//! ```
//! use store_core::iam::{Identity, User};
//! use store_core::tenants::{Quotas, Tenant, TenantPath};
//! use store_core::{ErrorKind, entity::Listing};
//! # #[tokio::main] async fn main() -> store_core::Result<()> {
//! let identity = Identity::new(store_memory::MemoryStore::new());
//! let company: TenantPath = "1".parse()?;
//! let team: TenantPath = "1/2".parse()?;
//!
//! let mut quotas = Quotas::default();
//! quotas.max_users = Some(1);
//! identity.tenants.create(Tenant::new(&company, "Acme").with_quotas(quotas)).await?;
//! identity.tenants.create(Tenant::new(&team, "Compilers")).await?;
//! let below = identity.tenants.children(&company, &Listing::new()).await?;
//! assert_eq!(below.items.len(), 1);
//!
//! // The team inherits the company's quota, and it holds.
//! let users = identity.iam.tenant(&team).users();
//! users.create(User::new(&team, "ada")).await?;
//! let error = users.create(User::new(&team, "bob")).await.unwrap_err();
//! assert_eq!(error.kind(), ErrorKind::LimitExceeded);
//!
//! // Nothing is deleted that others stand on.
//! let error = identity.tenants.delete(&company).await.unwrap_err();
//! assert_eq!(error.kind(), ErrorKind::InUse);
//! # Ok(()) }
//! ```
//!
//! # What is promised
//!
//! - Ancestry goes by whole numbers; equal leaves of different trees share
//!   nothing.
//! - `max_sub_tenants`, `max_child_depth` and `can_create_sub_tenants` hold
//!   under any race, as do the quotas of the identities in a tenant.
//! - A tenant is deleted only without tenants below it and without identities;
//!   one that takes its path later inherits nothing.
//! - A tenant's own new quotas bind it as soon as the update returns. An
//!   ancestor's bind a descendant that inherits them after
//!   [`Tenants::bind_quotas`] on the descendant, or its next own update.
//! - Deleting takes three commits. If a crash comes between, the tenant stands
//!   with its `deleting` set; deleting it again finishes the work.
//!
//! # Bring your own
//!
//! Implement [`EntityStore<Tenant>`](crate::entity::EntityStore) and
//! [`TenantStore`], whose methods have defaults made of the former's, and hand
//! it to [`Tenants::over`]. `store-conformance` runs the same cases against it.
//!
//! # Leaving memory for a server
//!
//! Change the constructor of the store. A tree of tenants is one partition, and
//! each tenant's identities are another, so that work in one tenant never waits
//! for another. All trees together can be listed ([`Tenants::list`]), which on
//! most servers walks over every partition.
//!
//! # Troubleshooting
//!
//! - `NotFound` on a create: a tenant above is missing, or is being deleted.
//! - `PermissionDenied` on a create: the parent's `can_create_sub_tenants`.
//! - `LimitExceeded` on a create: a tenant above has a `max_child_depth` or a
//!   quota `max_sub_tenants` that is reached.
//! - `InUse` on a delete: the message says what is still there.

mod gate;
mod handle;
mod path;
mod records;
mod store;
mod tenant;

pub use handle::Tenants;
pub use path::{MAX_DEPTH, TenantPath};
pub use records::RecordTenants;
pub use store::TenantStore;
pub use tenant::{Among, QuotaMode, Quotas, Tenant, TenantStatus, Usage};

/// All of the contract's collections.
pub(crate) const COLLECTIONS: &[crate::key::Collection] =
    &[records::NODES, records::ROSTERS, gate::STATE];

pub(crate) use gate::{Counters, Gate, gate_key, no_tenant, open, usage_key};
