//! Users, groups, roles, policies and access keys of tenants.
//!
//! # Use
//!
//! An [`Iam`] handle works over any store. Identities belong to a tenant, which
//! must exist; [`Identity`] is both handles together. Secrets are sealed with a
//! key ring, which comes from the environment or a file in a real service.
//!
//! ```
//! use store_core::PageRequest;
//! use store_core::iam::{Group, Identity, Policy, User};
//! use store_core::secret::KeyRing;
//! use store_core::tenants::{Tenant, TenantPath};
//! # #[tokio::main] async fn main() -> store_core::Result<()> {
//! let identity = Identity::new(store_memory::MemoryStore::new(), &KeyRing::random());
//! let path = TenantPath::root(1);
//! identity.tenants.create(Tenant::new(&path, "Acme")).await?;
//! let acme = identity.iam.tenant(&path);
//!
//! acme.users().create(User::new("ada").with_path("/eng/")).await?;
//! acme.user("ada").tag([("team", "compilers")]).await?;
//! acme.groups().create(Group::new("engineers")).await?;
//! acme.group("engineers").add_member("ada").await?;
//!
//! let read = acme.policies().create(Policy::new("read", "{}")).await?;
//! acme.group("engineers").attach_policy(read.arn()).await?;
//! let read = acme.policies().by_arn(read.arn()).await?.expect("just created");
//! assert_eq!(read.attachment_count, 1);
//!
//! // A program authenticates with an access key.
//! let (key, secret) = acme.access_keys_of("ada")?.create().await?;
//! let found = identity.iam.authenticate(key.access_key_id(), &secret).await?;
//! assert_eq!(found.user.name, "ada");
//!
//! // A rename loses nothing; a deletion leaves nothing behind.
//! acme.user("ada").rename("lovelace").await?;
//! assert_eq!(acme.user("lovelace").groups(&PageRequest::new()).await?.items.len(), 1);
//! acme.user("lovelace").delete().await?;
//! assert!(acme.group("engineers").members(&PageRequest::new()).await?.items.is_empty());
//! assert!(identity.iam.authenticate(key.access_key_id(), &secret).await.is_err());
//! # Ok(()) }
//! ```
//!
//! Several operations become one commit with [`TenantIam::transaction`]. The
//! closure is plain code. What it reads is what its writes depend on, so
//! concurrent transactions have the effect of one after the other:
//!
//! ```
//! # use store_core::PageRequest;
//! use store_core::iam::{Group, Identity, Policy, User};
//! # use store_core::tenants::{Tenant, TenantPath};
//! # #[tokio::main] async fn main() -> store_core::Result<()> {
//! # let ring = store_core::secret::KeyRing::random();
//! # let identity = Identity::new(store_memory::MemoryStore::new(), &ring);
//! # let path = TenantPath::root(1);
//! # identity.tenants.create(Tenant::new(&path, "Acme")).await?;
//! # let acme = identity.iam.tenant(&path);
//! let id = acme
//!     .transaction(|tx| {
//!         let policy = tx.create(Policy::new("deploy", "{}"))?;
//!         let robot = tx.create(User::new("robot"))?;
//!         tx.attach_policy::<User>("robot", policy.arn())?;
//!         Ok(robot.id.clone())
//!     })
//!     .await?;
//! assert_eq!(acme.users().get_by_id(&id).await?.expect("created").name, "robot");
//! # Ok(()) }
//! ```
//!
//! # What is promised
//!
//! In addition to what [`EntityStore`](crate::entity::EntityStore),
//! [`PrincipalStore`], [`MembershipStore`] and [`CredentialStore`] say, over any
//! store of records:
//!
//! - Quotas hold under any race: a creation and the counter that bounds it are
//!   one commit.
//! - A deleted name is deleted when the call returns, and no later entity of the
//!   name inherits anything. The commit removes the credentials; what depended
//!   on it (attachments, memberships …) is removed in the same commit or right
//!   after it, in commits that leave every count exact. If a crash interrupts
//!   that, the next deletion of a policy that it blocks continues it, and so
//!   does [`TenantIam::sweep`].
//! - Lists are in bytewise order of name. Names over 255 bytes, and those that
//!   begin with `#`, sort as the digest under which they are stored. A list that
//!   is filtered reads past what does not match.
//! - Names and ids are unique within a family and a tenant. A generated id
//!   contains the incarnation of its entity, so it is unique everywhere.
//!
//! Limits for one principal: 20 attached policies, 50 inline policies, 100
//! groups, 2 access keys. For one entity: 50 tags. A group has any number of
//! members.
//!
//! # Bring your own
//!
//! To serve users from a table or a directory that you have, implement
//! [`EntityStore<User>`](crate::entity::EntityStore): five methods. For all of
//! IAM implement the traits that [`IamStore`] sums up and pass it to
//! [`Iam::over`]. `store-conformance` runs the same cases against either.
//!
//! A family of your own is a description, [`TenantEntity`]. The standard
//! implementation, [`RecordEntities`], then stores it as it stores users:
//!
//! ```
//! use serde::{Deserialize, Serialize};
//! use store_core::Collection;
//! use store_core::entity::Meta;
//! use store_core::iam::{Family, Identity, TenantEntity, tenant_entity};
//! use store_core::tenants::{Tenant, TenantPath};
//!
//! #[derive(Clone, Debug, Serialize, Deserialize)]
//! struct Badge {
//!     #[serde(flatten)]
//!     meta: Meta,
//!     color: String,
//! }
//!
//! tenant_entity!(Badge);
//!
//! impl TenantEntity for Badge {
//!     const FAMILY: Family = Family::new("badge", Collection::new("badges"), "BADG");
//! }
//! # #[tokio::main] async fn main() -> store_core::Result<()> {
//! # let ring = store_core::secret::KeyRing::random();
//! # let identity = Identity::new(store_memory::MemoryStore::new(), &ring);
//! # let path = TenantPath::root(1);
//! # identity.tenants.create(Tenant::new(&path, "Acme")).await?;
//! let badges = identity.iam.tenant(&path).family::<Badge>()?;
//! badges.create(Badge { meta: Meta::new("front door"), color: "red".into() }).await?;
//! assert_eq!(badges.get("front door").await?.expect("created").color, "red");
//! # Ok(()) }
//! ```
//!
//! # Leaving memory for a server
//!
//! Change the constructor of the store; nothing else changes. The identities of
//! each tenant are one partition, so creations and deletions within one tenant
//! follow one another, while tenants do not wait for each other. Creating a user
//! is one read and one commit; attaching is two reads and one commit. To move
//! data, list each family and create it again (ids and dates of creation are
//! preserved), then attach and join.
//!
//! # Troubleshooting
//!
//! - `NotFound` on a create: the tenant does not exist, or is being deleted.
//! - `LimitExceeded` after an ancestor's quota was raised: a changed ancestor
//!   binds a descendant after [`Tenants::bind_quotas`] on it.
//! - `InUse` on a policy: it is attached, or it bounds a principal.
//! - `Contended`: very many processes write in one tenant. Nothing was written;
//!   try again, or create several in one [`TenantIam::transaction`].
//! - `Corrupt` that speaks of a newer format: another program of yours is newer;
//!   update this one.
//!
//! [`Tenants::bind_quotas`]: crate::tenants::Tenants::bind_quotas

