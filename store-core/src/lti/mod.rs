//! LTI launches: which platforms may launch this tool, and that each launch
//! happens once.
//!
//! Learning Tools Interoperability (LTI 1.3) lets a learning platform such as
//! Canvas or Moodle open a tool for a person who is logged in there. The
//! platform is known by a [`Registration`], the place where it shows the tool by
//! a [`Deployment`], and each launch by a nonce that this tool made at login.
//! This module stores those, the tool's keys, the platforms' keys and access
//! tokens. It does no cryptography of its own on tokens: verify signatures with
//! a JWT library.
//!
//! # Use
//! ```
//! use store_core::lti::{Deployment, Launch, LaunchClaims, Lti, Refusal, Registration};
//! use store_core::secret::KeyRing;
//!
//! # #[tokio::main] async fn main() -> store_core::Result<()> {
//! # let store = store_memory::MemoryStore::new();
//! // On a server: `KeyRing::from_env("KEY_RING")?`, the same for every process.
//! let lti = Lti::new(&store, &KeyRing::generate());
//!
//! // Once: register the platform and where it shows the tool.
//! let platform = Registration::from_json(r#"{
//!     "issuer": "https://lms.example.edu",
//!     "client_id": "42",
//!     "auth_endpoint": "https://lms.example.edu/auth",
//!     "jwks_uri": "https://lms.example.edu/jwks"
//! }"#)?;
//! let platform = lti.store().register(platform).await?;
//! lti.store().upsert_deployment(&platform, Deployment::new("course-7")?).await?;
//!
//! // The platform initiates a login: redirect to `auth_endpoint` with the nonce.
//! let login = lti.begin_login("https://lms.example.edu", None).await?;
//! let login = login.expect("the platform is registered");
//!
//! // It posts a signed token: verify the signature, then ask.
//! let claims = LaunchClaims {
//!     issuer: "https://lms.example.edu",
//!     client_id: "42",
//!     deployment_id: "course-7",
//!     nonce: &login.nonce,
//! };
//! match lti.accept_launch(claims).await? {
//!     Launch::Accepted(launch) => println!("welcome from {}", launch.registration.issuer()),
//!     Launch::Refused(reason) => println!("refused: {reason:?}"),
//! }
//! // The same token again is a replay.
//! let replay = lti.accept_launch(claims).await?;
//! assert!(matches!(replay, Launch::Refused(Refusal::NonceUsed)));
//! # Ok(()) }
//! ```
//!
//! # What distinguishes platforms
//! Issuer and client id, and nothing else: they are all that a launch names.
//! Several installations of one product may hand out the same pair, and such a
//! second platform must not take the place of the first one, whose deployments
//! and people it would get. So [`register`](LtiStore::register) only creates, and
//! answers `AlreadyExists`; [`upsert_registration`](LtiStore::upsert_registration)
//! refuses another `auth_endpoint` or `jwks_uri`; only
//! [`change_endpoints`](LtiStore::change_endpoints) replaces them. Two
//! installations that insist on one pair need two tools, each with a store of its
//! own.
//!
//! # Everything else
//! What else a tool does is on [`Lti::store`], the [`LtiStore`]:
//! - **Keys**: [`add_key`](LtiStore::add_key), publish [`Lti::jwks`], sign with
//!   [`signing_key`](LtiStore::signing_key). To rotate, add another; it signs
//!   from then on and both are published; when no token of the old one is alive,
//!   [retire](LtiStore::set_key_active) it.
//! - **Platforms' keys**: [`cached_jwks`](LtiStore::cached_jwks) before fetching,
//!   [`cache_jwks`](LtiStore::cache_jwks) after it with the response's `max-age`.
//! - **Access tokens**: [`get_token`](LtiStore::get_token) before asking for one,
//!   [`store_token`](LtiStore::store_token) after it.
//!
//! Every lookup returns record types of your own as they were stored: see
//! [`Registerable`] and [`Deployable`], and build the handle with
//! `Lti::over(Arc::new(RecordLti::<Campus, Placement>::new(store, &ring)))`. Another
//! store for one call, one route or one test: [`Lti::with_store`].
//!
//! # Bring your own
//! Platforms in a table of yours, or behind a service: implement the first four
//! methods of [`LtiStore`]. The others are `Unsupported` by default.
//!
//! ```
//! use std::collections::HashMap;
//! use std::sync::{Arc, Mutex};
//! use store_core::lti::{Deployment, Lti, LtiStore, NonceCheck, Registration};
//! use store_core::{Clock, Error, Result, SystemClock, Timestamp};
//!
//! #[derive(Debug)]
//! struct Mine {
//!     platforms: Vec<Arc<Registration>>,
//!     /// By issuer and nonce: when it expires, and whether it was used.
//!     nonces: Mutex<HashMap<(String, String), (Timestamp, bool)>>,
//! }
//!
//! #[async_trait::async_trait]
//! impl LtiStore for Mine {
//!     async fn get_registration(
//!         &self,
//!         issuer: &str,
//!         client_id: Option<&str>,
//!     ) -> Result<Option<Arc<Registration>>> {
//!         let of_issuer = self.platforms.iter().filter(|p| p.issuer() == issuer);
//!         Ok(match client_id {
//!             Some(id) => of_issuer.into_iter().find(|p| p.client_id() == id).cloned(),
//!             // Several may match: always the same one, never an error.
//!             None => of_issuer.min_by_key(|p| p.client_id()).cloned(),
//!         })
//!     }
//!
//!     async fn get_deployment(
//!         &self,
//!         _registration: &Registration,
//!         id: &str,
//!     ) -> Result<Option<Arc<Deployment>>> {
//!         // One deployment everywhere; yours looks in a table.
//!         Ok((id == "1").then(|| Deployment::new("1")).transpose()?.map(Arc::new))
//!     }
//!
//!     async fn store_nonce(&self, nonce: &str, registration: &Registration) -> Result<()> {
//!         let key = (registration.issuer().to_owned(), nonce.to_owned());
//!         let expires_at = SystemClock.now() + self.nonce_lifetime().valid;
//!         let mut nonces = self.nonces.lock().expect("no panics");
//!         if nonces.contains_key(&key) {
//!             return Err(Error::already_exists("make another nonce"));
//!         }
//!         nonces.insert(key, (expires_at, false));
//!         Ok(())
//!     }
//!
//!     async fn validate_nonce(&self, nonce: &str, registration: &Registration) -> Result<NonceCheck> {
//!         let key = (registration.issuer().to_owned(), nonce.to_owned());
//!         // One step: in SQL, an UPDATE … WHERE NOT used whose row count decides.
//!         Ok(match self.nonces.lock().expect("no panics").get_mut(&key) {
//!             None => NonceCheck::Unknown,
//!             Some((_, true)) => NonceCheck::AlreadyUsed,
//!             Some((expires_at, _)) if *expires_at <= SystemClock.now() => NonceCheck::Expired,
//!             Some((_, used)) => {
//!                 *used = true;
//!                 NonceCheck::Accepted
//!             }
//!         })
//!     }
//! }
//!
//! let mine = Mine { platforms: Vec::new(), nonces: Mutex::default() };
//! let lti = Lti::over(Arc::new(mine));
//! # let _ = lti;
//! ```
//!
//! A real table also needs to delete old nonces and to take the time from a clock that
//! a test can move. `store_conformance::cases::lti` checks the rest. The mistakes that it
//! finds most often: a nonce that is checked in one step and marked in another, a nonce
//! that is deleted when used (a replay then looks like an invented nonce), expiry left to
//! a clean-up job, nonces bound to the client id of the login, and a look-up by issuer
//! alone that fails on two rows.
//!
//! # Leaving memory
//! Put another backend's store in place of the one in memory: `Lti::new` takes
//! any. Give every process the same [`KeyRing`](crate::secret::KeyRing), from
//! the environment or a file
//! ([`from_env`](crate::secret::KeyRing::from_env)): what one seals the others
//! must open. What is stored can be read with the database's own
//! tools, private keys and access tokens excepted.
//!
//! Nonces need a store that does not lose an acknowledged write: where a
//! replica may take over without it, a nonce used just before could be used
//! again. They need no backup and no clean-up: each expires after its
//! [`NonceLifetime`].
//!
//! # Troubleshooting
//! - **`NonceUnknown` on every launch**: the login and the launch use different
//!   stores (two processes, each in memory), or different issuers: compare the
//!   login's `iss` and the token's byte by byte, a final `/` included.
//! - **`NonceUsed` on some first launches**: the platform or a proxy posts the
//!   form twice. The first one was accepted.
//! - **`NonceExpired`**: people stay on the platform's login page for longer
//!   than [`NonceLifetime::valid`]; [`RecordLti::with_nonce_lifetime`].
//! - **An `Ambiguous` error from a launch**: the launch was not accepted, and the nonce
//!   may be used up. Let the person log in again; do not ask again with the
//!   same token.
//! - **`UnknownPlatform` at launch after a login that worked**: the login came
//!   without a client id and found the issuer's default; the launch names a
//!   client id that is not registered.
//! - **`UnknownDeployment`**: deployment ids are case-sensitive and belong to one
//!   client id of one issuer; deleting a registration deletes its deployments. The
//!   nonce was not used: add the deployment, and the same launch is accepted.
//! - **`http://localhost` is refused**: for development, and never in production,
//!   set `"allow_http_loopback": true` in the registration.
//! - **`InvalidInput` from `upsert_registration` that speaks of `Serialize`**:
//!   the record contains a private key in clear that
//!   [`Registerable::private_key`] does not show to the store.
//! - **`Config` that names a key**: a key left the ring before
//!   [`RecordLti::reseal`] was run.

mod deployment;
mod fields;
mod handle;
mod keys;
mod layer;
mod records;
mod registration;
mod store;

pub use deployment::{Deployable, Deployment};
pub use handle::{Accepted, Launch, LaunchClaims, Login, Lti, Refusal};
pub use keys::{NewToolKey, PublicJwk, SigningKey, ToolKey};
pub use layer::LtiLayer;
pub(crate) use records::{COLLECTIONS, VIEWS};
pub use records::{NONCES, RecordLti, Resealed};
pub use registration::{
    MAX_CLIENT_ID, MAX_ID, MAX_URL, Registerable, Registration, RegistrationParts, ToolJwk,
};
pub use store::{
    AccessToken, CachedJwks, LtiStore, LtiStoreExt, MAX_JWKS_AGE, MAX_NONCE, NonceCheck,
    NonceLifetime,
};
