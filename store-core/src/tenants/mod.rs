//! Tenants: trees of companies, departments and teams that own identities.
//!
//! # Use
//!
//! ```
//! use store_core::iam::{Identity, User};
//! use store_core::tenants::{Quotas, Tenant, TenantPath};
//! use store_core::{ErrorKind, entity::Listing};
//! # #[tokio::main] async fn main() -> store_core::Result<()> {
//! # let ring = store_core::secret::KeyRing::random();
//! let identity = Identity::new(store_memory::MemoryStore::new(), &ring);
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
//! users.create(User::new("ada")).await?;
//! let error = users.create(User::new("bob")).await.unwrap_err();
//! assert_eq!(error.kind(), ErrorKind::LimitExceeded);
//!
//! // A tenant that others depend on is not deleted.
//! let error = identity.tenants.delete(&company).await.unwrap_err();
//! assert_eq!(error.kind(), ErrorKind::InUse);
//! # Ok(()) }
//! ```
//!
//! # What is promised
//!
//! - Ancestry is decided by whole numbers; equal leaves of different trees have
//!   nothing in common.
//! - `max_sub_tenants`, `max_child_depth` and `can_create_sub_tenants` hold
//!   under any race, and so do the quotas of the identities in a tenant.
//! - A tenant is deleted only if there are no tenants below it and no identities
//!   in it; a tenant that is created at its path later inherits nothing.
//! - New quotas of a tenant bind it when the update returns. Those of an
//!   ancestor bind a descendant that inherits them after
//!   [`Tenants::bind_quotas`] on the descendant, or when its own quotas change.
//! - A deletion takes three commits. If it is interrupted, the tenant remains
//!   with `deleting` set; deleting it again completes the work.
//!
//! # Bring your own
//!
//! Implement [`EntityStore<Tenant>`](crate::entity::EntityStore) and
//! [`TenantStore`], whose methods have defaults that use the former, and pass it
//! to [`Tenants::over`]; give the same store to the identities with
//! [`Identity::with_tenants`](crate::iam::Identity::with_tenants). Call
//! [`TenantGates`] as its documentation says, so that a deleted tenant accepts
//! no identities. `store-conformance` runs the same cases against it.
//!
//! Tenants and identities may live in two stores: see
//! [`Identity::with_tenants_in`](crate::iam::Identity::with_tenants_in).
//!
//! # Leaving memory for a server
//!
//! Change the constructor of the store. A tree of tenants is one partition, and
//! the identities of each tenant are another, so that work in one tenant never
//! waits for another. All trees together can be listed ([`Tenants::list`]), which
//! on most servers is a scan of the whole collection.
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
mod layer;
mod records;
mod store;
mod tenant;
mod view;

pub use crate::entity::{MAX_DEPTH, TenantPath};
pub use gate::TenantGates;
pub use handle::Tenants;
pub use layer::TenantLayer;
pub use records::RecordTenants;
pub use store::TenantStore;
pub use tenant::{Among, QuotaMode, Quotas, Tenant, TenantStatus, Usage};

pub(crate) use view::VIEW;

/// All collections of the contract.
pub(crate) const COLLECTIONS: &[crate::key::Collection] =
    &[records::NODES, records::ROSTERS, gate::STATE];

pub(crate) use gate::{Counters, Gate, gate_key, no_tenant, usage_key};
