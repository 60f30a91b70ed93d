//! The collections in which the contracts keep their records, for a backend
//! that must know them before they are used, to make a table for each.

use crate::iam::TenantEntity;
use crate::key::Collection;
use crate::{api_keys, blobs, iam, limits, lti, tenants};

/// All of them.
///
/// ```
/// let all = store_core::collections::all();
/// assert!(all.iter().any(|collection| collection.name() == "api_keys"));
/// ```
pub fn all() -> Vec<Collection> {
    [
        &[limits::BUCKETS][..],
        &[blobs::BLOBS, blobs::BLOB_CHUNKS, blobs::BLOB_RECLAIM],
        &[
            api_keys::API_KEYS,
            api_keys::API_KEY_IDS,
            api_keys::API_KEY_HINTS,
            api_keys::KEY_RINGS,
        ],
        lti::COLLECTIONS,
        tenants::COLLECTIONS,
        iam::COLLECTIONS,
        &[
            iam::User::FAMILY,
            iam::Group::FAMILY,
            iam::Role::FAMILY,
            iam::Policy::FAMILY,
            iam::AccessKey::FAMILY,
        ]
        .map(|family| family.collection()),
    ]
    .concat()
}
