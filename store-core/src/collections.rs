//! The collections in which the contracts keep their records, for a backend
//! that must know them before they are used, to make a table for each.

use crate::key::Collection;

/// All of them.
///
/// ```
/// let all = store_core::collections::all();
/// assert!(all.iter().any(|collection| collection.name() == "api_keys"));
/// ```
pub fn all() -> Vec<Collection> {
    let all: &[&[Collection]] = &[
        #[cfg(feature = "limits")]
        &[crate::limits::BUCKETS],
        #[cfg(feature = "blobs")]
        &[
            crate::blobs::BLOBS,
            crate::blobs::BLOB_CHUNKS,
            crate::blobs::BLOB_RECLAIM,
        ],
        #[cfg(feature = "api-keys")]
        &[
            crate::api_keys::API_KEYS,
            crate::api_keys::API_KEY_IDS,
            crate::api_keys::API_KEY_HINTS,
            crate::api_keys::KEY_RINGS,
        ],
        #[cfg(feature = "lti")]
        crate::lti::COLLECTIONS,
        #[cfg(feature = "identity")]
        crate::tenants::COLLECTIONS,
        #[cfg(feature = "identity")]
        crate::iam::COLLECTIONS,
        #[cfg(feature = "identity")]
        &families(),
    ];
    all.concat()
}

#[cfg(feature = "identity")]
fn families() -> [Collection; 5] {
    use crate::iam::{AccessKey, Group, Policy, Role, TenantEntity, User};
    [
        User::FAMILY,
        Group::FAMILY,
        Role::FAMILY,
        Policy::FAMILY,
        AccessKey::FAMILY,
    ]
    .map(|family| family.collection())
}
