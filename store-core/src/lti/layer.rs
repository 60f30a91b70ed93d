//! Layers over a store of LTI data.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::error::Result;
use crate::layers::layer;
use crate::lti::{
    AccessToken, CachedJwks, Deployable, LtiStore, NewToolKey, NonceCheck, NonceLifetime,
    Registerable, Registration, SigningKey, ToolKey,
};
use crate::page::{Page, PageRequest};

layer! {
    /// A layer over an [`LtiStore`], and by that an `LtiStore` itself. See the
    /// [module](crate::layers).
    [R: Registerable, D: Deployable] LtiLayer over LtiStore;
    async fn get_registration['life1, 'life2](
        issuer: &'life1 str,
        client_id: Option<&'life2 str>
    ) -> Result<Option<Arc<<Self as LtiLayer>::R>>>;
    async fn get_deployment['life1, 'life2](
        registration: &'life1 Registration,
        deployment_id: &'life2 str
    ) -> Result<Option<Arc<<Self as LtiLayer>::D>>>;
    async fn store_nonce['life1, 'life2](
        nonce: &'life1 str,
        registration: &'life2 Registration
    ) -> Result<()>;
    async fn validate_nonce['life1, 'life2](
        nonce: &'life1 str,
        registration: &'life2 Registration
    ) -> Result<NonceCheck>;
    async fn register[](record: <Self as LtiLayer>::R) -> Result<Arc<<Self as LtiLayer>::R>>;
    async fn upsert_registration[](record: <Self as LtiLayer>::R) -> Result<Arc<<Self as LtiLayer>::R>>;
    async fn change_endpoints[](record: <Self as LtiLayer>::R) -> Result<Arc<<Self as LtiLayer>::R>>;
    async fn delete_registration['life1, 'life2](
        issuer: &'life1 str,
        client_id: &'life2 str
    ) -> Result<bool>;
    async fn set_default_registration['life1, 'life2](
        issuer: &'life1 str,
        client_id: &'life2 str
    ) -> Result<()>;
    async fn list_registrations['life1, 'life2](
        issuer: Option<&'life1 str>,
        page: &'life2 PageRequest
    ) -> Result<Page<Arc<<Self as LtiLayer>::R>>>;
    async fn upsert_deployment['life1](
        registration: &'life1 Registration,
        record: <Self as LtiLayer>::D
    ) -> Result<Arc<<Self as LtiLayer>::D>>;
    async fn delete_deployment['life1, 'life2](
        registration: &'life1 Registration,
        deployment_id: &'life2 str
    ) -> Result<bool>;
    async fn list_deployments['life1, 'life2](
        registration: &'life1 Registration,
        page: &'life2 PageRequest
    ) -> Result<Page<Arc<<Self as LtiLayer>::D>>>;
    async fn signing_key['life1](registration: &'life1 Registration) -> Result<Option<SigningKey>>;
    async fn add_key[](key: NewToolKey) -> Result<()>;
    async fn list_keys[]() -> Result<Page<ToolKey>>;
    async fn set_key_active['life1](kid: &'life1 str, active: bool) -> Result<()>;
    async fn delete_key['life1](kid: &'life1 str) -> Result<bool>;
    async fn cache_jwks['life1](
        jwks_uri: &'life1 str,
        jwks: Value,
        max_age: Duration
    ) -> Result<()>;
    async fn cached_jwks['life1](jwks_uri: &'life1 str) -> Result<Option<Arc<CachedJwks>>>;
    async fn store_token['life1, 'life2, 'life3](
        registration: &'life1 Registration,
        scopes: &'life2 [&'life3 str],
        token: AccessToken
    ) -> Result<()>;
    async fn get_token['life1, 'life2, 'life3](
        registration: &'life1 Registration,
        scopes: &'life2 [&'life3 str]
    ) -> Result<Option<AccessToken>>;
    fn nonce_lifetime() -> NonceLifetime;
}
