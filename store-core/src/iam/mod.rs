//! Users, groups and policies of tenants.
//!
//! # Use
//!
//! An [`Iam`] handle works over any store. Identities belong to a tenant, which
//! must exist; [`Identity`] is both handles together.
//!
//! ```
//! use store_core::iam::{Group, Identity, Paging, Policy, User};
//! use store_core::tenants::{Tenant, TenantPath};
//! # #[tokio::main] async fn main() -> store_core::Result<()> {
//! let identity = Identity::new(store_memory::MemoryStore::new());
//! let path = TenantPath::root(1);
//! identity.tenants.create(Tenant::new(&path, "Acme")).await?;
//! let acme = identity.iam.tenant(&path);
//!
//! acme.users().create(User::new(&path, "ada").with_path("/eng/")).await?;
//! acme.users().tag("ada", [("team", "compilers")]).await?;
//! acme.groups().create(Group::new(&path, "engineers")).await?;
//! acme.groups().add_member("engineers", "ada").await?;
//!
//! let read = acme.policies().create(Policy::new(&path, "read", "{}")).await?;
//! acme.groups().attach("engineers", &read.arn).await?;
//! let read = acme.policies().by_arn(&read.arn).await?.expect("just made");
//! assert_eq!(read.attachment_count, 1);
//!
//! // A new name carries everything along; a deletion leaves nothing behind.
//! acme.users().rename("ada", "lovelace").await?;
//! assert_eq!(acme.users().groups("lovelace", &Paging::new()).await?.items.len(), 1);
//! acme.users().delete("lovelace").await?;
//! assert!(acme.groups().members("engineers", &Paging::new()).await?.items.is_empty());
//! # Ok(()) }
//! ```
//!
//! Several operations become one commit with [`TenantIam::transaction`]. The
//! closure is plain code; what it reads is what its writes depend on, so two
//! such transactions never mix:
//!
//! ```
//! # use store_core::iam::{Group, Identity, Paging, Policy, User};
//! # use store_core::tenants::{Tenant, TenantPath};
//! # #[tokio::main] async fn main() -> store_core::Result<()> {
//! # let identity = Identity::new(store_memory::MemoryStore::new());
//! # let path = TenantPath::root(1);
//! # identity.tenants.create(Tenant::new(&path, "Acme")).await?;
//! # let acme = identity.iam.tenant(&path);
//! let id = acme
//!     .transaction(|tx| {
//!         let policy = tx.create(Policy::new(&path, "deploy", "{}"))?;
//!         let robot = tx.create(User::new(&path, "robot"))?;
//!         tx.attach::<User>("robot", &policy.arn)?;
//!         Ok(robot.user_id.clone())
//!     })
//!     .await?;
//! assert_eq!(acme.users().get("robot").await?.expect("created").user_id, id);
//! # Ok(()) }
//! ```
//!
//! # What is promised
//!
//! Beside what [`EntityStore`](crate::entity::EntityStore), [`PrincipalStore`]
//! and [`MembershipStore`] say, over any store that keeps records:
//!
//! - Quotas hold under any race: a create and the counter that bounds it are
//!   one commit.
//! - A deleted name is gone at once, and nobody who takes it later inherits
//!   anything. What depended on it (attachments, memberships …) is removed
//!   right after, in commits that keep every count true. If a crash interrupts
//!   that, the next deletion of a policy or of the tenant that it stands in the
//!   way of goes on with it, and so does [`TenantIam::sweep`].
//! - Lists are in bytewise order of name. Names over 255 bytes, and those that
//!   begin with `#`, sort as the digest under which they are kept. A list that
//!   is narrowed by path or filter reads past what does not match.
//!
//! Limits for one principal: 20 attached policies, 50 of its own, 100 groups.
//! For one entity: 50 tags. A group has any number of members.
//!
//! # Bring your own
//!
//! To serve users from a table or a directory that you have, implement
//! [`EntityStore<User>`](crate::entity::EntityStore): five methods. For all of
//! IAM implement the traits that [`IamStore`] sums up and hand it to
//! [`Iam::over`]. `store-conformance` runs the same cases against either.
//!
//! A family of your own is a description, [`TenantEntity`]; the standard
//! implementation, [`RecordEntities`], then keeps it as it keeps users.
//!
//! [`TenantEntity`]: crate::entity::TenantEntity
//!
//! # Leaving memory for a server
//!
//! Change the constructor of the store; nothing else changes. Each tenant's
//! identities are one partition, so creates and deletes within one tenant
//! follow one another, while tenants do not wait for each other. Creating a
//! user is one read and one commit; attaching is two reads and one commit. To
//! move data, list each family and create it anew, then attach and join.
//!
//! # Troubleshooting
//!
//! - `NotFound` on a create: the tenant does not exist, or is being deleted.
//! - `LimitExceeded` after an ancestor's quota was raised: a changed ancestor
//!   binds a descendant after [`Tenants::bind_quotas`] on it.
//! - `InUse` on a policy: it is attached, or it bounds a principal.
//! - `Contended`: very many writers in one tenant. Nothing was written; try
//!   again, or create several in one [`TenantIam::transaction`].
//! - `Corrupt` that speaks of a newer format: another program of yours is newer;
//!   update this one.
//!
//! [`Tenants::bind_quotas`]: crate::tenants::Tenants::bind_quotas

mod dependants;
mod group;
mod handle;
mod layout;
mod list;
mod policy;
mod principals;
mod records;
mod store;
mod sweep;
mod transaction;
mod user;

pub use dependants::{ATTACHED, AttachedPolicy, INLINE, InlinePolicy, JOINED, MEMBERS};
pub use group::Group;
pub use handle::{Entities, Iam, Identity, TenantIam};
pub(crate) use layout::COLLECTIONS;
pub use policy::{Policy, PolicyFilter, PolicyScope};
pub use records::RecordEntities;
pub use store::{IamStore, MembershipStore, Paging, Principal, PrincipalStore, Work};
pub use transaction::TenantTransaction;
pub use user::User;

pub(crate) use layout::partition;
