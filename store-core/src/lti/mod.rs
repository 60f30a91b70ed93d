//! LTI launches.

mod handle;
mod keys;
mod records;
mod registration;
mod store;

pub use handle::{Accepted, Launch, LaunchClaims, Login, Lti, Refusal};
pub use keys::{NewToolKey, PublicJwk, SigningKey, ToolKey};
pub use records::RecordLti;
pub use registration::{
    Deployable, Deployment, MAX_CLIENT_ID, MAX_ID, MAX_URL, Registerable, Registration,
    RegistrationParts, ToolJwk,
};
pub use store::{
    AccessToken, CachedJwks, LtiStore, MAX_JWKS_AGE, MAX_NONCE, NonceCheck, NonceLifetime,
};
