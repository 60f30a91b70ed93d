//! API keys: issued, checked, changed, listed, rotated.
//!
//! [`ApiKeys`] is the handle. It stores keys through an [`ApiKeyStore`]: the
//! standard one, [`RecordApiKeys`], over any backend of this workspace, or one of
//! your own over a table or a service that you have.
//!
//! - A look-up has four answers, [`Lookup`]: active, disabled, expired, unknown.
//!   `Err` means that there is no answer; an outage is never "unknown".
//! - Secrets are never stored: a record is named by a keyed digest.
//! - Every change is a compare-and-swap: concurrent partial updates lose nothing,
//!   and a change never brings a deleted key back.
//! - What a client presents costs nothing to refuse: a mistyped key fails its
//!   checksum before any I/O, and looking up keys that do not exist leaves nothing
//!   behind.
//!
//! # Use
//!
//! ```
//! use store_core::api_keys::{Access, ApiKeys, KeyData, KeyFormat, ListKeys, http_answer};
//! use store_core::secret::KeyRing;
//! use store_memory::MemoryStore;
//!
//! # #[tokio::main] async fn main() -> store_core::Result<()> {
//! // On a server: `KeyRing::from_env("KEY_RING")?`, the same for every process.
//! let ring = KeyRing::generate();
//! let keys = ApiKeys::new(MemoryStore::new(), &ring).with_format(KeyFormat::new("acme")?);
//!
//! // The secret is shown this once. Keep the id.
//! let data = KeyData::new()
//!     .with_tenant("initech")
//!     .with_label("nightly export")
//!     .permit("orders", ["read"])
//!     .with_extra("plan", "gold");
//! let (secret, entry) = keys.issue(data).await?;
//!
//! // In a request: the value of the `Authorization` header in, an answer out.
//! let header = format!("Bearer {}", secret.expose());
//! let access = keys.check(Some(&header), "orders", "read").await;
//! assert_eq!(http_answer(&access).status, 200);
//! let access = keys.check(Some(secret.expose()), "orders", "delete").await?;
//! assert!(matches!(access, Access::Denied(..)));
//!
//! // Later, by the secret or by the id.
//! keys.update(entry.id(), |data| data.permissions.grant("orders", "delete")).await?;
//! keys.disable(entry.id()).await?;
//! let access = keys.check(Some(secret.expose()), "orders", "read").await?;
//! assert!(matches!(access, Access::Disabled(_)));
//!
//! let page = keys.list(&ListKeys::of_tenant("initech").limit(50)?).await?;
//! assert_eq!(page.items[0].data().extra["plan"], "gold");
//! keys.delete(entry.id()).await?;
//! # Ok(()) }
//! ```
//!
//! [`http_answer`] gives 401 without a key, 400 for what cannot be one, 503 when
//! there is no answer, and 403 for everything else;
//! [`http_answer_hardened`] does not let a client tell an unknown key from a
//! disabled one. [`HttpAnswer::headers`] are the headers to send with it.
//!
//! ## Rules for a company or a role
//!
//! A rule is evaluated before a key's own permissions, and for active keys only: no
//! rule makes a disabled key work. A closure is a rule; implement [`Rules`] for one
//! that needs I/O.
//!
//! ```
//! use store_core::api_keys::{ApiKeys, KeyData, KeyEntry, Verdict};
//! # use store_core::secret::KeyRing;
//! # use store_memory::MemoryStore;
//! # #[tokio::main] async fn main() -> store_core::Result<()> {
//! # let ring = KeyRing::random();
//! let auditors_read = |key: &KeyEntry, _resource: &str, action: &str| {
//!     match key.data().extra.get("role") {
//!         Some(role) if role == "auditor" && action == "read" => Verdict::Allow,
//!         _ => Verdict::Abstain,
//!     }
//! };
//! let keys = ApiKeys::new(MemoryStore::new(), &ring).with_rules(auditors_read);
//! let (secret, _) = keys.issue(KeyData::new().with_extra("role", "auditor")).await?;
//! assert!(keys.authorize(&secret, "reports", "read").await?.is_granted());
//! assert!(!keys.authorize(&secret, "reports", "write").await?.is_granted());
//! # Ok(()) }
//! ```
//!
//! ## Another store for one call or one route
//!
//! A handle is cheap: [`ApiKeys::with_store`] makes one over another store, with
//! the same format and rules.
//!
//! ## Changing the prefix
//!
//! [`ApiKeys::with_format`] sets the format of keys that are issued from now on;
//! name the former one with [`ApiKeys::with_older_format`], so that its keys are
//! still recognised and mistyped ones still refused without a query.
//!
//! ## The ring
//!
//! Make a ring once ([`KeyRing::generate`](crate::secret::KeyRing::generate),
//! [`to_text`](crate::secret::KeyRing::to_text)), store it in a vault, and give
//! it to every process
//! ([`from_env`](crate::secret::KeyRing::from_env),
//! [`from_file`](crate::secret::KeyRing::from_file)). The store holds a
//! fingerprint of each ring key under which keys were inserted: a process with
//! another ring gets `Config` instead of finding every key unknown.
//!
//! ## Rotating the ring
//!
//! Only the client that presents a key knows its secret, so keys move to a new ring key as
//! they are used:
//!
//! 1. Add the new key to the ring of every process as an older one
//!    ([`KeyRing::with_older`](crate::secret::KeyRing::with_older)): now all can
//!    find what will be written under it.
//! 2. Make it the current one, the former current one older. New keys are digested
//!    under it. Turn on [`RecordApiKeys::redigest_on_use`], or call
//!    [`RecordApiKeys::redigest`] where you authenticate.
//! 3. Wait until [`RecordApiKeys::count_under`] says that none is left under the
//!    older key, or delete those that are: they were not used. Then remove it from the ring.
//!
//! # Bring your own
//!
//! One method is enough to authenticate and authorize; what you do not offer is
//! refused with `Unsupported`. Here the permissions come by tenant and role, from a
//! table that exists already:
//!
//! ```
//! use async_trait::async_trait;
//! use store_core::api_keys::{ApiKey, ApiKeyStore, ApiKeys, KeyData, KeyEntry, KeyId, Lookup};
//! use store_core::{Clock, ErrorKind, Result, SystemClock, Timestamp};
//! # /// Stands for a table of yours.
//! # struct Row { id: &'static str, tenant: &'static str, role: &'static str, active: Option<bool> }
//! # struct Db;
//! # impl Db {
//! #     async fn key_by_digest(&self, _: &[u8]) -> Result<Option<Row>> {
//! #         Ok(Some(Row { id: "17", tenant: "initech", role: "clerk", active: None }))
//! #     }
//! #     async fn scopes_of(&self, _: &str, _: &str) -> Result<Vec<String>> {
//! #         Ok(vec!["read".into()])
//! #     }
//! # }
//! # fn digest(key: &ApiKey) -> &[u8] { key.expose().as_bytes() }
//!
//! struct MyKeys {
//!     db: Db,
//! }
//!
//! #[async_trait]
//! impl ApiKeyStore for MyKeys {
//!     async fn get_key(&self, key: &ApiKey) -> Result<Lookup> {
//!         // An outage leaves through `?`: it is never "unknown".
//!         let Some(row) = self.db.key_by_digest(digest(key)).await? else {
//!             return Ok(Lookup::Unknown);
//!         };
//!         let scopes = self.db.scopes_of(row.tenant, row.role).await?;
//!         let mut data = KeyData::new().with_tenant(row.tenant).permit("orders", scopes);
//!         data.enabled = row.active.unwrap_or(true);
//!         let entry = KeyEntry::new(KeyId::new(row.id)?, Timestamp::EPOCH, data);
//!         Ok(Lookup::of(entry, SystemClock.now()))
//!     }
//! }
//!
//! # #[tokio::main] async fn main() -> Result<()> {
//! let keys = ApiKeys::over(std::sync::Arc::new(MyKeys { db: Db }));
//! let key = keys.parse("a-key-that-was-there-before")?;
//! assert!(keys.authorize(&key, "orders", "read").await?.is_granted());
//! let refused = keys.disable(&key).await.unwrap_err();
//! assert_eq!(refused.kind(), ErrorKind::Unsupported);
//! # Ok(()) }
//! ```
//!
//! A service over HTTP works the same way. If the function that sends is a
//! parameter, a test needs only a closure and no service:
//!
//! ```
//! use async_trait::async_trait;
//! use store_core::api_keys::{ApiKey, ApiKeyStore, ApiKeys, KeyData, KeyEntry, KeyId, Lookup};
//! use store_core::{Clock, Error, ErrorKind, Result, Retry, SystemClock, Timestamp};
//!
//! /// A status and a body; `Err` if there was no answer.
//! type Reply = Result<(u16, serde_json::Value), std::io::Error>;
//!
//! struct AuthService<F> {
//!     send: F,
//! }
//!
//! #[async_trait]
//! impl<F, Sent> ApiKeyStore for AuthService<F>
//! where
//!     F: Fn(String) -> Sent + Send + Sync,
//!     Sent: Future<Output = Reply> + Send,
//! {
//!     async fn get_key(&self, key: &ApiKey) -> Result<Lookup> {
//!         let unavailable = |what| {
//!             Error::new(ErrorKind::Unavailable, what).with_retry(Retry::Safe)
//!         };
//!         match (self.send)(format!("Bearer {}", key.expose())).await {
//!             Ok((200, body)) => {
//!                 let data: KeyData = serde_json::from_value(body["key"].clone())
//!                     .map_err(|_| Error::corrupt("the service's answer is no key"))?;
//!                 let id = KeyId::new(body["id"].as_str().unwrap_or("unnamed"))?;
//!                 let entry = KeyEntry::new(id, Timestamp::EPOCH, data);
//!                 Ok(Lookup::of(entry, SystemClock.now()))
//!             }
//!             Ok((404, _)) => Ok(Lookup::Unknown),
//!             Ok(_) => Err(unavailable("the auth service refused to answer; try again later")),
//!             Err(e) => Err(unavailable("the auth service is not reachable").with_source(e)),
//!         }
//!     }
//! }
//!
//! # #[tokio::main] async fn main() -> Result<()> {
//! let stand_in = |header: String| async move {
//!     match &*header {
//!         "Bearer known-key" => Ok((200, serde_json::json!({"id": "7", "key": {"enabled": false}}))),
//!         "Bearer unlucky-key" => Err(std::io::Error::other("connection reset")),
//!         _ => Ok((404, serde_json::Value::Null)),
//!     }
//! };
//! let keys = ApiKeys::over(std::sync::Arc::new(AuthService { send: stand_in }));
//! let ask = async |text| keys.authenticate(&ApiKey::parse(text)?).await;
//! assert!(matches!(ask("known-key").await?, Lookup::Disabled(_)));
//! assert_eq!(ask("another-key").await?, Lookup::Unknown);
//! assert_eq!(ask("unlucky-key").await.unwrap_err().kind(), ErrorKind::Unavailable);
//! # Ok(()) }
//! ```
//!
//! Run the suite over your store: `store-conformance` has the cases for any
//! [`ApiKeyStore`], whatever part of it you implement.
//!
//! A cache around a store forwards every method. It drops its entry on each change
//! that passes through it and on [`ApiKeyStore::invalidate`], serves no answer
//! longer than its documentation says, and decides with [`Lookup::of`] on every
//! hit, so that neither a disabled nor an expired key works from memory. Its size
//! is bounded, unknown keys included: clients choose what they present.
//!
//! # Leaving memory for a server
//!
//! Replace `MemoryStore::new()` by another backend's store; nothing else changes,
//! as long as the ring stays the same. Keep the ring outside the database, in a
//! vault or the environment: without it no key can be found again.
//!
//! # How keys are stored
//!
//! A look-up is one request to one partition. There are 65 536 partitions, chosen
//! by 16 bits of an unkeyed hash of the secret. Records are JSON, readable with the
//! database's own tools: `api_keys` (the data, named by the digest), `api_key_ids`
//! (leads from the id to the digest), `api_key_hints` (which keys a tenant may
//! have), `key_rings` (fingerprints of the ring's keys). An expired key answers `Expired` for 30 days
//! ([`RecordApiKeys::keep_expired`]) and is then collected.
//!
//! # Troubleshooting
//!
//! - *`Config` that speaks of the key ring.* The ring is not the one that the
//!   keys were inserted under, or its older key was removed too early. Put it
//!   back. If it is lost, [`RecordApiKeys::adopt_ring`] begins again.
//! - *`Corrupt` on a look-up.* The record was edited by hand (`enabled` is no
//!   boolean, `expires_at` no time) or written by a newer release. The error names
//!   the record, redacted. A key that cannot be decoded never works; it can be
//!   disabled and deleted, and lists report it in
//!   [`Page::unreadable`](crate::Page::unreadable). Disabling it stores a disabled
//!   key of the same id, with the former record as text in its field `unreadable`.
//! - *[`DenyReason::MalformedPermissions`].* The stored permissions are no list of
//!   `{resource, scopes}`; set them again as a whole, with
//!   [`ApiKeyStoreExt::merge`]. Until then nothing is permitted.
//! - *A caller-chosen key is refused as easy to guess.* See
//!   [`ApiKey::require_strong`]; better, let [`ApiKeys::issue`] make one.
//! - *`Conflict` from `update_if`, though no caller changed the key.* It was
//!   re-digested, which is a change to the record.
//! - *A list grows slower than its hints.* A process that dies between two writes
//!   leaves a hint that lists nothing; it costs a list one look-up each time.

mod access;
mod data;
mod format;
mod handle;
mod key;
mod layer;
mod permissions;
mod records;
mod store;
mod view;

pub use access::{
    Access, DenyReason, HttpAnswer, Rules, Verdict, decide, http_answer, http_answer_hardened,
};
pub use data::{KeyData, KeyEntry, KeyId, MAX_TENANT};
pub use format::KeyFormat;
pub use handle::ApiKeys;
pub use key::{ApiKey, MAX_API_KEY, MIN_STRONG_KEY};
pub use layer::ApiKeyLayer;
pub use permissions::{Permission, Permissions};
pub(crate) use records::KEY_RINGS;
pub use records::{API_KEY_HINTS, API_KEY_IDS, API_KEYS, RecordApiKeys};
pub use store::{ApiKeyStore, ApiKeyStoreExt, ChangeKey, KeyRef, ListKeys, Lookup, no_such_key};
pub(crate) use view::VIEW;