mod access_key;
mod checks;
mod credentials;
mod declare;
mod family;
mod group;
mod handle;
mod hints;
mod identity;
mod inline;
mod layer;
mod layout;
mod list;
mod one;
mod policy;
mod policy_filter;
mod principals;
mod records;
mod role;
mod store;
mod sweep;
mod transaction;
mod user;
mod views;

pub use access_key::{AccessKey, MAX_ACCESS_KEYS};
pub use credentials::{Authenticated, CredentialStatus, CredentialStore};
pub use declare::tenant_entity;
pub use family::{Family, Owned, Sealer, TenantEntity};
pub use group::Group;
pub use handle::{
    Entities, Groups, Iam, OneGroup, OnePolicy, OneRole, OneUser, Policies, Roles, TenantIam, Users,
};
pub use identity::Identity;
pub use inline::{AttachedPolicy, InlinePolicy};
pub use layer::{CredentialLayer, IamLayer, MembershipLayer, PrincipalLayer};
pub use layout::{MAX_ATTACHED_POLICIES, MAX_GROUPS, MAX_INLINE_POLICIES};
pub use one::{AccessKeys, One};
pub use policy::Policy;
pub use policy_filter::{PolicyFilter, PolicyScope};
pub use records::RecordEntities;
pub use role::Role;
pub use store::{IamStore, MembershipStore, Principal, PrincipalStore, Work};
pub use transaction::TenantTransaction;
pub use user::User;

pub(crate) use layout::COLLECTIONS;
pub(crate) use views::VIEWS;
