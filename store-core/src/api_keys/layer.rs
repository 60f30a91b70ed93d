//! Layers over a store of API keys.

use crate::api_keys::{
    ApiKey, ApiKeyStore, ChangeKey, KeyData, KeyEntry, KeyId, KeyRef, ListKeys, Lookup,
};
use crate::error::Result;
use crate::layers::layer;
use crate::page::Page;
use crate::record::Version;

layer! {
    /// A layer over an [`ApiKeyStore`], and by that an `ApiKeyStore` itself. See
    /// the [module](crate::layers).
    [] ApiKeyLayer over ApiKeyStore;
    async fn get_key['life1](key: &'life1 ApiKey) -> Result<Lookup>;
    async fn get_by_id['life1](id: &'life1 KeyId) -> Result<Lookup>;
    async fn insert['life1](key: &'life1 ApiKey, data: KeyData) -> Result<KeyEntry>;
    async fn update_key['life1, 'life2](
        key: KeyRef<'life1>,
        only_if: Option<Version>,
        change: ChangeKey<'life2>
    ) -> Result<KeyEntry>;
    async fn disable_key['life1](key: KeyRef<'life1>) -> Result<KeyEntry>;
    async fn delete_key['life1](key: KeyRef<'life1>) -> Result<()>;
    async fn list['life1](query: &'life1 ListKeys) -> Result<Page<KeyEntry>>;
    async fn invalidate['life1](key: KeyRef<'life1>) -> Result<()>;
}
